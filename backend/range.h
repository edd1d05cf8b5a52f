#ifndef CEPH_LB_RANGE_H
#define CEPH_LB_RANGE_H

/* The Range field of a request (RFC 9110, 14.2), for ranges of bytes. */

#include <stdint.h>

#include "slice.h"

enum range_kind {
    RANGE_NONE,   /* all of it */
    RANGE_FROM,   /* FIRST-  */
    RANGE_CLOSED, /* FIRST-LAST */
    RANGE_SUFFIX, /* -LENGTH */
};

struct range {
    enum range_kind kind;
    uint64_t first;  /* RANGE_FROM, RANGE_CLOSED */
    uint64_t last;   /* RANGE_CLOSED: inclusive, not below first */
    uint64_t length; /* RANGE_SUFFIX */
};

/* More in one field are refused: they cost much more than they can be good for. */
#define RANGES_MAX 32

struct ranges {
    bool too_many;
    size_t count; /* 0: no field, or one that RFC 9110 says to ignore (another unit, bad syntax): all of it */
    struct range list[RANGES_MAX];
};

/* A run of bytes of a representation; not empty. */
struct span {
    uint64_t offset, length;
};

/* Never fails: what cannot be used is count 0, and the whole representation is sent. */
struct ranges ranges_parse(struct slice field);

/* Which bytes of a representation of `size` bytes a range means: `*offset` and `*length`.
 * False when there are none of them. RANGE_NONE means all. */
bool range_resolve(const struct range *range, uint64_t size, uint64_t *offset, uint64_t *length);

/*
 * What is to be sent of a representation for these ranges, of which there is at least one, in `spans`; how many, 0 when
 * there is nothing (416). Ranges that overlap or touch each other are put together, at the place of the first of them, so no
 * byte is sent twice (RFC 9110, 14.2 and 15.3.7.2).
 */
size_t ranges_resolve(const struct ranges *ranges, uint64_t size, struct span spans[RANGES_MAX]);

#endif
