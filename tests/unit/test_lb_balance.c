#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ceph_lb_balance.h"

enum { BACKENDS_MAX = 200 };

typedef struct {
    unsigned address; /* the last number of 10.0.0.N */
    unsigned weight;
    unsigned max_conns;
    int backup;
} spec_t;

static void no_problem(void *data, size_t row, const char *address, const char *problem)
{
    (void)data;
    fail_msg("row %zu, %s: %s", row, address, problem);
}

static ceph_lb_list_t *make(ceph_lb_balance_t *balance, const spec_t *spec, size_t n)
{
    char text[4][16];
    size_t i, c;
    const char *error, *value[4];
    unsigned long len[4];
    ceph_lb_list_t *list;
    ceph_lb_table_t t;

    static const char *const names[] = {"address", "weight", "max_conns", "backup"};
    static const size_t lengths[] = {7, 6, 9, 6};

    ceph_lb_table_init(&t);
    assert_int_equal(ceph_lb_table_begin(&t, 4, names, lengths), 0);

    for (i = 0; i < n; i++) {
        (void)snprintf(text[0], 16, "10.0.0.%u", spec[i].address);
        (void)snprintf(text[1], 16, "%u", spec[i].weight);
        (void)snprintf(text[2], 16, "%u", spec[i].max_conns);
        (void)snprintf(text[3], 16, "%d", spec[i].backup);

        for (c = 0; c < 4; c++) {
            value[c] = text[c];
            len[c] = strlen(text[c]);
        }

        assert_int_equal(ceph_lb_table_add(&t, value, len), 0);
    }

    list = ceph_lb_list_create(&t, no_problem, NULL, &error);
    assert_non_null(list);
    ceph_lb_table_free(&t);
    assert_int_equal(ceph_lb_balance_bind(balance, list), 0);

    return list;
}

static void drop(ceph_lb_balance_t *balance, ceph_lb_list_t *list)
{
    ceph_lb_balance_unbind(balance, list);
    ceph_lb_list_free(list);
}

static void assert_forgotten(const ceph_lb_balance_t *balance)
{
    size_t i;

    for (i = 0; i < CEPH_LB_BUCKETS; i++) {
        assert_null(balance->buckets[i]);
    }
}

/* One request that goes well; returns the last number of its address. */
static unsigned request(const ceph_lb_list_t *list, long now)
{
    long i;
    uintptr_t tried[BACKENDS_MAX / CEPH_LB_WORD_BITS + 1] = {0};

    i = ceph_lb_choose(list, tried, now);
    assert_true(i >= 0 && (size_t)i < list->count);
    ceph_lb_done(list, (size_t)i, 0, now);

    return ntohl(list->backends[i].address.in.sin_addr.s_addr) & 0xff;
}

static void test_smooth(void **state)
{
    size_t i;
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 5, 0, 0}, {2, 1, 0, 0}, {3, 1, 0, 0}};
    const unsigned order[] = {1, 1, 2, 1, 3, 1, 1};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 3);

    for (i = 0; i < 70; i++) {
        assert_int_equal(request(list, 0), order[i % 7]);
    }

    drop(&balance, list);
    assert_forgotten(&balance);
}

/* Over one turn of the rotation each backend gets exactly its weight. */
static void test_shares_are_exact(void **state)
{
    size_t n, i, total, seed;
    unsigned got[256];
    spec_t spec[BACKENDS_MAX];
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;

    (void)state;

    for (seed = 1; seed < 40; seed++) {
        srand((unsigned)seed);
        ceph_lb_balance_init(&balance);
        memset(got, 0, sizeof(got));
        n = 1 + (size_t)rand() % BACKENDS_MAX;
        total = 0;

        for (i = 0; i < n; i++) {
            spec[i] = (spec_t){(unsigned)i + 1, 1 + (unsigned)rand() % 9, 0, 0};
            total += spec[i].weight;
        }

        list = make(&balance, spec, n);

        for (i = 0; i < 3 * total; i++) {
            got[request(list, 0)]++;
        }

        for (i = 0; i < n; i++) {
            assert_int_equal(got[spec[i].address], 3 * spec[i].weight);
        }

        drop(&balance, list);
        assert_forgotten(&balance);
    }
}

/* Every request has a list of its own, and still they take turns. */
static void test_rotation_goes_on_over_fresh_lists(void **state)
{
    size_t i;
    unsigned got[256] = {0};
    ceph_lb_list_t *last, *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 2, 0, 0}, {2, 1, 0, 0}, {3, 1, 0, 0}};
    const spec_t other[] = {{3, 1, 0, 0}, {2, 1, 0, 0}, {1, 2, 0, 0}};

    (void)state;
    ceph_lb_balance_init(&balance);
    last = make(&balance, spec, 3);

    for (i = 0; i < 400; i++) {
        list = make(&balance, i % 2 ? spec : other, 3);
        got[request(list, 0)]++;
        drop(&balance, last);
        last = list;
    }

    assert_int_equal(got[1], 200);
    assert_int_equal(got[2], 100);
    assert_int_equal(got[3], 100);
    drop(&balance, last);
    assert_forgotten(&balance);
}

static void test_each_is_tried_once_and_backups_last(void **state)
{
    size_t i;
    uintptr_t tried[1] = {0};
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 1, 0, 1}, {2, 1, 0, 0}, {3, 9, 0, 1}, {4, 9, 0, 0}};
    const long order[] = {3, 1, 2, 0};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 4);

    for (i = 0; i < 4; i++) {
        assert_int_equal(ceph_lb_choose(list, tried, 0), order[i]);
    }

    assert_int_equal(ceph_lb_choose(list, tried, 0), -1);
    drop(&balance, list);
}

