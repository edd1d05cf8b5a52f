#include "journal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "head.h"
#include "log.h"
#include "xalloc.h"

#define KEY_SIZE (HEAD_TAG_SIZE + 16)

struct journal {
    struct cluster *cluster;
    pthread_t thread;
    char incarnation[HEAD_TAG_SIZE]; /* all keys begin with it */
    uint64_t key_count;
    uint32_t number; /* modulo the number of journals: which one */

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct journal_entry *first, *last; /* waiting */
    bool stop;

    /* The thread's own. */
    rados_ioctx_t ioctx;
    bool opened;
};

/* ---- from any thread ---- */

void journal_append(struct journal *journal, struct journal_entry *entry)
{
    entry->next = NULL;
    pthread_mutex_lock(&journal->mutex);
    if (journal->first == NULL)
        journal->first = entry;
    else
        journal->last->next = entry;
    journal->last = entry;
    pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
}

/* ---- the thread ---- */

/* The next batch, when there is one. NULL: the journal is to stop. */
static struct journal_entry *take_batch(struct journal *journal)
{
    struct journal_entry *batch, *last;
    unsigned count;

    pthread_mutex_lock(&journal->mutex);
    while (journal->first == NULL && !journal->stop)
        pthread_cond_wait(&journal->changed, &journal->mutex);
    batch = last = journal->first;
    if (batch != NULL) {
        for (count = 1; count < JOURNAL_BATCH_MOST && last->next != NULL; count++)
            last = last->next;
        journal->first = last->next;
        last->next = NULL;
    }
    pthread_mutex_unlock(&journal->mutex);
    return batch;
}

static void add_to_write(struct journal *journal, rados_write_op_t operation,
                         const struct journal_entry *batch)
{
    char keys[JOURNAL_BATCH_MOST][KEY_SIZE];
    const char *key[JOURNAL_BATCH_MOST], *value[JOURNAL_BATCH_MOST];
    size_t offset[JOURNAL_BATCH_MOST] = {0}, len[JOURNAL_BATCH_MOST], count = 0, i;
    struct buffer values = {NULL, 0, 0};

    for (; batch != NULL; batch = batch->next, count++) {
        snprintf(keys[count], KEY_SIZE, "%s%016" PRIx64, journal->incarnation, journal->key_count++);
        key[count] = keys[count];
        offset[count] = values.len;
        index_journal_encode(batch->name, &batch->entry, &values);
        len[count] = values.len - offset[count];
    }
    for (i = 0; i < count; i++)
        value[i] = values.base + offset[i]; /* it does not move any more */
    rados_write_op_omap_set(operation, key, value, len, count);
    buffer_free(&values);
}

static int write_batch(struct journal *journal, const struct journal_entry *batch)
{
    char object[INDEX_OBJECT_SIZE];
    rados_write_op_t operation;
    int error = 0;

    if (!journal->opened) {
        error = cluster_open_ioctx(journal->cluster, SPACE_INDEX, &journal->ioctx);
        journal->opened = error == 0;
    }
    if (error < 0)
        return error;
    operation = rados_create_write_op();
    add_to_write(journal, operation, batch);
    index_journal_object(journal->number % cluster_layout(journal->cluster)->index_journals,
                         index_slot(clock_realtime_ns()), object);
    /* A deletion makes room, so a full cluster must not keep it out; and what has been stored has to be listed. */
    error = rados_write_op_operate(operation, journal->ioctx, object, NULL, LIBRADOS_OPERATION_FULL_FORCE);
    rados_release_write_op(operation);
    return error;
}

static void come_home(struct task *task)
{
    struct journal_entry *entry =
        (struct journal_entry *)((char *)task - offsetof(struct journal_entry, homecoming));

    entry->done(entry);
}

static void *write_batches(void *argument)
{
    struct journal *journal = argument;
    struct journal_entry *entry, *next;

    while ((entry = take_batch(journal)) != NULL) {
        int error = write_batch(journal, entry);

        for (; entry != NULL; entry = next) {
            next = entry->next;
            entry->error = error < 0 ? error : 0;
            entry->homecoming.run = come_home;
            executor_submit(entry->home, &entry->homecoming);
        }
    }
    if (journal->opened)
        rados_ioctx_destroy(journal->ioctx);
    return NULL;
}

struct journal *journal_start(struct cluster *cluster)
{
    struct journal *journal = xcalloc(1, sizeof(*journal));

    journal->cluster = cluster;
    head_new_tag(journal->incarnation);
    /* Several who write the same one are no trouble; it is only better when not all do. */
    sscanf(journal->incarnation, "%8" SCNx32, &journal->number);
    pthread_mutex_init(&journal->mutex, NULL);
    pthread_cond_init(&journal->changed, NULL);
    if (pthread_create(&journal->thread, NULL, write_batches, journal) != 0) {
        log_error("cannot start a thread");
        abort();
    }
    return journal;
}

void journal_stop(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    journal->stop = true;
    pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
    pthread_join(journal->thread, NULL);
    pthread_cond_destroy(&journal->changed);
    pthread_mutex_destroy(&journal->mutex);
    free(journal);
}
