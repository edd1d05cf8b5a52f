#include "support.h"

#include "doubts.h"

#define AGAIN_MS (INT64_C(1000) * DOUBTS_AGAIN_SECONDS)

static void assert_taken(struct doubts *doubts, int64_t now_ms, const char *expected)
{
    struct buffer name = {NULL, 0, 0};
    bool taken = doubts_take(doubts, now_ms, &name);

    assert_true(taken == (expected != NULL));
    if (taken)
        assert_slice_equals(buffer_slice(&name), slice_of(expected));
    buffer_free(&name);
}

static void test_each_name_is_looked_at_twice(void **state)
{
    struct doubts *doubts = doubts_new();

    (void)state;
    assert_taken(doubts, 0, NULL);
    doubts_add(doubts, slice_of("a"));
    doubts_add(doubts, slice_of("b"));
    doubts_add(doubts, slice_of("a"));
    assert_taken(doubts, 0, "a");
    assert_taken(doubts, 0, "b");
    assert_taken(doubts, 0, NULL);
    doubts_settle(doubts, slice_of("a"), 0);
    doubts_settle(doubts, slice_of("b"), 0);
    assert_taken(doubts, AGAIN_MS - 1, NULL);
    assert_taken(doubts, AGAIN_MS, "a");
    doubts_settle(doubts, slice_of("a"), AGAIN_MS);
    assert_taken(doubts, AGAIN_MS, "b");
    doubts_settle(doubts, slice_of("b"), AGAIN_MS);
    assert_taken(doubts, INT64_MAX, NULL);
    doubts_free(doubts);
}

static void test_what_could_not_be_looked_at_stays(void **state)
{
    struct doubts *doubts = doubts_new();
    int64_t now_ms;

    (void)state;
    doubts_add(doubts, slice_of("a"));
    for (now_ms = 0; now_ms < 100000; now_ms += 10000) {
        assert_taken(doubts, now_ms, "a");
        doubts_keep(doubts, slice_of("a"), now_ms);
        assert_taken(doubts, now_ms, NULL);
    }
    doubts_free(doubts);
}

static void test_doubt_that_comes_while_it_is_looked_at(void **state)
{
    struct doubts *doubts = doubts_new();

    (void)state;
    doubts_add(doubts, slice_of("a"));
    assert_taken(doubts, 0, "a");
    doubts_add(doubts, slice_of("a"));
    doubts_settle(doubts, slice_of("a"), 0); /* of the time before */
    assert_taken(doubts, 0, "a");
    doubts_settle(doubts, slice_of("a"), 0);
    assert_taken(doubts, AGAIN_MS, "a");
    doubts_free(doubts);
}

static void test_bounded(void **state)
{
    struct doubts *doubts = doubts_new();
    struct buffer name = {NULL, 0, 0};
    unsigned i, count = 0;

    (void)state;
    for (i = 0; i < DOUBTS_MOST + 10; i++) {
        name.len = 0;
        buffer_printf(&name, "%u", i);
        doubts_add(doubts, buffer_slice(&name));
    }
    while (doubts_take(doubts, 0, &name))
        count++;
    assert_int_equal(count, DOUBTS_MOST);
    buffer_free(&name);
    doubts_free(doubts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_name_is_looked_at_twice),
        cmocka_unit_test(test_what_could_not_be_looked_at_stays),
        cmocka_unit_test(test_doubt_that_comes_while_it_is_looked_at),
        cmocka_unit_test(test_bounded),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
