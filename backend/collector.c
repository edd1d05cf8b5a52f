#include "collector.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "blocking.h"
#include "executor.h"
#include "fault.h"
#include "gc.h"
#include "log.h"
#include "stop.h"
#include "stripe.h"
#include "xalloc.h"

#define STRIPES_AT_ONCE    32
#define ENTRIES_AT_ONCE    100
#define LOCK_NAME          "collector"
#define REPLACE_SECONDS    10
#define LOCK_SECONDS_LEAST 5

struct collector {
    struct cluster *cluster;
    struct doubts *doubts;
    struct collector_options options;
    struct collector_counters *counters;
    pthread_t thread;
    struct stop stop;

    rados_ioctx_t heads, log, uploads, stripes; /* the thread's own, during a walk */
};

/* One entry as it was read: whoever changes or removes it names these bytes. */
struct found {
    char uid[HEAD_TAG_SIZE];
    char *value; /* owned */
    size_t value_len;
    char *name; /* owned: the head's, with a NUL behind it */
    struct gc_entry entry;
};

/* ---- the log ---- */

/* Adds to the operation that it fails with ECANCELED if the entry is not what was read. */
static void guard_entry(rados_write_op_t operation, const struct found *found, int *result)
{
    rados_write_op_omap_cmp(operation, found->uid, LIBRADOS_CMPXATTR_OP_EQ, found->value, found->value_len,
                            result);
}

static int remove_entry(struct collector *collector, const char *object, const struct found *found)
{
    rados_write_op_t operation = rados_create_write_op();
    const char *key = found->uid;
    int compared;

    guard_entry(operation, found, &compared);
    rados_write_op_omap_rm_keys(operation, &key, 1);
    return blocking_write(collector->log, object, operation);
}

/* Nothing uses the stripe set, and nothing can publish it. From now on its stripes wait for those who read them. */
static int turn_into_garbage(struct collector *collector, const char *object, const struct found *found)
{
    struct gc_entry entry = found->entry;
    rados_write_op_t operation = rados_create_write_op();
    int compared;

    entry.kind = GC_GARBAGE;
    entry.time_ns = clock_realtime_ns();
    guard_entry(operation, found, &compared);
    gc_entry_add_to_write(operation, found->uid, &entry);
    return blocking_write(collector->log, object, operation);
}

/* ECANCELED when it is not what was read any more. */
static int check_entry(struct collector *collector, const char *object, const struct found *found)
{
    rados_read_op_t operation = rados_create_read_op();
    int compared, error;

    rados_read_op_omap_cmp(operation, found->uid, LIBRADOS_CMPXATTR_OP_EQ, found->value, found->value_len,
                           &compared);
    error = rados_read_op_operate(operation, collector->log, object, LIBRADOS_OPERATION_NOFLAG);
    rados_release_read_op(operation);
    return error;
}

/* ---- the head ---- */

/*
 * Takes away the right to publish `uid`, and the head with it if that was all that it was there for. For a head that uses
 * the uid it changes nothing but the version: who read the head before, and is about to replace it, has to read again, and
 * to note the uid again.
 */
static int touch_head(struct collector *collector, const struct found *found, const struct head *head)
{
    rados_write_op_t operation = rados_create_write_op();

    head_add_to_right_removal(operation, head, found->uid);
    return blocking_write(collector->heads, found->name, operation);
}

/* ---- one entry ---- */

static rados_completion_t begin_removal(struct collector *collector, const char *uid, uint64_t number)
{
    rados_write_op_t operation = rados_create_write_op();
    char object[STRIPE_OBJECT_SIZE];
    rados_completion_t completion;

    stripe_object(uid, number, object);
    rados_write_op_remove(operation);
    rados_aio_create_completion2(NULL, NULL, &completion);
    if (rados_aio_write_op_operate(operation, collector->stripes, completion, object, NULL,
                                   LIBRADOS_OPERATION_FULL_FORCE) < 0) {
        rados_aio_release(completion);
        completion = NULL;
    }
    rados_release_write_op(operation);
    return completion;
}

