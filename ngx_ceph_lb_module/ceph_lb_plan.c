#include "ceph_lb_plan.h"

#include <stdlib.h>
#include <string.h>

/* One place in an order. */
typedef struct {
    double   when; /* in a round that takes 1 */
    uint16_t member;
} place_t;

/* How often a member comes. */
typedef struct {
    uint32_t times; /* in a round */
    uint16_t member;
} share_t;

static size_t tier_of(const ceph_lb_backend_t *b, const char *zone);
static int    fill_tier(ceph_lb_tier_t *tier, const ceph_lb_list_t *list);
static void
share_out(ceph_lb_tier_t *tier, const ceph_lb_list_t *list, share_t *shares);
static void
put_in_order(ceph_lb_tier_t *tier, const share_t *shares, place_t *places);
static size_t
place_together(const share_t *shares, size_t count, place_t *places);
static uint32_t places_of(uint32_t weight, double scale);
static double scale_of(const ceph_lb_tier_t *tier, const ceph_lb_list_t *list);
static uint32_t greatest_common_divisor(uint32_t a, uint32_t b);
static int      is_lighter(const void *a, const void *b);
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

static int
fill_tier(ceph_lb_tier_t *tier, const ceph_lb_list_t *list)
{
    share_t *shares;
    place_t *places;

    shares = calloc(tier->count, sizeof(*shares));
    if (shares == NULL) {
        return -1;
    }

    share_out(tier, list, shares);

    places = calloc(tier->length, sizeof(*places));
    tier->order = calloc(tier->length, sizeof(*tier->order));

    if (places == NULL || tier->order == NULL) {
        free(shares);
        free(places);
        free(tier->order);
        return -1;
    }

    put_in_order(tier, shares, places);

    free(shares);
    free(places);

    return 0;
}

static void
share_out(ceph_lb_tier_t *tier, const ceph_lb_list_t *list, share_t *shares)
{
    size_t   i;
    double   scale = scale_of(tier, list);
    uint32_t weight;

    for (i = 0; i < tier->count; i++) {
        weight = list->backends[tier->members[i]].weight;

        shares[i].member = tier->members[i];
        shares[i].times = places_of(weight, scale);

        tier->length += shares[i].times;
        tier->weight += weight;

        if (weight > tier->heaviest) {
            tier->heaviest = weight;
        }
    }

    qsort(shares, tier->count, sizeof(*shares), is_lighter);
}

/* Those that come as often as each other are placed together. */
static void
put_in_order(ceph_lb_tier_t *tier, const share_t *shares, place_t *places)
{
    size_t i, end, n = 0;

    for (i = 0; i < tier->count; i = end) {
        for (end = i + 1; end < tier->count; end++) {
            if (shares[end].times != shares[i].times) {
                break;
            }
        }

        n += place_together(&shares[i], end - i, &places[n]);
    }

    qsort(places, n, sizeof(*places), is_earlier);

    for (i = 0; i < n; i++) {
        tier->order[i] = places[i].member;
    }
}

/*
 * They go round like one member as heavy as all of them, which has its places
 * in the middles of equal parts of the round.  So each has its own as far apart
 * as they can be, and many light ones are not all in the middle of the round.
 */
static size_t
place_together(const share_t *shares, size_t count, place_t *places)
{
    size_t n, length = count * shares[0].times;

    for (n = 0; n < length; n++) {
        places[n].when = ((double) n + 0.5) / (double) length;
        places[n].member = shares[n % count].member;
    }

    return length;
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
is_lighter(const void *a, const void *b)
{
    const share_t *x = a, *y = b;

    if (x->times != y->times) {
        return x->times < y->times ? -1 : 1;
    }

    return (x->member > y->member) - (x->member < y->member);
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
