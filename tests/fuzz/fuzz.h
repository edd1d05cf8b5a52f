#ifndef CEPH_LB_FUZZ_H
#define CEPH_LB_FUZZ_H

/* What the fuzz targets have in common. A target gets bytes and asserts what must hold for any of them. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static inline struct slice fuzz_slice(const uint8_t *data, size_t size)
{
    return (struct slice){size != 0 ? (const char *)data : "", size};
}

/* Whether `inner` lies within `outer`; an absent or empty one does everywhere. */
static inline bool fuzz_within(struct slice inner, struct slice outer)
{
    return inner.len == 0 || (inner.base >= outer.base && inner.base + inner.len <= outer.base + outer.len);
}

/* Cuts off what stands before the first NUL, which goes too. */
static inline struct slice fuzz_cut(struct slice *rest)
{
    return slice_cut(rest, '\0');
}

#endif
