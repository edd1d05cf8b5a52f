#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "ceph_lb_flight.h"

static void test_those_who_wait_board_together(void **state)
{
    ceph_lb_waiter_t w[3];
    ceph_lb_flight_t f;
    ceph_lb_terminal_t t;

    (void)state;
    ceph_lb_terminal_init(&t);
    ceph_lb_flight_init(&f);

    ceph_lb_arrive(&t, &w[0]);
    ceph_lb_arrive(&t, &w[1]);
    ceph_lb_launch(&t, &f);
    assert_false(ceph_lb_is_waited_for(&t));

    /* The query is running: too late for this one. */
    ceph_lb_arrive(&t, &w[2]);

    ceph_lb_land(&f);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[0]);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[1]);
    assert_null(ceph_lb_disembark(&f));
    assert_true(ceph_lb_is_waited_for(&t));

    ceph_lb_launch(&t, &f);
    ceph_lb_land(&f);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[2]);
    assert_null(ceph_lb_disembark(&f));
}

static void test_diverted_once_and_first_in_line(void **state)
{
    ceph_lb_waiter_t w[3];
    ceph_lb_flight_t f;
    ceph_lb_terminal_t t;

    (void)state;
    ceph_lb_terminal_init(&t);
    ceph_lb_flight_init(&f);

    ceph_lb_arrive(&t, &w[0]);
    ceph_lb_arrive(&t, &w[1]);
    ceph_lb_launch(&t, &f);
    ceph_lb_arrive(&t, &w[2]);

    ceph_lb_divert(&t, &f, 1);
    assert_null(ceph_lb_disembark(&f));

    ceph_lb_launch(&t, &f);
    ceph_lb_divert(&t, &f, 1);

    /* The first two had their second chance; the third has it now. */
    assert_ptr_equal(ceph_lb_disembark(&f), &w[0]);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[1]);
    assert_null(ceph_lb_disembark(&f));

    ceph_lb_launch(&t, &f);
    ceph_lb_land(&f);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[2]);
    assert_null(ceph_lb_disembark(&f));
}

static void test_diverted_so_often(void **state)
{
    unsigned most, i;
    ceph_lb_waiter_t w;
    ceph_lb_flight_t f;
    ceph_lb_terminal_t t;

    (void)state;
    ceph_lb_terminal_init(&t);
    ceph_lb_flight_init(&f);

    for (most = 0; most < 4; most++) {
        ceph_lb_arrive(&t, &w);

        for (i = 0; i <= most; i++) {
            ceph_lb_launch(&t, &f);
            assert_false(ceph_lb_is_waited_for(&t));
            ceph_lb_divert(&t, &f, most);
            assert_int_equal(ceph_lb_is_waited_for(&t), i < most);
        }

        assert_ptr_equal(ceph_lb_disembark(&f), &w);
    }
}

/* Those who were called back have had no second chance yet. */
static void test_called_back(void **state)
{
    ceph_lb_waiter_t w[3];
    ceph_lb_flight_t f;
    ceph_lb_terminal_t t;

    (void)state;
    ceph_lb_terminal_init(&t);
    ceph_lb_flight_init(&f);

    ceph_lb_arrive(&t, &w[0]);
    ceph_lb_launch(&t, &f);
    ceph_lb_divert(&t, &f, 1);
    ceph_lb_arrive(&t, &w[1]);
    ceph_lb_launch(&t, &f);
    ceph_lb_arrive(&t, &w[2]);

    ceph_lb_call_back(&t, &f);
    assert_null(ceph_lb_disembark(&f));

    ceph_lb_launch(&t, &f);
    ceph_lb_divert(&t, &f, 1);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[0]);
    assert_null(ceph_lb_disembark(&f));

    ceph_lb_launch(&t, &f);
    ceph_lb_land(&f);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[1]);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[2]);
    assert_null(ceph_lb_disembark(&f));
}

