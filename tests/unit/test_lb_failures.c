/* Backends that fail, ask for rest, or hang: when they are left alone, when they are tried, when they are back. */

#include <math.h>

#include "balancer.h"

enum { TIMEOUT = 10 * 1000 };

static const struct member three[] = {
    {.address = 1, .weight = 1}, {.address = 2, .weight = 1}, {.address = 3, .weight = 1}};

static ceph_lb_condition_e condition(const struct balancer *b, size_t i)
{
    return ceph_lb_condition(&b->policy, b->states, &b->list->backends[i], b->now);
}

static void test_when_a_backend_is_left_alone(void **state)
{
    static const struct {
        const char *name;
        uint32_t max_fails;
        uint64_t fails_at[8]; /* after the beginning; 0: no more */
        uint64_t asked_at;
        ceph_lb_condition_e condition;
    } cases[] = {
        {"never failed", 1, {0}, 1, CEPH_LB_READY},
        {"failed once", 1, {1}, 1, CEPH_LB_AVOIDED},
        {"the whole time-out", 1, {1}, 1 + TIMEOUT, CEPH_LB_AVOIDED},
        {"and after it", 1, {1}, 2 + TIMEOUT, CEPH_LB_TRIAL},
        {"failed again", 1, {1, 5000}, 2 + TIMEOUT, CEPH_LB_AVOIDED},
        {"failed again, after it", 1, {1, 5000}, 5001 + TIMEOUT, CEPH_LB_TRIAL},
        {"seen by a clock that is behind", 1, {500}, 499, CEPH_LB_AVOIDED},
        {"never counted", 0, {1, 2, 3, 4, 5, 6, 7, 8}, 9, CEPH_LB_READY},
        {"two of three", 3, {1, 2}, 3, CEPH_LB_READY},
        {"three at once", 3, {1, 1, 1}, 1, CEPH_LB_AVOIDED},
        {"three within the window", 3, {1, 5000, 1 + TIMEOUT}, 1 + TIMEOUT, CEPH_LB_AVOIDED},
        {"three over it", 3, {1, 5000, 2 + TIMEOUT}, 2 + TIMEOUT, CEPH_LB_READY},
        {"a window of their own",
         3,
         {1, 2 + TIMEOUT, 3 + TIMEOUT, 2 + 2 * TIMEOUT},
         2 + 2 * TIMEOUT,
         CEPH_LB_AVOIDED},
        {"three by clocks that differ", 3, {500, 499, 498}, 500, CEPH_LB_AVOIDED},
        {"one now and then", 3, {1, 9000, 18000, 27000, 36000, 45000, 54000, 63000}, 63000, CEPH_LB_READY},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        size_t n = 0;
        struct balancer b;

        balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 3);
        b.policy.max_fails = cases[c].max_fails;
        for (; n < 8 && cases[c].fails_at[n] != 0; n++) {
            b.now = BEGINNING + cases[c].fails_at[n];
            balancer_fail(&b, 1);
        }
        b.now = BEGINNING + cases[c].asked_at;
        assert_row(condition(&b, 1) == cases[c].condition, cases[c].name);
        assert_row(condition(&b, 0) == CEPH_LB_READY, cases[c].name);
        assert_row(balancer_state(&b, 1)->failures == n, cases[c].name);
        balancer_close(&b);
    }
}

/* For as long as trials come to nothing there is one for each time-out, soon after its end. */
static void test_one_trial_each_time(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        enum { TRIALS = 5, SOON = 100 };
        struct balancer b;
        size_t trials = 0;

        balancer_open(&b, method, three, 3);
        balancer_fail(&b, 1);
        for (uint64_t due = b.now + TIMEOUT + 1; trials < TRIALS; b.now++) {
            for (size_t i = 0; i < 3; i++) {
                ceph_lb_pick_t pick = balancer_begin(&b);
                bool is_trial = pick.index == 1;

                balancer_done(&b, &pick, is_trial ? CEPH_LB_UNKNOWN : CEPH_LB_ANSWERED);
                if (!is_trial)
                    continue;
                assert_in_range(b.now, due, due + SOON);
                assert_int_equal(condition(&b, 1), CEPH_LB_AVOIDED);
                due = b.now + TIMEOUT + 1;
                trials++;
            }
            assert_true(b.now <= due + SOON);
        }
        balancer_close(&b);
    }
}