static void test_many_are_each_tried_once(void **state)
{
    long c;
    char seen[BACKENDS_MAX] = {0};
    size_t i;
    spec_t spec[BACKENDS_MAX];
    uintptr_t *tried;
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;

    (void)state;
    ceph_lb_balance_init(&balance);

    for (i = 0; i < BACKENDS_MAX; i++) {
        spec[i] = (spec_t){(unsigned)i + 1, 1, 0, i % 3 == 0};
    }

    list = make(&balance, spec, BACKENDS_MAX);
    tried = calloc(ceph_lb_tried_words(list), sizeof(*tried));

    for (i = 0; i < BACKENDS_MAX; i++) {
        c = ceph_lb_choose(list, tried, 0);
        assert_true(c >= 0);
        assert_false(seen[c]);
        seen[c] = 1;
        ceph_lb_done(list, (size_t)c, 1, 0);
    }

    assert_int_equal(ceph_lb_choose(list, tried, 0), -1);
    free(tried);
    drop(&balance, list);
}

static void test_failed_ones_come_last(void **state)
{
    long now = 100;
    size_t i;
    uintptr_t tried[1] = {0};
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 1, 0, 0}, {2, 1, 0, 0}, {3, 1, 0, 1}};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 3);

    assert_int_equal(ceph_lb_choose(list, tried, now), 0);
    ceph_lb_done(list, 0, 1, now);

    for (i = 0; i < 10; i++) {
        assert_int_equal(request(list, now + CEPH_LB_FAIL_TIMEOUT), 2);
    }

    /* Healthy backups come before primaries that have failed. */

    tried[0] = 0;
    assert_int_equal(ceph_lb_choose(list, tried, now), 1);
    assert_int_equal(ceph_lb_choose(list, tried, now), 2);
    assert_int_equal(ceph_lb_choose(list, tried, now), 0);
    assert_int_equal(ceph_lb_choose(list, tried, now), -1);

    for (i = 0; i < 3; i++) {
        ceph_lb_done(list, i, i == 0, now);
    }

    /* After the time-out one request tries it, and it is back if that works. */

    now += CEPH_LB_FAIL_TIMEOUT + 1;
    tried[0] = 2;
    assert_int_equal(ceph_lb_choose(list, tried, now), 0);
    assert_int_equal(request(list, now), 2);
    assert_int_equal(request(list, now), 2);
    ceph_lb_done(list, 0, 0, now);
    assert_int_equal(request(list, now) + request(list, now), 3);

    drop(&balance, list);
}

static void test_failure_outlives_the_list(void **state)
{
    uintptr_t tried[1] = {0};
    ceph_lb_list_t *list, *next;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 1, 0, 0}, {2, 1, 0, 0}};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 2);
    assert_int_equal(ceph_lb_choose(list, tried, 0), 0);
    next = make(&balance, spec, 2);
    ceph_lb_done(list, 0, 1, 0);
    drop(&balance, list);

    assert_int_equal(request(next, 1), 2);
    assert_int_equal(request(next, 1), 2);
    drop(&balance, next);
    assert_forgotten(&balance);
}

static void test_max_conns(void **state)
{
    uintptr_t tried[3] = {0};
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 1, 2, 0}};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 1);

    assert_int_equal(ceph_lb_choose(list, &tried[0], 0), 0);
    assert_int_equal(ceph_lb_choose(list, &tried[1], 0), 0);
    assert_int_equal(ceph_lb_choose(list, &tried[2], 0), -1);
    ceph_lb_done(list, 0, 0, 0);
    assert_int_equal(ceph_lb_choose(list, &tried[2], 0), 0);
    drop(&balance, list);
}

static void test_undo(void **state)
{
    uintptr_t tried[1] = {0};
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 1, 1, 0}};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 1);

    assert_int_equal(ceph_lb_choose(list, tried, 0), 0);
    ceph_lb_undo(list, tried, 0);
    assert_int_equal(ceph_lb_choose(list, tried, 0), 0);
    drop(&balance, list);
}

/* As long as there is another one, the request goes there. */
static void test_undo_prefers_others(void **state)
{
    long first, second;
    uintptr_t tried[1] = {0};
    ceph_lb_list_t *list;
    ceph_lb_balance_t balance;
    const spec_t spec[] = {{1, 5, 1, 0}, {2, 1, 1, 0}};

    (void)state;
    ceph_lb_balance_init(&balance);
    list = make(&balance, spec, 2);

    first = ceph_lb_choose(list, tried, 0);
    assert_int_equal(first, 0);
    ceph_lb_undo(list, tried, (size_t)first);
    second = ceph_lb_choose(list, tried, 0);
    assert_int_equal(second, 1);
    ceph_lb_undo(list, tried, (size_t)second);
    assert_int_equal(ceph_lb_choose(list, tried, 0), second);
    drop(&balance, list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smooth),
        cmocka_unit_test(test_shares_are_exact),
        cmocka_unit_test(test_rotation_goes_on_over_fresh_lists),
        cmocka_unit_test(test_each_is_tried_once_and_backups_last),
        cmocka_unit_test(test_many_are_each_tried_once),
        cmocka_unit_test(test_failed_ones_come_last),
        cmocka_unit_test(test_failure_outlives_the_list),
        cmocka_unit_test(test_max_conns),
        cmocka_unit_test(test_undo),
        cmocka_unit_test(test_undo_prefers_others),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
