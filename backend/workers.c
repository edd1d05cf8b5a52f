#include "workers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "xalloc.h"

/* One job with everyone who waits for it. In `queued` until a thread takes it, then in `running`. */
struct entry {
    struct job *job;
    struct ask *asks;
    struct entry *next;
};

struct workers {
    pthread_mutex_t mutex; /* over everything below */
    pthread_cond_t changed;
    struct entry *queued; /* in order of arrival */
    struct entry *running;
    size_t count;
    bool stopping;
    unsigned thread_count;
    pthread_t threads[];
};

void answer_release(struct answer *answer)
{
    if (answer != NULL && atomic_fetch_sub(&answer->references, 1) == 1)
        answer->free(answer);
}

static void come_home(struct task *task)
{
    struct ask *ask = (struct ask *)((char *)task - offsetof(struct ask, homecoming));
    ask->done(ask);
}

static void send_home(struct ask *ask, struct answer *answer)
{
    ask->answer = answer;
    ask->homecoming.run = come_home;
    executor_submit(ask->home, &ask->homecoming);
}

/* Gives the answer to all; the caller's own reference becomes that of the first. */
static void send_all_home(struct ask *asks, struct answer *answer)
{
    struct ask *ask, *next;

    for (ask = asks; answer != NULL && ask != NULL; ask = ask->next)
        atomic_fetch_add(&answer->references, 1);
    for (ask = asks; ask != NULL; ask = next) {
        next = ask->next;
        send_home(ask, answer);
    }
    answer_release(answer);
}

static bool is_running(const struct workers *workers, const char *key)
{
    const struct entry *entry;

    for (entry = workers->running; entry != NULL; entry = entry->next)
        if (strcmp(entry->job->key, key) == 0)
            return true;
    return false;
}

static void unlink_entry(struct entry **list, struct entry *entry)
{
    while (*list != entry)
        list = &(*list)->next;
    *list = entry->next;
}

/* The first queued job whose key nobody is running. */
static struct entry *next_to_run(const struct workers *workers)
{
    struct entry *entry;

    for (entry = workers->queued; entry != NULL; entry = entry->next)
        if (!is_running(workers, entry->job->key))
            return entry;
    return NULL;
}

static void run_entry(struct workers *workers, struct entry *entry)
{
    struct answer *answer;

    unlink_entry(&workers->queued, entry);
    entry->next = workers->running;
    workers->running = entry;
    pthread_mutex_unlock(&workers->mutex);

    answer = entry->job->run(entry->job);

    pthread_mutex_lock(&workers->mutex);
    unlink_entry(&workers->running, entry);
    workers->count--;
    /* A job with this key may have waited for this one. */
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->mutex);

    send_all_home(entry->asks, answer);
    entry->job->free(entry->job);
    free(entry);
    pthread_mutex_lock(&workers->mutex);
}

static void *work(void *argument)
{
    struct workers *workers = argument;

    pthread_mutex_lock(&workers->mutex);
    while (!workers->stopping) {
        struct entry *entry = next_to_run(workers);
        if (entry != NULL)
            run_entry(workers, entry);
        else
            pthread_cond_wait(&workers->changed, &workers->mutex);
    }
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

struct workers *workers_start(unsigned threads)
{
    struct workers *workers = xcalloc(1, sizeof(*workers) + threads * sizeof(workers->threads[0]));

    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->changed, NULL);
    for (; workers->thread_count < threads; workers->thread_count++) {
        if (pthread_create(&workers->threads[workers->thread_count], NULL, work, workers) != 0) {
            log_error("cannot start a worker thread");
            abort();
        }
    }
    return workers;
}

void workers_stop(struct workers *workers)
{
    struct entry *entry;
    unsigned i;

    pthread_mutex_lock(&workers->mutex);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->mutex);
    for (i = 0; i < workers->thread_count; i++)
        pthread_join(workers->threads[i], NULL);

    while ((entry = workers->queued) != NULL) {
        workers->queued = entry->next;
        send_all_home(entry->asks, NULL);
        entry->job->free(entry->job);
        free(entry);
    }
    pthread_cond_destroy(&workers->changed);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
}

static struct entry *find_queued(const struct workers *workers, const char *key)
{
    struct entry *entry;

    for (entry = workers->queued; entry != NULL; entry = entry->next)
        if (strcmp(entry->job->key, key) == 0)
            return entry;
    return NULL;
}

static void append(struct entry **list, struct entry *entry)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = entry;
}

void workers_ask(struct workers *workers, struct job *job, struct ask *ask)
{
    struct entry *entry;
    bool refused = false;

    pthread_mutex_lock(&workers->mutex);
    entry = find_queued(workers, job->key);
    if (entry == NULL && (workers->stopping || workers->count == WORKERS_JOBS_MAX)) {
        refused = true;
    } else if (entry == NULL) {
        entry = xcalloc(1, sizeof(*entry));
        entry->job = job;
        append(&workers->queued, entry);
        workers->count++;
        job = NULL;
        pthread_cond_signal(&workers->changed);
    }
    if (!refused) {
        ask->next = entry->asks;
        entry->asks = ask;
    }
    pthread_mutex_unlock(&workers->mutex);

    if (refused)
        send_home(ask, NULL);
    if (job != NULL)
        job->free(job);
}
