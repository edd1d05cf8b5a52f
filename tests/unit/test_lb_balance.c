/* Who gets requests as long as nobody fails: shares by weight, tiers, limits of connections, slow start. */

#include <math.h>

#include "balancer.h"

enum { REQUESTS = 100 * 1000 };

static const char *const method_names[] = {
    [CEPH_LB_ROUND_ROBIN] = "round_robin",
    [CEPH_LB_LEAST_CONN] = "least_conn",
    [CEPH_LB_RANDOM] = "random",
    [CEPH_LB_EWMA] = "ewma",
    [CEPH_LB_HASH] = "hash",
};

/* How requests come in a test: one after another, or so that many are under way all the time. */
static const struct pace {
    ceph_lb_method_e method;
    size_t under_way;
    bool by_chance; /* although it goes round */
} paces[] = {
    {CEPH_LB_ROUND_ROBIN, 0, false}, {CEPH_LB_ROUND_ROBIN, 1000, false}, {CEPH_LB_LEAST_CONN, 1000, false},
    {CEPH_LB_RANDOM, 0, false},      {CEPH_LB_RANDOM, 1000, false},      {CEPH_LB_EWMA, 0, false},
    {CEPH_LB_HASH, 0, false},        {CEPH_LB_HASH, 1000, false},
};

/*
 * How far a count may be from what the weight says: five standard deviations where it is by chance, which is
 * less than one in a hundred of all requests, and one in a hundred where others are under way.
 */
static double tolerance(const struct pace *pace, double requests, double share)
{
    if (pace->method == CEPH_LB_ROUND_ROBIN && !pace->by_chance)
        return 1.5;
    return pace->under_way != 0 ? 0.01 * requests : 5 * sqrt(requests * share * (1 - share)) + 1;
}

static void assert_shares(const struct pace *pace, const size_t *got, const double *weights, size_t n,
                          const char *name)
{
    double sum = 0, requests = 0;

    for (size_t i = 0; i < n; i++) {
        sum += weights[i];
        requests += (double)got[i];
    }
    for (size_t i = 0; i < n; i++) {
        double share = weights[i] / sum;

        if (fabs((double)got[i] - requests * share) > tolerance(pace, requests, share))
            fail_msg("%s, %zu under way, %s: backend %zu got %zu and not %.0f", method_names[pace->method],
                     pace->under_way, name, i, got[i], requests * share);
    }
}

static void test_shares(void **state)
{
    static const struct {
        const char *name;
        size_t n;
        uint32_t weights[6];
    } cases[] = {
        {"one", 1, {7}},
        {"equal", 4, {1, 1, 1, 1}},
        {"5 to 1 to 1", 3, {5, 1, 1}},
        {"2 to 1", 2, {2, 1}},
        {"10 to 90", 2, {10, 90}},
        {"one of each", 6, {1, 2, 3, 4, 5, 6}},
        {"a heavy one", 3, {96, 1, 3}},
    };

    (void)state;
    for (size_t p = 0; p < COUNT_OF(paces); p++) {
        for (size_t c = 0; c < COUNT_OF(cases); c++) {
            struct balancer b;
            struct under_way u = {.count = 0};
            struct member members[6];
            double weights[6];
            size_t got[6] = {0};

            for (size_t i = 0; i < cases[c].n; i++) {
                weights[i] = cases[c].weights[i];
                members[i] = (struct member){.address = (unsigned)i + 1, .weight = cases[c].weights[i]};
            }
            balancer_open(&b, paces[p].method, members, cases[c].n);
            for (size_t i = 0; i < REQUESTS; i++)
                got[under_way_begin(&u, &b, paces[p].under_way)]++;
            under_way_end_all(&u, &b);
            for (size_t i = 0; i < cases[c].n; i++)
                assert_int_equal(balancer_state(&b, i)->requests, got[i]);
            assert_shares(&paces[p], got, weights, cases[c].n, cases[c].name);
            balancer_close(&b);
        }
    }
}

