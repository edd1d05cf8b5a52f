#ifndef CEPH_LB_INDEXER_H
#define CEPH_LB_INDEXER_H

/*
 * Keeps the index in order: a thread that moves what stands in the journals on to the shards, looks at names that came into
 * doubt, and now and then walks over all names, heads against index and index against heads (the scrub). It is also how
 * objects that another program put into the pool come to be listed.
 *
 * Every backend has one. A RADOS lock lets one of them do the work that is common to all, but nothing depends on it: all
 * of it may be done twice, at once.
 */

#include <stdatomic.h>

#include "cluster.h"
#include "doubts.h"

struct indexer;

struct indexer_options {
    unsigned scrub_interval_seconds; /* between the ends of two scrubs */
    unsigned scrub_rate;             /* heads a second */
    unsigned tombstone_seconds;      /* how long a tombstone stays: longer than any change can be under way */
};

/* Any thread reads them. */
struct indexer_counters {
    atomic_uint_fast64_t moved;                   /* entries, from journals to shards */
    atomic_uint_fast64_t repaired;                /* entries that did not say what the head did */
    atomic_uint_fast64_t scrubs;                  /* that were finished by this backend */
    atomic_uint_fast64_t scrub_heads;             /* compared by this backend */
    atomic_uint_fast64_t scrub_step, scrub_steps; /* of the one under way here; 0 of 0 when there is none */
};

/* `doubts` must live as long. */
struct indexer *indexer_start(struct cluster *cluster, struct doubts *doubts,
                              const struct indexer_options *options, struct indexer_counters *counters);

/* Ends the thread; what stands in the journals stays there. */
void indexer_stop(struct indexer *indexer);

#endif
