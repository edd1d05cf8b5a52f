/*
 * Putting a file, as steps. One of up to a stripe goes into the head itself:
 *
 *     create    create(exclusive) + content + xattrs: a new file is one round trip. Exists already: read.
 *     read      the head that stands there; the client's conditions are judged by it.
 *     note old  if it has a stripe set, that is noted in the gc log: it is about to be garbage.
 *     replace   the same as create, but guarded by the version that was read. Another one by now: read again.
 *
 * A larger one goes to a stripe set under a new uid, while the head stays as it was:
 *
 *     read      the conditions are judged before anything is sent anywhere.
 *     note      the uid in the gc log, so that whatever happens, its stripes are known.
 *     pend      `pending.UID` on the head: the right to publish. The collector takes it away from an upload that
 *               does not come to its end.
 *     stripes   a few at a time.
 *     read, note old, publish: as above, but what is set on the head is the uid, and the right is used up.
 *
 * Losing a race means that somebody else's version was published, so the number of times is bounded only to be sure
 * that every loop ends. An upload that fails half-way leaves its entry in the log; the collector does the rest.
 */
#include "store.h"

#include <errno.h>
#include <stddef.h>

#define ATTEMPTS_MAX 64

static struct store_put *put_of_call(struct rados_call *call)
{
    return (struct store_put *)((char *)call - offsetof(struct store_put, call));
}

static struct store_put *put_of_read(struct store_head_read *read)
{
    return (struct store_put *)((char *)read - offsetof(struct store_put, read));
}

static struct store_put *put_of_note(struct store_note *note)
{
    return (struct store_put *)((char *)note - offsetof(struct store_put, note));
}

static bool is_striped(const struct store_put *put)
{
    return put->uid[0] != '\0';
}

static void finish(struct store_put *put, enum store_result result)
{
    head_free(&put->read.head);
    put->result = result;
    put->done(put);
}

static void fail(struct store_put *put, int error)
{
    finish(put, store_result_of_errno(put->store, error, "cannot write", put->object));
}

static void begin_call(struct store_put *put, size_t memory,
                       int (*launch)(struct rados_call *call, rados_ioctx_t ioctx,
                                     rados_completion_t completion),
                       void (*done)(struct rados_call *call))
{
    put->call.space = SPACE_HEADS;
    put->call.memory = memory;
    put->call.deadline_ms = store_deadline_ms(put->store);
    put->call.launch = launch;
    put->call.done = done;
    lane_call(&put->store->lanes[put->home->index], &put->call);
}

/* ---- the head: create, replace, publish ---- */

static void on_head_read(struct store_head_read *read);

static void step_read(struct store_put *put)
{
    if (put->attempts++ == ATTEMPTS_MAX) {
        finish(put, STORE_CONTENDED);
        return;
    }
    head_free(&put->read.head);
    put->read.store = put->store;
    put->read.home = put->home;
    put->read.object = put->object;
    put->read.deadline_ms = store_deadline_ms(put->store);
    put->read.done = on_head_read;
    store_head_read_begin(&put->read);
}

static void add_content(struct store_put *put, rados_write_op_t operation)
{
    char pending[HEAD_PENDING_SIZE];

    if (!is_striped(put)) {
        rados_write_op_write_full(operation, put->content.base, put->content.len);
        head_add_to_write(operation, put->tag, NULL, put->manifest);
        if (put->read.head.uid[0] != '\0')
            rados_write_op_rmxattr(operation, HEAD_XATTR_UID);
        return;
    }
    head_pending_name(put->uid, pending);
    rados_write_op_truncate(operation, 0);
    head_add_to_write(operation, put->tag, put->uid, put->manifest);
    rados_write_op_rmxattr(operation, pending);
}