/* Over one round each backend gets exactly its weight, whichever weights there are, and in a smooth order. */
static void test_rounds_are_exact(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct random random = random_seeded(seed);
        struct balancer b;
        struct member members[MEMBERS_MAX];
        size_t n = 1 + random_below(&random, MEMBERS_MAX), sum = 0, got[MEMBERS_MAX] = {0};

        for (size_t i = 0; i < n; i++) {
            members[i] =
                (struct member){.address = (unsigned)i + 1, .weight = 1 + (uint32_t)random_below(&random, 9)};
            sum += members[i].weight;
        }
        balancer_open(&b, CEPH_LB_ROUND_ROBIN, members, n);
        for (size_t i = 0; i < 3 * sum; i++)
            got[balancer_request(&b)]++;
        for (size_t i = 0; i < n; i++)
            assert_seeded(got[i] == 3 * members[i].weight, seed);
        balancer_close(&b);
    }
}

/* Every request may have a list of its own, and still they take turns. */
static void test_rounds_go_on_over_fresh_lists(void **state)
{
    static const struct member members[] = {
        {.address = 1, .weight = 2}, {.address = 2, .weight = 1}, {.address = 3, .weight = 1}};
    size_t got[3] = {0};
    struct balancer b;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, members, 3);
    for (size_t i = 0; i < 400; i++) {
        balancer_take(&b, members, 3);
        got[balancer_request(&b)]++;
    }
    assert_int_equal(got[0], 200);
    assert_int_equal(got[1], 100);
    assert_int_equal(got[2], 100);
    balancer_close(&b);
}

/* Why a backend cannot be used; the others then share its part as their weights say. */
enum reason { FAILED, RESTING, FULL, TRIED, REASONS };

static void put_out(struct balancer *b, size_t i, enum reason reason)
{
    if (reason == FAILED)
        balancer_fail(b, i);
    else if (reason == RESTING)
        balancer_request_at(b, i, CEPH_LB_RESTING, 1000 * 1000);
    else if (reason == FULL)
        ceph_lb_connect(balancer_state(b, i), 1);
}

static void test_others_share_in_proportion(void **state)
{
    static const struct {
        const char *name;
        size_t n, out;
        uint32_t weights[6];
    } cases[] = {
        {"1 to 1, the first of equals out", 3, 0, {1, 1, 1}},
        {"1 to 1, the second of equals out", 3, 1, {1, 1, 1}},
        {"1 to 3, a heavy one out", 3, 0, {96, 1, 3}},
        {"100 to 200, a very heavy one out", 3, 1, {200, 1000000, 100}},
        {"1 to 5, a light one out", 3, 2, {1, 5, 1}},
        {"many, one out", 6, 3, {1, 2, 3, 4, 5, 6}},
    };
    static const struct pace idle_least_conn = {CEPH_LB_LEAST_CONN, 0, false};

    (void)state;
    for (size_t p = 0; p <= COUNT_OF(paces); p++) {
        /* One request after another: with least_conn only those of one weight share. */
        const struct pace *pace = p < COUNT_OF(paces) ? &paces[p] : &idle_least_conn;

        for (size_t c = 0; c < (p < COUNT_OF(paces) ? COUNT_OF(cases) : 2); c++) {
            for (enum reason reason = FAILED; reason < REASONS; reason++) {
                struct balancer b;
                struct under_way u = {.count = 0};
                struct member members[6];
                double weights[6];
                size_t got[6] = {0}, out = cases[c].out;

                for (size_t i = 0; i < cases[c].n; i++) {
                    weights[i] = i == out ? 0 : cases[c].weights[i];
                    members[i] = (struct member){.address = (unsigned)i + 1, .weight = cases[c].weights[i]};
                }
                members[out].max_conns = reason == FULL ? 1 : 0;
                balancer_open(&b, pace->method, members, cases[c].n);
                put_out(&b, out, reason);
                for (size_t i = 0; i < REQUESTS / 4; i++) {
                    ceph_lb_pick_t pick;

                    balancer_forget_tries(&b);
                    if (reason == TRIED)
                        ceph_lb_set_tried(b.tried, out);
                    assert_true(balancer_choose(&b, &pick));
                    got[pick.index]++;
                    u.picks[(u.first + u.count++) % UNDER_WAY_MAX] = pick;
                    if (u.count > pace->under_way)
                        under_way_end_first(&u, &b);
                }
                under_way_end_all(&u, &b);
                if (reason == FULL)
                    ceph_lb_disconnect(balancer_state(&b, out), 1);
                assert_int_equal(got[out], 0);
                struct pace loose = *pace;
                loose.by_chance = true;
                assert_shares(&loose, got, weights, cases[c].n, cases[c].name);
                balancer_close(&b);
            }
        }
    }
}

