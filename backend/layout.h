#ifndef CEPH_LB_LAYOUT_H
#define CEPH_LB_LAYOUT_H

/*
 * How files lie in a pool: written once, by the first backend that ever used the pool, and read by every backend at its
 * start. It is a JSON object in the RADOS object "layout" of the namespace "layout":
 *
 *     {"format": 1, "stripe_size": 4194304, "index_shards": 16, "index_journals": 2, "gc_shards": 16,
 *       "data_pool": "data"}
 *
 * Without index_journals there are 2. A format that is not ours is refused, and so is a data pool other than the one written there.
 */

#include <rados/librados.h>
#include <stdint.h>

#include "buffer.h"

#define LAYOUT_FORMAT             1
#define LAYOUT_DATA_POOL_SIZE_MAX 128

struct layout {
    uint32_t stripe_size; /* bytes */
    uint32_t index_shards, index_journals, gc_shards;
    char data_pool[LAYOUT_DATA_POOL_SIZE_MAX];
};

/* What a new pool gets. */
void layout_init(struct layout *layout, const char *data_pool);

void layout_encode(const struct layout *layout, struct buffer *to);

/* NULL and a filled *layout, or a sentence that says why these bytes cannot be used. */
const char *layout_decode(struct slice bytes, struct layout *layout);

/*
 * Reads the layout of the pool, or writes the one given where there is none. Blocks. Returns 0, a negative errno, or
 * -EPROTO with a sentence in *refusal (static or valid until the next call) when this backend must not use the pool.
 */
int layout_agree(rados_ioctx_t ioctx, struct layout *layout, const char **refusal);

#endif
