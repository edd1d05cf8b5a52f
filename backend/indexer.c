#include "indexer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "blocking.h"
#include "executor.h"
#include "fault.h"
#include "log.h"
#include "scrub.h"
#include "stop.h"
#include "xalloc.h"

#define ENTRIES_AT_ONCE 1024
#define LEADER_OBJECT   "leader"
#define LEADER_LOCK     "indexer"
#define LEADER_SECONDS  10 /* after a leader has died, the journals wait for so long */
#define RENEW_MS        3000
#define FOLLOWER_MS     2000 /* between two tries to become the leader */
#define DOUBTS_AT_ONCE  256

struct indexer {
    struct cluster *cluster;
    struct doubts *doubts;
    struct indexer_options options;
    struct indexer_counters *counters;
    pthread_t thread;
    struct stop stop;

    /* The thread's own. */
    rados_ioctx_t heads, index;
    bool opened;
    char cookie[HEAD_TAG_SIZE];
    bool leader;
    int64_t leader_since_ms, next_try_ms;
    struct scrub *scrub; /* NULL when none is under way */
    int64_t scrub_looked_ms;
    int64_t *clean_ns; /* of each slot: when it was last begun to be moved, and all of it was */
    int error_last;
};

/* ---- who does the common work ---- */

/* A full pool takes no lock, and then the work is done by everybody: that is safe. */
static bool is_leader(struct indexer *indexer)
{
    struct timeval duration = {LEADER_SECONDS, 0};
    int64_t now_ms = clock_monotonic_ms();
    int result;

    if (indexer->leader && now_ms - indexer->leader_since_ms < RENEW_MS)
        return true;
    if (!indexer->leader && now_ms < indexer->next_try_ms)
        return false;
    result = rados_lock_exclusive(indexer->index, LEADER_OBJECT, LEADER_LOCK, indexer->cookie, "", &duration,
                                  LIBRADOS_LOCK_FLAG_MAY_RENEW);
    indexer->leader = result == 0 || result == -ENOSPC || result == -EDQUOT;
    indexer->leader_since_ms = now_ms;
    indexer->next_try_ms = now_ms + FOLLOWER_MS;
    return indexer->leader;
}

/* ---- from the journals to the shards ---- */

/* An entry of a journal; the slices point into `value`. */
struct moving {
    char *key, *value; /* owned */
    struct slice name, entry;
    uint64_t version;
    uint32_t shard;
};

/* The first entries of one slot. */
struct batch {
    const struct layout *layout;
    const char *object; /* the slot's */
    struct moving list[ENTRIES_AT_ONCE];
    size_t count;
    uint64_t version; /* of the slot's object */
    bool more;
};

static void batch_clear(struct batch *batch)
{
    while (batch->count != 0) {
        free(batch->list[--batch->count].key);
        free(batch->list[batch->count].value);
    }
}

static int batch_add(struct slice key, struct slice value, void *context)
{
    struct batch *batch = context;
    struct moving *moving = &batch->list[batch->count++];
    struct index_entry entry;

    moving->key = xmemdup0(key.base, key.len);
    moving->value = xmemdup0(value.base, value.len);
    if (!index_journal_decode((struct slice){moving->value, value.len}, &moving->name, &entry)) {
        log_error("the index has an entry that cannot be read, in %s: it is dropped", batch->object);
        moving->name = SLICE_ABSENT;
        moving->version = moving->shard = 0;
        return 0;
    }
    moving->entry = (struct slice){moving->name.base + moving->name.len, value.len - 2 - moving->name.len};
    moving->version = entry.version;
    moving->shard = index_shard(moving->name, batch->layout->index_shards);
    return 0;
}

static int batch_read(struct indexer *indexer, struct batch *batch)
{
    int result = blocking_omap_read(indexer->index, batch->object, "", ENTRIES_AT_ONCE, batch_add, batch);

    batch->more = result == 1;
    if (result < 0)
        return result;
    batch->version = rados_get_last_version(indexer->index);
    return 0;
}

/* By shard, name, and the highest version first. */
static int compare_moving(const void *left, const void *right)
{
    const struct moving *a = left, *b = right;
    int order;

    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    order = slice_compare(a->name, b->name);
    if (order != 0)
        return order;
    return a->version > b->version ? -1 : a->version < b->version;
}

