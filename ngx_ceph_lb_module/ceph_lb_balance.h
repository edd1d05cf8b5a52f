/*
 * Which backend gets the next request: smooth weighted round robin.
 *
 * What is known of a backend (its place in the rotation, its failures, the
 * requests it is working on) is kept by address, so that it lives on while one
 * list follows another.  A list is bound to that state once, when it is made,
 * and unbound before it is freed; a state without a list is forgotten.
 *
 * Plain C, one thread; the clock is the caller's, in whole seconds.
 */

#ifndef CEPH_LB_BALANCE_H
#define CEPH_LB_BALANCE_H

#include "ceph_lb_list.h"

enum {
    CEPH_LB_FAIL_TIMEOUT = 10, /* seconds that a failure is held against one */
    CEPH_LB_BUCKETS = 1024,
    CEPH_LB_WORD_BITS = 8 * sizeof(uintptr_t),
};

typedef struct {
    ceph_lb_state_t *buckets[CEPH_LB_BUCKETS];
} ceph_lb_balance_t;

void ceph_lb_balance_init(ceph_lb_balance_t *balance);

/* Returns 0, or -1 when there is no memory (the list is then not bound). */
int  ceph_lb_balance_bind(ceph_lb_balance_t *balance, ceph_lb_list_t *list);
void ceph_lb_balance_unbind(ceph_lb_balance_t *balance, ceph_lb_list_t *list);

/* Words in a bitmap that has one bit for each backend of the list. */
size_t ceph_lb_tried_words(const ceph_lb_list_t *list);

/*
 * Chooses a backend that is not in the bitmap tried, puts it in, and counts
 * one request more for it.  Primaries come before backups, and backends that
 * have failed in the last CEPH_LB_FAIL_TIMEOUT seconds after all others.
 * Returns its index in the list, or -1 when there is none left; a backend at
 * its max_conns is never chosen.
 */
long ceph_lb_choose(const ceph_lb_list_t *list, uintptr_t *tried, long now);

/* The request that chose backend i is done with it. */
void ceph_lb_done(const ceph_lb_list_t *list, size_t i, int failed, long now);

/*
 * The request that chose backend i is done with it and learnt nothing about
 * it: if no other backend is left to try, it may be tried once more.
 */
void ceph_lb_undo(const ceph_lb_list_t *list, uintptr_t *tried, size_t i);

#endif /* CEPH_LB_BALANCE_H */
