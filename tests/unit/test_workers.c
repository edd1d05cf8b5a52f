#include "support.h"

#include <time.h>

#include "loop.h"
#include "workers.h"

/*
 * What the jobs of a test have in common. A job whose key begins with "slow" runs until the test lets it go,
 * so that the test decides what is queued and what runs.
 */
struct bench {
    struct loop loop;
    struct workers *workers;

    pthread_mutex_t mutex; /* over everything below */
    pthread_cond_t changed;
    unsigned runs_begun, runs_ended; /* of all jobs */
    unsigned let_go;                 /* slow runs that may end: those whose number, from 1, is not above it */
    unsigned slow_begun;
    unsigned jobs_freed, answers_freed;
    uint64_t clock; /* counts asks and starts of runs, to say which came first */
};

struct test_answer {
    struct answer answer; /* first */
    struct bench *bench;
    char key[16];
    unsigned run;     /* the number of the run, from 1 */
    uint64_t started; /* on the bench's clock */
};

struct test_job {
    struct job job; /* first */
    struct bench *bench;
    char key[16];
};

struct test_ask {
    struct ask ask; /* first */
    unsigned done_count;
    pthread_t done_on;
    uint64_t asked; /* on the bench's clock */
};

static void free_answer(struct answer *answer)
{
    struct test_answer *test_answer = (struct test_answer *)answer;

    pthread_mutex_lock(&test_answer->bench->mutex);
    test_answer->bench->answers_freed++;
    pthread_mutex_unlock(&test_answer->bench->mutex);
    free(test_answer);
}

static struct answer *run_job(struct job *job)
{
    struct test_job *test_job = (struct test_job *)job;
    struct bench *bench = test_job->bench;
    struct test_answer *answer = xcalloc(1, sizeof(*answer));

    atomic_init(&answer->answer.references, 1);
    answer->answer.free = free_answer;
    answer->bench = bench;
    strcpy(answer->key, test_job->key);

    pthread_mutex_lock(&bench->mutex);
    answer->run = ++bench->runs_begun;
    answer->started = ++bench->clock;
    if (strncmp(test_job->key, "slow", 4) == 0) {
        unsigned number = ++bench->slow_begun;
        pthread_cond_broadcast(&bench->changed);
        while (bench->let_go < number)
            pthread_cond_wait(&bench->changed, &bench->mutex);
    }
    bench->runs_ended++;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
    return &answer->answer;
}

static void free_job(struct job *job)
{
    struct test_job *test_job = (struct test_job *)job;

    pthread_mutex_lock(&test_job->bench->mutex);
    test_job->bench->jobs_freed++;
    pthread_mutex_unlock(&test_job->bench->mutex);
    free(test_job);
}

static void note_done(struct ask *ask)
{
    struct test_ask *test_ask = (struct test_ask *)ask;

    test_ask->done_count++;
    test_ask->done_on = pthread_self();
}

static void ask(struct bench *bench, struct loop *loop, const char *key, struct test_ask *test_ask)
{
    struct test_job *job = xcalloc(1, sizeof(*job));

    job->job = (struct job){.key = job->key, .run = run_job, .free = free_job};
    job->bench = bench;
    snprintf(job->key, sizeof(job->key), "%s", key);
    memset(test_ask, 0, sizeof(*test_ask));
    test_ask->ask.home = &loop->executor;
    test_ask->ask.done = note_done;
    pthread_mutex_lock(&bench->mutex);
    test_ask->asked = ++bench->clock;
    pthread_mutex_unlock(&bench->mutex);
    workers_ask(bench->workers, &job->job, &test_ask->ask);
}

static void bench_begin(struct bench *bench, unsigned threads)
{
    memset(bench, 0, sizeof(*bench));
    pthread_mutex_init(&bench->mutex, NULL);
    pthread_cond_init(&bench->changed, NULL);
    loop_init(&bench->loop);
    bench->workers = workers_start(threads);
}

