#include "ceph_lb_format.h"

#include <string.h>
#include <strings.h>

/* A part of a field, not zero-terminated. */
typedef struct {
    const char *data;
    size_t      len;
} part_t;

/* How much the client wants a type, by the range that names it best. */
typedef struct {
    int weight;      /* in thousandths */
    int specificity; /* 0: no range has met it, 1: any, 2: its kind, 3: it */
} wish_t;

static part_t cut(part_t *rest, char end);
static part_t trim(part_t part);
static int    is(part_t part, const char *text);
static int    weight_of(part_t parameters);
static int    parse_weight(part_t value);
static void   meet(
      wish_t *wish, part_t range, int weight, const char *type, const char *kind);

static const char *const names[] = {
    [CEPH_LB_HTML] = "html",
    [CEPH_LB_JSON] = "json",
    [CEPH_LB_PROMETHEUS] = "prometheus",
};

int
ceph_lb_format_by_name(const char *name, size_t len, ceph_lb_format_e *format)
{
    size_t i;
    part_t part = {name, len};

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is(part, names[i])) {
            *format = (ceph_lb_format_e) i;
            return 1;
        }
    }

    return 0;
}

ceph_lb_format_e
ceph_lb_format_by_accept(const char *field, size_t len)
{
    int    weight;
    part_t rest = {field, len}, parameters, range;
    wish_t html = {0, 0}, json = {0, 0};

    while (rest.len > 0) {
        parameters = cut(&rest, ',');
        range = trim(cut(&parameters, ';'));
        weight = weight_of(parameters);

        meet(&html, range, weight, "text/html", "text/*");
        meet(&json, range, weight, "application/json", "application/*");
    }

    if (json.weight != html.weight) {
        return json.weight > html.weight ? CEPH_LB_JSON : CEPH_LB_HTML;
    }

    return json.weight > 0 && json.specificity == 3 && html.specificity == 1
             ? CEPH_LB_JSON
             : CEPH_LB_HTML;
}

/* Takes what stands before the next end, or all that is left. */
static part_t
cut(part_t *rest, char end)
{
    part_t      part = *rest;
    const char *found = memchr(rest->data, end, rest->len);

    if (found == NULL) {
        rest->len = 0;
        return part;
    }

    part.len = (size_t) (found - rest->data);
    rest->data = found + 1;
    rest->len -= part.len + 1;

    return part;
}

static part_t
trim(part_t part)
{
    while (part.len > 0 && (*part.data == ' ' || *part.data == '\t')) {
        part.data++;
        part.len--;
    }

    while (
        part.len > 0
        && (part.data[part.len - 1] == ' ' || part.data[part.len - 1] == '\t'))
    {
        part.len--;
    }

    return part;
}

static int
is(part_t part, const char *text)
{
    return part.len == strlen(text)
        && strncasecmp(part.data, text, part.len) == 0;
}

static int
weight_of(part_t parameters)
{
    part_t value, name;

    while (parameters.len > 0) {
        value = cut(&parameters, ';');
        name = trim(cut(&value, '='));

        if (is(name, "q")) {
            return parse_weight(trim(value));
        }
    }

    return 1000;
}

/* "0.5" for example.  What is no weight counts as 1. */
static int
parse_weight(part_t value)
{
    int    weight = 0, unit = 100;
    size_t i;

    if (value.len == 0 || value.data[0] != '0') {
        return 1000;
    }

    for (i = 2; i < value.len && unit > 0; i++, unit /= 10) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            break;
        }

        weight += unit * (value.data[i] - '0');
    }

    return weight;
}

static void
meet(wish_t *wish, part_t range, int weight, const char *type, const char *kind)
{
    int specificity = 0;

    if (is(range, type)) {
        specificity = 3;

    } else if (is(range, kind)) {
        specificity = 2;

    } else if (is(range, "*/*")) {
        specificity = 1;
    }

    if (specificity > wish->specificity) {
        wish->weight = weight;
        wish->specificity = specificity;
    }
}