static int launch_write(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_put *put = put_of_call(call);
    rados_write_op_t operation = rados_create_write_op();
    int result;

    if (put->read.head.object_exists)
        rados_write_op_assert_version(operation, put->read.head.version);
    else
        rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    add_content(put, operation);
    result = rados_aio_write_op_operate(operation, ioctx, completion, put->object, NULL,
                                        LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    return result;
}

static void on_written(struct rados_call *call)
{
    struct store_put *put = put_of_call(call);

    switch (call->result) {
    case -EEXIST: /* create: there is something */
    case -ENOENT: /* replace: deleted meanwhile */
    case -ERANGE: /* replace: another version by now; these two are how assert_version says so */
    case -EOVERFLOW:
        step_read(put);
        return;
    }
    if (call->result < 0) {
        fail(put, call->result);
        return;
    }
    atomic_fetch_add_explicit(&put->store->counters.bytes_written, put->content.len, memory_order_relaxed);
    head_etag_of_tag(put->tag, put->etag);
    finish(put, STORE_OK);
}

static void step_write(struct store_put *put)
{
    put->created = !put->read.head.exists;
    begin_call(put, is_striped(put) ? 0 : put->content.len, launch_write, on_written);
}

static void on_old_noted(struct store_note *note)
{
    struct store_put *put = put_of_note(note);

    if (note->error < 0)
        fail(put, note->error);
    else
        step_write(put);
}

static void begin_note(struct store_put *put, const char *uid, enum gc_kind kind, uint64_t stripes,
                       void (*done)(struct store_note *note))
{
    put->note.store = put->store;
    put->note.home = put->home;
    put->note.uid = uid;
    put->note.entry = (struct gc_entry){.kind = kind, .stripes = stripes, .name = put->name};
    put->note.deadline_ms = store_deadline_ms(put->store);
    put->note.done = done;
    store_note_begin(&put->note);
}

/* ---- a stripe set ---- */

static void go_on_with_stripes(struct store_put *put);

static int launch_stripe(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_put_stripe *stripe = (struct store_put_stripe *)call;
    struct store_put *put = stripe->put;
    rados_write_op_t operation = rados_create_write_op();
    char object[STRIPE_OBJECT_SIZE];
    int result;

    stripe_object(put->uid, stripe->number, object);
    rados_write_op_write_full(operation, put->content.base + stripe->number * put->manifest->stripe_size,
                              call->memory);
    result =
        rados_aio_write_op_operate(operation, ioctx, completion, object, NULL, LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    return result;
}

static void on_stripe_written(struct rados_call *call)
{
    struct store_put_stripe *stripe = (struct store_put_stripe *)call;
    struct store_put *put = stripe->put;

    stripe->put = NULL;
    put->stripes_under_way--;
    if (call->result < 0 && put->stripe_error == 0)
        put->stripe_error = call->result;
    go_on_with_stripes(put);
}

/* Half of what the collector grants, so that it never meets an upload that still writes. */
static bool takes_too_long(const struct store_put *put)
{
    return clock_monotonic_ms() - put->noted_ms > (int64_t)put->store->options.upload_grace_seconds * 500;
}

static void begin_stripe(struct store_put *put, struct store_put_stripe *stripe)
{
    uint64_t offset = put->stripe_next * put->manifest->stripe_size, left = put->content.len - offset;

    stripe->put = put;
    stripe->number = put->stripe_next++;
    put->stripes_under_way++;
    stripe->call.space = SPACE_STRIPES;
    stripe->call.memory = (size_t)(left < put->manifest->stripe_size ? left : put->manifest->stripe_size);
    stripe->call.deadline_ms = store_deadline_ms(put->store);
    stripe->call.launch = launch_stripe;
    stripe->call.done = on_stripe_written;
    lane_call(&put->store->lanes[put->home->index], &stripe->call);
}

static void go_on_with_stripes(struct store_put *put)
{
    unsigned i;

    if (put->stripe_error == 0 && takes_too_long(put))
        put->stripe_error = -ETIMEDOUT;
    for (i = 0; i < STORE_STRIPES_AT_ONCE && put->stripe_next < put->stripe_count && put->stripe_error == 0;
         i++)
        if (put->stripes[i].put == NULL)
            begin_stripe(put, &put->stripes[i]);
    if (put->stripes_under_way != 0)
        return;
    if (put->stripe_error < 0) {
        fail(put, put->stripe_error);
        return;
    }
    put->stripes_written = true;
    step_read(put);
}

static int launch_pend(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_put *put = put_of_call(call);
    rados_write_op_t operation = rados_create_write_op();
    char pending[HEAD_PENDING_SIZE];
    int result;

    head_pending_name(put->uid, pending);
    rados_write_op_create(operation, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    rados_write_op_setxattr(operation, pending, "1", 1);
    result = rados_aio_write_op_operate(operation, ioctx, completion, put->object, NULL,
                                        LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    return result;
}

static void on_pending(struct rados_call *call)
{
    struct store_put *put = put_of_call(call);

    if (call->result < 0)
        fail(put, call->result);
    else
        go_on_with_stripes(put);
}

static void on_upload_noted(struct store_note *note)
{
    struct store_put *put = put_of_note(note);

    if (note->error < 0)
        fail(put, note->error);
    else
        begin_call(put, 0, launch_pend, on_pending);
}

static void step_note_upload(struct store_put *put)
{
    put->noted_ms = clock_monotonic_ms();
    begin_note(put, put->uid, GC_UPLOAD, put->stripe_count, on_upload_noted);
}

/* ---- what the head says ---- */

static void on_head_read(struct store_head_read *read)
{
    struct store_put *put = put_of_read(read);
    const struct head *head = &read->head;
    struct validators there = {head->exists, head->etag, head->manifest.modified_ns / 1000000000};

    if (read->error < 0)
        fail(put, read->error);
    else if (conditions_evaluate(&put->conditions, &there, false) != CONDITION_HOLDS)
        finish(put, STORE_PRECONDITION_FAILED);
    else if (is_striped(put) && !put->stripes_written && head->pending_count == HEAD_PENDING_MOST)
        finish(put, STORE_CONTENDED);
    else if (is_striped(put) && !put->stripes_written)
        step_note_upload(put);
    else if (is_striped(put) && !head_has_pending(head, put->uid))
        finish(put, STORE_UNAVAILABLE); /* the collector has given this upload up */
    else if (head->uid[0] != '\0')
        begin_note(put, head->uid, GC_DEAD, head->stripe_count, on_old_noted);
    else
        step_write(put);
}

void store_put_begin(struct store_put *put)
{
    uint32_t stripe_size = cluster_layout(put->store->cluster)->stripe_size;

    memcpy(put->object, put->name.base, put->name.len);
    put->object[put->name.len] = '\0';
    head_new_tag(put->tag);
    put->manifest->size = put->content.len;
    put->manifest->modified_ns = clock_realtime_ns();
    put->manifest->stripe_size = 0;
    put->read.head = (struct head){.exists = false};
    put->uid[0] = '\0';
    put->attempts = 0;
    put->stripes_written = false;

    if (put->content.len > stripe_size && cluster_is_ready(put->store->cluster)) {
        head_new_tag(put->uid);
        put->manifest->stripe_size = stripe_size;
        put->stripe_count = manifest_stripe_count(put->manifest);
        put->stripe_next = 0;
        put->stripes_under_way = 0;
        put->stripe_error = 0;
        memset(put->stripes, 0, sizeof(put->stripes));
    }

    /* Conditions that can only hold when something is there are judged before the content is sent anywhere. */
    if (is_striped(put) || put->conditions.if_match.base != NULL ||
        put->conditions.if_unmodified_since.base != NULL)
        step_read(put);
    else
        step_write(put);
}