/* The order of the tiers: as long as anybody of an earlier one can be used, nobody of a later one is. */
static void test_tiers_come_one_after_another(void **state)
{
    static const struct member members[] = {
        {.address = 1, .weight = 9, .backup = 1, .zone = "b"},
        {.address = 2, .weight = 1, .zone = "b"},
        {.address = 3, .weight = 1, .zone = "a"},
        {.address = 4, .weight = 9, .backup = 1, .zone = "a"},
        {.address = 5, .weight = 9, .zone = "b"},
        {.address = 6, .weight = 9, .zone = "a"},
    };
    static const unsigned tier_of[] = {3, 1, 0, 2, 1, 0}, expected[] = {0, 0, 1, 1, 2, 3};

    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        for (enum reason reason = FAILED; reason <= RESTING; reason++) {
            struct balancer b;
            ceph_lb_pick_t pick[COUNT_OF(members)];
            bool seen[COUNT_OF(members)] = {0};

            balancer_open(&b, method, members, COUNT_OF(members));
            list_free(b.list);
            b.list = NULL;
            b.zone = "a";
            balancer_take(&b, members, COUNT_OF(members));

            /* Many requests, for as long as nobody is out: only the first tier. */
            for (size_t i = 0; i < 1000; i++)
                assert_int_equal(tier_of[balancer_request(&b)], 0);

            /* One request that is tried everywhere. */
            balancer_forget_tries(&b);
            for (size_t i = 0; i < COUNT_OF(members); i++) {
                assert_true(balancer_choose(&b, &pick[i]));
                assert_false(seen[pick[i].index]);
                seen[pick[i].index] = true;
                assert_int_equal(tier_of[pick[i].index], expected[i]);
            }
            assert_false(balancer_choose(&b, &(ceph_lb_pick_t){0}));
            assert_int_equal(ceph_lb_untried(b.list, b.tried), 0);
            for (size_t i = 0; i < COUNT_OF(members); i++)
                balancer_done(&b, &pick[i], CEPH_LB_UNKNOWN);

            /* The same when they go out for all, one by one. */
            for (size_t i = 0; i < COUNT_OF(members); i++) {
                size_t chosen = balancer_request(&b);

                assert_int_equal(tier_of[chosen], expected[i]);
                put_out(&b, chosen, reason);
            }
            balancer_close(&b);
        }
    }
}

