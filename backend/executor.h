#ifndef CEPH_LB_EXECUTOR_H
#define CEPH_LB_EXECUTOR_H

/*
 * "Run this over there": the one way by which work crosses threads. An event loop is an executor (http.h
 * makes them), and so is the pool of threads for blocking calls (workers.h).
 */

#include <stdint.h>
#include <time.h>

struct task {
    struct task *next; /* the executor's own, while the task is queued */
    void (*run)(struct task *task);
};

struct executor {
    /* Queues the task and returns at once; any thread. The task stays the caller's memory and must live until
     * it ran. Tasks of one executor that is an event loop run one after another, in order. */
    void (*submit)(struct executor *executor, struct task *task);
    /* Event loops are numbered from 0, so that per-loop state is an array. */
    unsigned index;
};

static inline void executor_submit(struct executor *executor, struct task *task)
{
    executor->submit(executor, task);
}

/* Milliseconds on a clock that never jumps; its zero means nothing. */
static inline int64_t clock_monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Nanoseconds since 1970 in UTC. */
static inline int64_t clock_realtime_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
