#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ceph_lb_report.h"

enum { SLOTS = 2, CAPACITY = 8, NOW = 1000000 };

/* One table of states, and a list that is bound to it. */
struct bound {
    ceph_lb_states_t *states;
    ceph_lb_list_t *list;
};

static const ceph_lb_policy_t policy = {CEPH_LB_ROUND_ROBIN, 2, 10000, 20000};

static void no_problem(void *data, size_t row, const char *address, const char *problem)
{
    (void)data;
    fail_msg("row %zu, %s: %s", row, address, problem);
}

/* Rows of an address, a weight, a state, and a "max_conns". */
static ceph_lb_list_t *make_list(const char *const (*rows)[4], size_t n)
{
    size_t i, c;
    const char *error;
    unsigned long lengths[4];
    ceph_lb_list_t *list;
    ceph_lb_table_t table;

    static const char *const names[] = {"address", "weight", "state", "max_conns"};
    static const size_t name_lengths[] = {7, 6, 5, 9};

    ceph_lb_table_init(&table);
    assert_int_equal(ceph_lb_table_begin(&table, 4, names, name_lengths), 0);

    for (i = 0; i < n; i++) {
        for (c = 0; c < 4; c++) {
            lengths[c] = strlen(rows[i][c]);
        }

        assert_int_equal(ceph_lb_table_add(&table, rows[i], lengths), 0);
    }

    list = ceph_lb_list_create(&table, no_problem, NULL, &error);
    assert_non_null(list);
    ceph_lb_table_free(&table);

    return list;
}

static struct bound bind_list(const char *const (*rows)[4], size_t n)
{
    struct bound b;

    b.states = calloc(1, ceph_lb_states_size(SLOTS, CAPACITY));
    assert_non_null(b.states);
    ceph_lb_states_init(b.states, SLOTS, CAPACITY);

    b.list = make_list(rows, n);
    assert_int_equal(ceph_lb_states_bind(b.states, b.list, NOW), 0);

    return b;
}

static void drop(struct bound *b)
{
    ceph_lb_list_free(b->list);
    free(b->states);
}

static ceph_lb_report_t look(const struct bound *b, size_t i, uint64_t now)
{
    ceph_lb_report_t report;

    ceph_lb_report(&policy, b->list, i, now, &report);

    return report;
}

static const char *const one[][4] = {{"10.0.0.1", "3", "up", "2"}};

static void test_one_that_nothing_is_known_of(void **state)
{
    struct bound b = bind_list(one, 1);
    ceph_lb_report_t report = look(&b, 0, NOW);

    (void)state;

    assert_int_equal(report.condition, CEPH_LB_IS_READY);
    assert_int_equal(report.weight, 3);
    assert_int_equal(report.max_conns, 2);
    assert_int_equal(report.backup, 0);
    assert_int_equal(report.connections, 0);
    assert_int_equal(report.requests, 0);
    assert_int_equal(report.failures, 0);
    assert_int_equal(report.warmth_percent, 100);
    assert_true(report.wait_ms == CEPH_LB_NONE);
    assert_true(report.failed_ms == CEPH_LB_NONE);
    assert_true(report.latency_us == CEPH_LB_NONE);
    drop(&b);
}

/* By the table alone; what it works on is shown all the same. */
static void test_those_that_get_no_requests(void **state)
{
    size_t i;
    struct bound b;
    ceph_lb_report_t report;

    static const char *const rows[][4] = {
        {"10.0.0.1", "1", "drain", "1"}, {"10.0.0.2", "1", "down", "1"}, {"10.0.0.3", "0", "up", "1"}};
    static const ceph_lb_report_condition_e expected[] = {CEPH_LB_IS_DRAINED, CEPH_LB_IS_DOWN,
                                                          CEPH_LB_IS_DRAINED};

    (void)state;

    b = bind_list(rows, 3);
    assert_int_equal(b.list->count, 0);

    for (i = 0; i < 3; i++) {
        ceph_lb_connect(b.list->backends[i].state, 1);
        atomic_store(&b.list->backends[i].state->requests, 7);
        atomic_store(&b.list->backends[i].state->fails, 2);
        report = look(&b, i, NOW);
        assert_int_equal(report.condition, expected[i]);
        assert_int_equal(report.connections, 1);
        assert_int_equal(report.requests, 7);
    }

    drop(&b);
}

