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
find_least_conn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
           find_of_two(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static int is_better(const ceph_lb_choice_t *c, size_t i, size_t than);
static size_t
           find_by_lot(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static int wins_lot(const ceph_lb_choice_t *c, double one, double *sum);
static size_t
find_by_key(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static size_t
find_least_bad(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier);
static int take(
    const ceph_lb_choice_t *c,
    size_t                  i,
    int                     even_avoided,
    ceph_lb_pick_t         *pick);
static int      may_be_used(const ceph_lb_choice_t *c, size_t i);
static int      is_warm_enough(const ceph_lb_choice_t *c, size_t i);
static double   part(const ceph_lb_choice_t *c, size_t i);
static uint32_t connections(const ceph_lb_choice_t *c, size_t i);
static double   latency(const ceph_lb_choice_t *c, size_t i);
static double   score_of_key(uint32_t key, const ceph_lb_backend_t *b);
static uint64_t mix(uint64_t x);
static uint64_t draw(uint64_t *chance);
static uint64_t elapsed(uint64_t since, uint64_t now);
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

        if (take(c, i, find == find_least_bad, pick)) {
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

    return elapsed(GET(s->checked), now) > policy->fail_timeout_ms
             ? CEPH_LB_TRIAL
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
 *
 * A further try of a request takes no turn: or else the others would move on by
 * one, and one that fails might be met every time.
 */
static size_t
find_by_turn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t            i, draws;
    uint32_t          turn;
    _Atomic uint32_t *turns = &c->list->states->counters.turn;

    for (draws = tier->count + DRAWS_MORE; draws > 0 && !c->again; draws--) {
        turn = atomic_fetch_add_explicit(turns, 1, memory_order_relaxed);
        i = tier->order[turn % tier->length];

        if (may_be_used(c, i) && is_warm_enough(c, i)) {
            return i;
        }
    }

    return find_by_lot(c, tier);
}

/*
 * What each has to do for its weight.  Of several with as little it is one by
 * lot: if they took turns, the turns of somebody who cannot serve would all go
 * to whoever comes next.
 */
static size_t
find_least_conn(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t n, i, best = NOBODY;
    double load, best_load = 0, sum = 0;

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];

        if (!may_be_used(c, i)) {
            continue;
        }

        load = connections(c, i) / part(c, i);

        if (best == NOBODY || load < best_load) {
            best = i;
            best_load = load;
            sum = part(c, i);

        } else if (load == best_load && wins_lot(c, part(c, i), &sum)) {
            best = i;
        }
    }

    return best;
}

/* Each is drawn as often as its weight says. */
static size_t
find_of_two(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t i, draws, first = NOBODY;

    for (draws = 2 * (tier->count + DRAWS_MORE); draws > 0; draws--) {
        i = tier->order[draw(c->chance) % tier->length];

        if (i == first || !may_be_used(c, i) || !is_warm_enough(c, i)) {
            continue;
        }

        if (first != NOBODY) {
            return is_better(c, i, first) ? i : first;
        }

        first = i;

        if (tier->count == 1) {
            break;
        }
    }

    return first != NOBODY ? first : find_by_lot(c, tier);
}

/* As good is not better: who has nothing to do is chosen as it was drawn. */
static int
is_better(const ceph_lb_choice_t *c, size_t i, size_t than)
{
    if (c->policy->method == CEPH_LB_EWMA) {
        return latency(c, i) < latency(c, than);
    }

    return connections(c, i) * part(c, than)
         < connections(c, than) * part(c, i);
}

/* The same by one look at each, for when most draws, or turns, are in vain. */
static size_t
find_by_lot(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t n, i, found = NOBODY;
    double sum = 0;

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];

        if (!may_be_used(c, i)) {
            continue;
        }

        if (wins_lot(c, part(c, i), &sum)) {
            found = i;
        }
    }

    return found;
}

/* One after another, each wins with its part of the sum so far: so in the end
 * each has won with its part of all. */
static int
wins_lot(const ceph_lb_choice_t *c, double one, double *sum)
{
    *sum += one;

    return (double) draw(c->chance) / (1ULL << 32) * *sum < one;
}

