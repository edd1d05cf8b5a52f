#include "support.h"

#include <pthread.h>
#include <time.h>

#include "stop.h"

static void test_not_requested(void **state)
{
    struct stop stop;

    (void)state;
    stop_init(&stop);
    assert_false(stop_is_requested(&stop));
    assert_false(stop_wait(&stop, 0));
    stop_destroy(&stop);
}

static void test_requested_before(void **state)
{
    struct stop stop;

    (void)state;
    stop_init(&stop);
    stop_request(&stop);
    assert_true(stop_is_requested(&stop));
    assert_true(stop_wait(&stop, 3600));
    assert_true(stop_wait(&stop, 3600));
    stop_destroy(&stop);
}

static void *request(void *stop)
{
    stop_request(stop);
    return NULL;
}

/* An hour's wait ends when another thread asks for it. */
static void test_requested_meanwhile(void **state)
{
    unsigned round;

    (void)state;
    for (round = 0; round < 200; round++) {
        struct stop stop;
        pthread_t thread;

        stop_init(&stop);
        assert_int_equal(pthread_create(&thread, NULL, request, &stop), 0);
        assert_true(stop_wait(&stop, 3600));
        pthread_join(thread, NULL);
        stop_destroy(&stop);
    }
}

/* Without a request the time passes, on a clock that nobody can set. */
static void test_time_passes(void **state)
{
    struct timespec before, after;
    struct stop stop;

    (void)state;
    stop_init(&stop);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_false(stop_wait(&stop, 1));
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 999);
    stop_destroy(&stop);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_requested),
        cmocka_unit_test(test_requested_before),
        cmocka_unit_test(test_requested_meanwhile),
        cmocka_unit_test(test_time_passes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