static int end_removal(struct collector *collector, rados_completion_t completion)
{
    int error = -EIO;

    if (completion == NULL)
        return error;
    rados_aio_wait_for_complete(completion);
    error = rados_aio_get_return_value(completion);
    rados_aio_release(completion);
    if (error == 0)
        atomic_fetch_add(&collector->counters->stripes_removed, 1);
    return error == -ENOENT ? 0 : error;
}

/* Those from `first` on; of an upload that was given up most may never have been there. */
static int remove_stripes(struct collector *collector, const struct found *found, uint64_t first)
{
    rados_completion_t completions[STRIPES_AT_ONCE];
    int error = 0, result;
    uint64_t i;

    for (i = first; i < found->entry.stripes && error == 0 && !stop_is_requested(&collector->stop);) {
        uint64_t count =
                     found->entry.stripes - i < STRIPES_AT_ONCE ? found->entry.stripes - i : STRIPES_AT_ONCE,
                 k;

        for (k = 0; k < count; k++)
            completions[k] = begin_removal(collector, found->uid, i + k);
        for (k = 0; k < count; k++) {
            result = end_removal(collector, completions[k]);
            error = error < 0 ? error : result;
        }
        i += count;
    }
    /* Told to stop: the entry stays. */
    return error == 0 && i < found->entry.stripes ? -ECANCELED : error;
}

static unsigned grace_seconds(const struct collector *collector, enum gc_kind kind)
{
    switch (kind) {
    case GC_UPLOAD:
        return collector->options.upload_grace_seconds;
    case GC_GARBAGE:
        return collector->options.download_grace_seconds;
    case GC_DEAD:
        /* Whoever noted it is about to change the head, and had better not be disturbed. */
        return collector->options.download_grace_seconds < REPLACE_SECONDS
                   ? collector->options.download_grace_seconds
                   : REPLACE_SECONDS;
    case GC_EXPIRY:
        break;
    }
    return 0;
}

static bool is_older_than(const struct gc_entry *entry, unsigned seconds)
{
    int64_t age_ns = clock_realtime_ns() - entry->time_ns;

    return age_ns >= 0 && age_ns / 1000000000 >= (int64_t)seconds;
}

static bool is_old_enough(const struct collector *collector, const struct gc_entry *entry)
{
    return is_older_than(entry, grace_seconds(collector, entry->kind));
}

/*
 * The record of an upload in parts goes before its entry does. 1: it shows that the upload goes on; 0: there is none
 * any more; or a negative errno.
 */
static int remove_record(struct collector *collector, const struct found *found, unsigned grace)
{
    rados_write_op_t operation;
    uint64_t size, version;
    time_t modified;
    int error = rados_stat(collector->uploads, found->uid, &size, &modified);

    if (error == -ENOENT)
        return 0;
    if (error < 0)
        return error;
    version = rados_get_last_version(collector->uploads);
    if (clock_realtime_ns() / 1000000000 - (int64_t)modified < (int64_t)grace)
        return 1;
    operation = rados_create_write_op();
    rados_write_op_assert_version(operation, version);
    rados_write_op_remove(operation);
    error = blocking_write(collector->uploads, found->uid, operation);
    /* A part has come just now. */
    return error == -ERANGE || error == -EOVERFLOW ? 1 : error == -ENOENT ? 0 : error;
}

/* A stripe set is in use, or may be published, or is garbage: the head knows. */
static int judge_stripes(struct collector *collector, const char *object, const struct found *found,
                         const struct head *head)
{
    int error = remove_record(collector, found,
                              found->entry.kind == GC_UPLOAD ? collector->options.upload_grace_seconds : 0);

    if (error != 0)
        return error < 0 ? error : 0;
    if (strcmp(head->uid, found->uid) == 0) {
        error = touch_head(collector, found, head);
        fault_point("collector-touched");
        /* Parts behind the end of what was published. */
        if (error == 0)
            error = remove_stripes(collector, found, head->stripe_count);
        if (error == 0)
            error = remove_entry(collector, object, found);
        /* Who published it may have died before it could tell the index. */
        if (found->entry.kind == GC_UPLOAD)
            doubts_add(collector->doubts, found->entry.name);
    } else if (head_has_pending(head, found->uid)) {
        error = touch_head(collector, found, head);
        fault_point("collector-gave-up");
        if (error == 0) {
            error = turn_into_garbage(collector, object, found);
            atomic_fetch_add(&collector->counters->uploads_given_up, 1);
            log_info("gave up an upload of \"%s\" that has not been finished", found->name);
        }
    } else if (found->entry.kind != GC_GARBAGE) {
        error = turn_into_garbage(collector, object, found);
        fault_point("collector-found-garbage");
    } else {
        /* It may have been noted again since it was read; then its time begins anew. */
        error = check_entry(collector, object, found);
        if (error == 0)
            error = remove_stripes(collector, found, 0);
        fault_point("collector-removed");
        if (error == 0)
            error = remove_entry(collector, object, found);
    }
    return error;
}

