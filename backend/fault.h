#ifndef CEPH_LB_FAULT_H
#define CEPH_LB_FAULT_H

/*
 * Places where a test has the process killed, to see what a crash there leaves behind, or stopped, to let others go ahead.
 * Only in a program that is built with CEPH_LB_FAULT_POINTS; in any other they are nothing. The environment variable
 * CEPH_LB_FAULT names the place to be killed at, CEPH_LB_STOP the one to be stopped at.
 */

#ifdef CEPH_LB_FAULT_POINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static inline void fault_point(const char *place)
{
    const char *killed = getenv("CEPH_LB_FAULT"), *stopped = getenv("CEPH_LB_STOP");

    if (killed != NULL && strcmp(killed, place) == 0)
        (void)raise(SIGKILL);
    if (stopped != NULL && strcmp(stopped, place) == 0)
        (void)raise(SIGSTOP);
}
#else
#define fault_point(place) ((void)0)
#endif

#endif
