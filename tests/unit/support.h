#ifndef CEPH_LB_TESTS_SUPPORT_H
#define CEPH_LB_TESTS_SUPPORT_H

/* What the unit tests share: cmocka behind the headers that it wants first, random numbers, and slices. */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "buffer.h"
#include "slice.h"
#include "xalloc.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A slice of a string literal that may hold NULs, for use in the initialiser of a table. */
#define BYTES(text)                                                                                          \
    {                                                                                                        \
        (text), sizeof(text) - 1                                                                             \
    }

/* A row of a table that does not meet its expectation is named by what it was given. */
#define assert_row(condition, text)                                                                          \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("%s does not hold for \"%s\"", #condition, (text));                                     \
    } while (0)

/* Each round of a random test has a seed of its own, so that the one that fails can be run alone. */
#define assert_seeded(condition, seed)                                                                       \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("%s does not hold with seed %" PRIu64, #condition, (uint64_t)(seed));                   \
    } while (0)

static inline void assert_slice_equals(struct slice actual, struct slice expected)
{
    assert_int_equal(actual.len, expected.len);
    if (expected.len != 0)
        assert_memory_equal(actual.base, expected.base, expected.len);
}

/* True when the slice lies within the bytes, or is absent. */
static inline bool slice_is_within(struct slice inner, struct slice outer)
{
    return inner.base == NULL || (inner.base >= outer.base && inner.base <= outer.base + outer.len &&
                                  inner.len <= (size_t)(outer.base + outer.len - inner.base));
}

/* A copy in memory that ends where the bytes end, so that valgrind and ASan see a read beyond them. For
 * free(). */
static inline char *copy_exactly(struct slice bytes)
{
    char *copy = xmalloc(bytes.len != 0 ? bytes.len : 1);
    if (bytes.len != 0)
        memcpy(copy, bytes.base, bytes.len);
    return copy;
}

/* splitmix64: the same numbers on every machine. */
struct random {
    uint64_t state;
};

static inline struct random random_seeded(uint64_t seed)
{
    return (struct random){seed};
}

static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 to limit - 1. */
static inline size_t random_below(struct random *random, size_t limit)
{
    return (size_t)(random_next(random) % limit);
}

static inline void random_append_bytes(struct random *random, size_t len, struct buffer *to)
{
    while (len-- != 0) {
        char byte = (char)random_next(random);
        buffer_append(to, &byte, 1);
    }
}

/* Bytes out of `alphabet` only. */
static inline void random_append_of(struct random *random, struct slice alphabet, size_t len,
                                    struct buffer *to)
{
    while (len-- != 0)
        buffer_append(to, alphabet.base + random_below(random, alphabet.len), 1);
}

#endif