static void test_leave(void **state)
{
    ceph_lb_waiter_t w[3];
    ceph_lb_flight_t f;
    ceph_lb_terminal_t t;

    (void)state;
    ceph_lb_terminal_init(&t);
    ceph_lb_flight_init(&f);

    ceph_lb_arrive(&t, &w[0]);
    ceph_lb_leave(&w[0]);
    assert_false(ceph_lb_is_waited_for(&t));
    ceph_lb_leave(&w[0]);

    ceph_lb_arrive(&t, &w[0]);
    ceph_lb_arrive(&t, &w[1]);
    ceph_lb_arrive(&t, &w[2]);
    ceph_lb_launch(&t, &f);
    ceph_lb_leave(&w[1]);
    ceph_lb_land(&f);
    assert_ptr_equal(ceph_lb_disembark(&f), &w[0]);
    ceph_lb_leave(&w[2]);
    assert_null(ceph_lb_disembark(&f));
}

/*
 * Random walks through everything that can happen, against a clock of events:
 * whoever is served was served by a flight that launched after it arrived,
 * those who were diverted before the others, these in the order of arrival;
 * only so many losses and one end in failure, and at the end nobody is left.
 */

enum { WAITERS = 40, FLIGHTS = 4, STEPS = 20000, WALKS = 50 };

typedef struct {
    ceph_lb_waiter_t waiter; /* must be first */
    unsigned long arrived;
    int waiting;
} passenger_t;

typedef struct {
    ceph_lb_flight_t flight;
    unsigned long launched;
} plane_t;

static void serve(plane_t *plane, int failed, unsigned most)
{
    passenger_t *p;
    unsigned long last = 0;

    while ((p = (passenger_t *)ceph_lb_disembark(&plane->flight)) != NULL) {
        assert_true(p->waiting);
        assert_true(p->arrived < plane->launched);
        assert_true(p->waiter.diverted <= most);

        if (failed) {
            assert_int_equal(p->waiter.diverted, most);
        }

        if (p->waiter.diverted == 0) {
            assert_true(p->arrived > last);
            last = p->arrived;
        } else {
            assert_true(last == 0 || failed);
        }

        p->waiting = 0;
    }
}

static void walk(unsigned seed)
{
    int i, step;
    plane_t planes[FLIGHTS];
    passenger_t all[WAITERS] = {0};
    unsigned most = 1 + seed % 3;
    unsigned long now = 0;
    ceph_lb_terminal_t t;

    srand(seed);
    ceph_lb_terminal_init(&t);

    for (i = 0; i < FLIGHTS; i++) {
        ceph_lb_flight_init(&planes[i].flight);
    }

    for (step = 0; step < STEPS; step++) {
        passenger_t *p = &all[rand() % WAITERS];
        plane_t *plane = &planes[rand() % FLIGHTS];

        now++;

        switch (rand() % 8) {
        case 0:
            if (p->waiting) {
                ceph_lb_leave(&p->waiter);
                p->waiting = 0;
            }
            break;
        case 1:
            if (plane->flight.flying) {
                ceph_lb_divert(&t, &plane->flight, most);
                serve(plane, 1, most);
            }
            break;
        case 2:
        case 3:
            if (plane->flight.flying) {
                ceph_lb_land(&plane->flight);
                serve(plane, 0, most);
            }
            break;
        case 4:
            if (!plane->flight.flying) {
                plane->launched = now;
                ceph_lb_launch(&t, &plane->flight);
                assert_false(ceph_lb_is_waited_for(&t));
            }
            break;
        default:
            if (!p->waiting) {
                p->waiting = 1;
                p->arrived = now;
                ceph_lb_arrive(&t, &p->waiter);
                assert_true(ceph_lb_is_waited_for(&t));
            }
        }
    }

    for (i = 0; i < FLIGHTS; i++) {
        if (planes[i].flight.flying) {
            ceph_lb_land(&planes[i].flight);
            serve(&planes[i], 0, most);
        }
    }

    planes[0].launched = now + 1;
    ceph_lb_launch(&t, &planes[0].flight);
    ceph_lb_land(&planes[0].flight);
    serve(&planes[0], 0, most);

    for (i = 0; i < WAITERS; i++) {
        assert_false(all[i].waiting);
    }
}

static void test_random_walks(void **state)
{
    unsigned seed;

    (void)state;

    for (seed = 1; seed <= WALKS; seed++) {
        walk(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_who_wait_board_together),
        cmocka_unit_test(test_diverted_once_and_first_in_line),
        cmocka_unit_test(test_diverted_so_often),
        cmocka_unit_test(test_called_back),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_random_walks),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
