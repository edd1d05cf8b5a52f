#ifndef CEPH_LB_TESTS_LOOP_H
#define CEPH_LB_TESTS_LOOP_H

/*
 * An executor that the test drives itself: other threads put tasks into a queue, and the test's own thread
 * runs them when it chooses to. So nothing happens behind a test's back.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "executor.h"

/* After which a test that waits for something gives up; far above what any of them takes, valgrind included.
 */
#define LOOP_PATIENCE_SECONDS 60

struct loop {
    struct executor executor; /* first */
    pthread_mutex_t mutex;    /* over the queue */
    pthread_cond_t submitted;
    struct task *first, *last;
};

static inline void loop_submit(struct executor *executor, struct task *task)
{
    struct loop *loop = (struct loop *)executor;

    pthread_mutex_lock(&loop->mutex);
    task->next = NULL;
    if (loop->first == NULL)
        loop->first = task;
    else
        loop->last->next = task;
    loop->last = task;
    pthread_cond_signal(&loop->submitted);
    pthread_mutex_unlock(&loop->mutex);
}

static inline void loop_init(struct loop *loop)
{
    *loop = (struct loop){.executor = {.submit = loop_submit}};
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_cond_init(&loop->submitted, NULL);
}

static inline void loop_destroy(struct loop *loop)
{
    pthread_cond_destroy(&loop->submitted);
    pthread_mutex_destroy(&loop->mutex);
}

static inline struct timespec loop_deadline(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOP_PATIENCE_SECONDS;
    return until;
}

/* Runs the first task, waiting for one where `wait` says so. False when there is none. */
static inline bool loop_run_one(struct loop *loop, bool wait)
{
    struct timespec until = loop_deadline();
    struct task *task;

    pthread_mutex_lock(&loop->mutex);
    while (wait && loop->first == NULL && pthread_cond_timedwait(&loop->submitted, &loop->mutex, &until) == 0)
        ;
    task = loop->first;
    if (task != NULL)
        loop->first = task->next;
    pthread_mutex_unlock(&loop->mutex);

    if (task != NULL)
        task->run(task);
    return task != NULL;
}

/* Runs what is queued now, and what that queues. The number of tasks. */
static inline size_t loop_run_queued(struct loop *loop)
{
    size_t count = 0;

    while (loop_run_one(loop, false))
        count++;
    return count;
}

#endif