/* While a trial is under way nobody else goes there. */
static void test_a_trial_is_alone(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        struct balancer b;
        ceph_lb_pick_t trial = {0};

        balancer_open(&b, method, three, 3);
        balancer_fail(&b, 2);
        b.now += TIMEOUT + 1;
        for (size_t i = 0; i < 1000 && trial.state == NULL; i++) {
            ceph_lb_pick_t pick = balancer_begin(&b);

            if (pick.index == 2)
                trial = pick;
            else
                balancer_done(&b, &pick, CEPH_LB_ANSWERED);
        }
        assert_non_null(trial.state);
        for (size_t i = 0; i < 1000; i++) {
            b.now += (TIMEOUT - 1000) / 1000;
            assert_int_not_equal(balancer_request(&b), 2);
        }
        balancer_done(&b, &trial, CEPH_LB_ANSWERED);
        assert_int_equal(condition(&b, 2), CEPH_LB_READY);
        balancer_close(&b);
    }
}

static void test_what_brings_a_backend_back(void **state)
{
    static const struct {
        const char *name;
        uint64_t began, failed, answered; /* after the beginning */
        ceph_lb_outcome_e outcome;
        bool back;
    } cases[] = {
        {"an answer to what came after the failure", 11, 10, 20, CEPH_LB_ANSWERED, true},
        {"an answer to what came before", 9, 10, 20, CEPH_LB_ANSWERED, false},
        {"an answer to what came just then", 10, 10, 20, CEPH_LB_ANSWERED, false},
        {"a failure", 11, 10, 20, CEPH_LB_FAILED, false},
        {"a wish for rest", 11, 10, 20, CEPH_LB_RESTING, false},
        {"nothing known", 11, 10, 20, CEPH_LB_UNKNOWN, false},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct balancer b;

        balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 1);
        ceph_lb_pick_t pick = {.state = balancer_state(&b, 0), .since = BEGINNING + cases[c].began};

        ceph_lb_connect(pick.state, 0);
        b.now = BEGINNING + cases[c].failed;
        balancer_fail(&b, 0);
        b.now = BEGINNING + cases[c].answered;
        balancer_done(&b, &pick, cases[c].outcome);
        assert_row((condition(&b, 0) == CEPH_LB_READY) == cases[c].back, cases[c].name);
        assert_row(balancer_state(&b, 0)->risen == (cases[c].back ? b.now : 0), cases[c].name);
        balancer_close(&b);
    }
}

/* Answers do not take back failures that were too few, and nobody rises who was never gone. */
static void test_answers_do_not_undo_failures(void **state)
{
    struct balancer b;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 1);
    b.policy.max_fails = 3;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(condition(&b, 0), CEPH_LB_READY);
        balancer_fail(&b, 0);
        b.now++;
        balancer_request_at(&b, 0, CEPH_LB_ANSWERED, 0);
        b.now++;
        if (i < 2)
            assert_int_equal(balancer_state(&b, 0)->risen, 0);
    }
    assert_int_equal(balancer_state(&b, 0)->failures, 3);
    balancer_close(&b);
}

static void test_failures_outlive_the_list(void **state)
{
    struct balancer b;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 3);
    balancer_fail(&b, 1);
    balancer_take(&b, three + 1, 2);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(balancer_request(&b), 1);
    balancer_close(&b);
}

/* When all have failed each is tried, the one first that was left alone for longest. */
static void test_least_bad(void **state)
{
    static const size_t order[] = {2, 0, 1};

    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        struct balancer b;
        ceph_lb_pick_t picks[3];

        balancer_open(&b, method, three, 3);
        for (size_t i = 0; i < 3; i++, b.now++)
            balancer_fail(&b, order[i]);

        balancer_forget_tries(&b);
        for (size_t i = 0; i < 3; i++) {
            assert_true(balancer_choose(&b, &picks[i]));
            assert_int_equal(picks[i].index, order[i]);
            b.now++;
        }
        assert_false(balancer_choose(&b, &picks[0]));
        for (size_t i = 0; i < 3; i++)
            balancer_done(&b, &picks[i], CEPH_LB_UNKNOWN);

        /* Different requests do not all go to the same one. */
        for (size_t i = 0; i < 9; i++) {
            b.now++;
            picks[0] = balancer_begin(&b);
            assert_int_equal(picks[0].index, order[i % 3]);
            balancer_done(&b, &picks[0], CEPH_LB_UNKNOWN);
        }

        /* One that answers is back at once. */
        b.now++;
        assert_int_equal(balancer_request(&b), order[0]);
        for (size_t i = 0; i < 9; i++)
            assert_int_equal(balancer_request(&b), order[0]);
        balancer_close(&b);
    }
}

/* Those that were left alone for as long share the requests, also within a millisecond. */
static void test_all_failed_at_once(void **state)
{
    size_t got[3] = {0};
    struct balancer b;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 3);
    for (size_t i = 0; i < 3; i++)
        balancer_fail(&b, i);
    for (size_t i = 0; i < 30 * 1000; i++) {
        ceph_lb_pick_t pick = balancer_begin(&b);

        got[pick.index]++;
        balancer_done(&b, &pick, CEPH_LB_UNKNOWN);
        b.now += i % 100 == 0;
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(got[i], 9500, 10500);
    balancer_close(&b);
}

