/*
 * What somebody who looks at a list is told of its backends: numbers that are
 * all of one kind, so that they can be named in tables, and words.
 *
 * Plain C; nothing is changed.  Times are as in ceph_lb_state.h.
 */

#ifndef CEPH_LB_REPORT_H
#define CEPH_LB_REPORT_H

#include "ceph_lb_balance.h"

/* In the place of a number that there is not. */
#define CEPH_LB_NONE UINT64_MAX

typedef enum {
    CEPH_LB_IS_READY,
    CEPH_LB_IS_STARTING, /* slowly: it gets less than its weight says */
    CEPH_LB_IS_FULL,     /* at its max_conns */
    CEPH_LB_IS_FAILED,
    CEPH_LB_IS_RESTING, /* it asked to be left alone */
    CEPH_LB_IS_DRAINED, /* by its state, or its weight of 0 */
    CEPH_LB_IS_DOWN,
    CEPH_LB_IS_UNKNOWN, /* its entry is another one's by now */
    CEPH_LB_CONDITIONS,
} ceph_lb_report_condition_e;

/* Of one backend. */
typedef struct {
    ceph_lb_report_condition_e condition;

    /* As the table says. */
    uint64_t weight;
    uint64_t max_conns; /* 0: no limit */
    uint64_t backup;    /* 0 or 1 */

    uint64_t wait_ms;        /* failed or resting: until it is tried again */
    uint64_t warmth_percent; /* of its weight; below 100 while it starts */
    uint64_t connections;
    uint64_t requests;
    uint64_t failures;
    uint64_t failed_ms;  /* since the last failure; CEPH_LB_NONE: never */
    uint64_t latency_us; /* CEPH_LB_NONE: not known */
} ceph_lb_report_t;

/* Of backend i of those that stand in the list, which is bound. */
void ceph_lb_report(
    const ceph_lb_policy_t *policy,
    const ceph_lb_list_t   *list,
    size_t                  i,
    uint64_t                now,
    ceph_lb_report_t       *report);

/* The sum shared out among so many; CEPH_LB_NONE among none of them. */
uint64_t ceph_lb_mean(uint64_t sum, uint64_t count);

/* One word each; static. */
const char *ceph_lb_condition_word(ceph_lb_report_condition_e condition);
const char *ceph_lb_row_state_word(ceph_lb_row_state_e state);
const char *ceph_lb_method_word(ceph_lb_method_e method);

#endif /* CEPH_LB_REPORT_H */
