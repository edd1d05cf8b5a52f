/*
 * Who waits for which query.
 *
 * A request must not get a list older than itself, so it can never use a query
 * that was already running when it arrived.  It waits in the terminal for the
 * next flight:
 *
 *     arrive      join those who wait
 *     launch      everybody who waits boards this flight; its query starts now
 *     land        the query has its answer; disembark gives the passengers,
 *                 one after another, to be told
 *     divert      the query was lost on its way: passengers go back to the
 *                 head of those who wait, so many times each
 *     call back   the query never got on its way: the same, not counted
 *     leave       a waiter goes, wherever it is
 *
 * A waiter is on exactly one list, or on none.  There is no clock here, and no
 * memory is allocated: the caller owns every structure, and embeds waiters and
 * flights in its own.  One thread only.
 */

#ifndef CEPH_LB_FLIGHT_H
#define CEPH_LB_FLIGHT_H

#include <stddef.h>

typedef struct ceph_lb_link_s ceph_lb_link_t;

struct ceph_lb_link_s {
    ceph_lb_link_t *prev;
    ceph_lb_link_t *next;
};

typedef struct {
    ceph_lb_link_t link; /* must be first; points to itself when on no list */
    unsigned       diverted; /* how often */
} ceph_lb_waiter_t;

typedef struct {
    ceph_lb_link_t aboard;
    int            flying;
} ceph_lb_flight_t;

typedef struct {
    ceph_lb_link_t waiting;
} ceph_lb_terminal_t;

void ceph_lb_terminal_init(ceph_lb_terminal_t *t);
void ceph_lb_flight_init(ceph_lb_flight_t *f);

int ceph_lb_is_waited_for(const ceph_lb_terminal_t *t);

void ceph_lb_arrive(ceph_lb_terminal_t *t, ceph_lb_waiter_t *w);

/* The flight must be on the ground and empty. */
void ceph_lb_launch(ceph_lb_terminal_t *t, ceph_lb_flight_t *f);

/* The flight must be flying; afterwards it is not. */
void ceph_lb_land(ceph_lb_flight_t *f);

/*
 * Like land, but only passengers that have been diverted so often before stay
 * aboard to be disembarked; the others wait again, in their order and before
 * all others.
 */
void ceph_lb_divert(ceph_lb_terminal_t *t, ceph_lb_flight_t *f, unsigned most);

/* Like land, but all passengers wait again, in their order and first of all. */
void ceph_lb_call_back(ceph_lb_terminal_t *t, ceph_lb_flight_t *f);

/*
 * Takes one passenger off a flight that has landed, in order of arrival; NULL
 * when nobody is left.  Others may leave or arrive between two calls.
 */
ceph_lb_waiter_t *ceph_lb_disembark(ceph_lb_flight_t *f);

/* Does nothing to a waiter that is on no list, after its first arrival. */
void ceph_lb_leave(ceph_lb_waiter_t *w);

#endif /* CEPH_LB_FLIGHT_H */