/* Who has failed comes before who asked for rest; of those who rest the one that is ready soonest. */
static void test_least_bad_of_those_who_rest(void **state)
{
    static const size_t order[] = {1, 2, 0};
    struct balancer b;
    ceph_lb_pick_t pick;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 3);
    balancer_request_at(&b, 0, CEPH_LB_RESTING, 9000);
    balancer_request_at(&b, 2, CEPH_LB_RESTING, 5000);
    balancer_fail(&b, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_true(balancer_choose(&b, &pick));
        assert_int_equal(pick.index, order[i]);
        balancer_done(&b, &pick, CEPH_LB_UNKNOWN);
    }
    balancer_close(&b);
}

/* Also a backend without a rival is never given more than it may have. */
static void test_the_least_bad_may_be_full(void **state)
{
    static const struct member one[] = {{.address = 1, .weight = 1, .max_conns = 1}};
    struct balancer b;
    ceph_lb_pick_t pick, none;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, one, 1);
    balancer_fail(&b, 0);
    pick = balancer_begin(&b);
    balancer_forget_tries(&b);
    assert_int_equal(condition(&b, 0), CEPH_LB_FULL);
    assert_false(balancer_choose(&b, &none));
    balancer_done(&b, &pick, CEPH_LB_UNKNOWN);
    balancer_close(&b);
}

static void test_rest(void **state)
{
    (void)state;
    for (ceph_lb_method_e method = CEPH_LB_ROUND_ROBIN; method <= CEPH_LB_HASH; method++) {
        struct balancer b;
        size_t got = 0;

        balancer_open(&b, method, three, 3);
        balancer_request_at(&b, 1, CEPH_LB_RESTING, 5000);
        assert_int_equal(balancer_state(&b, 1)->failures, 0);
        for (size_t ms = 0; ms < 5000; ms++, b.now++)
            assert_int_not_equal(balancer_request(&b), 1);
        assert_int_equal(condition(&b, 1), CEPH_LB_READY);
        assert_int_equal(balancer_state(&b, 1)->risen, 0);
        for (size_t i = 0; i < 3000; i++)
            got += balancer_request(&b) == 1;
        assert_in_range(got, 800, 1200);
        balancer_close(&b);
    }
}

/* A backend that is back from a failure starts slowly, too. */
static void test_slow_start_after_a_failure(void **state)
{
    struct balancer b;
    size_t got = 0;

    (void)state;
    balancer_open(&b, CEPH_LB_ROUND_ROBIN, three, 2);
    b.policy.slow_start_ms = 1000;
    balancer_fail(&b, 0);
    b.now += TIMEOUT + 1;
    balancer_request_at(&b, 0, CEPH_LB_ANSWERED, 0);
    b.now += 500;
    for (size_t i = 0; i < 30 * 1000; i++)
        got += balancer_request(&b) == 0;
    assert_in_range(got, 9500, 10500);
    balancer_close(&b);
}

/* With "ewma": latencies as they were measured so many milliseconds ago. */
static void set_latency(struct balancer *b, size_t i, uint32_t us, uint64_t age)
{
    balancer_state(b, i)->latency_us = us;
    balancer_state(b, i)->measured = b->now - age;
}

static size_t requests_to(struct balancer *b, size_t wanted, size_t n)
{
    size_t got = 0;

    for (size_t i = 0; i < n; i++)
        got += balancer_request(b) == wanted;
    return got;
}

static void test_ewma_prefers_the_faster_of_two(void **state)
{
    static const struct {
        const char *name;
        uint32_t latency_us[2];
        uint64_t age[2];
        uint32_t connections[2];
        size_t least, most; /* of 100 requests to the second one */
    } cases[] = {
        {"as fast", {9000, 9000}, {0, 0}, {0, 0}, 25, 75},
        {"slower", {9000, 10000}, {0, 0}, {0, 0}, 0, 0},
        {"faster", {9000, 8000}, {0, 0}, {0, 0}, 100, 100},
        {"as fast but busier", {9000, 9000}, {0, 0}, {1, 2}, 0, 0},
        {"much faster and busier", {9000, 1000}, {0, 0}, {1, 5}, 100, 100},
        {"not known", {9000, 0}, {0, 0}, {0, 0}, 100, 100},
        {"not known, and under way", {9000, 0}, {0, 0}, {0, 1}, 0, 0},
        {"neither known, both under way", {0, 0}, {0, 0}, {1, 1}, 25, 75},
        {"slow a while ago", {9000, 20000}, {0, 1000}, {0, 0}, 0, 0},
        {"slow a long while ago", {9000, 20000}, {0, 1300}, {0, 0}, 100, 100},
        {"slow a long while ago, and under way", {9000, 20000}, {0, 9000}, {0, 1}, 0, 0},
        {"measured by a clock that is ahead", {9000, 20000}, {0, (uint64_t)-1}, {0, 0}, 0, 0},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct balancer b;
        size_t got;

        balancer_open(&b, CEPH_LB_EWMA, three, 2);
        for (size_t i = 0; i < 2; i++) {
            set_latency(&b, i, cases[c].latency_us[i], cases[c].age[i]);
            for (uint32_t n = 0; n < cases[c].connections[i]; n++)
                ceph_lb_connect(balancer_state(&b, i), 1);
        }
        got = requests_to(&b, 1, 100);
        assert_row(got >= cases[c].least && got <= cases[c].most, cases[c].name);
        for (size_t i = 0; i < 2; i++) {
            for (uint32_t n = 0; n < cases[c].connections[i]; n++)
                ceph_lb_disconnect(balancer_state(&b, i), 1);
        }
        balancer_close(&b);
    }
}

