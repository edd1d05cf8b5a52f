#include "support.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "http.h"

/* Many threads hand tasks to the event loops; each has to be run, once. */

enum { LOOPS = 2, THREADS = 8, TASKS_AT_ONCE = 4, ROUNDS = 2000, PATIENCE_MS = 30000 };

struct counted_task {
    struct task task;
    atomic_uint runs;
};

struct submitter {
    struct executor *executor;
    struct counted_task tasks[TASKS_AT_ONCE];
    bool lost;
};

static void run(struct task *task)
{
    atomic_fetch_add(&((struct counted_task *)task)->runs, 1);
}

static bool wait_for_runs(struct counted_task *task, unsigned runs)
{
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;

    while (atomic_load(&task->runs) < runs) {
        if (clock_monotonic_ms() > deadline_ms)
            return false;
        sched_yield();
    }
    return atomic_load(&task->runs) == runs;
}

static void *submit(void *argument)
{
    struct submitter *submitter = argument;
    unsigned round, i;

    for (round = 1; round <= ROUNDS && !submitter->lost; round++) {
        for (i = 0; i < TASKS_AT_ONCE; i++) {
            submitter->tasks[i].task.run = run;
            executor_submit(submitter->executor, &submitter->tasks[i].task);
        }
        for (i = 0; i < TASKS_AT_ONCE; i++)
            submitter->lost = submitter->lost || !wait_for_runs(&submitter->tasks[i], round);
    }
    return NULL;
}

static void never(struct http_request *request, void *context)
{
    (void)request;
    (void)context;
}

static struct slice no_body(int status, bool as_text)
{
    (void)status;
    (void)as_text;
    return SLICE_LITERAL("");
}

/* A port of the loopback on which nobody listens. */
static void find_port(struct address *address)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(bound);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char text[32];

    assert_int_equal(bind(fd, (struct sockaddr *)&bound, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &len), 0);
    close(fd);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(bound.sin_port));
    assert_true(address_parse(text, address));
}

static void test_no_task_is_lost(void **state)
{
    struct http_options options = {.loops = LOOPS,
                                   .body_size_max = 1,
                                   .spool_dir = "/tmp",
                                   .server_name = "test",
                                   .backend_name = "test",
                                   .connections_max = 2,
                                   .request_timeout_seconds = 1,
                                   .send_timeout_seconds = 1};
    static struct submitter submitters[THREADS];
    static struct http_server *server; /* its loops hold on to it until the process ends */
    pthread_t threads[THREADS];
    unsigned i;

    (void)state;
    find_port(&options.listen);
    server = http_server_new(&options, no_body);
    assert_non_null(server);
    http_server_start(server, never, NULL, NULL);
    for (i = 0; i < THREADS; i++) {
        submitters[i].executor = http_server_loops(server)[i % LOOPS];
        assert_int_equal(pthread_create(&threads[i], NULL, submit, &submitters[i]), 0);
    }
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (i = 0; i < THREADS; i++)
        assert_false(submitters[i].lost);
    http_server_stop(server);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_task_is_lost)};

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
