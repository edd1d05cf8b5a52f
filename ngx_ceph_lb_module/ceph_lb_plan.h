/*
 * In which order the backends of a list get requests, worked out once when the
 * list is made: the tiers, of which a later one serves only when the earlier
 * ones cannot, and in each a smooth weighted order of its members.
 *
 * Plain C; a plan is not changed after it was made.
 */

#ifndef CEPH_LB_PLAN_H
#define CEPH_LB_PLAN_H

#include "ceph_lb_list.h"

enum {
    CEPH_LB_TIERS_MAX = 4, /* own zone or not, primary or backup */

    /* Places of an order beyond one for each member: weights are rounded. */
    CEPH_LB_PLACES_MAX = 4096,
};

typedef struct {
    size_t    count;
    uint16_t *members; /* their indexes in the list */
    size_t    length;
    uint16_t *order;  /* the same, each as often as its weight says */
    uint64_t  weight; /* of all members */
    uint32_t  heaviest;
} ceph_lb_tier_t;

struct ceph_lb_plan_s {
    size_t         ntiers;
    ceph_lb_tier_t tiers[CEPH_LB_TIERS_MAX];
};

/*
 * Backends in this zone come before others, unless it is "".  The caller owns
 * the plan and frees it.  NULL: no memory.
 */
ceph_lb_plan_t      *
ceph_lb_plan_create(const ceph_lb_list_t *list, const char *zone);
void ceph_lb_plan_free(ceph_lb_plan_t *plan);

#endif /* CEPH_LB_PLAN_H */
