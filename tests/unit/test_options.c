#include "support.h"

#include <unistd.h>

#include "log.h"
#include "options.h"

extern char **environ;

/* What a run of options_parse left on the two streams. */
static char said[16384], complained[16384];

static void read_back(FILE *file, char *text, size_t size)
{
    size_t len;

    rewind(file);
    len = fread(text, 1, size - 1, file);
    text[len] = '\0';
    fclose(file);
}

/* `arguments` end with NULL; the program's name is put in front. */
static enum options_result run(const char *const *arguments, struct options *options)
{
    char *argv[32] = {(char *)"ceph-lb-backend"};
    FILE *out = tmpfile(), *error = tmpfile();
    int argc = 1, old_out, old_error;
    enum options_result result;

    assert_non_null(out);
    assert_non_null(error);
    for (; arguments[argc - 1] != NULL; argc++)
        argv[argc] = (char *)arguments[argc - 1];

    fflush(stdout);
    fflush(stderr);
    old_out = dup(STDOUT_FILENO);
    old_error = dup(STDERR_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(error), STDERR_FILENO);
    result = options_parse(argc, argv, options);
    fflush(stdout);
    fflush(stderr);
    dup2(old_out, STDOUT_FILENO);
    dup2(old_error, STDERR_FILENO);
    close(old_out);
    close(old_error);

    read_back(out, said, sizeof(said));
    read_back(error, complained, sizeof(complained));
    return result;
}

#define RUN(options, ...) run((const char *const[]){__VA_ARGS__, NULL}, options)

/* Each test begins without any of our variables, whatever the shell has. */
static int clean_environment(void **state)
{
    char **variable = environ;

    (void)state;
    while (*variable != NULL) {
        char name[128];
        if (strncmp(*variable, "CEPH_LB_", 8) != 0 || strcspn(*variable, "=") >= sizeof(name)) {
            variable++;
            continue;
        }
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*variable, "="), *variable);
        unsetenv(name);
        variable = environ;
    }
    return 0;
}

static void test_defaults(void **state)
{
    static const char *const none[] = {NULL};
    struct options options;

    (void)state;
    assert_int_equal(run(none, &options), OPTIONS_RUN);
    assert_string_equal(said, "");
    assert_string_equal(complained, "");

    assert_string_equal(options.listen, "127.0.0.1:8080");
    assert_int_equal(options.threads, 0);
    assert_int_equal(options.workers, 4);
    assert_int_equal(options.memory, 256 << 20);
    assert_string_equal(options.spool_dir, "/tmp");
    assert_int_equal(options.max_file_size, UINT64_C(5) << 30);
    assert_int_equal(options.drain_timeout, 30);
    assert_true(options.connections >= 1);
    assert_true(options.request_timeout >= 1);
    assert_true(options.send_timeout >= 1);
    assert_string_equal(options.pool, "data");
    assert_null(options.ceph_conf);
    assert_string_equal(options.ceph_name, "client.admin");
    assert_int_equal(options.op_timeout, 10);
    assert_null(options.announce);
    assert_null(options.announce_address);
    assert_null(options.announce_password_file);
    assert_null(options.announce_ssl_ca);
    assert_false(options.access_log);
    assert_int_equal(options.log_level, LOG_LEVEL_INFO);
    assert_null(options.pid_file);
}

static void test_every_option(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--listen", "[::1]:80", "--threads=3", "--workers", "5", "--connections=6",
                         "--memory", "17MiB", "--spool-dir=/spool", "--max-file-size", "7KiB",
                         "--request-timeout=8", "--send-timeout", "9", "--drain-timeout=10"),
                     OPTIONS_RUN);
    assert_string_equal(options.listen, "[::1]:80");
    assert_int_equal(options.threads, 3);
    assert_int_equal(options.workers, 5);
    assert_int_equal(options.connections, 6);
    assert_int_equal(options.memory, 17 << 20);
    assert_string_equal(options.spool_dir, "/spool");
    assert_int_equal(options.max_file_size, 7 << 10);
    assert_int_equal(options.request_timeout, 8);
    assert_int_equal(options.send_timeout, 9);
    assert_int_equal(options.drain_timeout, 10);

    assert_int_equal(RUN(&options, "--pool", "p", "--ceph-conf=/c", "--ceph-name", "client.x",
                         "--op-timeout=11", "--announce", "mysql://u@h/d", "--announce-address=10.0.0.1:1",
                         "--announce-password-file", "/pw", "--announce-ssl-ca=/ca", "--access-log", "on",
                         "--log-level=debug", "--pid-file", "/pid"),
                     OPTIONS_RUN);
    assert_string_equal(options.pool, "p");
    assert_string_equal(options.ceph_conf, "/c");
    assert_string_equal(options.ceph_name, "client.x");
    assert_int_equal(options.op_timeout, 11);
    assert_string_equal(options.announce, "mysql://u@h/d");
    assert_string_equal(options.announce_address, "10.0.0.1:1");
    assert_string_equal(options.announce_password_file, "/pw");
    assert_string_equal(options.announce_ssl_ca, "/ca");
    assert_true(options.access_log);
    assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(options.pid_file, "/pid");
}