/* With the workers stopped; everything that was given to them must have been freed. */
static void bench_end(struct bench *bench, unsigned asks)
{
    assert_int_equal(loop_run_queued(&bench->loop), 0);
    assert_int_equal(bench->jobs_freed, asks);
    assert_int_equal(bench->answers_freed, bench->runs_begun);
    loop_destroy(&bench->loop);
    pthread_cond_destroy(&bench->changed);
    pthread_mutex_destroy(&bench->mutex);
}

/* Waits until so many slow jobs have begun. */
static void wait_for_slow(struct bench *bench, unsigned count)
{
    struct timespec until = loop_deadline();
    bool in_time = true;

    pthread_mutex_lock(&bench->mutex);
    while (bench->slow_begun < count && in_time)
        in_time = pthread_cond_timedwait(&bench->changed, &bench->mutex, &until) == 0;
    pthread_mutex_unlock(&bench->mutex);
    assert_true(in_time);
}

static void let_go(struct bench *bench, unsigned count)
{
    pthread_mutex_lock(&bench->mutex);
    bench->let_go += count;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

static void wait_for_asks(struct bench *bench, unsigned count)
{
    while (count-- != 0)
        assert_true(loop_run_one(&bench->loop, true));
}

static const struct test_answer *answer_of(const struct test_ask *test_ask)
{
    return (const struct test_answer *)test_ask->ask.answer;
}

static void release(struct test_ask *asks, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        answer_release(asks[i].ask.answer);
}

/* ---- */

static void test_one_ask(void **state)
{
    struct bench bench;
    struct test_ask one;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "key", &one);
    wait_for_asks(&bench, 1);
    assert_int_equal(one.done_count, 1);
    assert_true(pthread_equal(one.done_on, pthread_self()));
    assert_non_null(one.ask.answer);
    assert_string_equal(answer_of(&one)->key, "key");
    workers_stop(bench.workers);
    assert_int_equal(bench.runs_begun, 1);
    assert_int_equal(bench.answers_freed, 0);
    answer_release(one.ask.answer);
    assert_int_equal(bench.answers_freed, 1);
    bench_end(&bench, 1);
}

/* The answer is handed over on the asker's loop, not before that loop comes to it. */
static void test_done_waits_for_the_loop(void **state)
{
    struct bench bench;
    struct test_ask one;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "slow", &one);
    wait_for_slow(&bench, 1);
    let_go(&bench, 1);
    workers_stop(bench.workers);
    assert_int_equal(one.done_count, 0);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(one.done_count, 1);
    assert_non_null(one.ask.answer);
    answer_release(one.ask.answer);
    bench_end(&bench, 1);
}

static void test_release_of_nothing(void **state)
{
    (void)state;
    answer_release(NULL);
}

/* Who asks for what is still queued shares its run and its answer. */
static void test_queued_asks_share(void **state)
{
    enum { SHARING = 5 };
    struct bench bench;
    struct test_ask first, sharing[SHARING], other;
    size_t i;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    for (i = 0; i < SHARING; i++)
        ask(&bench, &bench.loop, "shared", &sharing[i]);
    ask(&bench, &bench.loop, "other", &other);
    let_go(&bench, 1);
    wait_for_asks(&bench, 1 + SHARING + 1);

    assert_int_equal(bench.runs_begun, 3);
    for (i = 0; i < SHARING; i++) {
        assert_int_equal(sharing[i].done_count, 1);
        assert_string_equal(answer_of(&sharing[i])->key, "shared");
        assert_ptr_equal(sharing[i].ask.answer, sharing[0].ask.answer);
    }
    assert_string_equal(answer_of(&other)->key, "other");
    answer_release(first.ask.answer);
    answer_release(other.ask.answer);
    workers_stop(bench.workers);

    /* Each asker owns a reference, and the last one frees the answer. */
    assert_int_equal(bench.answers_freed, 2);
    release(sharing, SHARING - 1);
    assert_int_equal(bench.answers_freed, 2);
    release(&sharing[SHARING - 1], 1);
    assert_int_equal(bench.answers_freed, 3);
    bench_end(&bench, 1 + SHARING + 1);
}

