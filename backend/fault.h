#ifndef CEPH_LB_FAULT_H
#define CEPH_LB_FAULT_H

/*
 * Places where a test has the process killed, to see what a crash there leaves behind. Only in a program that is built
 * with CEPH_LB_FAULT_POINTS; in any other they are nothing. The environment variable CEPH_LB_FAULT names the place.
 */

#ifdef CEPH_LB_FAULT_POINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static inline void fault_point(const char *place)
{
    const char *wanted = getenv("CEPH_LB_FAULT");

    if (wanted != NULL && strcmp(wanted, place) == 0)
        (void)raise(SIGKILL);
}
#else
#define fault_point(place) ((void)0)
#endif

#endif