static void test_many_are_each_tried_once(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        struct balancer b;
        struct member members[MEMBERS_MAX];
        bool seen[MEMBERS_MAX] = {0};
        ceph_lb_pick_t pick;

        for (size_t i = 0; i < MEMBERS_MAX; i++)
            members[i] = (struct member){
                .address = (unsigned)i + 1, .weight = 1 + (uint32_t)i % 5, .backup = i % 3 == 0};
        balancer_open(&b, method, members, MEMBERS_MAX);
        for (size_t i = 0; i < MEMBERS_MAX; i++) {
            assert_int_equal(ceph_lb_untried(b.list, b.tried), MEMBERS_MAX - i);
            assert_true(balancer_choose(&b, &pick));
            assert_false(seen[pick.index]);
            seen[pick.index] = true;
            balancer_done(&b, &pick, CEPH_LB_FAILED);
        }
        assert_false(balancer_choose(&b, &pick));

        /* One that nothing was learnt about may be tried again. */
        ceph_lb_set_untried(b.tried, 77);
        assert_true(balancer_choose(&b, &pick));
        assert_int_equal(pick.index, 77);
        balancer_done(&b, &pick, CEPH_LB_ANSWERED);
        balancer_close(&b);
    }
}

static void test_nobody_to_choose(void **state)
{
    static const struct member down[] = {{.address = 1, .weight = 1, .row_state = "down"}};

    (void)state;
    for (size_t n = 0; n <= COUNT_OF(down); n++) {
        for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
            struct balancer b;
            ceph_lb_pick_t pick;

            balancer_open(&b, method, down, n);
            assert_int_equal(ceph_lb_tried_words(b.list), 0);
            assert_false(balancer_choose(&b, &pick));
            balancer_close(&b);
        }
    }
}

/* An address that another backend has by now is not sent to, by a list that is too old. */
static void test_forgotten_backends_are_not_chosen(void **state)
{
    static const struct member first[] = {{.address = 1, .weight = 1}, {.address = 2, .weight = 1}};
    static const struct member second[] = {{.address = 2, .weight = 1}, {.address = 3, .weight = 1}};

    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        struct balancer b;
        ceph_lb_pick_t pick;

        balancer_open(&b, method, first, 2);
        free(b.states);
        b.states = states_for(2, 2);
        balancer_take(&b, first, 2);
        b.now += CEPH_LB_FORGET_MS + 1;
        ceph_lb_list_t *list = list_of(second, 2);
        assert_int_equal(ceph_lb_states_bind(b.states, list, b.now), 0);

        for (size_t i = 0; i < 100; i++)
            assert_int_equal(balancer_request(&b), 1);
        balancer_forget_tries(&b);
        ceph_lb_set_tried(b.tried, 1);
        assert_false(balancer_choose(&b, &pick));
        ceph_lb_list_free(list);
        balancer_close(&b);
    }
}

/* Requests begin and end at random: nobody ever has too many, and none is refused while anybody has room. */
static void test_max_conns(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            enum { BACKENDS = 7, ROOM_MAX = 1 + 4 + 2 + 4 + 3 + 4 + 1 };
            static const uint32_t max_conns[BACKENDS] = {1, 4, 2, 4, 3, 4, 1};
            struct random random = random_seeded(seed);
            struct balancer b;
            struct member members[BACKENDS];
            ceph_lb_pick_t picks[ROOM_MAX];
            uint32_t count[BACKENDS] = {0};
            size_t n = 0, refused = 0;

            for (size_t i = 0; i < BACKENDS; i++)
                members[i] = (struct member){.address = (unsigned)i + 1,
                                             .weight = 1 + (uint32_t)random_below(&random, 9),
                                             .max_conns = max_conns[i],
                                             .backup = i > 4};
            balancer_open(&b, method, members, BACKENDS);
            for (size_t step = 0; step < 20 * 1000; step++) {
                b.now++;
                if (random_below(&random, 100) < 48 && n > 0) {
                    size_t i = random_below(&random, n);

                    count[picks[i].index]--;
                    balancer_done(&b, &picks[i], (ceph_lb_outcome_e)random_below(&random, 4));
                    picks[i] = picks[--n];
                    continue;
                }
                balancer_forget_tries(&b);
                ceph_lb_pick_t pick;
                if (!balancer_choose(&b, &pick)) {
                    assert_seeded(n == ROOM_MAX, seed);
                    refused++;
                    continue;
                }
                picks[n++] = pick;
                count[pick.index]++;
                assert_seeded(count[pick.index] <= max_conns[pick.index], seed);
                assert_seeded(balancer_connections(&b, pick.index) == count[pick.index], seed);
            }
            assert_seeded(refused > 0, seed);
            while (n > 0)
                balancer_done(&b, &picks[--n], CEPH_LB_UNKNOWN);
            balancer_close(&b);
        }
    }
}

