#include "support.h"

#include <errno.h>

#include "lane.h"
#include "log.h"
#include "loop.h"

/*
 * The queues of a lane, with a cluster that never gets ready, since its configuration file does not exist:
 * every call ends with -ETIMEDOUT, but only when its turn has come, so it shows when that is.
 */

struct bench {
    struct cluster *cluster;
    struct loop loop;
    struct lane lane;
    atomic_uint_fast64_t operations;
    unsigned done_count; /* of all calls */
};

struct test_call {
    struct rados_call call; /* first */
    struct bench *bench;
    unsigned done_count;
    unsigned order; /* which call of all was done, from 1 */
};

static int launch(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    (void)call;
    (void)ioctx;
    (void)completion;
    abort();
}

static void note_done(struct rados_call *call)
{
    struct test_call *test_call = (struct test_call *)call;

    test_call->done_count++;
    test_call->order = ++test_call->bench->done_count;
}

static void begin(struct bench *bench, size_t memory, struct test_call *test_call)
{
    memset(test_call, 0, sizeof(*test_call));
    test_call->bench = bench;
    test_call->call.memory = memory;
    test_call->call.deadline_ms = clock_monotonic_ms() + 3600 * 1000;
    test_call->call.launch = launch;
    test_call->call.done = note_done;
    lane_call(&bench->lane, &test_call->call);
}

static void bench_begin(struct bench *bench, size_t memory)
{
    static const struct cluster_options options = {.conf_file = "/nonexistent/ceph.conf",
                                                   .client_name = "client.nobody",
                                                   .pool = "none",
                                                   .op_timeout_seconds = 1,
                                                   .loops = 1};

    memset(bench, 0, sizeof(*bench));
    loop_init(&bench->loop);
    bench->cluster = cluster_start(&options);
    lane_init(&bench->lane, bench->cluster, &bench->loop.executor, 1, memory);
    atomic_init(&bench->operations, 0);
    bench->lane.operations = &bench->operations;
}

/* Nothing may be left in the account, in the queues or on the loop. */
static void bench_end(struct bench *bench)
{
    assert_int_equal(loop_run_queued(&bench->loop), 0);
    assert_int_equal(bench->lane.memory.used, 0);
    assert_int_equal(bench->lane.in_flight, 0);
    assert_int_equal(bench->lane.waiting.count, 0);
    assert_int_equal(bench->lane.waiting_for_memory.count, 0);
    assert_int_equal(atomic_load(&bench->operations), 0);
    assert_false(cluster_is_ready(bench->cluster));
    cluster_stop(bench->cluster);
    loop_destroy(&bench->loop);
}

static void test_shares(void **state)
{
    static const struct {
        unsigned loops, in_flight_most;
        size_t memory;
    } rows[] = {{1, 512, 1000}, {2, 256, 500}, {3, 170, 333}, {512, 1, 1}, {600, 1, 1}};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct lane lane;
        lane_init(&lane, NULL, NULL, rows[i].loops, 1000);
        assert_int_equal(lane.in_flight_most, rows[i].in_flight_most);
        assert_int_equal(lane.memory.total, rows[i].memory);
        assert_int_equal(lane.memory.used, 0);
    }
}

/* Without Ceph a call fails, on the loop and not from within lane_call. */
static void test_not_ready(void **state)
{
    struct test_call read, write;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 100);
    begin(&bench, 0, &read);
    begin(&bench, 60, &write);
    assert_int_equal(bench.done_count, 0);
    assert_int_equal(loop_run_queued(&bench.loop), 2);
    assert_int_equal(read.done_count, 1);
    assert_int_equal(read.call.result, -ETIMEDOUT);
    assert_int_equal(write.done_count, 1);
    assert_int_equal(write.call.result, -ETIMEDOUT);
    bench_end(&bench);
}

