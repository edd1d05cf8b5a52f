#include "support.h"

#include "memory_budget.h"

static void test_take(void **state)
{
    struct memory_budget budget = {.total = 100};

    (void)state;
    assert_true(memory_budget_take(&budget, 60));
    assert_int_equal(budget.used, 60);
    assert_false(memory_budget_take(&budget, 41));
    assert_int_equal(budget.used, 60);
    assert_true(memory_budget_take(&budget, 40));
    assert_int_equal(budget.used, 100);
    assert_false(memory_budget_take(&budget, 1));
    assert_true(memory_budget_take(&budget, 0));

    memory_budget_return(&budget, 60);
    assert_int_equal(budget.used, 40);
    assert_true(memory_budget_take(&budget, 60));
    memory_budget_return(&budget, 100);
    assert_int_equal(budget.used, 0);
}

/* What is alone may be larger than the budget; nothing joins it then. */
static void test_take_alone(void **state)
{
    struct memory_budget budget = {.total = 100};

    (void)state;
    assert_true(memory_budget_take(&budget, 1000));
    assert_int_equal(budget.used, 1000);
    assert_false(memory_budget_take(&budget, 1));
    assert_false(memory_budget_take(&budget, 1000));
    memory_budget_return(&budget, 1000);
    assert_true(memory_budget_take(&budget, 1));
    assert_false(memory_budget_take(&budget, 1000));
    assert_int_equal(budget.used, 1);
}

static void test_take_does_not_wrap(void **state)
{
    struct memory_budget budget = {.total = 100};

    (void)state;
    assert_true(memory_budget_take(&budget, 10));
    assert_false(memory_budget_take(&budget, SIZE_MAX));
    assert_false(memory_budget_take(&budget, SIZE_MAX - 5));
    assert_int_equal(budget.used, 10);
}

static void test_take_some(void **state)
{
    static const struct {
        size_t used, wanted, least, taken;
    } rows[] = {
        {0, 50, 10, 50},                                         /* there is enough */
        {0, 100, 10, 100}, {0, 500, 10, 100},                    /* what there is */
        {70, 50, 10, 30},  {90, 50, 10, 10},   {95, 50, 10, 10}, /* the least, above the budget */
        {100, 50, 10, 10}, {1000, 50, 10, 10}, {100, 5, 10, 5},  /* never more than is wanted */
        {0, 5, 10, 5},     {0, 0, 10, 0},      {100, 50, 0, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct memory_budget budget = {.total = 100, .used = rows[i].used};
        size_t taken = memory_budget_take_some(&budget, rows[i].wanted, rows[i].least);

        if (taken != rows[i].taken || budget.used != rows[i].used + taken)
            fail_msg("row %zu: %zu taken, %zu used", i, taken, budget.used);
    }
}

/* Takers of both kinds come and go. The account is always the sum of what they hold, and only two things
 * bring it above the total: a single taker that is larger, and the least that a stream needs. */
static void test_account(void **state)
{
    enum { TOTAL = 1000, LEAST = 10, HOLDERS_MAX = 64 };
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 200; seed++) {
        struct random random = random_seeded(seed);
        struct memory_budget budget = {.total = TOTAL};
        size_t held[HOLDERS_MAX], holders = 0, sum = 0, step;

        for (step = 0; step < 400; step++) {
            size_t bytes = random_below(&random, 400), which;

            if (holders != 0 && (holders == HOLDERS_MAX || random_below(&random, 2) == 0)) {
                which = random_below(&random, holders);
                memory_budget_return(&budget, held[which]);
                sum -= held[which];
                held[which] = held[--holders];
            } else if (random_below(&random, 2) == 0) {
                bool fits = sum == 0 || sum + bytes <= TOTAL;
                assert_seeded(memory_budget_take(&budget, bytes) == fits, seed);
                if (fits) {
                    held[holders++] = bytes;
                    sum += bytes;
                }
            } else {
                size_t taken = memory_budget_take_some(&budget, bytes, LEAST);
                assert_seeded(taken <= bytes && (taken >= LEAST || taken == bytes), seed);
                assert_seeded(sum + taken <= TOTAL || taken <= LEAST, seed);
                held[holders++] = taken;
                sum += taken;
            }
            assert_seeded(budget.used == sum, seed);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_take_alone),
        cmocka_unit_test(test_take_does_not_wrap),
        cmocka_unit_test(test_take_some),
        cmocka_unit_test(test_account),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
