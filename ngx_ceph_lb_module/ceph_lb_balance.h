/*
 * Which backend gets the next request: a function of the list, of what is
 * known of its backends, of the clock, and of chance.
 *
 * Plain C.  Times are as in ceph_lb_state.h.
 */

#ifndef CEPH_LB_BALANCE_H
#define CEPH_LB_BALANCE_H

#include "ceph_lb_plan.h"
#include "ceph_lb_state.h"

enum {
    CEPH_LB_WORD_BITS = 8 * sizeof(uintptr_t),

    /* With "hash": how much more than its share a backend may have to do. */
    CEPH_LB_HASH_PERCENT = 125,
    CEPH_LB_HASH_LEAST = 4, /* requests under way that each may have */
};

typedef enum {
    CEPH_LB_ROUND_ROBIN,
    CEPH_LB_LEAST_CONN, /* fewest connections for its weight */
    CEPH_LB_RANDOM,     /* of two the one with fewer for its weight */
    CEPH_LB_EWMA,       /* the one of two that will answer sooner */
    CEPH_LB_HASH,       /* by a key, consistently */
} ceph_lb_method_e;

typedef struct {
    ceph_lb_method_e method;
    uint32_t         max_fails; /* 0: failures are only counted */
    uint64_t         fail_timeout_ms;
    uint64_t         slow_start_ms; /* 0: none */
} ceph_lb_policy_t;

/* What there is to choose from. */
typedef struct {
    const ceph_lb_policy_t *policy;
    const ceph_lb_list_t   *list;  /* bound, and with a plan */
    uintptr_t              *tried; /* one bit for each backend of the list */
    int                     slot;
    uint32_t                key;    /* for "hash" */
    uint64_t               *chance; /* a seed, not 0; it changes */
    uint64_t                now;
    int                     again; /* others have been tried before */
} ceph_lb_choice_t;

/* What was chosen. */
typedef struct {
    ceph_lb_state_t *state; /* NULL: nothing */
    size_t           index; /* in the list */
    uint64_t         since;
} ceph_lb_pick_t;

typedef enum {
    CEPH_LB_ANSWERED,
    CEPH_LB_FAILED,
    CEPH_LB_RESTING, /* it wants to be left alone for a while */
    CEPH_LB_UNKNOWN, /* nothing was learnt about it */
} ceph_lb_outcome_e;

/* Words in a bitmap that has one bit for each backend of the list. */
size_t ceph_lb_tried_words(const ceph_lb_list_t *list);

/* How many backends of the list are not in the bitmap. */
size_t ceph_lb_untried(const ceph_lb_list_t *list, const uintptr_t *tried);

void ceph_lb_set_tried(uintptr_t *tried, size_t i);
void ceph_lb_set_untried(uintptr_t *tried, size_t i);
int  ceph_lb_is_tried(const uintptr_t *tried, size_t i);

/*
 * Chooses a backend that is not in the bitmap, puts it in, and counts one
 * connection more for it.  A backend at its max_conns is never chosen; one
 * that has failed, or rests, only when there is no other; after fail_timeout
 * one request at a time tries whether it has recovered.  Returns 0, or -1 when
 * there is none left.
 */
int ceph_lb_choose(const ceph_lb_choice_t *choice, ceph_lb_pick_t *pick);

/*
 * The request is done with what it chose.  rest_ms is for CEPH_LB_RESTING.
 * The pick is empty afterwards.
 */
void ceph_lb_done(
    const ceph_lb_policy_t *policy,
    ceph_lb_pick_t         *pick,
    int                     slot,
    ceph_lb_outcome_e       outcome,
    uint64_t                rest_ms,
    uint64_t                now);

typedef enum {
    CEPH_LB_READY,
    CEPH_LB_TRIAL,   /* has failed; one request may try it now */
    CEPH_LB_AVOIDED, /* has failed, or rests */
    CEPH_LB_FULL,    /* at its max_conns */
} ceph_lb_condition_e;

/* How a backend of a bound list is, as long as its state is still its own. */
ceph_lb_condition_e ceph_lb_condition(
    const ceph_lb_policy_t  *policy,
    const ceph_lb_states_t  *states,
    const ceph_lb_backend_t *b,
    uint64_t                 now);

/* Its part of its weight while it starts slowly: above 0, at most 1. */
double ceph_lb_warmth(
    const ceph_lb_policy_t *policy, const ceph_lb_state_t *s, uint64_t now);

#endif /* CEPH_LB_BALANCE_H */