/* Who asks while the run is under way must not get its answer, which may be older than the ask. */
static void test_running_job_is_not_joined(void **state)
{
    struct bench bench;
    struct test_ask first, later[3];
    size_t i;

    (void)state;
    bench_begin(&bench, 4);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    for (i = 0; i < 3; i++)
        ask(&bench, &bench.loop, "slow", &later[i]);

    let_go(&bench, 1);
    wait_for_asks(&bench, 1);
    assert_int_equal(first.done_count, 1);
    assert_int_equal(answer_of(&first)->run, 1);
    wait_for_slow(&bench, 2);
    assert_int_equal(later[0].done_count, 0);

    let_go(&bench, 1);
    wait_for_asks(&bench, 3);
    for (i = 0; i < 3; i++) {
        assert_int_equal(later[i].done_count, 1);
        assert_int_equal(answer_of(&later[i])->run, 2);
        assert_true(answer_of(&later[i])->started > later[i].asked);
    }
    assert_int_equal(bench.runs_begun, 2);
    answer_release(first.ask.answer);
    release(later, 3);
    workers_stop(bench.workers);
    bench_end(&bench, 4);
}

/* A key takes one thread at a time, however many there are. */
static void test_one_run_at_a_time(void **state)
{
    struct timespec nap = {.tv_nsec = 20000000};
    struct test_ask first, second;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 4);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    ask(&bench, &bench.loop, "slow", &second);
    /* Time enough for an idle thread to begin what it must not. */
    nanosleep(&nap, NULL);
    pthread_mutex_lock(&bench.mutex);
    assert_int_equal(bench.slow_begun, 1);
    pthread_mutex_unlock(&bench.mutex);
    let_go(&bench, 2);
    wait_for_asks(&bench, 2);
    assert_int_equal(bench.runs_begun, 2);
    answer_release(first.ask.answer);
    answer_release(second.ask.answer);
    workers_stop(bench.workers);
    bench_end(&bench, 2);
}

/* Different keys run side by side, and one that waits for its own run keeps no other from a free thread. */
static void test_other_keys_go_on(void **state)
{
    struct test_ask first, again, beside, quick;
    struct bench bench;

    (void)state;
    bench_begin(&bench, 3);
    ask(&bench, &bench.loop, "slow a", &first);
    wait_for_slow(&bench, 1);
    ask(&bench, &bench.loop, "slow a", &again);
    ask(&bench, &bench.loop, "slow b", &beside);
    wait_for_slow(&bench, 2);
    ask(&bench, &bench.loop, "quick", &quick);
    wait_for_asks(&bench, 1);
    assert_int_equal(quick.done_count, 1);
    assert_int_equal(first.done_count + again.done_count + beside.done_count, 0);

    let_go(&bench, 3);
    wait_for_asks(&bench, 3);
    answer_release(first.ask.answer);
    answer_release(again.ask.answer);
    answer_release(beside.ask.answer);
    answer_release(quick.ask.answer);
    workers_stop(bench.workers);
    assert_int_equal(bench.runs_begun, 4);
    bench_end(&bench, 4);
}

static void ask_numbered(struct bench *bench, unsigned number, struct test_ask *test_ask)
{
    char key[16];

    snprintf(key, sizeof(key), "%u", number);
    ask(bench, &bench->loop, key, test_ask);
}