/* Writes wait for memory in their order, so that a large one is not starved by small ones; reads pass by. */
static void test_waiting_for_memory(void **state)
{
    struct test_call large, small, read;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 100);
    assert_true(memory_budget_take(&bench.lane.memory, 90));
    begin(&bench, 50, &large);
    begin(&bench, 10, &small);
    begin(&bench, 0, &read);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(read.done_count, 1);
    assert_int_equal(bench.lane.waiting_for_memory.count, 2);

    /* Not enough for the first of them. */
    memory_budget_return(&bench.lane.memory, 20);
    lane_memory_returned(&bench.lane);
    assert_int_equal(loop_run_queued(&bench.loop), 0);

    memory_budget_return(&bench.lane.memory, 20);
    lane_memory_returned(&bench.lane);
    assert_int_equal(loop_run_queued(&bench.loop), 2);
    assert_int_equal(large.order, 2);
    assert_int_equal(small.order, 3);
    assert_int_equal(bench.lane.memory.used, 50);
    memory_budget_return(&bench.lane.memory, 50);
    bench_end(&bench);
}

/* More than the whole budget, when nobody else has any of it. */
static void test_larger_than_the_budget(void **state)
{
    struct test_call huge;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 100);
    assert_true(memory_budget_take(&bench.lane.memory, 1));
    begin(&bench, 1000, &huge);
    assert_int_equal(loop_run_queued(&bench.loop), 0);
    memory_budget_return(&bench.lane.memory, 1);
    lane_memory_returned(&bench.lane);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(huge.done_count, 1);
    bench_end(&bench);
}

static void test_bound(void **state)
{
    struct test_call *calls = xcalloc(LANE_WAITING_MAX, sizeof(*calls)), refused, read;
    struct bench bench;
    size_t i;

    (void)state;
    bench_begin(&bench, 100);
    assert_true(memory_budget_take(&bench.lane.memory, 100));
    for (i = 0; i < LANE_WAITING_MAX; i++)
        begin(&bench, 1 + i % 3, &calls[i]);
    assert_int_equal(loop_run_queued(&bench.loop), 0);

    begin(&bench, 1, &refused);
    assert_int_equal(refused.done_count, 0);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(refused.done_count, 1);
    assert_int_equal(refused.call.result, -EBUSY);
    /* The other queue has its own bound. */
    begin(&bench, 0, &read);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(read.call.result, -ETIMEDOUT);

    memory_budget_return(&bench.lane.memory, 100);
    lane_memory_returned(&bench.lane);
    assert_int_equal(loop_run_queued(&bench.loop), LANE_WAITING_MAX);
    for (i = 0; i < LANE_WAITING_MAX; i++) {
        assert_int_equal(calls[i].done_count, 1);
        assert_int_equal(calls[i].call.result, -ETIMEDOUT);
        assert_int_equal(calls[i].order, i + 3);
    }
    bench_end(&bench);
    free(calls);
}

/* A call that fails in this way may begin the next one from its `done`. */
struct chain {
    struct test_call test_call; /* first */
    unsigned left;
};

static void begin_next(struct rados_call *call)
{
    struct chain *chain = (struct chain *)call;

    note_done(call);
    if (chain->left-- != 0)
        lane_call(&chain->test_call.bench->lane, call);
}

static void test_call_from_done(void **state)
{
    struct chain chain;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 100);
    memset(&chain, 0, sizeof(chain));
    chain.test_call.bench = &bench;
    chain.test_call.call.memory = 70;
    chain.test_call.call.deadline_ms = clock_monotonic_ms() + 3600 * 1000;
    chain.test_call.call.launch = launch;
    chain.test_call.call.done = begin_next;
    chain.left = 3;
    lane_call(&bench.lane, &chain.test_call.call);
    assert_int_equal(loop_run_queued(&bench.loop), 4);
    assert_int_equal(chain.test_call.done_count, 4);
    bench_end(&bench);
}

static int be_quiet(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_waiting_for_memory),
        cmocka_unit_test(test_larger_than_the_budget),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_call_from_done),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, be_quiet, NULL);
}
