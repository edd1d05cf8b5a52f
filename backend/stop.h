#ifndef CEPH_LB_STOP_H
#define CEPH_LB_STOP_H

/* How a thread that works now and then is told to end: it waits here between two pieces of work. Any thread. */

#include <pthread.h>
#include <stdbool.h>

struct stop {
    pthread_mutex_t mutex;
    pthread_cond_t requested_now;
    bool requested; /* under mutex */
};

void stop_init(struct stop *stop);
void stop_destroy(struct stop *stop);

void stop_request(struct stop *stop);
bool stop_is_requested(struct stop *stop);

/* Waits so long, or until the stop is requested; true if it is. */
bool stop_wait(struct stop *stop, unsigned seconds);

#endif
