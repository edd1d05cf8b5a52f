#ifndef CEPH_LB_DECIMAL_H
#define CEPH_LB_DECIMAL_H

/* Numbers as clients write them. */

#include <stdint.h>

#include "slice.h"

/* Digits only, at least one of them, and nothing else. False when it is anything else, or more than `most` (below 2^64 - 10). */
static inline bool decimal_parse(struct slice text, uint64_t most, uint64_t *number)
{
    size_t i;

    *number = 0;
    for (i = 0; i < text.len; i++) {
        if (text.base[i] < '0' || text.base[i] > '9' || *number > most / 10)
            return false;
        *number = *number * 10 + (uint64_t)(text.base[i] - '0');
    }
    return text.len != 0 && *number <= most;
}

#endif
