#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "log.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

enum option_type { TYPE_TEXT, TYPE_ADDRESS, TYPE_NUMBER, TYPE_SIZE, TYPE_SWITCH, TYPE_LEVEL };

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *initial;  /* as a person would write it; NULL: not set */
    uint64_t least, most; /* TYPE_NUMBER, TYPE_SIZE */
    const char *value;    /* what stands for the value in --help */
    const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row rows[] = {
    {"listen", TYPE_ADDRESS, AT(listen), "127.0.0.1:8080", 0, 0, "ADDRESS:PORT",
     "where to listen; an IPv6 address stands in brackets"},
    {"threads", TYPE_NUMBER, AT(threads), "0", 0, 256, "N", "event loops; 0 means one per core"},
    {"workers", TYPE_NUMBER, AT(workers), "4", 1, 64, "N", "threads for listings and statistics"},
    {"connections", TYPE_NUMBER, AT(connections), "4096", 1, 1000000, "N",
     "most connections at a time; more wait"},
    {"memory", TYPE_SIZE, AT(memory), "256MiB", 16 * MIB, 1024 * GIB, "SIZE",
     "for data on its way to and from Ceph"},
    {"spool-dir", TYPE_TEXT, AT(spool_dir), "/tmp", 0, 0, "DIRECTORY",
     "for bodies of more than 512 KiB while they arrive; room for all that come in at a time"},
    {"max-file-size", TYPE_SIZE, AT(max_file_size), "5GiB", 1, 5 * GIB, "SIZE",
     "larger files are refused (413)"},
    {"request-timeout", TYPE_NUMBER, AT(request_timeout), "3600", 1, 86400, "SECONDS",
     "for one request to arrive, and for an idle connection"},
    {"send-timeout", TYPE_NUMBER, AT(send_timeout), "60", 1, 86400, "SECONDS",
     "a client that takes nothing for so long is cut off"},
    {"drain-timeout", TYPE_NUMBER, AT(drain_timeout), "30", 0, 86400, "SECONDS",
     "for requests under way after SIGTERM"},

    {"pool", TYPE_TEXT, AT(pool), "data", 0, 0, "NAME", "the pool that holds the files"},
    {"data-pool", TYPE_TEXT, AT(data_pool), NULL, 0, 0, "NAME",
     "the pool for the stripes of files above 4 MiB, which may be erasure-coded; without it that of --pool"},
    {"ceph-conf", TYPE_TEXT, AT(ceph_conf), NULL, 0, 0, "FILE",
     "Ceph's configuration; without it CEPH_CONF, /etc/ceph/ceph.conf"},
    {"ceph-name", TYPE_TEXT, AT(ceph_name), "client.admin", 0, 0, "NAME", "who we are to Ceph"},
    {"op-timeout", TYPE_NUMBER, AT(op_timeout), "10", 1, 3600, "SECONDS",
     "after which an operation on Ceph is given up (503)"},
    {"upload-grace", TYPE_NUMBER, AT(upload_grace), "3600", 2, 604800, "SECONDS",
     "after which an upload that was not finished may be given up"},
    {"download-grace", TYPE_NUMBER, AT(download_grace), "3600", 1, 604800, "SECONDS",
     "for which the content of a replaced or deleted file stays for those who read it"},
    {"collect-interval", TYPE_NUMBER, AT(collect_interval), "60", 1, 86400, "SECONDS",
     "between two looks for content that is of no use any more"},
    {"scrub-interval", TYPE_NUMBER, AT(scrub_interval), "3600", 1, 31536000, "SECONDS",
     "between two comparisons of all files with the index of their names"},
    {"scrub-rate", TYPE_NUMBER, AT(scrub_rate), "500", 1, 100000, "N", "files a second that one compares"},

    {"announce", TYPE_TEXT, AT(announce), NULL, 0, 0, "URL",
     "keep a row in the registry: mysql://USER@HOST[:PORT][,HOST...]/DATABASE or "
     "mysql://USER@unix:/PATH:/DATABASE"},
    {"announce-address", TYPE_ADDRESS, AT(announce_address), NULL, 0, 0, "ADDRESS:PORT",
     "what to write there; without it what --listen says"},
    {"announce-password-file", TYPE_TEXT, AT(announce_password_file), NULL, 0, 0, "FILE",
     "its first line is the password for the registry"},
    {"announce-ssl-ca", TYPE_TEXT, AT(announce_ssl_ca), NULL, 0, 0, "FILE",
     "speak TLS to the registry and verify it by these certificates"},

    {"access-log", TYPE_SWITCH, AT(access_log), "off", 0, 0, "on|off", "one line a request"},
    {"log-level", TYPE_LEVEL, AT(log_level), "info", 0, 0, "LEVEL", "error, warn, info or debug"},
    {"pid-file", TYPE_TEXT, AT(pid_file), NULL, 0, 0, "FILE", "holds the process id while it runs"},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* ---- values ---- */

static bool parse_number(const char *text, char **end, uint64_t *number)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *number = strtoull(text, end, 10);
    return errno == 0;
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *suffix;
        uint64_t unit;
    } units[] = {{"", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}};
    char *end;
    size_t i;

    if (!parse_number(text, &end, bytes))
        return false;
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        if (*bytes > UINT64_MAX / units[i].unit)
            return false;
        *bytes *= units[i].unit;
        return true;
    }
    return false;
}