/* Of those with as few, everybody in turn; and never one that has more for its weight. */
static void test_least_conn(void **state)
{
    static const struct member equal[] = {
        {.address = 1, .weight = 1}, {.address = 2, .weight = 1}, {.address = 3, .weight = 1}};
    static const struct member unequal[] = {{.address = 1, .weight = 2}, {.address = 2, .weight = 1}};
    size_t got[3] = {0};
    struct balancer b;
    ceph_lb_pick_t picks[9];

    (void)state;
    balancer_open(&b, CEPH_LB_LEAST_CONN, equal, 3);
    for (size_t i = 0; i < REQUESTS; i++)
        got[balancer_request(&b)]++;
    assert_shares(&(struct pace){CEPH_LB_LEAST_CONN, 0, false}, got, (const double[]){1, 1, 1}, 3, "ties");

    for (size_t i = 0; i < 9; i++) {
        picks[i] = balancer_begin(&b);
        for (size_t j = 0; j < 3; j++)
            assert_in_range(balancer_connections(&b, j), i / 3, i / 3 + 1);
    }
    for (size_t i = 0; i < 9; i++)
        balancer_done(&b, &picks[i], CEPH_LB_ANSWERED);
    balancer_close(&b);

    balancer_open(&b, CEPH_LB_LEAST_CONN, unequal, 2);
    for (size_t i = 0; i < 9; i++)
        picks[i] = balancer_begin(&b);
    assert_int_equal(balancer_connections(&b, 0), 6);
    assert_int_equal(balancer_connections(&b, 1), 3);
    for (size_t i = 0; i < 9; i++)
        balancer_done(&b, &picks[i], CEPH_LB_ANSWERED);
    balancer_close(&b);
}

/* The one of two that is busier for its weight is not taken. */
static void test_random_is_of_two(void **state)
{
    static const struct member members[] = {{.address = 1, .weight = 3}, {.address = 2, .weight = 1}};
    struct balancer b;

    (void)state;
    balancer_open(&b, CEPH_LB_RANDOM, members, 2);
    for (size_t i = 0; i < 4; i++)
        ceph_lb_connect(balancer_state(&b, 0), 1);
    ceph_lb_connect(balancer_state(&b, 1), 1);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(balancer_request(&b), 1);
    ceph_lb_disconnect(balancer_state(&b, 0), 1);
    ceph_lb_disconnect(balancer_state(&b, 0), 1);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(balancer_request(&b), 0);
    ceph_lb_disconnect(balancer_state(&b, 0), 1);
    ceph_lb_disconnect(balancer_state(&b, 0), 1);
    ceph_lb_disconnect(balancer_state(&b, 1), 1);
    balancer_close(&b);
}

static void test_warmth(void **state)
{
    static const struct {
        const char *name;
        uint64_t slow_start_ms, risen, now;
        double warmth;
    } cases[] = {
        {"no slow start", 0, 5000, 5000, 1},
        {"long there", 1000, 0, 5000, 1},
        {"just risen", 1000, 5000, 5000, 0.05},
        {"by a clock that is behind", 1000, 5000, 4990, 0.05},
        {"hardly warmer", 1000, 5000, 5049, 0.05},
        {"a tenth", 1000, 5000, 5100, 0.1},
        {"a quarter", 1000, 5000, 5250, 0.25},
        {"half", 1000, 5000, 5500, 0.5},
        {"three quarters", 1000, 5000, 5750, 0.75},
        {"almost", 1000, 5000, 5999, 0.999},
        {"there", 1000, 5000, 6000, 1},
        {"long after", 1000, 5000, 60000, 1},
    };
    ceph_lb_state_t *s = xcalloc(1, sizeof(*s) + sizeof(uint32_t));

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ceph_lb_policy_t policy = {.slow_start_ms = cases[i].slow_start_ms};

        s->risen = cases[i].risen;
        assert_row(fabs(ceph_lb_warmth(&policy, s, cases[i].now) - cases[i].warmth) < 1e-9, cases[i].name);
    }
    free(s);
}

