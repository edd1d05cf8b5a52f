/* Two workers on one memory: threads here, each with a slot, that choose and finish at the same time. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "balancer.h"

enum { WORKERS = 2, BACKENDS = 4, STEPS = 100 * 1000, HELD_MAX = 4 };

/* What both see. The counters are the test's own, beside those of the memory. */
struct shared {
    ceph_lb_policy_t policy;
    ceph_lb_list_t *list;
    uint32_t max_conns[BACKENDS];
    pthread_barrier_t start;
    _Atomic uint32_t under_way[BACKENDS];
    _Atomic uint64_t chosen[BACKENDS], failed[BACKENDS];
    _Atomic uint64_t exceeded;
};

struct worker {
    struct shared *shared;
    int slot;
    pthread_t thread;
    uint64_t refused;
};

/* Assertions of cmocka are for the test's own thread: so what is wrong is counted. */
static bool begin(struct shared *s, const ceph_lb_choice_t *choice, ceph_lb_pick_t *pick)
{
    choice->tried[0] = 0;
    if (ceph_lb_choose(choice, pick) != 0)
        return false;

    uint32_t n = atomic_fetch_add(&s->under_way[pick->index], 1) + 1;

    if (s->max_conns[pick->index] != 0 && n > s->max_conns[pick->index])
        atomic_fetch_add(&s->exceeded, 1);
    atomic_fetch_add(&s->chosen[pick->index], 1);
    return true;
}

static void end(struct shared *s, const ceph_lb_choice_t *choice, ceph_lb_pick_t *pick,
                ceph_lb_outcome_e outcome)
{
    if (outcome == CEPH_LB_FAILED)
        atomic_fetch_add(&s->failed[pick->index], 1);
    atomic_fetch_sub(&s->under_way[pick->index], 1);
    ceph_lb_done(&s->policy, pick, choice->slot, outcome, 1, choice->now);
}

static void *work(void *data)
{
    struct worker *worker = data;
    struct shared *s = worker->shared;
    struct random random = random_seeded((uint64_t)worker->slot + 1);
    uint64_t chance = random_next(&random) | 1;
    uintptr_t tried[1];
    ceph_lb_pick_t held[HELD_MAX];
    size_t n = 0;
    ceph_lb_choice_t choice = {.policy = &s->policy,
                               .list = s->list,
                               .tried = tried,
                               .slot = worker->slot,
                               .chance = &chance,
                               .now = BEGINNING + (uint64_t)worker->slot};

    pthread_barrier_wait(&s->start);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t dice = random_next(&random);

        choice.key = (uint32_t)dice;
        choice.now += step % 64 == 0;
        if (n == HELD_MAX || (n > 0 && dice >> 32 & 1)) {
            ceph_lb_outcome_e outcome =
                dice >> 40 & 15 ? CEPH_LB_ANSWERED : (ceph_lb_outcome_e)(dice >> 44 & 3);

            n--;
            ceph_lb_measure(held[n].state, (uint32_t)(dice >> 48), choice.now);
            end(s, &choice, &held[n], outcome);
        } else if (begin(s, &choice, &held[n])) {
            n++;
        } else {
            worker->refused++;
        }
    }
    while (n > 0)
        end(s, &choice, &held[--n], CEPH_LB_UNKNOWN);
    return NULL;
}

static void run(ceph_lb_method_e method, const uint32_t *max_conns)
{
    struct shared s = {
        .policy = {.method = method, .max_fails = 1, .fail_timeout_ms = 5, .slow_start_ms = 3}};
    struct worker workers[WORKERS];
    struct member members[BACKENDS];
    ceph_lb_states_t *states = states_for(WORKERS, BACKENDS);

    for (size_t i = 0; i < BACKENDS; i++) {
        s.max_conns[i] = max_conns[i];
        members[i] = (struct member){.address = (unsigned)i + 1,
                                     .weight = (uint32_t)i + 1,
                                     .max_conns = max_conns[i],
                                     .backup = i == 3};
    }
    s.list = list_of(members, BACKENDS);
    s.list->plan = ceph_lb_plan_create(s.list, "");
    assert_non_null(s.list->plan);
    assert_int_equal(ceph_lb_states_bind(states, s.list, BEGINNING), 0);
    assert_int_equal(pthread_barrier_init(&s.start, NULL, WORKERS), 0);

    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.shared = &s, .slot = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);

    assert_int_equal(s.exceeded, 0);
    for (size_t i = 0; i < BACKENDS; i++) {
        const ceph_lb_state_t *state = s.list->backends[i].state;

        assert_int_equal(s.under_way[i], 0);
        assert_int_equal(ceph_lb_connections(states, state), 0);
        assert_int_equal(state->requests, s.chosen[i]);
        assert_int_equal(state->failures, s.failed[i]);
    }
    pthread_barrier_destroy(&s.start);
    list_free(s.list);
    free(states);
}

static void test_without_limits(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++)
        run(method, (const uint32_t[]){0, 0, 0, 0});
}

static void test_limits_are_kept(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++)
        run(method, (const uint32_t[]){1, 2, 1, 1});
}

/* What two workers race for, in rounds or as fast as they can. */
enum { PLACE_STEPS = 500 * 1000, TRIAL_ROUNDS = 3000, RIVALS = 200 };

struct race {
    ceph_lb_policy_t policy;
    ceph_lb_states_t *states;
    ceph_lb_list_t *list;
    _Atomic uint32_t arrived;
    _Atomic uint32_t winners; /* at this moment, or in this round */
    _Atomic uint64_t doubles, singles;
};

