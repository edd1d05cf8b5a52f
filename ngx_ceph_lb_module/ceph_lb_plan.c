#include "ceph_lb_plan.h"

#include <stdlib.h>
#include <string.h>

/* One place in an order. */
typedef struct {
    double   when; /* in a round that takes 1 */
    uint16_t member;
} place_t;

static size_t   tier_of(const ceph_lb_backend_t *b, const char *zone);
static int      fill_tier(ceph_lb_tier_t *tier, const ceph_lb_list_t *list);
static uint32_t places_of(uint32_t weight, double scale);
static double scale_of(const ceph_lb_tier_t *tier, const ceph_lb_list_t *list);
static uint32_t greatest_common_divisor(uint32_t a, uint32_t b);
static int      is_earlier(const void *a, const void *b);

ceph_lb_plan_t *
ceph_lb_plan_create(const ceph_lb_list_t *list, const char *zone)
{
    size_t          i, t;
    ceph_lb_plan_t *plan;
    ceph_lb_tier_t *tier, all[CEPH_LB_TIERS_MAX];

    plan = calloc(1, sizeof(*plan) + list->count * sizeof(uint16_t));
    if (plan == NULL) {
        return NULL;
    }

    memset(all, 0, sizeof(all));

    for (i = 0; i < list->count; i++) {
        all[tier_of(&list->backends[i], zone)].count++;
    }

    all[0].members = (uint16_t *) (plan + 1);

    for (t = 1; t < CEPH_LB_TIERS_MAX; t++) {
        all[t].members = all[t - 1].members + all[t - 1].count;
    }

    for (t = 0; t < CEPH_LB_TIERS_MAX; t++) {
        all[t].count = 0;
    }

    for (i = 0; i < list->count; i++) {
        tier = &all[tier_of(&list->backends[i], zone)];
        tier->members[tier->count++] = (uint16_t) i;
    }

    for (t = 0; t < CEPH_LB_TIERS_MAX; t++) {
        if (all[t].count == 0) {
            continue;
        }

        if (fill_tier(&all[t], list) != 0) {
            ceph_lb_plan_free(plan);
            return NULL;
        }

        plan->tiers[plan->ntiers++] = all[t];
    }

    return plan;
}

void
ceph_lb_plan_free(ceph_lb_plan_t *plan)
{
    size_t t;

    if (plan == NULL) {
        return;
    }

    for (t = 0; t < plan->ntiers; t++) {
        free(plan->tiers[t].order);
    }

    free(plan);
}

static size_t
tier_of(const ceph_lb_backend_t *b, const char *zone)
{
    size_t elsewhere = zone[0] != '\0' && strcmp(b->zone, zone) != 0;

    return 2 * (size_t) (b->backup != 0) + elsewhere;
}

/*
 * A member of weight w has its turns in the middles of w equal parts of the
 * round: so they lie as far apart as they can.
 */
static int
fill_tier(ceph_lb_tier_t *tier, const ceph_lb_list_t *list)
{
    size_t   i, n = 0;
    double   scale = scale_of(tier, list);
    place_t *places;
    uint32_t k, times, weight;

    for (i = 0; i < tier->count; i++) {
        weight = list->backends[tier->members[i]].weight;

        tier->length += places_of(weight, scale);
        tier->weight += weight;

        if (weight > tier->heaviest) {
            tier->heaviest = weight;
        }
    }

    places = calloc(tier->length, sizeof(*places));
    tier->order = calloc(tier->length, sizeof(*tier->order));

    if (places == NULL || tier->order == NULL) {
        free(places);
        free(tier->order);
        return -1;
    }

    for (i = 0; i < tier->count; i++) {
        times = places_of(list->backends[tier->members[i]].weight, scale);

        for (k = 0; k < times; k++) {
            places[n].when = (k + 0.5) / times;
            places[n++].member = tier->members[i];
        }
    }

    qsort(places, n, sizeof(*places), is_earlier);

    for (i = 0; i < n; i++) {
        tier->order[i] = places[i].member;
    }

    free(places);

    return 0;
}

static uint32_t
places_of(uint32_t weight, double scale)
{
    double places = weight * scale + 0.5;

    return places < 1 ? 1 : (uint32_t) places;
}

/* From weights to places: in lowest terms, and not too many of them. */
static double
scale_of(const ceph_lb_tier_t *tier, const ceph_lb_list_t *list)
{
    size_t   i;
    double   sum = 0;
    uint32_t weight, divisor = 0;

    for (i = 0; i < tier->count; i++) {
        weight = list->backends[tier->members[i]].weight;
        divisor = greatest_common_divisor(weight, divisor);
        sum += weight;
    }

    if (sum / divisor > CEPH_LB_PLACES_MAX) {
        return CEPH_LB_PLACES_MAX / sum;
    }

    return 1.0 / divisor;
}

static uint32_t
greatest_common_divisor(uint32_t a, uint32_t b)
{
    uint32_t rest;

    while (b != 0) {
        rest = a % b;
        a = b;
        b = rest;
    }

    return a;
}

static int
is_earlier(const void *a, const void *b)
{
    const place_t *x = a, *y = b;

    if (x->when != y->when) {
        return x->when < y->when ? -1 : 1;
    }

    return (x->member > y->member) - (x->member < y->member);
}
