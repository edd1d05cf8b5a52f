#ifndef CEPH_LB_TESTS_BALANCER_H
#define CEPH_LB_TESTS_BALANCER_H

/*
 * What the tests of the balancer share: lists made of a few numbers, the memory that they are bound to, and
 * requests. The clock and chance are the test's own, so that nothing depends on when it runs.
 */

#include <string.h>

#include "support.h"

#include "ceph_lb_balance.h"

enum {
    MEMBERS_MAX = 256,
    UNDER_WAY_MAX = 4096,

    /* When every test begins: later than any time-out after the start of the clock. */
    BEGINNING = 1000 * 1000,
};

struct member {
    unsigned address; /* the last three numbers of 10.x.y.z */
    uint32_t weight;
    uint32_t max_conns;
    int backup;
    const char *zone;      /* NULL: none */
    const char *row_state; /* NULL: "up" */
};

static inline void no_problem(void *data, size_t row, const char *address, const char *problem)
{
    (void)data;
    fail_msg("row %zu, %s: %s", row, address, problem);
}

static inline void add_member(ceph_lb_table_t *table, const struct member *member)
{
    enum { COLUMNS = 6 };
    char text[4][32];
    const char *values[COLUMNS] = {text[0], text[1], text[2], text[3], NULL, NULL};
    unsigned long lengths[COLUMNS] = {0};

    (void)snprintf(text[0], sizeof(text[0]), "10.%u.%u.%u", member->address >> 16, member->address >> 8 & 255,
                   member->address & 255);
    (void)snprintf(text[1], sizeof(text[1]), "%" PRIu32, member->weight);
    (void)snprintf(text[2], sizeof(text[2]), "%" PRIu32, member->max_conns);
    (void)snprintf(text[3], sizeof(text[3]), "%d", member->backup);
    values[4] = member->zone;
    values[5] = member->row_state != NULL ? member->row_state : "up";

    for (size_t i = 0; i < COLUMNS; i++)
        lengths[i] = values[i] != NULL ? strlen(values[i]) : 0;
    assert_int_equal(ceph_lb_table_add(table, values, lengths), 0);
}

/* Neither bound nor with a plan. For list_free. */
static inline ceph_lb_list_t *list_of(const struct member *members, size_t n)
{
    static const char *const names[] = {"address", "weight", "max_conns", "backup", "zone", "state"};
    static const size_t lengths[] = {7, 6, 9, 6, 4, 5};
    const char *error = NULL;
    ceph_lb_table_t table;

    ceph_lb_table_init(&table);
    assert_int_equal(ceph_lb_table_begin(&table, COUNT_OF(names), names, lengths), 0);
    for (size_t i = 0; i < n; i++)
        add_member(&table, &members[i]);
    ceph_lb_list_t *list = ceph_lb_list_create(&table, no_problem, NULL, &error);
    assert_non_null(list);
    ceph_lb_table_free(&table);
    return list;
}

static inline void list_free(ceph_lb_list_t *list)
{
    ceph_lb_plan_free(list->plan);
    ceph_lb_list_free(list);
}

/* For free(). */
static inline ceph_lb_states_t *states_for(uint32_t slots, uint32_t capacity)
{
    ceph_lb_states_t *states = xcalloc(1, ceph_lb_states_size(slots, capacity));
    ceph_lb_states_init(states, slots, capacity);
    return states;
}

/* A list, what is known of its backends, and one process that sends requests. */
struct balancer {
    ceph_lb_policy_t policy;
    ceph_lb_states_t *states;
    ceph_lb_list_t *list;
    uintptr_t tried[MEMBERS_MAX / CEPH_LB_WORD_BITS];
    const char *zone;
    struct random keys;
    uint64_t chance;
    uint64_t now;
};

/* Takes another list; the states stay. */
static inline void balancer_take(struct balancer *b, const struct member *members, size_t n)
{
    assert_true(n <= MEMBERS_MAX);
    if (b->list != NULL)
        list_free(b->list);
    b->list = list_of(members, n);
    b->list->plan = ceph_lb_plan_create(b->list, b->zone);
    assert_non_null(b->list->plan);
    assert_int_equal(ceph_lb_states_bind(b->states, b->list, b->now), 0);
}

