#ifndef CEPH_LB_COLLECTOR_H
#define CEPH_LB_COLLECTOR_H

/*
 * Gives back the space of stripe sets that are of no use any more, and removes files whose time is over: a thread that walks
 * the gc log now and then. Every backend has one; a RADOS lock on each shard keeps two from doing the same work, but nothing depends on it.
 *
 * What is garbage, the head decides, never a clock: an entry's uid is the head's own (in use), or `pending` there (it
 * may still be published), or neither, and then nothing can publish it. Times only say how long to wait before asking.
 */

#include <stdatomic.h>

#include "cluster.h"
#include "doubts.h"

struct collector;

struct collector_options {
    unsigned interval_seconds;     /* between two walks */
    unsigned upload_grace_seconds; /* after which an upload is given up: it can no longer be published */
    unsigned
        download_grace_seconds; /* for how long the stripes of a replaced or deleted file stay for its readers */
};

struct collector_counters {
    atomic_uint_fast64_t walks;
    atomic_uint_fast64_t stripes_removed;
    atomic_uint_fast64_t uploads_given_up;
    atomic_uint_fast64_t files_expired;
};

/* Names whose index entry may be wrong go into `doubts`. */
struct collector *collector_start(struct cluster *cluster, struct doubts *doubts,
                                  const struct collector_options *options,
                                  struct collector_counters *counters);

/* Ends the thread after the entry that it is at. */
void collector_stop(struct collector *collector);

#endif
