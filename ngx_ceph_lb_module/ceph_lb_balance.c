#include "ceph_lb_balance.h"

#include <math.h>

#define NOBODY SIZE_MAX

enum {
    DRAWS_MORE = 8, /* than members, before all of them are looked at */
};

/* The slowest that a backend starts: this part of its weight. */
#define WARMTH_LEAST 0.05

/* An average that nothing was added to loses half of its worth in this time. */
#define LATENCY_HALVES_MS 1000

typedef size_t (*find_pt)(
    const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);

static int find_and_take(
    const ceph_lb_choice_t *c,
    const ceph_lb_tier_t   *tier,
    find_pt                 find,
    ceph_lb_pick_t         *pick);
static size_t
find_by_turn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
next_in_order(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
find_least_conn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
find_of_two(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
find_by_key(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
find_least_bad(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static int      take(const ceph_lb_choice_t *c, size_t i, ceph_lb_pick_t *pick);
static int      may_be_used(const ceph_lb_choice_t *c, size_t i);
static int      is_warm_enough(const ceph_lb_choice_t *c, size_t i);
static double   load(const ceph_lb_choice_t *c, size_t i);
static double   latency(const ceph_lb_choice_t *c, size_t i);
static double   score_of_key(uint32_t key, const ceph_lb_backend_t *b);
static uint64_t mix(uint64_t x);
static uint64_t draw(uint64_t *chance);
static void
note_failure(const ceph_lb_policy_t *policy, ceph_lb_state_t *s, uint64_t now);
static void note_answer(
    const ceph_lb_policy_t *policy,
    ceph_lb_state_t        *s,
    uint64_t                since,
    uint64_t                now);
static uintptr_t bit_of(size_t i);

static const find_pt finders[] = {
    [CEPH_LB_ROUND_ROBIN] = find_by_turn,
    [CEPH_LB_LEAST_CONN] = find_least_conn,
    [CEPH_LB_RANDOM] = find_of_two,
    [CEPH_LB_EWMA] = find_of_two,
    [CEPH_LB_HASH] = find_by_key,
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value)                                                      \
    atomic_store_explicit(&(field), value, memory_order_relaxed)

size_t
ceph_lb_tried_words(const ceph_lb_list_t *list)
{
    return (list->count + CEPH_LB_WORD_BITS - 1) / CEPH_LB_WORD_BITS;
}

size_t
ceph_lb_untried(const ceph_lb_list_t *list, const uintptr_t *tried)
{
    size_t i, n = 0;

    for (i = 0; i < list->count; i++) {
        n += !ceph_lb_is_tried(tried, i);
    }

    return n;
}

void
ceph_lb_set_tried(uintptr_t *tried, size_t i)
{
    tried[i / CEPH_LB_WORD_BITS] |= bit_of(i);
}

void
ceph_lb_set_untried(uintptr_t *tried, size_t i)
{
    tried[i / CEPH_LB_WORD_BITS] &= ~bit_of(i);
}

int
ceph_lb_is_tried(const uintptr_t *tried, size_t i)
{
    return (tried[i / CEPH_LB_WORD_BITS] & bit_of(i)) != 0;
}

int
ceph_lb_choose(const ceph_lb_choice_t *c, ceph_lb_pick_t *pick)
{
    size_t                t;
    const ceph_lb_plan_t *plan = c->list->plan;

    for (t = 0; t < plan->ntiers; t++) {
        if (find_and_take(c, &plan->tiers[t], finders[c->policy->method], pick))
        {
            return 0;
        }
    }

    for (t = 0; t < plan->ntiers; t++) {
        if (find_and_take(c, &plan->tiers[t], find_least_bad, pick)) {
            return 0;
        }
    }

    return -1;
}

/* Another worker may take the last place, or the trial: then another one. */
static int
find_and_take(
    const ceph_lb_choice_t *c,
    const ceph_lb_tier_t   *tier,
    find_pt                 find,
    ceph_lb_pick_t         *pick)
{
    size_t i, left;

    for (left = tier->count + DRAWS_MORE; left > 0; left--) {
        i = find(c, tier);

        if (i == NOBODY) {
            return 0;
        }

        if (take(c, i, pick)) {
            return 1;
        }
    }

    return 0;
}

void
ceph_lb_done(
    const ceph_lb_policy_t *policy,
    ceph_lb_pick_t         *pick,
    int                     slot,
    ceph_lb_outcome_e       outcome,
    uint64_t                rest_ms,
    uint64_t                now)
{
    ceph_lb_state_t *s = pick->state;

    ceph_lb_disconnect(s, slot);
    pick->state = NULL;

    switch (outcome) {

    case CEPH_LB_ANSWERED:
        note_answer(policy, s, pick->since, now);
        break;

    case CEPH_LB_FAILED:
        note_failure(policy, s, now);
        break;

    case CEPH_LB_RESTING:
        SET(s->resting, now + rest_ms);
        break;

    case CEPH_LB_UNKNOWN:
        break;
    }
}

ceph_lb_condition_e
ceph_lb_condition(
    const ceph_lb_policy_t  *policy,
    const ceph_lb_states_t  *states,
    const ceph_lb_backend_t *b,
    uint64_t                 now)
{
    const ceph_lb_state_t *s = b->state;

    if (b->max_conns > 0 && ceph_lb_connections(states, s) >= b->max_conns) {
        return CEPH_LB_FULL;
    }

    if (GET(s->resting) > now) {
        return CEPH_LB_AVOIDED;
    }

    if (policy->max_fails == 0 || GET(s->fails) < policy->max_fails) {
        return CEPH_LB_READY;
    }

    return now - GET(s->checked) > policy->fail_timeout_ms ? CEPH_LB_TRIAL
                                                           : CEPH_LB_AVOIDED;
}

double
ceph_lb_warmth(
    const ceph_lb_policy_t *policy, const ceph_lb_state_t *s, uint64_t now)
{
    double   warmth;
    uint64_t risen;

    if (policy->slow_start_ms == 0) {
        return 1;
    }

    risen = GET(s->risen);

    if (risen == 0 || now >= risen + policy->slow_start_ms) {
        return 1;
    }

    warmth = now > risen
               ? (double) (now - risen) / (double) policy->slow_start_ms
               : 0;

    return warmth > WARMTH_LEAST ? warmth : WARMTH_LEAST;
}

/*
 * One counter turns for all workers and all tiers.  A place of somebody who
 * cannot serve is passed over, and its turn is gone: so his part is shared
 * among all others, and not left to whoever comes next in the order.
 */
static size_t
find_by_turn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t i, draws;

    for (draws = tier->count + DRAWS_MORE; draws > 0; draws--) {
        i = next_in_order(c, tier);

        if (may_be_used(c, i) && is_warm_enough(c, i)) {
            return i;
        }
    }

    return find_least_conn(c, tier);
}

/*
 * A further try of a request goes by chance: if it took a turn, the others
 * would move on by one, and one that fails might be met every time.
 */
static size_t
next_in_order(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    uint64_t turn;

    turn = c->again
             ? draw(c->chance)
             : atomic_fetch_add_explicit(
                 &c->list->states->counters.turn, 1, memory_order_relaxed);

    return tier->order[turn % tier->length];
}

/* Of several that are equal, the one whose turn it is, or who comes first. */
static size_t
find_least_conn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t n, i, first, best = NOBODY;
    double best_load = 0, one;

    first = next_in_order(c, tier);

    for (n = 0; n <= tier->count; n++) {
        i = n == 0 ? first : tier->members[n - 1];

        if (!may_be_used(c, i)) {
            continue;
        }

        one = load(c, i);

        if (best == NOBODY || one < best_load) {
            best = i;
            best_load = one;
        }
    }

    return best;
}

/* Each is drawn as often as its weight says, so the weight counts only there. */
static size_t
find_of_two(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    int    ewma = c->policy->method == CEPH_LB_EWMA;
    size_t i, draws, first = NOBODY;

    for (draws = 2 * (tier->count + DRAWS_MORE); draws > 0; draws--) {
        i = tier->order[draw(c->chance) % tier->length];

        if (i == first || !may_be_used(c, i) || !is_warm_enough(c, i)) {
            continue;
        }

        if (first == NOBODY) {
            first = i;

            if (tier->count == 1) {
                return first;
            }

            continue;
        }

        if (ewma) {
            return latency(c, i) < latency(c, first) ? i : first;
        }

        return ceph_lb_connections(c->list->states, c->list->backends[i].state)
                     < ceph_lb_connections(
                         c->list->states, c->list->backends[first].state)
                 ? i
                 : first;
    }

    return first != NOBODY ? first : find_least_conn(c, tier);
}

/*
 * Rendezvous hashing (Thaler and Ravishankar, 1998; with weights as Schindler
 * and Schomaker, 2005): each backend has a score for the key, and the best one
 * gets it.  A change of the list moves only the keys of those that changed.
 * The bound on the load is that of Mirrokni, Thorup and Zadimoghaddam (2018).
 */
static size_t
find_by_key(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t n, i, best = NOBODY, best_beyond = NOBODY, *to;
    double score, best_score = 0, best_score_beyond = 0, *with;
    double bound, sum = 1;
    const ceph_lb_backend_t *b;

    for (n = 0; n < tier->count; n++) {
        b = &c->list->backends[tier->members[n]];
        sum += ceph_lb_connections(c->list->states, b->state);
    }

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];
        b = &c->list->backends[i];

        if (!may_be_used(c, i)) {
            continue;
        }

        bound = ceil(
            sum * CEPH_LB_HASH_PERCENT / 100 * b->weight
            / (double) tier->weight);

        if (bound < CEPH_LB_HASH_LEAST) {
            bound = CEPH_LB_HASH_LEAST;
        }

        if (ceph_lb_connections(c->list->states, b->state) < bound) {
            to = &best;
            with = &best_score;

        } else {
            to = &best_beyond;
            with = &best_score_beyond;
        }

        score = score_of_key(c->key, b);

        if (*to == NOBODY || score > *with) {
            *to = i;
            *with = score;
        }
    }

    return best != NOBODY ? best : best_beyond;
}

