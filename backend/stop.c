#include "stop.h"

#include <errno.h>
#include <time.h>

void stop_init(struct stop *stop)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&stop->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&stop->requested_now, &attributes);
    pthread_condattr_destroy(&attributes);
    stop->requested = false;
}

void stop_destroy(struct stop *stop)
{
    pthread_cond_destroy(&stop->requested_now);
    pthread_mutex_destroy(&stop->mutex);
}

void stop_request(struct stop *stop)
{
    pthread_mutex_lock(&stop->mutex);
    stop->requested = true;
    pthread_cond_broadcast(&stop->requested_now);
    pthread_mutex_unlock(&stop->mutex);
}

bool stop_is_requested(struct stop *stop)
{
    return stop_wait(stop, 0);
}

bool stop_wait(struct stop *stop, unsigned seconds)
{
    struct timespec until;
    bool requested;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&stop->mutex);
    while (!stop->requested &&
           pthread_cond_timedwait(&stop->requested_now, &stop->mutex, &until) != ETIMEDOUT)
        ;
    requested = stop->requested;
    pthread_mutex_unlock(&stop->mutex);
    return requested;
}