static void test_last_one_wins(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--workers", "5", "--pool", "a", "--workers=6", "--pool=b"), OPTIONS_RUN);
    assert_int_equal(options.workers, 6);
    assert_string_equal(options.pool, "b");
}

/* Only the first equals sign ends the name. */
static void test_values_with_equals_signs(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--pool=a=b", "--ceph-name", "c=d"), OPTIONS_RUN);
    assert_string_equal(options.pool, "a=b");
    assert_string_equal(options.ceph_name, "c=d");
}

static void test_environment(void **state)
{
    static const char *const none[] = {NULL};
    struct options options;

    (void)state;
    setenv("CEPH_LB_LISTEN", "127.0.0.2:81", 1);
    setenv("CEPH_LB_OP_TIMEOUT", "12", 1);
    setenv("CEPH_LB_MAX_FILE_SIZE", "1MiB", 1);
    setenv("CEPH_LB_ANNOUNCE_PASSWORD_FILE", "/secret", 1);
    setenv("CEPH_LB_ACCESS_LOG", "on", 1);
    setenv("CEPH_LB_LOG_LEVEL", "warn", 1);
    setenv("CEPH_LB_UNKNOWN", "is not ours", 1);
    assert_int_equal(run(none, &options), OPTIONS_RUN);
    assert_string_equal(complained, "");
    assert_string_equal(options.listen, "127.0.0.2:81");
    assert_int_equal(options.op_timeout, 12);
    assert_int_equal(options.max_file_size, 1 << 20);
    assert_string_equal(options.announce_password_file, "/secret");
    assert_true(options.access_log);
    assert_int_equal(options.log_level, LOG_LEVEL_WARN);
    assert_string_equal(options.pool, "data");

    /* The command line wins. */
    assert_int_equal(RUN(&options, "--op-timeout=13", "--access-log", "off"), OPTIONS_RUN);
    assert_int_equal(options.op_timeout, 13);
    assert_false(options.access_log);
    assert_string_equal(options.listen, "127.0.0.2:81");
}

static void test_wrong_environment(void **state)
{
    static const char *const none[] = {NULL};
    struct options options;

    (void)state;
    setenv("CEPH_LB_WORKERS", "many", 1);
    assert_int_equal(run(none, &options), OPTIONS_WRONG);
    assert_non_null(strstr(complained, "CEPH_LB_WORKERS"));
    assert_non_null(strstr(complained, "many"));
    unsetenv("CEPH_LB_WORKERS");

    setenv("CEPH_LB_POOL", "", 1);
    assert_int_equal(run(none, &options), OPTIONS_WRONG);
    assert_non_null(strstr(complained, "CEPH_LB_POOL"));
}

