#ifndef CEPH_LB_LITTLE_ENDIAN_H
#define CEPH_LB_LITTLE_ENDIAN_H

/* Numbers as the stored formats write them: little-endian, of a fixed width. */

#include <stdint.h>

#include "buffer.h"

static inline void little_endian_append(struct buffer *to, uint64_t number, size_t bytes)
{
    size_t i;

    for (i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(number >> (8 * i));
        buffer_append(to, &byte, 1);
    }
}

static inline uint64_t little_endian_read(const char *from, size_t bytes)
{
    uint64_t number = 0;
    size_t i;

    for (i = 0; i < bytes; i++)
        number |= (uint64_t)(unsigned char)from[i] << (8 * i);
    return number;
}

#endif
