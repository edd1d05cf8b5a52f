#ifndef CEPH_LB_LANE_H
#define CEPH_LB_LANE_H

/*
 * An event loop's way to RADOS: asynchronous operations that begin and end on the loop.
 *
 * librados completes an operation on a thread of its own; there we only take the result and send the call
 * home. It also blocks a caller who has too much under way. So each lane keeps its own, lower limits: at most
 * LANE_CALLS_MAX / loops operations in flight, and at most its share of the memory budget in data to be
 * written. What comes on top waits its turn in a bounded queue, and fails with -ETIMEDOUT when its deadline
 * has passed by then.
 */

#include <rados/librados.h>
#include <stdatomic.h>

#include "cluster.h"
#include "executor.h"
#include "memory_budget.h"

#define LANE_CALLS_MAX   512  /* in flight, all lanes together */
#define LANE_WAITING_MAX 8192 /* queued, per lane; one more fails with -EBUSY */

struct rados_call;

struct call_queue {
    struct rados_call *first, *last;
    size_t count;
};

struct lane {
    struct cluster *cluster;
    struct executor *home;
    struct memory_budget memory;
    unsigned in_flight, in_flight_most;
    struct call_queue waiting;            /* for one of the in_flight_most places */
    struct call_queue waiting_for_memory; /* for memory; in order, so that a large one gets its turn */
    atomic_uint_fast64_t *operations;     /* counts what is launched */
};

struct rados_call {
    /* Set by the caller, who owns the memory until `done`. */
    enum cluster_space space; /* where the object lives; SPACE_HEADS is 0 */
    size_t memory;       /* what `launch` will copy; 0 for reads, whose buffers their owner accounts for */
    int64_t deadline_ms; /* on clock_monotonic_ms */
    /* Builds the operation and hands it to librados with `completion`; returns librados' result. On the loop.
     */
    int (*launch)(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion);
    /* On the loop, exactly once, never from within lane_call. `result` and `version` are set. */
    void (*done)(struct rados_call *call);

    int result;       /* 0 or more, or a negative errno */
    uint64_t version; /* of the object, after the operation */

    /* The lane's own. */
    struct task homecoming;
    struct lane *lane;
    rados_completion_t completion;
    struct rados_call *next;
};

void lane_init(struct lane *lane, struct cluster *cluster, struct executor *home, unsigned loops,
               size_t memory);

/* Begins the operation, or queues it. */
void lane_call(struct lane *lane, struct rados_call *call);

/* To be called when memory was given back to lane->memory from outside: what waits for it may go on. */
void lane_memory_returned(struct lane *lane);

#endif
