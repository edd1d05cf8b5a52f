#ifndef CEPH_LB_RANGE_H
#define CEPH_LB_RANGE_H

/* The Range field of a request (RFC 9110, 14.2), for one range of bytes. */

#include <stdint.h>

#include "slice.h"

enum range_kind {
    RANGE_NONE, /* no field, or one that RFC 9110 says to ignore (another unit, bad syntax, several ranges) */
    RANGE_FROM, /* bytes=FIRST-  */
    RANGE_CLOSED, /* bytes=FIRST-LAST */
    RANGE_SUFFIX, /* bytes=-LENGTH */
};

struct range {
    enum range_kind kind;
    uint64_t first;  /* RANGE_FROM, RANGE_CLOSED */
    uint64_t last;   /* RANGE_CLOSED: inclusive, not below first */
    uint64_t length; /* RANGE_SUFFIX */
};

/* Never fails: what cannot be used is RANGE_NONE, and the whole representation is sent. */
struct range range_parse(struct slice field);

/* Which bytes of a representation of `size` bytes the range means: `*offset` and `*length`.
 * False when there are none of them (416). RANGE_NONE means all. */
bool range_resolve(const struct range *range, uint64_t size, uint64_t *offset, uint64_t *length);

#endif