static bool parse_level(const char *text, uint64_t *level)
{
    static const char *const names[] = {[LOG_LEVEL_ERROR] = "error",
                                        [LOG_LEVEL_WARN] = "warn",
                                        [LOG_LEVEL_INFO] = "info",
                                        [LOG_LEVEL_DEBUG] = "debug"};

    for (*level = 0; *level < sizeof(names) / sizeof(names[0]); ++*level)
        if (strcmp(text, names[*level]) == 0)
            return true;
    return false;
}

/* "where": how the person named it, for the message. */
static bool set_value(struct options *options, const struct option_row *row, const char *text,
                      const char *where)
{
    void *target = (char *)options + row->offset;
    uint64_t *number = target;
    struct address address;
    char *end;

    switch (row->type) {
    case TYPE_TEXT:
        if (text[0] == '\0') {
            fprintf(stderr, "ceph-lb-backend: %s is empty; it takes %s\n", where, row->value);
            return false;
        }
        *(const char **)target = text;
        return true;
    case TYPE_ADDRESS:
        *(const char **)target = text;
        if (address_parse(text, &address))
            return true;
        fprintf(stderr, "ceph-lb-backend: %s is \"%s\"; it takes %s, both numeric\n", where, text,
                row->value);
        return false;
    case TYPE_NUMBER:
        if (parse_number(text, &end, number) && *end == '\0' && *number >= row->least && *number <= row->most)
            return true;
        fprintf(stderr, "ceph-lb-backend: %s is \"%s\"; it takes a number from %" PRIu64 " to %" PRIu64 "\n",
                where, text, row->least, row->most);
        return false;
    case TYPE_SIZE:
        if (parse_size(text, number) && *number >= row->least && *number <= row->most)
            return true;
        fprintf(
            stderr,
            "ceph-lb-backend: %s is \"%s\"; it takes bytes, or a number with KiB, MiB or GiB, from %" PRIu64
            " to %" PRIu64 " bytes\n",
            where, text, row->least, row->most);
        return false;
    case TYPE_SWITCH:
        *(bool *)target = strcmp(text, "on") == 0;
        if (*(bool *)target || strcmp(text, "off") == 0)
            return true;
        fprintf(stderr, "ceph-lb-backend: %s is \"%s\"; it takes on or off\n", where, text);
        return false;
    case TYPE_LEVEL:
        if (parse_level(text, number))
            return true;
        fprintf(stderr, "ceph-lb-backend: %s is \"%s\"; it takes error, warn, info or debug\n", where, text);
        return false;
    }
    return false;
}

/* ---- where they come from ---- */

static void environment_name(const struct option_row *row, char name[64])
{
    size_t i;

    snprintf(name, 64, "CEPH_LB_%s", row->name);
    for (i = 0; name[i] != '\0'; i++)
        name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
}

static bool set_defaults_and_environment(struct options *options)
{
    size_t i;

    for (i = 0; i < ROW_COUNT; i++) {
        char name[64];
        const char *text;

        environment_name(&rows[i], name);
        if (rows[i].initial != NULL && !set_value(options, &rows[i], rows[i].initial, rows[i].name))
            return false;
        text = getenv(name);
        if (text != NULL && !set_value(options, &rows[i], text, name))
            return false;
    }
    return true;
}

static const struct option_row *find_row(const char *name, size_t len)
{
    size_t i;

    for (i = 0; i < ROW_COUNT; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

static void print_help(void)
{
    size_t i;

    printf("Usage: ceph-lb-backend [--OPTION VALUE]...\n"
           "Serves files over HTTP (/objects, /status, /healthz, /metrics) out of a Ceph pool.\n\n"
           "Each option can also be set in the environment: --op-timeout as CEPH_LB_OP_TIMEOUT.\n\n");
    for (i = 0; i < ROW_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].value);
        printf("  %-32s %s%s%s%s\n", left, rows[i].help, rows[i].initial != NULL ? " (default " : "",
               rows[i].initial != NULL ? rows[i].initial : "", rows[i].initial != NULL ? ")" : "");
    }
    printf("  %-32s this text\n  %-32s the version\n\n"
           "SIGTERM and SIGINT: finish what runs, then end; the second time: end now.\n"
           "Exit status: 0 after a complete drain, 1 after a failure, 2 for wrong options.\n",
           "--help", "--version");
}

static enum options_result wrong(const char *what, const char *argument)
{
    fprintf(stderr, "ceph-lb-backend: %s: \"%s\"; see ceph-lb-backend --help\n", what, argument);
    return OPTIONS_WRONG;
}

enum options_result options_parse(int argc, char *const *argv, struct options *options)
{
    int i;

    memset(options, 0, sizeof(*options));
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return OPTIONS_DONE;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("ceph-lb-backend %s\n", CEPH_LB_VERSION);
            return OPTIONS_DONE;
        }
    }
    if (!set_defaults_and_environment(options))
        return OPTIONS_WRONG;

    for (i = 1; i < argc; i++) {
        const char *argument = argv[i], *equals, *value;
        const struct option_row *row;
        char where[64];

        if (strncmp(argument, "--", 2) != 0)
            return wrong("not an option", argument);
        equals = strchr(argument, '=');
        row = find_row(argument + 2, equals != NULL ? (size_t)(equals - argument - 2) : strlen(argument + 2));
        if (row == NULL)
            return wrong("unknown option", argument);
        if (equals == NULL && i + 1 == argc)
            return wrong("the option lacks its value", argument);
        value = equals != NULL ? equals + 1 : argv[++i];
        snprintf(where, sizeof(where), "--%s", row->name);
        if (!set_value(options, row, value, where))
            return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}