/* The one that has been left alone for longest. */
static size_t
find_least_bad(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t                   n, i, best = NOBODY;
    uint64_t                 since, best_since = 0;
    const ceph_lb_backend_t *b;

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];
        b = &c->list->backends[i];

        if (ceph_lb_is_tried(c->tried, i) || ceph_lb_state_of(b) == NULL
            || ceph_lb_condition(c->policy, c->list->states, b, c->now)
                   == CEPH_LB_FULL)
        {
            continue;
        }

        since = GET(b->state->checked);

        if (GET(b->state->resting) > since) {
            since = GET(b->state->resting);
        }

        if (best == NOBODY || since < best_since) {
            best = i;
            best_since = since;
        }
    }

    return best;
}

/* 0 when another worker was faster; who lost a trial does not try it again. */
static int
take(const ceph_lb_choice_t *c, size_t i, ceph_lb_pick_t *pick)
{
    uint64_t                 checked;
    ceph_lb_condition_e      condition;
    ceph_lb_state_t         *s = c->list->backends[i].state;
    const ceph_lb_backend_t *b = &c->list->backends[i];

    checked = GET(s->checked);
    condition = ceph_lb_condition(c->policy, c->list->states, b, c->now);

    if (condition == CEPH_LB_TRIAL
        && !atomic_compare_exchange_strong(&s->checked, &checked, c->now))
    {
        return 0;
    }

    if (condition == CEPH_LB_AVOIDED) {
        SET(s->checked, c->now);
    }

    ceph_lb_connect(s, c->slot);

    if (b->max_conns > 0
        && ceph_lb_connections(c->list->states, s) > b->max_conns) {
        ceph_lb_disconnect(s, c->slot);
        return 0;
    }

    ceph_lb_count(&s->requests, 1);
    ceph_lb_set_tried(c->tried, i);

    pick->state = s;
    pick->index = i;
    pick->since = c->now;

    return 1;
}