static void test_bound(void **state)
{
    struct test_ask first, queued[WORKERS_JOBS_MAX - 1], refused, joining, late;
    struct bench bench;
    unsigned i;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    for (i = 0; i < WORKERS_JOBS_MAX - 1; i++)
        ask_numbered(&bench, i, &queued[i]);
    assert_int_equal(loop_run_queued(&bench.loop), 0);

    /* One more is refused, on the loop as everything else. */
    ask(&bench, &bench.loop, "too much", &refused);
    assert_int_equal(refused.done_count, 0);
    assert_int_equal(loop_run_queued(&bench.loop), 1);
    assert_int_equal(refused.done_count, 1);
    assert_null(refused.ask.answer);
    /* But not who shares what is queued already. */
    ask_numbered(&bench, 7, &joining);
    assert_int_equal(loop_run_queued(&bench.loop), 0);

    let_go(&bench, 1);
    wait_for_asks(&bench, WORKERS_JOBS_MAX + 1);
    assert_int_equal(joining.done_count, 1);
    assert_ptr_equal(joining.ask.answer, queued[7].ask.answer);
    for (i = 0; i < WORKERS_JOBS_MAX - 1; i++) {
        assert_int_equal(queued[i].done_count, 1);
        assert_non_null(queued[i].ask.answer);
        assert_int_equal(atoi(answer_of(&queued[i])->key), i);
    }

    /* Then there is room again. */
    ask(&bench, &bench.loop, "late", &late);
    wait_for_asks(&bench, 1);
    assert_non_null(late.ask.answer);

    answer_release(first.ask.answer);
    answer_release(joining.ask.answer);
    answer_release(late.ask.answer);
    release(queued, WORKERS_JOBS_MAX - 1);
    workers_stop(bench.workers);
    assert_int_equal(bench.runs_begun, WORKERS_JOBS_MAX + 1);
    bench_end(&bench, WORKERS_JOBS_MAX + 3);
}

/* Jobs begin in the order in which they came. */
static void test_order(void **state)
{
    enum { COUNT = 20 };
    struct test_ask first, queued[COUNT];
    struct bench bench;
    unsigned i;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    for (i = 0; i < COUNT; i++)
        ask_numbered(&bench, i, &queued[i]);
    let_go(&bench, 1);
    wait_for_asks(&bench, 1 + COUNT);
    for (i = 0; i < COUNT; i++)
        assert_int_equal(answer_of(&queued[i])->run, i + 2);
    answer_release(first.ask.answer);
    release(queued, COUNT);
    workers_stop(bench.workers);
    bench_end(&bench, 1 + COUNT);
}

static void *stop_workers(void *argument)
{
    struct bench *bench = argument;

    workers_stop(bench->workers);
    return NULL;
}

/* What runs is finished and answered; what is queued is answered with nothing; what comes later is refused.
 */
static void test_stop(void **state)
{
    enum { QUEUED = 3, LATE_MAX = 200 };
    struct test_ask first, queued[QUEUED], joining, late[LATE_MAX];
    struct timespec nap = {.tv_nsec = 10000000};
    struct bench bench;
    pthread_t stopper;
    unsigned i, count = 0;

    (void)state;
    bench_begin(&bench, 1);
    ask(&bench, &bench.loop, "slow", &first);
    wait_for_slow(&bench, 1);
    for (i = 0; i < QUEUED; i++)
        ask_numbered(&bench, i, &queued[i]);
    ask_numbered(&bench, 0, &joining);

    assert_int_equal(pthread_create(&stopper, NULL, stop_workers, &bench), 0);
    /* Ask until we are refused: then it is stopping. Of what came before that, nothing may run any more. */
    do {
        assert_true(count < LATE_MAX);
        nanosleep(&nap, NULL);
        ask_numbered(&bench, 100 + count, &late[count]);
        count++;
    } while (loop_run_queued(&bench.loop) == 0);
    assert_int_equal(late[count - 1].done_count, 1);
    assert_null(late[count - 1].ask.answer);

    let_go(&bench, 1);
    pthread_join(stopper, NULL);
    loop_run_queued(&bench.loop);
    assert_int_equal(first.done_count, 1);
    assert_non_null(first.ask.answer);
    for (i = 0; i < QUEUED; i++) {
        assert_int_equal(queued[i].done_count, 1);
        assert_null(queued[i].ask.answer);
    }
    assert_int_equal(joining.done_count, 1);
    assert_null(joining.ask.answer);
    for (i = 0; i < count; i++) {
        assert_int_equal(late[i].done_count, 1);
        assert_null(late[i].ask.answer);
    }
    assert_int_equal(bench.runs_begun, 1);
    answer_release(first.ask.answer);
    bench_end(&bench, 1 + QUEUED + 1 + count);
}