struct racer {
    struct race *race;
    int slot;
    pthread_t thread;
};

static void race_open(struct race *race, const struct member *members, size_t n)
{
    memset(race, 0, sizeof(*race));
    race->policy = (ceph_lb_policy_t){.method = CEPH_LB_LEAST_CONN, .max_fails = 1, .fail_timeout_ms = 10};
    race->states = states_for(WORKERS, MEMBERS_MAX);
    race->list = list_of(members, n);
    race->list->plan = ceph_lb_plan_create(race->list, "");
    assert_non_null(race->list->plan);
    assert_int_equal(ceph_lb_states_bind(race->states, race->list, BEGINNING), 0);
}

/* Goes on when both are there, at nearly the same moment: so they do not sleep unless it takes long. */
static void meet(struct race *race, uint32_t *meetings)
{
    uint32_t all = ++*meetings * WORKERS;

    atomic_fetch_add(&race->arrived, 1);
    for (size_t turns = 1; atomic_load(&race->arrived) < all; turns++) {
        if (turns % 1024 == 0)
            sched_yield();
    }
}

static void race_run(struct race *race, void *(*run_racer)(void *))
{
    struct racer racers[WORKERS];

    for (int i = 0; i < WORKERS; i++) {
        racers[i] = (struct racer){.race = race, .slot = i};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, run_racer, &racers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
}

static void race_close(struct race *race)
{
    list_free(race->list);
    free(race->states);
}

static void *race_for_a_place(void *data)
{
    struct racer *racer = data;
    struct race *race = racer->race;
    uint64_t chance = (uint64_t)racer->slot + 1;
    uint32_t meetings = 0;
    uintptr_t tried[1];
    ceph_lb_choice_t choice = {.policy = &race->policy,
                               .list = race->list,
                               .tried = tried,
                               .slot = racer->slot,
                               .chance = &chance,
                               .now = BEGINNING};

    meet(race, &meetings);
    for (size_t i = 0; i < PLACE_STEPS; i++) {
        ceph_lb_pick_t pick;

        tried[0] = 0;
        if (ceph_lb_choose(&choice, &pick) != 0)
            continue;
        race->doubles += atomic_fetch_add(&race->winners, 1) != 0;
        race->singles++;
        atomic_fetch_sub(&race->winners, 1);
        ceph_lb_done(&race->policy, &pick, racer->slot, CEPH_LB_ANSWERED, 0, choice.now);
    }
    return NULL;
}

/* There is one, and at no moment do both have it. */
static void test_one_place_for_both(void **state)
{
    static const struct member members[] = {{.address = 1, .weight = 1, .max_conns = 1}};
    struct race race;

    (void)state;
    race_open(&race, members, 1);
    race_run(&race, race_for_a_place);
    assert_int_equal(race.doubles, 0);
    assert_int_equal(race.list->backends[0].state->requests, race.singles);
    assert_int_equal(ceph_lb_connections(race.states, race.list->backends[0].state), 0);
    race_close(&race);
}

static void *race_for_trials(void *data)
{
    struct racer *racer = data;
    struct race *race = racer->race;
    uint64_t chance = (uint64_t)racer->slot + 1;
    uint32_t meetings = 0;
    uintptr_t tried[MEMBERS_MAX / CEPH_LB_WORD_BITS];
    ceph_lb_choice_t choice = {.policy = &race->policy,
                               .list = race->list,
                               .tried = tried,
                               .slot = racer->slot,
                               .chance = &chance,
                               .now = BEGINNING};

    for (size_t i = 0; i < TRIAL_ROUNDS; i++) {
        ceph_lb_pick_t pick;

        choice.now += race->policy.fail_timeout_ms + 1;
        memset(tried, 0, sizeof(tried));
        meet(race, &meetings);
        if (ceph_lb_choose(&choice, &pick) == 0) {
            if (pick.index == 0)
                atomic_fetch_add(&race->winners, 1);
            ceph_lb_done(&race->policy, &pick, racer->slot, CEPH_LB_UNKNOWN, 0, choice.now);
        }
        meet(race, &meetings);
        if (racer->slot == 0) {
            uint32_t winners = atomic_exchange(&race->winners, 0);

            race->doubles += winners > 1;
            race->singles += winners == 1;
        }
    }
    return NULL;
}

/*
 * Both see the backend that has failed, as the first of many, and take it for the best after they have seen
 * all others, which are busy: one of them has the trial.
 */
static void test_one_trial_for_both(void **state)
{
    struct member members[RIVALS];
    struct race race;

    (void)state;
    for (size_t i = 0; i < RIVALS; i++)
        members[i] = (struct member){.address = (unsigned)i + 1, .weight = 1};
    race_open(&race, members, RIVALS);
    race.list->backends[0].state->fails = 1;
    race.list->backends[0].state->checked = BEGINNING;
    for (size_t i = 1; i < RIVALS; i++)
        ceph_lb_connect(race.list->backends[i].state, 0);
    race_run(&race, race_for_trials);
    assert_int_equal(race.doubles, 0);
    assert_int_equal(race.singles, TRIAL_ROUNDS);
    race_close(&race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_limits),
        cmocka_unit_test(test_limits_are_kept),
        cmocka_unit_test(test_one_place_for_both),
        cmocka_unit_test(test_one_trial_for_both),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
