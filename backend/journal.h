#ifndef CEPH_LB_JOURNAL_H
#define CEPH_LB_JOURNAL_H

/*
 * Telling the index what has changed, by group commit: a thread has one operation under way at a time, and what comes meanwhile
 * travels together in the next one. The changes go into a journal of the index, whatever shards their names belong to, each
 * under a key of its own: so the operation has nothing to compare, and cannot fail for one of them. The indexer moves
 * them on to the shards.
 */

#include "cluster.h"
#include "executor.h"
#include "index.h"

#define JOURNAL_BATCH_MOST 256

struct journal;

/* One change. Its memory must stay until `done`. */
struct journal_entry {
    struct executor *home;
    struct slice name; /* the caller's, and so is what `entry` points to */
    struct index_entry entry;
    void (*done)(struct journal_entry *entry); /* on the loop, exactly once */

    int error; /* 0 or a negative errno; then nobody knows whether it was written */

    struct task homecoming;
    struct journal_entry *next;
};

struct journal *journal_start(struct cluster *cluster);

/* Any thread. */
void journal_append(struct journal *journal, struct journal_entry *entry);

/* Ends the thread, when nothing is waiting any more. */
void journal_stop(struct journal *journal);

#endif