static void test_stop_when_idle(void **state)
{
    struct bench bench;

    (void)state;
    bench_begin(&bench, 8);
    workers_stop(bench.workers);
    bench_end(&bench, 0);
}

/* ---- everything at once ---- */

enum { ASKERS = 4, ROUNDS = 150, BURST = 4, KEYS = 3 };

struct asker {
    struct bench *bench;
    uint64_t seed;
    pthread_t thread;
    const char *failure;
};

/* A thread with a loop of its own that asks in bursts. Assertions are for the test's thread, so it only
 * notes. */
static void *ask_much(void *argument)
{
    struct asker *asker = argument;
    struct random random = random_seeded(asker->seed);
    struct loop loop;
    int round;

    loop_init(&loop);
    for (round = 0; round < ROUNDS && asker->failure == NULL; round++) {
        struct test_ask asks[BURST];
        size_t count = 1 + random_below(&random, BURST), i;
        char keys[BURST][16];

        for (i = 0; i < count; i++) {
            snprintf(keys[i], sizeof(keys[i]), "key %zu", random_below(&random, KEYS));
            ask(asker->bench, &loop, keys[i], &asks[i]);
        }
        for (i = 0; i < count; i++)
            if (!loop_run_one(&loop, true))
                asker->failure = "an ask was never answered";
        for (i = 0; i < count && asker->failure == NULL; i++) {
            const struct test_answer *answer = answer_of(&asks[i]);
            if (asks[i].done_count != 1)
                asker->failure = "an ask was answered twice";
            else if (answer == NULL)
                asker->failure = "an ask was refused";
            else if (strcmp(answer->key, keys[i]) != 0)
                asker->failure = "an ask got the answer of another key";
            else if (answer->started < asks[i].asked)
                asker->failure = "an answer is older than its ask";
            else if (!pthread_equal(asks[i].done_on, pthread_self()))
                asker->failure = "an answer came on another thread";
        }
        for (i = 0; i < count; i++)
            answer_release(asks[i].ask.answer);
    }
    loop_destroy(&loop);
    return NULL;
}

static void test_many_askers(void **state)
{
    struct asker askers[ASKERS];
    struct bench bench;
    unsigned asks;
    int i;

    (void)state;
    bench_begin(&bench, 3);
    for (i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.bench = &bench, .seed = (uint64_t)i + 1};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_much, &askers[i]), 0);
    }
    for (i = 0; i < ASKERS; i++)
        pthread_join(askers[i].thread, NULL);
    workers_stop(bench.workers);
    for (i = 0; i < ASKERS; i++)
        if (askers[i].failure != NULL)
            fail_msg("%s with seed %" PRIu64, askers[i].failure, askers[i].seed);
    asks = (unsigned)bench.clock - bench.runs_begun;
    assert_true(bench.runs_begun <= asks);
    bench_end(&bench, asks);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_ask),
        cmocka_unit_test(test_done_waits_for_the_loop),
        cmocka_unit_test(test_release_of_nothing),
        cmocka_unit_test(test_queued_asks_share),
        cmocka_unit_test(test_running_job_is_not_joined),
        cmocka_unit_test(test_one_run_at_a_time),
        cmocka_unit_test(test_other_keys_go_on),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_when_idle),
        cmocka_unit_test(test_many_askers),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