static int batch_set(struct indexer *indexer, struct batch *batch)
{
    struct slice names[BLOCKING_INDEX_SET_MOST], values[BLOCKING_INDEX_SET_MOST];
    size_t i, count = 0;
    int error = 0;

    qsort(batch->list, batch->count, sizeof(*batch->list), compare_moving);
    for (i = 0; i < batch->count && error == 0; i++) {
        const struct moving *moving = &batch->list[i];
        bool last_of_shard = i + 1 == batch->count || batch->list[i + 1].shard != moving->shard;

        if (moving->name.base != NULL && (count == 0 || !slice_equals(names[count - 1], moving->name))) {
            names[count] = moving->name;
            values[count++] = moving->entry;
        }
        if (count != 0 && (last_of_shard || count == BLOCKING_INDEX_SET_MOST)) {
            error = blocking_index_set(indexer->index, moving->shard, names, values, count);
            count = 0;
        }
    }
    return error;
}

static int remove_slot(struct indexer *indexer, const struct batch *batch)
{
    rados_write_op_t operation = rados_create_write_op();

    rados_write_op_assert_version(operation, batch->version);
    rados_write_op_remove(operation);
    return blocking_write(indexer->index, batch->object, operation);
}

/* What was moved on goes from the slot by itself: its keys were never used before, and never will be again. */
static int batch_remove(struct indexer *indexer, const struct batch *batch)
{
    rados_write_op_t operation = rados_create_write_op();
    const char *keys[ENTRIES_AT_ONCE];
    size_t i;

    for (i = 0; i < batch->count; i++)
        keys[i] = batch->list[i].key;
    rados_write_op_omap_rm_keys(operation, keys, batch->count);
    return blocking_write(indexer->index, batch->object, operation);
}

/*
 * Moves all of a slot on, and removes it if nobody has written to it meanwhile: so that nobody has to pass over what was
 * removed. An entry must not stay when it has been moved: a tombstone may be dropped that would keep it from the shard the
 * next time.
 */
static int move_slot(struct indexer *indexer, struct batch *batch)
{
    int error;

    do {
        error = batch_read(indexer, batch);
        if (error == 0)
            error = batch_set(indexer, batch);
        fault_point("index-moved");
        if (error == 0 && !batch->more) {
            error = remove_slot(indexer, batch);
            if (error == -ERANGE || error == -EOVERFLOW)
                error = batch_remove(indexer, batch);
        } else if (error == 0) {
            error = batch_remove(indexer, batch);
        }
        atomic_fetch_add(&indexer->counters->moved, error == 0 ? batch->count : 0);
        batch_clear(batch);
    } while (error == 0 && batch->more && !stop_is_requested(&indexer->stop));
    return error == -ENOENT ? 0 : error == 0 && batch->more ? -ECANCELED : error;
}

static int move_journals(struct indexer *indexer)
{
    struct batch *batch = xcalloc(1, sizeof(*batch));
    uint32_t count = cluster_layout(indexer->cluster)->index_journals * INDEX_SLOTS, i;
    char object[INDEX_OBJECT_SIZE];
    int error = 0;

    batch->layout = cluster_layout(indexer->cluster);
    batch->object = object;
    if (indexer->clean_ns == NULL)
        indexer->clean_ns = xcalloc(count, sizeof(*indexer->clean_ns));
    for (i = 0; i < count && error == 0 && !stop_is_requested(&indexer->stop); i++) {
        int64_t begun_ns = clock_realtime_ns();

        if (i % INDEX_SLOTS == index_slot(begun_ns))
            continue;
        index_journal_object(i / INDEX_SLOTS, i % INDEX_SLOTS, object);
        error = move_slot(indexer, batch);
        if (error == 0)
            indexer->clean_ns[i] = begun_ns;
    }
    free(batch);
    return error == -ECANCELED ? 0 : error;
}

/* What was written to the journals before that time stands in the shards. */
static int64_t moved_until_ns(const struct indexer *indexer)
{
    uint32_t count = cluster_layout(indexer->cluster)->index_journals * INDEX_SLOTS, i;
    int64_t until_ns = INT64_MAX;

    if (indexer->clean_ns == NULL)
        return 0;
    for (i = 0; i < count; i++)
        until_ns = indexer->clean_ns[i] < until_ns ? indexer->clean_ns[i] : until_ns;
    return until_ns;
}

/* ---- doubts ---- */