/* A new backend has a part of its weight that grows evenly. */
static void test_slow_start(void **state)
{
    static const struct member members[] = {
        {.address = 1, .weight = 1}, {.address = 2, .weight = 2}, {.address = 3, .weight = 3}};
    static const struct pace slow_paces[] = {{CEPH_LB_ROUND_ROBIN, 0, false},
                                             {CEPH_LB_LEAST_CONN, 2000, false},
                                             {CEPH_LB_RANDOM, 0, false},
                                             {CEPH_LB_EWMA, 0, false}};

    (void)state;
    for (size_t p = 0; p < COUNT_OF(slow_paces); p++) {
        for (unsigned percent = 25; percent <= 100; percent += 25) {
            struct balancer b;
            struct under_way u = {.count = 0};
            size_t got[3] = {0};
            struct pace pace = slow_paces[p];
            const double weights[] = {1, 2, 3 * percent / 100.0};

            balancer_open(&b, pace.method, members, 2);
            b.policy.slow_start_ms = 1000;
            balancer_take(&b, members, 3);
            b.now += percent * 10;
            for (size_t i = 0; i < REQUESTS; i++)
                got[under_way_begin(&u, &b, pace.under_way)]++;
            under_way_end_all(&u, &b);
            pace.by_chance = true;
            assert_shares(&pace, got, weights, 3, "slow start");
            balancer_close(&b);
        }
    }
}

/* When all of them are new their weights still count. */
static void test_all_start_slowly(void **state)
{
    static const struct member before[] = {{.address = 9, .weight = 1}};
    static const struct member members[] = {
        {.address = 1, .weight = 1}, {.address = 2, .weight = 2}, {.address = 3, .weight = 3}};
    static const struct pace slow_paces[] = {
        {CEPH_LB_ROUND_ROBIN, 0, false}, {CEPH_LB_LEAST_CONN, 2000, false}, {CEPH_LB_RANDOM, 0, false}};

    (void)state;
    for (size_t p = 0; p < COUNT_OF(slow_paces); p++) {
        struct balancer b;
        struct under_way u = {.count = 0};
        size_t got[3] = {0};

        balancer_open(&b, slow_paces[p].method, before, 1);
        b.policy.slow_start_ms = 1000;
        balancer_take(&b, members, 3);
        for (size_t i = 0; i < REQUESTS; i++)
            got[under_way_begin(&u, &b, slow_paces[p].under_way)]++;
        under_way_end_all(&u, &b);
        assert_shares(&(struct pace){slow_paces[p].method, slow_paces[p].under_way, true}, got,
                      (const double[]){1, 2, 3}, 3, "all cold");
        balancer_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_rounds_are_exact),
        cmocka_unit_test(test_rounds_go_on_over_fresh_lists),
        cmocka_unit_test(test_others_share_in_proportion),
        cmocka_unit_test(test_tiers_come_one_after_another),
        cmocka_unit_test(test_many_are_each_tried_once),
        cmocka_unit_test(test_nobody_to_choose),
        cmocka_unit_test(test_forgotten_backends_are_not_chosen),
        cmocka_unit_test(test_max_conns),
        cmocka_unit_test(test_least_conn),
        cmocka_unit_test(test_random_is_of_two),
        cmocka_unit_test(test_warmth),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_all_start_slowly),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