/*
 * Rendezvous hashing (Thaler and Ravishankar, 1998; with weights as Schindler
 * and Schomaker, 2005): each backend has a score for the key, and the best one
 * gets it.  A change of the list moves only the keys of those that changed.
 * The bound on the load is that of Mirrokni, Thorup and Zadimoghaddam (2018),
 * among those that can be used: so one of them is always below it.
 */
static size_t
find_by_key(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t n, i, best = NOBODY, best_beyond = NOBODY, *to;
    double score, best_score = 0, best_score_beyond = 0, *with;
    double bound, sum = 1, weight = 0;
    const ceph_lb_backend_t *b;

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];

        if (may_be_used(c, i)) {
            sum += connections(c, i);
            weight += c->list->backends[i].weight;
        }
    }

    for (n = 0; n < tier->count; n++) {
        i = tier->members[n];
        b = &c->list->backends[i];

        if (!may_be_used(c, i)) {
            continue;
        }

        bound = ceil(sum * CEPH_LB_HASH_PERCENT / 100 * b->weight / weight);

        if (bound < CEPH_LB_HASH_LEAST) {
            bound = CEPH_LB_HASH_LEAST;
        }

        if (connections(c, i) < bound) {
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

/* The one that has been left alone for longest; of several, one by chance. */
static size_t
find_least_bad(const ceph_lb_choice_t *c, const ceph_lb_tier_t *tier)
{
    size_t                   n, i, best = NOBODY, as_good = 0;
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
            as_good = 1;

        } else if (since == best_since && draw(c->chance) % ++as_good == 0) {
            best = i;
        }
    }

    return best;
}

/*
 * 0 when another worker was faster: it has the trial, or the last place, or has
 * just seen the backend fail.
 */
static int
take(
    const ceph_lb_choice_t *c, size_t i, int even_avoided, ceph_lb_pick_t *pick)
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
        if (!even_avoided) {
            return 0;
        }

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

/* The weight it has now. */
static double
part(const ceph_lb_choice_t *c, size_t i)
{
    const ceph_lb_backend_t *b = &c->list->backends[i];

    return b->weight * ceph_lb_warmth(c->policy, b->state, c->now);
}

static uint32_t
connections(const ceph_lb_choice_t *c, size_t i)
{
    return ceph_lb_connections(c->list->states, c->list->backends[i].state);
}

/*
 * When it would have answered, by what is known.  Who is not known comes first,
 * and who has nothing to do is less and less known.  But while it is asked
 * nothing is forgotten, and who was not known has to answer: otherwise one that
 * says nothing any more would get more and more requests.
 */
static double
latency(const ceph_lb_choice_t *c, size_t i)
{
    double                 age;
    uint32_t               us, under_way = connections(c, i);
    const ceph_lb_state_t *s = c->list->backends[i].state;

    us = GET(s->latency_us);

    if (under_way > 0) {
        return us > 0 ? us * (under_way + 1.0) : INFINITY;
    }

    age = (double) elapsed(GET(s->measured), c->now) / LATENCY_HALVES_MS;

    return us * exp2(-age);
}

static double
score_of_key(uint32_t key, const ceph_lb_backend_t *b)
{
    uint64_t hash;

    hash = mix(((uint64_t) key << 32 | ceph_lb_address_hash(b)) + 1);

    /* 52 bits and a half make a number above 0 and below 1, exactly. */

    return b->weight / -log(((double) (hash >> 12) + 0.5) / (1ULL << 52));
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

/* The clocks of other workers may be ahead of this one's by a little. */
static uint64_t
elapsed(uint64_t since, uint64_t now)
{
    return now > since ? now - since : 0;
}

static void
note_failure(const ceph_lb_policy_t *policy, ceph_lb_state_t *s, uint64_t now)
{
    ceph_lb_count(&s->failures, 1);
    SET(s->failed, now);

    if (GET(s->fails) < policy->max_fails
        && elapsed(GET(s->counting), now) > policy->fail_timeout_ms)
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