static void test_failed(void **state)
{
    size_t i;
    ceph_lb_state_t *s;
    struct bound b = bind_list(one, 1);
    ceph_lb_report_t report;

    /* After the failure, until the trial; another worker's clock may be behind. */
    static const struct {
        int64_t after;
        uint64_t wait, ago;
    } cases[] = {{0, 10000, 0}, {1, 9999, 1}, {10000, 0, 10000}, {10001, 0, 10001}, {99999, 0, 99999}};

    (void)state;

    s = b.list->backends[0].state;
    atomic_store(&s->failures, 5);
    atomic_store(&s->failed, NOW);
    atomic_store(&s->checked, NOW);
    atomic_store(&s->fails, 1);
    report = look(&b, 0, NOW + 7);
    assert_int_equal(report.condition, CEPH_LB_IS_READY);
    assert_int_equal(report.failures, 5);
    assert_int_equal(report.failed_ms, 7);

    atomic_store(&s->fails, 2);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        report = look(&b, 0, (uint64_t)(NOW + cases[i].after));
        assert_int_equal(report.condition, CEPH_LB_IS_FAILED);
        assert_int_equal(report.wait_ms, cases[i].wait);
        assert_int_equal(report.failed_ms, cases[i].ago);
    }

    assert_int_equal(look(&b, 0, NOW - 3).failed_ms, 0);
    drop(&b);
}

static void test_resting_full_and_starting(void **state)
{
    ceph_lb_state_t *s;
    struct bound b = bind_list(one, 1);

    (void)state;

    s = b.list->backends[0].state;

    atomic_store(&s->resting, NOW + 5000);
    assert_int_equal(look(&b, 0, NOW).condition, CEPH_LB_IS_RESTING);
    assert_int_equal(look(&b, 0, NOW).wait_ms, 5000);
    assert_int_equal(look(&b, 0, NOW + 4999).wait_ms, 1);
    assert_int_equal(look(&b, 0, NOW + 5000).condition, CEPH_LB_IS_READY);
    atomic_store(&s->resting, 0);

    atomic_store(&s->risen, NOW);
    assert_int_equal(look(&b, 0, NOW + 5000).condition, CEPH_LB_IS_STARTING);
    assert_int_equal(look(&b, 0, NOW + 5000).warmth_percent, 25);
    assert_int_equal(look(&b, 0, NOW + 20000).condition, CEPH_LB_IS_READY);
    assert_int_equal(look(&b, 0, NOW + 20000).warmth_percent, 100);

    /* Of both slots together. */
    ceph_lb_connect(s, 0);
    assert_int_equal(look(&b, 0, NOW).connections, 1);
    ceph_lb_connect(s, 1);
    assert_int_equal(look(&b, 0, NOW).connections, 2);
    assert_int_equal(look(&b, 0, NOW).condition, CEPH_LB_IS_FULL);

    ceph_lb_measure(s, 1500, NOW);
    assert_int_equal(look(&b, 0, NOW).latency_us, 1500);
    drop(&b);
}

static void test_one_whose_entry_went_to_another(void **state)
{
    struct bound b = bind_list(one, 1);
    ceph_lb_report_t report;

    (void)state;

    atomic_store(&b.list->backends[0].state->requests, 7);
    atomic_fetch_add(&b.list->backends[0].state->generation, 1);
    report = look(&b, 0, NOW);
    assert_int_equal(report.condition, CEPH_LB_IS_UNKNOWN);
    assert_int_equal(report.requests, 0);
    assert_int_equal(report.weight, 3);
    drop(&b);
}

static void test_means_and_words(void **state)
{
    int i;

    (void)state;

    assert_true(ceph_lb_mean(5, 0) == CEPH_LB_NONE);
    assert_int_equal(ceph_lb_mean(0, 3), 0);
    assert_int_equal(ceph_lb_mean(7, 2), 4);
    assert_int_equal(ceph_lb_mean(10, 3), 3);

    for (i = 0; i < CEPH_LB_CONDITIONS; i++) {
        assert_non_null(ceph_lb_condition_word((ceph_lb_report_condition_e)i));
    }

    assert_string_equal(ceph_lb_condition_word(CEPH_LB_IS_UNKNOWN), "unknown");
    assert_string_equal(ceph_lb_row_state_word(CEPH_LB_DOWN), "down");
    assert_string_equal(ceph_lb_method_word(CEPH_LB_EWMA), "ewma");
    assert_string_equal(ceph_lb_method_word(CEPH_LB_HASH), "hash");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_nothing_is_known_of),
        cmocka_unit_test(test_those_that_get_no_requests),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_resting_full_and_starting),
        cmocka_unit_test(test_one_whose_entry_went_to_another),
        cmocka_unit_test(test_means_and_words),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
