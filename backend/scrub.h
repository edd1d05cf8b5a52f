#ifndef CEPH_LB_SCRUB_H
#define CEPH_LB_SCRUB_H

/*
 * The walk that compares all heads with the index, a piece at a time:
 *
 *     names      every object of the pool whose name has no entry, or only a tombstone, is looked at: that finds files whose
 *                writer died before it could tell the index, and objects that another program put there.
 *     entries    every entry is compared with its head; a tombstone whose time is over goes.
 *
 * Blocks; for the indexer's thread. When the last one ended stands in the object "scrub" of the namespace "index".
 */

#include "indexer.h"

struct scrub;

/* 1 when the last scrub, whoever made it, ended longer ago than that, or there was none; 0; or a negative errno. */
int scrub_is_due(rados_ioctx_t index, unsigned interval_seconds);

/* All arguments must outlive the scrub. */
struct scrub *scrub_begin(rados_ioctx_t heads, rados_ioctx_t index, const struct layout *layout,
                          const struct indexer_options *options, struct indexer_counters *counters);

/* Does about a second's work as options->scrub_rate allows it. 1: there is more; 0: that was all; or a negative errno,
 * after which it may go on. What was written to the journals before moved_until_ns stands in the shards: a tombstone that is
 * not that old may still be needed to keep an older entry out. */
int scrub_go_on(struct scrub *scrub, int64_t moved_until_ns);

/* At any time. */
void scrub_end(struct scrub *scrub);

#endif