static int note_dead(struct collector *collector, const struct found *found, const struct head *head)
{
    struct gc_entry entry = {.kind = GC_DEAD,
                             .time_ns = clock_realtime_ns(),
                             .stripes = head->stripe_count,
                             .name = found->entry.name};
    rados_write_op_t operation = rados_create_write_op();
    char object[GC_OBJECT_SIZE];

    gc_entry_add_to_write(operation, head->uid, &entry);
    gc_object_of_uid(head->uid, cluster_layout(collector->cluster)->gc_shards, object);
    return blocking_write(collector->log, object, operation);
}

static int remove_expired(struct collector *collector, const struct found *found, const struct head *head)
{
    rados_write_op_t removal = rados_create_write_op();
    int error;

    head_add_to_removal(removal, head);
    error = blocking_write(collector->heads, found->name, removal);
    fault_point("collector-expired");
    if (error == 0)
        atomic_fetch_add(&collector->counters->files_expired, 1);
    return error;
}

/*
 * The time of a version is over. If it is what its name stands for, it goes as if somebody had deleted it. If it is not,
 * it may still come to be: it was noted before, and whoever publishes it may be slow. After so long that nobody can be,
 * the entry goes.
 */
static int judge_expiry(struct collector *collector, const char *object, const struct found *found,
                        const struct head *head)
{
    char key[HEAD_TAG_SIZE];
    int error = 0;

    if (head_expiry_key(head, key) && strcmp(key, found->uid) == 0) {
        if (!head->expired) /* by a clock that has been put back */
            return 0;
        if (head->uid[0] != '\0')
            error = note_dead(collector, found, head);
        if (error == 0)
            error = remove_expired(collector, found, head);
        if (error < 0)
            return error;
    } else if (!is_older_than(&found->entry, collector->options.upload_grace_seconds)) {
        return 0;
    }
    /* Also when it went earlier: this may be what a crash left of the work above. */
    doubts_add(collector->doubts, found->entry.name);
    return remove_entry(collector, object, found);
}

static int judge(struct collector *collector, const char *object, const struct found *found)
{
    struct head head;
    int error = blocking_read_head(collector->heads, found->name, &head);

    if (error == 0 && found->entry.kind == GC_EXPIRY)
        error = judge_expiry(collector, object, found, &head);
    else if (error == 0)
        error = judge_stripes(collector, object, found, &head);
    head_free(&head);
    return error;
}

/* Losing a race is no trouble: the entry is there the next time. */
static bool is_lost_race(int error)
{
    return error == -ECANCELED || error == -ERANGE || error == -EOVERFLOW || error == -ENOENT;
}

/* ---- a walk ---- */

/* Where a walk is. */
struct place {
    struct collector *collector;
    const char *object;  /* the shard's */
    struct buffer after; /* the key of the last entry that was handled; "" at first */
};

static int handle_entry(struct slice key, struct slice value, void *context)
{
    struct place *place = context;
    struct collector *collector = place->collector;
    struct found found = {.value = xmemdup0(value.base, value.len), .value_len = value.len};
    int error = 0;

    place->after.len = 0;
    buffer_append_slice(&place->after, key);
    if (key.len == HEAD_TAG_SIZE - 1 &&
        gc_entry_decode((struct slice){found.value, found.value_len}, &found.entry)) {
        strcpy(found.uid, place->after.base);
        found.name = xmemdup0(found.entry.name.base, found.entry.name.len);
        if (is_old_enough(collector, &found.entry))
            error = judge(collector, place->object, &found);
    } else {
        log_error("the gc log has an entry that cannot be read, in %s under \"%s\"", place->object,
                  place->after.base);
    }
    free(found.name);
    free(found.value);
    error = is_lost_race(error) ? 0 : error;
    return error == 0 && stop_is_requested(&collector->stop) ? -EINTR : error;
}