static inline void balancer_open(struct balancer *b, ceph_lb_method_e method, const struct member *members,
                                 size_t n)
{
    memset(b, 0, sizeof(*b));
    b->policy = (ceph_lb_policy_t){.method = method, .max_fails = 1, .fail_timeout_ms = 10 * 1000};
    b->states = states_for(2, MEMBERS_MAX);
    b->zone = "";
    b->keys = random_seeded(1);
    b->chance = UINT64_C(0x1234567890abcdef);
    b->now = BEGINNING;
    balancer_take(b, members, n);
}

static inline ceph_lb_state_t *balancer_state(const struct balancer *b, size_t i)
{
    return b->list->backends[i].state;
}

static inline uint32_t balancer_connections(const struct balancer *b, size_t i)
{
    return ceph_lb_connections(b->states, balancer_state(b, i));
}

/* Every request has to be over. */
static inline void balancer_close(struct balancer *b)
{
    for (size_t i = 0; i < b->list->total; i++)
        assert_int_equal(balancer_connections(b, i), 0);
    list_free(b->list);
    free(b->states);
}

/* Chooses for this key, from those that are not in b->tried. */
static inline bool balancer_choose_for(struct balancer *b, uint32_t key, ceph_lb_pick_t *pick)
{
    ceph_lb_choice_t choice = {
        .policy = &b->policy,
        .list = b->list,
        .tried = b->tried,
        .slot = 0,
        .key = key,
        .chance = &b->chance,
        .now = b->now,
    };
    bool chosen = ceph_lb_choose(&choice, pick) == 0;

    if (chosen) {
        assert_true(pick->index < b->list->count);
        assert_ptr_equal(pick->state, balancer_state(b, pick->index));
        assert_true(ceph_lb_is_tried(b->tried, pick->index));
    }
    return chosen;
}

static inline bool balancer_choose(struct balancer *b, ceph_lb_pick_t *pick)
{
    return balancer_choose_for(b, (uint32_t)random_next(&b->keys), pick);
}

static inline void balancer_done(struct balancer *b, ceph_lb_pick_t *pick, ceph_lb_outcome_e outcome)
{
    ceph_lb_done(&b->policy, pick, 0, outcome, 0, b->now);
    assert_null(pick->state);
}

static inline void balancer_forget_tries(struct balancer *b)
{
    memset(b->tried, 0, sizeof(b->tried));
}

/* A request of its own; the caller ends it. There has to be a backend for it. */
static inline ceph_lb_pick_t balancer_begin(struct balancer *b)
{
    ceph_lb_pick_t pick;

    balancer_forget_tries(b);
    assert_true(balancer_choose(b, &pick));
    return pick;
}

/* One that is over at once, and goes well; returns which backend got it. */
static inline size_t balancer_request(struct balancer *b)
{
    ceph_lb_pick_t pick = balancer_begin(b);
    size_t index = pick.index;

    balancer_done(b, &pick, CEPH_LB_ANSWERED);
    return index;
}

/* One that goes to this backend, whatever the method says. */
static inline void balancer_request_at(struct balancer *b, size_t i, ceph_lb_outcome_e outcome,
                                       uint64_t rest_ms)
{
    ceph_lb_pick_t pick = {.state = balancer_state(b, i), .index = i, .since = b->now};

    ceph_lb_connect(pick.state, 0);
    ceph_lb_done(&b->policy, &pick, 0, outcome, rest_ms, b->now);
}

static inline void balancer_fail(struct balancer *b, size_t i)
{
    balancer_request_at(b, i, CEPH_LB_FAILED, 0);
}

/* Requests that end in the order in which they began. */
struct under_way {
    ceph_lb_pick_t picks[UNDER_WAY_MAX];
    size_t first, count;
};

static inline void under_way_end_first(struct under_way *u, struct balancer *b)
{
    assert_true(u->count > 0);
    balancer_done(b, &u->picks[u->first], CEPH_LB_ANSWERED);
    u->first = (u->first + 1) % UNDER_WAY_MAX;
    u->count--;
}

static inline void under_way_end_all(struct under_way *u, struct balancer *b)
{
    while (u->count > 0)
        under_way_end_first(u, b);
}

/* Begins one, and ends the first if there are more than `most` then. */
static inline size_t under_way_begin(struct under_way *u, struct balancer *b, size_t most)
{
    ceph_lb_pick_t pick = balancer_begin(b);

    assert_true(most < UNDER_WAY_MAX);
    u->picks[(u->first + u->count++) % UNDER_WAY_MAX] = pick;
    if (u->count > most)
        under_way_end_first(u, b);
    return pick.index;
}

#endif