/* Three backends that answer after different times: who is slow gets little, and is not forgotten. */
static void test_ewma_over_time(void **state)
{
    static const uint32_t takes_ms[] = {10, 10, 200};
    enum { SECONDS = 60, EVERY_MS = 2 };
    struct balancer b;
    struct {
        ceph_lb_pick_t pick;
        uint64_t ends;
    } *requests = xcalloc(UNDER_WAY_MAX, sizeof(*requests));
    size_t got[3] = {0}, n = 0;

    (void)state;
    balancer_open(&b, CEPH_LB_EWMA, three, 3);
    for (; b.now < BEGINNING + SECONDS * 1000; b.now++) {
        for (size_t i = 0; i < n;) {
            if (requests[i].ends > b.now) {
                i++;
                continue;
            }
            ceph_lb_measure(requests[i].pick.state, takes_ms[requests[i].pick.index] * 1000, b.now);
            balancer_done(&b, &requests[i].pick, CEPH_LB_ANSWERED);
            requests[i] = requests[--n];
        }
        if (b.now % EVERY_MS == 0) {
            assert_true(n < UNDER_WAY_MAX);
            requests[n].pick = balancer_begin(&b);
            requests[n].ends = b.now + takes_ms[requests[n].pick.index];
            got[requests[n++].pick.index]++;
        }
    }
    while (n > 0)
        balancer_done(&b, &requests[--n].pick, CEPH_LB_UNKNOWN);
    assert_in_range(got[2], SECONDS / 10, SECONDS * 1000 / EVERY_MS / 20);
    assert_true(got[0] > 9000 && got[1] > 9000);
    balancer_close(&b);
    free(requests);
}

/* One that says nothing any more gets no more and more requests, however long ago it was quick. */
static void test_ewma_does_not_feed_the_silent(void **state)
{
    for (uint32_t known_us = 0; known_us <= 10 * 1000; known_us += 10 * 1000) {
        struct balancer b;
        ceph_lb_pick_t *stuck = xcalloc(UNDER_WAY_MAX, sizeof(*stuck));
        size_t n = 0;

        (void)state;
        balancer_open(&b, CEPH_LB_EWMA, three, 3);
        for (size_t i = 0; i < 3; i++)
            set_latency(&b, i, i == 0 ? known_us : 10 * 1000, 0);
        for (size_t i = 0; i < 30 * 1000; i++, b.now++) {
            ceph_lb_pick_t pick = balancer_begin(&b);

            if (pick.index == 0) {
                assert_true(n < UNDER_WAY_MAX);
                stuck[n++] = pick;
                continue;
            }
            ceph_lb_measure(pick.state, 10 * 1000, b.now);
            balancer_done(&b, &pick, CEPH_LB_ANSWERED);
        }
        if (n < 1 || n > 3)
            fail_msg("%zu requests hang, latency was %" PRIu32 " us", n, known_us);
        while (n > 0)
            balancer_done(&b, &stuck[--n], CEPH_LB_UNKNOWN);
        balancer_close(&b);
        free(stuck);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when_a_backend_is_left_alone),
        cmocka_unit_test(test_one_trial_each_time),
        cmocka_unit_test(test_a_trial_is_alone),
        cmocka_unit_test(test_what_brings_a_backend_back),
        cmocka_unit_test(test_answers_do_not_undo_failures),
        cmocka_unit_test(test_failures_outlive_the_list),
        cmocka_unit_test(test_least_bad),
        cmocka_unit_test(test_all_failed_at_once),
        cmocka_unit_test(test_least_bad_of_those_who_rest),
        cmocka_unit_test(test_the_least_bad_may_be_full),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_slow_start_after_a_failure),
        cmocka_unit_test(test_ewma_prefers_the_faster_of_two),
        cmocka_unit_test(test_ewma_over_time),
        cmocka_unit_test(test_ewma_does_not_feed_the_silent),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
