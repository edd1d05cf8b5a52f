/*
 * What is known of the backends of an upstream: requests, failures, latency,
 * connections.  It is kept by address in a piece of memory of a fixed size
 * that all workers share, so that it is common to them and outlives a list,
 * and a worker.
 *
 * Counters are atomics, and each worker counts the connections that it has in
 * a place of its own: what a worker that was killed has counted can be taken
 * away again, exactly.  Nothing here waits.  Functions that say so must be
 * called with the lock of the memory held, which is the caller's; all others
 * need none.
 *
 * Plain C.  Times are milliseconds of a monotonic clock that is the same in
 * all processes, and never 0.
 */

#ifndef CEPH_LB_STATE_H
#define CEPH_LB_STATE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "ceph_lb_list.h"

enum {
    CEPH_LB_NO_SLOT = -1,
    CEPH_LB_SLOTS_MAX = 1024,

    /* An address that no list had for so long makes room for another one. */
    CEPH_LB_FORGET_MS = 60 * 1000,

    /* A backend that no list had for so long is a new one when it is back. */
    CEPH_LB_ABSENCE_MS = 3 * 1000,
};

/* Of one address. */
struct ceph_lb_state_s {

    /* Changed with the lock held. */
    uint32_t                next; /* in the bucket: its place plus one */
    socklen_t               socklen;
    struct sockaddr_storage address;

    _Atomic uint32_t generation; /* it changes with the address */
    _Atomic uint64_t listed;     /* when a list last had it */
    _Atomic uint64_t usable;     /* when it last might get requests */

    _Atomic uint64_t requests;
    _Atomic uint64_t failures;

    _Atomic uint64_t failed;   /* when last; 0: never */
    _Atomic uint64_t counting; /* since when "fails" are counted */
    _Atomic uint32_t fails;
    _Atomic uint64_t
        checked; /* when it became unavailable, or was last tried */
    _Atomic uint64_t resting; /* it asked to be left alone until then */
    _Atomic uint64_t risen;   /* when it came, or came back; 0: long ago */

    _Atomic uint32_t latency_us; /* a moving average; 0: not known */
    _Atomic uint64_t measured;   /* when it last changed */

    /* Under way, of each slot. */
    _Atomic uint32_t connections[];
};

/* Of the upstream as a whole. */
typedef struct {
    _Atomic uint32_t turn; /* of round robin */

    _Atomic uint64_t flights;    /* queries that brought a list */
    _Atomic uint64_t passengers; /* requests that were answered by them */
    _Atomic uint64_t query_us;   /* time of the flights, together */
    _Atomic uint64_t query_us_max;
    _Atomic uint64_t errors;      /* queries and connections that failed */
    _Atomic uint64_t stale;       /* requests that got the last list */
    _Atomic uint64_t without;     /* requests that got no list */
    _Atomic uint64_t changes;     /* lists that differ from the one before */
    _Atomic uint64_t unavailable; /* requests that found no backend to try */
} ceph_lb_counters_t;

struct ceph_lb_table_of_states_s {
    uint32_t magic;
    uint32_t slots;
    uint32_t capacity; /* entries */
    uint32_t used;     /* of them, ever; with the lock held */
    uint32_t lists;    /* that have been bound; with the lock held */

    ceph_lb_counters_t counters;

    _Atomic int32_t pids[CEPH_LB_SLOTS_MAX]; /* who counts in a slot; 0: none */

    /* Then the buckets, capacity of them, and the entries. */
};

/*
 * How many bytes are needed for so many addresses; and how many addresses fit.
 * slots is the number of workers that may be there at a time.
 */
size_t   ceph_lb_states_size(uint32_t slots, uint32_t capacity);
uint32_t ceph_lb_states_capacity(uint32_t slots, size_t size);

/* Makes a table in memory that is all zeroes. */
void ceph_lb_states_init(
    ceph_lb_states_t *states, uint32_t slots, uint32_t capacity);

/* Whether this is a table, in size bytes that another cycle left behind. */
int ceph_lb_states_are_there(const ceph_lb_states_t *states, size_t size);

/*
 * Takes a slot for this process, after those of processes that are no more
 * were given back.  is_alive is asked of each other process that has one.
 * CEPH_LB_NO_SLOT when there is none left.  With the lock held.
 */
int ceph_lb_states_take_slot(
    ceph_lb_states_t *states, pid_t pid, int (*is_alive)(pid_t pid));

/* The same for the end of a process, and of dead ones.  With the lock held. */
void ceph_lb_states_give_slot_back(ceph_lb_states_t *states, int slot);
void ceph_lb_states_sweep(ceph_lb_states_t *states, int (*is_alive)(pid_t pid));

/*
 * Binds each backend of the list to its entry.  Returns 0, or -1 when there is
 * no room, and then the list is not bound.  With the lock held.
 */
int ceph_lb_states_bind(
    ceph_lb_states_t *states, ceph_lb_list_t *list, uint64_t now);

/* Says that the list, which is bound, is still the newest one. */
void ceph_lb_states_touch(const ceph_lb_list_t *list, uint64_t now);

/* The entry of a backend in a bound list; NULL when it is another one's now. */
ceph_lb_state_t *ceph_lb_state_of(const ceph_lb_backend_t *b);

/* How many requests it is working on, for all workers. */
uint32_t
ceph_lb_connections(const ceph_lb_states_t *states, const ceph_lb_state_t *s);

/* One more, or less, of the caller's slot. */
void ceph_lb_connect(ceph_lb_state_t *s, int slot);
void ceph_lb_disconnect(ceph_lb_state_t *s, int slot);

/* Takes a sample, in microseconds, into the average. */
void ceph_lb_measure(ceph_lb_state_t *s, uint32_t sample_us, uint64_t now);

/* Adds to a counter; raises a maximum. */
void ceph_lb_count(_Atomic uint64_t *counter, uint64_t n);
void ceph_lb_raise(_Atomic uint64_t *maximum, uint64_t value);

#endif /* CEPH_LB_STATE_H */