/* Everybody looks at their own. */
static int settle_doubts(struct indexer *indexer)
{
    struct buffer name = {NULL, 0, 0};
    int result = 0, i;

    for (i = 0; i < DOUBTS_AT_ONCE && result >= 0 && !stop_is_requested(&indexer->stop) &&
                doubts_take(indexer->doubts, clock_monotonic_ms(), &name);
         i++) {
        result = blocking_index_repair(indexer->heads, indexer->index, cluster_layout(indexer->cluster),
                                       buffer_slice(&name));
        if (result < 0)
            doubts_keep(indexer->doubts, buffer_slice(&name), clock_monotonic_ms());
        else
            doubts_settle(indexer->doubts, buffer_slice(&name), clock_monotonic_ms());
        if (result == 1)
            atomic_fetch_add(&indexer->counters->repaired, 1);
    }
    buffer_free(&name);
    return result < 0 ? result : 0;
}

/* ---- the scrub ---- */

static int go_on_with_scrub(struct indexer *indexer)
{
    int64_t now_ms = clock_monotonic_ms();
    int result;

    if (indexer->scrub == NULL) {
        if (indexer->scrub_looked_ms != 0 && now_ms - indexer->scrub_looked_ms < FOLLOWER_MS)
            return 0;
        result = scrub_is_due(indexer->index, indexer->options.scrub_interval_seconds);
        if (result >= 0)
            indexer->scrub_looked_ms = now_ms;
        if (result != 1 || !is_leader(indexer))
            return result < 0 ? result : 0;
        indexer->scrub = scrub_begin(indexer->heads, indexer->index, cluster_layout(indexer->cluster),
                                     &indexer->options, indexer->counters);
    }
    if (!is_leader(indexer))
        return 0;
    result = scrub_go_on(indexer->scrub, moved_until_ns(indexer));
    if (result == 0) {
        scrub_end(indexer->scrub);
        indexer->scrub = NULL;
    }
    return result < 0 ? result : 0;
}

/* ---- the thread ---- */

static int open_ioctxs(struct indexer *indexer)
{
    int error;

    if (indexer->opened)
        return 0;
    error = cluster_open_ioctx(indexer->cluster, SPACE_HEADS, &indexer->heads);
    if (error < 0)
        return error;
    error = cluster_open_ioctx(indexer->cluster, SPACE_INDEX, &indexer->index);
    if (error < 0)
        rados_ioctx_destroy(indexer->heads);
    indexer->opened = error == 0;
    return error;
}

static int work(struct indexer *indexer)
{
    int error = open_ioctxs(indexer);

    if (error == 0)
        error = settle_doubts(indexer);
    if (error == 0 && is_leader(indexer))
        error = move_journals(indexer);
    /* After that, so that it does not look at names that only had not been moved yet. */
    if (error == 0)
        error = go_on_with_scrub(indexer);
    return error;
}

static void close_all(struct indexer *indexer)
{
    if (!indexer->opened)
        return;
    if (indexer->scrub != NULL)
        scrub_end(indexer->scrub);
    if (indexer->leader)
        (void)rados_unlock(indexer->index, LEADER_OBJECT, LEADER_LOCK, indexer->cookie);
    rados_ioctx_destroy(indexer->index);
    rados_ioctx_destroy(indexer->heads);
}

static void *keep_in_order(void *argument)
{
    struct indexer *indexer = argument;

    while (!stop_wait(&indexer->stop, 1)) {
        int error;

        if (!cluster_is_ready(indexer->cluster))
            continue;
        error = work(indexer);
        if (error < 0 && error != indexer->error_last)
            log_warn("keeping the index: %s; it is tried again", strerror(-error));
        indexer->error_last = error;
    }
    close_all(indexer);
    return NULL;
}

struct indexer *indexer_start(struct cluster *cluster, struct doubts *doubts,
                              const struct indexer_options *options, struct indexer_counters *counters)
{
    struct indexer *indexer = xcalloc(1, sizeof(*indexer));

    indexer->cluster = cluster;
    indexer->doubts = doubts;
    indexer->options = *options;
    indexer->counters = counters;
    head_new_tag(indexer->cookie);
    stop_init(&indexer->stop);
    if (pthread_create(&indexer->thread, NULL, keep_in_order, indexer) != 0) {
        log_error("cannot start a thread");
        abort();
    }
    return indexer;
}

void indexer_stop(struct indexer *indexer)
{
    stop_request(&indexer->stop);
    pthread_join(indexer->thread, NULL);
    free(indexer->clean_ns);
    stop_destroy(&indexer->stop);
    free(indexer);
}