static void test_numbers(void **state)
{
    static const struct {
        const char *option, *value;
        bool well;
    } rows[] = {
        {"--threads", "0", true},
        {"--threads", "256", true},
        {"--threads", "257", false},
        {"--workers", "1", true},
        {"--workers", "64", true},
        {"--workers", "0", false},
        {"--workers", "65", false},
        {"--op-timeout", "1", true},
        {"--op-timeout", "3600", true},
        {"--op-timeout", "0", false},
        {"--op-timeout", "3601", false},
        {"--drain-timeout", "0", true},
        {"--drain-timeout", "86401", false},
        {"--connections", "0", false},
        {"--connections", "1000001", false},
        {"--workers", "007", true},
        {"--workers", "", false},
        {"--workers", "x", false},
        {"--workers", "-1", false},
        {"--workers", "+1", false},
        {"--workers", " 1", false},
        {"--workers", "1 ", false},
        {"--workers", "1x", false},
        {"--workers", "1.0", false},
        {"--workers", "0x4", false},
        {"--workers", "1KiB", false},
        {"--workers", "18446744073709551616", false}, /* 2^64 */
        {"--workers", "18446744073709551617", false},
        {"--workers", "99999999999999999999999999", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct options options;
        enum options_result result = RUN(&options, rows[i].option, rows[i].value);

        assert_row(result == (rows[i].well ? OPTIONS_RUN : OPTIONS_WRONG), rows[i].value);
        if (rows[i].well)
            assert_row(complained[0] == '\0', rows[i].value);
        else
            assert_row(strstr(complained, rows[i].option) != NULL, rows[i].value);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *option, *value;
        uint64_t bytes; /* 0: refused */
    } rows[] = {
        {"--max-file-size", "1", 1},
        {"--max-file-size", "1000", 1000},
        {"--max-file-size", "1KiB", 1024},
        {"--max-file-size", "64MiB", UINT64_C(64) << 20},
        {"--max-file-size", "67108864", UINT64_C(64) << 20},
        {"--max-file-size", "65536KiB", UINT64_C(64) << 20},
        {"--memory", "16MiB", UINT64_C(16) << 20},
        {"--memory", "1GiB", UINT64_C(1) << 30},
        {"--memory", "5GiB", UINT64_C(5) << 30},
        {"--memory", "1024GiB", UINT64_C(1) << 40},

        {"--max-file-size", "0", 0},
        {"--max-file-size", "0MiB", 0},
        {"--max-file-size", "5GiB", UINT64_C(5) << 30},
        {"--max-file-size", "5368709121", 0},
        {"--max-file-size", "6GiB", 0},
        {"--memory", "15MiB", 0},
        {"--memory", "1025GiB", 0},
        {"--memory", "64", 0},
        /* With the unit these wrap to something small. */
        {"--max-file-size", "18014398509481985KiB", 0},
        {"--max-file-size", "17592186044417MiB", 0},
        {"--memory", "17179869185GiB", 0},
        {"--memory", "18446744073709551616", 0},
        {"--max-file-size", "", 0},
        {"--max-file-size", "MiB", 0},
        {"--max-file-size", "1M", 0},
        {"--max-file-size", "1MB", 0},
        {"--max-file-size", "1mib", 0},
        {"--max-file-size", "1MiBs", 0},
        {"--max-file-size", "1 MiB", 0},
        {"--max-file-size", "1.5MiB", 0},
        {"--max-file-size", "-1", 0},
        {"--max-file-size", "-1MiB", 0},
        {"--max-file-size", "1TiB", 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct options options;
        enum options_result result = RUN(&options, rows[i].option, rows[i].value);

        assert_row(result == (rows[i].bytes != 0 ? OPTIONS_RUN : OPTIONS_WRONG), rows[i].value);
        if (rows[i].bytes == 0)
            assert_row(strstr(complained, rows[i].option) != NULL, rows[i].value);
        else if (strcmp(rows[i].option, "--memory") == 0)
            assert_row(options.memory == rows[i].bytes, rows[i].value);
        else
            assert_row(options.max_file_size == rows[i].bytes, rows[i].value);
    }
}

static void test_words(void **state)
{
    static const struct {
        const char *option, *value;
        bool well;
    } rows[] = {
        {"--access-log", "on", true},
        {"--access-log", "off", true},
        {"--access-log", "yes", false},
        {"--access-log", "1", false},
        {"--access-log", "ON", false},
        {"--access-log", "", false},
        {"--log-level", "error", true},
        {"--log-level", "warn", true},
        {"--log-level", "info", true},
        {"--log-level", "debug", true},
        {"--log-level", "trace", false},
        {"--log-level", "warning", false},
        {"--log-level", "0", false},
        {"--log-level", "", false},
        {"--pool", "", false},
        {"--announce-address", "", false},
        {"--announce-address", "a:1", false},
        {"--listen", "127.0.0.1:65536", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct options options;
        enum options_result result = RUN(&options, rows[i].option, rows[i].value);

        assert_row(result == (rows[i].well ? OPTIONS_RUN : OPTIONS_WRONG), rows[i].value);
        assert_row((strstr(complained, rows[i].option) != NULL) == !rows[i].well, rows[i].value);
    }
}

static void test_levels_in_order(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--log-level", "error"), OPTIONS_RUN);
    assert_int_equal(options.log_level, LOG_LEVEL_ERROR);
    assert_int_equal(RUN(&options, "--log-level", "info"), OPTIONS_RUN);
    assert_int_equal(options.log_level, LOG_LEVEL_INFO);
}

/* Each complaint is one line that names what is wrong. */
static void test_unknown_options(void **state)
{
    static const char *const rows[] = {
        "--unknown", "--unknown=1",    "--", "--=1",     "-",         "-p",
        "-workers",  "pool",           "",   "--Pool=x", "--pool =x", "--poo=x",
        "--pools=x", "--op_timeout=1",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct options options;
        const char *end;

        assert_row(RUN(&options, rows[i], "5") == OPTIONS_WRONG, rows[i]);
        assert_row(said[0] == '\0', rows[i]);
        assert_row(strstr(complained, rows[i]) != NULL, rows[i]);
        end = strchr(complained, '\n');
        assert_row(end != NULL && end[1] == '\0', rows[i]);
    }
}

static void test_option_without_value(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--pool", "p", "--workers"), OPTIONS_WRONG);
    assert_non_null(strstr(complained, "--workers"));
    assert_int_equal(RUN(&options, "--workers="), OPTIONS_WRONG);
    assert_non_null(strstr(complained, "--workers"));
}

static void test_wrong_behind_right(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--workers", "5", "extra"), OPTIONS_WRONG);
    assert_non_null(strstr(complained, "extra"));
}

static void test_help(void **state)
{
    static const char *const lines[] = {
        "--listen",
        "--threads",
        "--workers",
        "--connections",
        "--memory",
        "--spool-dir",
        "--max-file-size",
        "--request-timeout",
        "--send-timeout",
        "--pool",
        "--drain-timeout",
        "--ceph-conf",
        "--ceph-name",
        "--op-timeout",
        "--announce ",
        "--announce-address",
        "--announce-ssl-ca",
        "--access-log",
        "--log-level",
        "--announce-password-file",
        "--pid-file",
        "--help",
        "--version",
        "CEPH_LB_",
        "5GiB)",
        "127.0.0.1:8080)",
        "Exit status",
    };
    struct options options;
    size_t i;

    (void)state;
    assert_int_equal(RUN(&options, "--help"), OPTIONS_DONE);
    assert_string_equal(complained, "");
    for (i = 0; i < COUNT_OF(lines); i++)
        assert_row(strstr(said, lines[i]) != NULL, lines[i]);
    assert_int_equal(said[strlen(said) - 1], '\n');
}

/* Asked for help, nothing else counts. */
static void test_help_among_errors(void **state)
{
    struct options options;

    (void)state;
    setenv("CEPH_LB_WORKERS", "many", 1);
    assert_int_equal(RUN(&options, "--unknown", "--help"), OPTIONS_DONE);
    assert_non_null(strstr(said, "--listen"));
    assert_string_equal(complained, "");
}

static void test_version(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(RUN(&options, "--version"), OPTIONS_DONE);
    assert_string_equal(said, "ceph-lb-backend " CEPH_LB_VERSION "\n");
    assert_string_equal(complained, "");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, clean_environment),
        cmocka_unit_test_setup(test_every_option, clean_environment),
        cmocka_unit_test_setup(test_last_one_wins, clean_environment),
        cmocka_unit_test_setup(test_values_with_equals_signs, clean_environment),
        cmocka_unit_test_setup(test_environment, clean_environment),
        cmocka_unit_test_setup(test_wrong_environment, clean_environment),
        cmocka_unit_test_setup(test_numbers, clean_environment),
        cmocka_unit_test_setup(test_sizes, clean_environment),
        cmocka_unit_test_setup(test_words, clean_environment),
        cmocka_unit_test_setup(test_levels_in_order, clean_environment),
        cmocka_unit_test_setup(test_unknown_options, clean_environment),
        cmocka_unit_test_setup(test_option_without_value, clean_environment),
        cmocka_unit_test_setup(test_wrong_behind_right, clean_environment),
        cmocka_unit_test_setup(test_help, clean_environment),
        cmocka_unit_test_setup(test_help_among_errors, clean_environment),
        cmocka_unit_test_setup(test_version, clean_environment),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