static int
may_be_used(const ceph_lb_choice_t *c, size_t i)
{
    ceph_lb_condition_e      condition;
    const ceph_lb_backend_t *b = &c->list->backends[i];

    if (ceph_lb_is_tried(c->tried, i) || ceph_lb_state_of(b) == NULL) {
        return 0;
    }

    condition = ceph_lb_condition(c->policy, c->list->states, b, c->now);

    return condition == CEPH_LB_READY || condition == CEPH_LB_TRIAL;
}

static int
is_warm_enough(const ceph_lb_choice_t *c, size_t i)
{
    double warmth;

    warmth = ceph_lb_warmth(c->policy, c->list->backends[i].state, c->now);

    return warmth >= 1 || (double) (draw(c->chance) % 1000) < warmth * 1000;
}

/* What it has to do for its weight. */
static double
load(const ceph_lb_choice_t *c, size_t i)
{
    const ceph_lb_backend_t *b = &c->list->backends[i];

    return ceph_lb_connections(c->list->states, b->state)
         / (b->weight * ceph_lb_warmth(c->policy, b->state, c->now));
}

/* When it would have answered, by what is known; who is not known comes first. */
static double
latency(const ceph_lb_choice_t *c, size_t i)
{
    double                 age;
    const ceph_lb_state_t *s = c->list->backends[i].state;

    age = (double) (c->now - GET(s->measured)) / LATENCY_HALVES_MS;

    return GET(s->latency_us) * exp2(-age)
         * (ceph_lb_connections(c->list->states, s) + 1);
}

