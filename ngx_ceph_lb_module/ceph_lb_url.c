#include "ceph_lb_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define BAD_PORT      "has a port that is not a number from 1 to 65535"
#define BESIDE_SOCKET "names other servers beside a unix socket"

typedef struct {
    const char *p;
    const char *end;
} text_t;

static const char *parse_socket(ceph_lb_url_t *url, text_t *rest);
static const char *parse_hosts(ceph_lb_url_t *url, text_t *rest);
static const char *parse_host(ceph_lb_url_host_t *host, text_t *rest);
static const char *parse_address(ceph_lb_url_host_t *host, text_t *rest);
static const char *parse_port(ceph_lb_url_host_t *host, text_t *rest);
static const char *parse_database(ceph_lb_url_t *url, text_t rest);
static int         starts_with(text_t text, const char *prefix);
static int copy(char *to, size_t max, const char *from, const char *end);
static int is_host_char(char c);

const char *
ceph_lb_url_parse(ceph_lb_url_t *url, const char *text, size_t len)
{
    text_t      rest = {text, text + len};
    const char *at, *error;
    const char *scheme = "mysql://";

    memset(url, 0, sizeof(*url));

    if (!starts_with(rest, scheme)) {
        return "does not begin with \"mysql://\"";
    }

    rest.p += strlen(scheme);

    for (at = rest.p; at < rest.end && *at != '@' && *at != '/'; at++) {
        if (*at == ':') {
            return "holds a password, which belongs in a file of its own";
        }
    }

    if (at == rest.end || *at != '@') {
        return "has no \"USER@\" before the host";
    }

    if (at == rest.p) {
        return "has no user before \"@\"";
    }

    if (!copy(url->user, CEPH_LB_URL_USER_MAX, rest.p, at)) {
        return "has a user name that is too long or holds a control character";
    }

    rest.p = at + 1;

    if (starts_with(rest, "unix:")) {
        error = parse_socket(url, &rest);
    } else {
        error = parse_hosts(url, &rest);
    }

    return error != NULL ? error : parse_database(url, rest);
}

static const char *
parse_socket(ceph_lb_url_t *url, text_t *rest)
{
    const char *colon;

    rest->p += strlen("unix:");

    if (rest->p == rest->end || *rest->p != '/') {
        return "has a socket path that does not begin with \"/\"";
    }

    colon = memchr(rest->p, ':', (size_t) (rest->end - rest->p));
    if (colon == NULL) {
        return "has no \":\" after the socket path";
    }

    if (!copy(url->path, CEPH_LB_URL_PATH_MAX, rest->p, colon)) {
        return "has a socket path that is too long or holds a control "
               "character";
    }

    rest->p = colon + 1;

    if (rest->p < rest->end && *rest->p == ',') {
        return BESIDE_SOCKET;
    }

    return NULL;
}

static const char *
parse_hosts(ceph_lb_url_t *url, text_t *rest)
{
    int                 len;
    const char         *from, *error;
    ceph_lb_url_host_t *host;

    for (;;) {
        if (url->nhosts == CEPH_LB_URL_HOSTS_MAX) {
            return "names more than 8 hosts";
        }

        if (starts_with(*rest, "unix:")) {
            return BESIDE_SOCKET;
        }

        host = &url->hosts[url->nhosts++];
        from = rest->p;
        error = parse_host(host, rest);
        len = (int) (rest->p - from);

        if (error == NULL) {
            error = parse_port(host, rest);
        }

        if (error != NULL) {
            return error;
        }

        (void) snprintf(
            host->name, sizeof(host->name), "%.*s:%u", len, from, host->port);

        if (rest->p == rest->end || *rest->p != ',') {
            return NULL;
        }

        rest->p++;
    }
}

static const char *
parse_host(ceph_lb_url_host_t *host, text_t *rest)
{
    const char *end;

    if (rest->p < rest->end && *rest->p == '[') {
        return parse_address(host, rest);
    }

    for (end = rest->p; end < rest->end && is_host_char(*end); end++) {
        /* void */
    }

    if (end < rest->end && *end != ':' && *end != ',' && *end != '/') {
        return "has a character in the host that is not allowed there";
    }

    if (end == rest->p) {
        return rest->p[-1] == ',' ? "has no host after \",\""
                                  : "has no host after \"@\"";
    }

    if (!copy(host->host, CEPH_LB_URL_HOST_MAX, rest->p, end)) {
        return "has a host name that is too long";
    }

    rest->p = end;

    return NULL;
}

/* An IPv6 address in brackets. */
static const char *
parse_address(ceph_lb_url_host_t *host, text_t *rest)
{
    const char     *end;
    struct in6_addr ignored;

    rest->p++;
    end = memchr(rest->p, ']', (size_t) (rest->end - rest->p));

    if (end == NULL) {
        return "has no \"]\" after the IPv6 address";
    }

    if (!copy(host->host, CEPH_LB_URL_HOST_MAX, rest->p, end)
        || inet_pton(AF_INET6, host->host, &ignored) != 1)
    {
        return "has an invalid IPv6 address between the brackets";
    }

    rest->p = end + 1;

    return NULL;
}

static const char *
parse_port(ceph_lb_url_host_t *host, text_t *rest)
{
    unsigned    port = 0;
    const char *from;

    host->port = CEPH_LB_URL_PORT;

    if (rest->p == rest->end || *rest->p != ':') {
        return NULL;
    }

    from = ++rest->p;

    while (rest->p < rest->end && *rest->p != ',' && *rest->p != '/') {
        if (*rest->p < '0' || *rest->p > '9' || port > UINT16_MAX) {
            return BAD_PORT;
        }

        port = port * 10 + (unsigned) (*rest->p++ - '0');
    }

    if (rest->p == from || port == 0 || port > UINT16_MAX) {
        return BAD_PORT;
    }

    host->port = (uint16_t) port;

    return NULL;
}

static const char *
parse_database(ceph_lb_url_t *url, text_t rest)
{
    if (rest.p == rest.end || *rest.p != '/' || rest.p + 1 == rest.end) {
        return "has no database name at its end";
    }

    rest.p++;

    if (memchr(rest.p, '/', (size_t) (rest.end - rest.p)) != NULL
        || memchr(rest.p, '?', (size_t) (rest.end - rest.p)) != NULL)
    {
        return "has more than a database name at its end";
    }

    if (!copy(url->database, CEPH_LB_URL_DATABASE_MAX, rest.p, rest.end)) {
        return "has a database name that is too long or holds a control "
               "character";
    }

    return NULL;
}

static int
starts_with(text_t text, const char *prefix)
{
    size_t len = strlen(prefix);

    return (size_t) (text.end - text.p) >= len
        && memcmp(text.p, prefix, len) == 0;
}

/* to has room for max bytes and a final zero. */
static int
copy(char *to, size_t max, const char *from, const char *end)
{
    size_t i, len = (size_t) (end - from);

    if (len > max) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if ((unsigned char) from[i] < 0x20 || from[i] == 0x7f) {
            return 0;
        }

        to[i] = from[i];
    }

    to[len] = '\0';

    return 1;
}

static int
is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}