/* 0 when it was told to stop, too. */
static int walk_entries(struct collector *collector, const char *object)
{
    struct place place = {.collector = collector, .object = object};
    int result;

    buffer_append_text(&place.after, "");
    do
        result = blocking_omap_read(collector->log, object, place.after.base, ENTRIES_AT_ONCE, handle_entry,
                                    &place);
    while (result == 1);
    buffer_free(&place.after);
    return result == -EINTR ? 0 : result;
}

static int walk_shard(struct collector *collector, uint32_t shard)
{
    /* A collector that dies keeps others from the shard for so long. */
    struct timeval duration = {LOCK_SECONDS_LEAST + (long)collector->options.interval_seconds, 0};
    char object[GC_OBJECT_SIZE], cookie[HEAD_TAG_SIZE];
    bool locked;
    int result;

    gc_object_of_shard(shard, object);
    /* Before anything was ever noted there is no such object, and locking it would make one. */
    result = rados_stat(collector->log, object, NULL, NULL);
    if (result < 0)
        return result == -ENOENT ? 0 : result;
    head_new_tag(cookie);
    result = rados_lock_exclusive(collector->log, object, LOCK_NAME, cookie, "", &duration, 0);
    if (result == -EBUSY)
        return 0;
    /* A full pool takes no lock, and then it is needed the most that somebody makes room. */
    locked = result == 0;
    result = walk_entries(collector, object);
    if (locked)
        (void)rados_unlock(collector->log, object, LOCK_NAME, cookie);
    return result;
}

static int walk_shards(struct collector *collector)
{
    uint32_t shard, shards = cluster_layout(collector->cluster)->gc_shards;
    int error = 0;

    for (shard = 0; shard < shards && error == 0 && !stop_is_requested(&collector->stop); shard++)
        error = walk_shard(collector, shard);
    return error;
}

static int walk(struct collector *collector)
{
    int error = cluster_open_ioctx(collector->cluster, SPACE_HEADS, &collector->heads);

    if (error < 0)
        return error;
    error = cluster_open_ioctx(collector->cluster, SPACE_GC, &collector->log);
    if (error == 0) {
        error = cluster_open_ioctx(collector->cluster, SPACE_STRIPES, &collector->stripes);
        if (error == 0) {
            error = cluster_open_ioctx(collector->cluster, SPACE_UPLOADS, &collector->uploads);
            if (error == 0) {
                error = walk_shards(collector);
                rados_ioctx_destroy(collector->uploads);
            }
            rados_ioctx_destroy(collector->stripes);
        }
        rados_ioctx_destroy(collector->log);
    }
    rados_ioctx_destroy(collector->heads);
    return error;
}

static void *collect(void *argument)
{
    struct collector *collector = argument;
    int error_last = 0;

    while (!stop_wait(&collector->stop, collector->options.interval_seconds)) {
        int error;

        if (!cluster_is_ready(collector->cluster))
            continue;
        error = walk(collector);
        if (error < 0 && error != error_last)
            log_warn("collecting garbage: %s; it is tried again", strerror(-error));
        error_last = error;
        atomic_fetch_add(&collector->counters->walks, 1);
    }
    return NULL;
}

struct collector *collector_start(struct cluster *cluster, struct doubts *doubts,
                                  const struct collector_options *options,
                                  struct collector_counters *counters)
{
    struct collector *collector = xcalloc(1, sizeof(*collector));

    collector->cluster = cluster;
    collector->doubts = doubts;
    collector->options = *options;
    collector->counters = counters;
    stop_init(&collector->stop);
    if (pthread_create(&collector->thread, NULL, collect, collector) != 0) {
        log_error("cannot start a thread");
        abort();
    }
    return collector;
}

void collector_stop(struct collector *collector)
{
    stop_request(&collector->stop);
    pthread_join(collector->thread, NULL);
    stop_destroy(&collector->stop);
    free(collector);
}
