#ifndef CEPH_LB_SLICE_H
#define CEPH_LB_SLICE_H

/*
 * A run of bytes that belongs to somebody else. A slice never owns what it points to and need not end in
 * NUL. base == NULL means "absent", which is not the same as empty.
 */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *base;
    size_t len;
};

#define SLICE_ABSENT ((struct slice){NULL, 0})
/* For string literals only: the length is taken from the array. */
#define SLICE_LITERAL(text) ((struct slice){(text), sizeof(text) - 1})

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, text != NULL ? strlen(text) : 0};
}

static inline bool slice_equals(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_equals(a, slice_of(text));
}

/* ASCII letters compare without case, as HTTP field names and media types do. */
static inline bool slice_is_ignoring_case(struct slice a, const char *text)
{
    return a.len == strlen(text) && (a.len == 0 || strncasecmp(a.base, text, a.len) == 0);
}

static inline bool slice_begins_with(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.base, prefix.base, prefix.len) == 0);
}

static inline bool slice_starts_with(struct slice a, const char *prefix)
{
    return slice_begins_with(a, slice_of(prefix));
}

/* Without the optional white space (RFC 9110, 5.6.3) at both ends. */
static inline struct slice slice_trim(struct slice a)
{
    while (a.len != 0 && (a.base[0] == ' ' || a.base[0] == '\t')) {
        a.base++;
        a.len--;
    }
    while (a.len != 0 && (a.base[a.len - 1] == ' ' || a.base[a.len - 1] == '\t'))
        a.len--;
    return a;
}

/* Cuts off the front of *rest up to the separator, which goes too; all of it when there is none. */
static inline struct slice slice_cut(struct slice *rest, char separator)
{
    const char *end = rest->len != 0 ? (const char *)memchr(rest->base, separator, rest->len) : NULL;
    struct slice head = {rest->base, end != NULL ? (size_t)(end - rest->base) : rest->len};

    rest->base += head.len + (end != NULL);
    rest->len -= head.len + (end != NULL);
    return head;
}

/* Byte order, as the listing uses it: like memcmp, and a prefix comes before what it begins. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len != 0 ? memcmp(a.base, b.base, len) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

#endif
