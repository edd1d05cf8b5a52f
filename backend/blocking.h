#ifndef CEPH_LB_BLOCKING_H
#define CEPH_LB_BLOCKING_H

/* Steps on heads and index for threads that may block, each with an ioctx of its own. */

#include <rados/librados.h>

#include "head.h"
#include "index.h"
#include "layout.h"

/* Reads a head; like head_take: 0, also when there is no file. */
int blocking_read_head(rados_ioctx_t heads, const char *name, struct head *head);

/* Operates, though the cluster is full: this is for what makes room, or keeps order. Releases the operation. */
int blocking_write(rados_ioctx_t ioctx, const char *object, rados_write_op_t operation);

/* Told of each entry of an omap, which stays during the call only. A negative errno ends the reading. */
typedef int blocking_omap_entry(struct slice key, struct slice value, void *context);

/* Reads up to `most` entries of an omap behind `after` ("": from the start). 1: there are more; 0: there are not; or a negative
 * errno, also that of `each`. */
int blocking_omap_read(rados_ioctx_t ioctx, const char *object, const char *after, unsigned most,
                       blocking_omap_entry *each, void *context);

/* Reads the entries that some names, no name twice, have in their common shard. 0; or a negative errno, also that of `each`:
 * -ENOENT when the shard does not exist. */
int blocking_index_look_up(rados_ioctx_t index, uint32_t shard, const struct slice *names, size_t count,
                           blocking_omap_entry *each, void *context);

/*
 * Sets the entries of some names, no name twice, in their common shard; `values` are encoded entries. One whose version is
 * not higher than what stands there is left out.
 */
int blocking_index_set(rados_ioctx_t index, uint32_t shard, const struct slice *names,
                       const struct slice *values, size_t count);

#define BLOCKING_INDEX_SET_MOST 512

/* Whether an entry says what the head does. */
bool blocking_index_agrees(const struct index_entry *entry, const struct head *head);

/*
 * Makes the index agree with the head of `name`. 1: it was wrong; 0: it was not; or a negative errno. What changes meanwhile wins,
 * since its version is higher.
 */
int blocking_index_repair(rados_ioctx_t heads, rados_ioctx_t index, const struct layout *layout,
                          struct slice name);

#endif