static double
score_of_key(uint32_t key, const ceph_lb_backend_t *b)
{
    uint64_t hash;

    hash = mix(((uint64_t) key << 32 | ceph_lb_address_hash(b)) + 1);

    /* 53 bits make a number above 0 and below 1. */

    return -b->weight / log(((double) (hash >> 11) + 0.5) / (1ULL << 53));
}

/* The end of MurmurHash3 by Austin Appleby: every bit changes half of them. */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;

    return x ^ x >> 33;
}

/* Marsaglia's xorshift with the shifts 13, 7 and 17; its upper half. */
static uint64_t
draw(uint64_t *chance)
{
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;

    return *chance >> 32;
}

static void
note_failure(const ceph_lb_policy_t *policy, ceph_lb_state_t *s, uint64_t now)
{
    ceph_lb_count(&s->failures, 1);
    SET(s->failed, now);

    if (GET(s->fails) < policy->max_fails
        && now - GET(s->counting) > policy->fail_timeout_ms)
    {
        SET(s->counting, now);
        SET(s->fails, 0);
    }

    atomic_fetch_add_explicit(&s->fails, 1, memory_order_relaxed);
    SET(s->checked, now);
}

/* An answer to a request that came after the last failure shows it is back. */
static void
note_answer(
    const ceph_lb_policy_t *policy,
    ceph_lb_state_t        *s,
    uint64_t                since,
    uint64_t                now)
{
    if (policy->max_fails == 0 || GET(s->fails) < policy->max_fails
        || GET(s->failed) >= since)
    {
        return;
    }

    SET(s->fails, 0);
    SET(s->risen, now);
}

static uintptr_t
bit_of(size_t i)
{
    return (uintptr_t) 1 << i % CEPH_LB_WORD_BITS;
}
