/*
 * Putting a file, as steps:
 *
 *     create   create(exclusive) + content + xattrs: a new file is one round trip. Exists already: read.
 *     read     the head that stands there; the client's conditions are judged by it.
 *     replace  the same as create, but guarded by the version that was read. Another one by now: read again.
 *
 * Losing a race means that somebody else's version was published, so the number of times is bounded only to
 * be sure that every loop ends.
 */
#include "store.h"

#include <errno.h>
#include <stddef.h>

#define ATTEMPTS_MAX 64

static struct store_put *put_of(struct rados_call *call)
{
    return (struct store_put *)((char *)call - offsetof(struct store_put, call));
}

static void finish(struct store_put *put, enum store_result result)
{
    head_free(&put->head);
    put->result = result;
    put->done(put);
}

static int launch_write(struct store_put *put, bool exclusive, rados_ioctx_t ioctx,
                        rados_completion_t completion)
{
    rados_write_op_t operation = rados_create_write_op();
    int result;

    if (exclusive)
        rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    else
        rados_write_op_assert_version(operation, put->head.version);
    rados_write_op_write_full(operation, put->content.base, put->content.len);
    head_add_to_write(operation, put->tag, put->manifest);
    result = rados_aio_write_op_operate(operation, ioctx, completion, put->object, NULL,
                                        LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    return result;
}

static int launch_create(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    return launch_write(put_of(call), true, ioctx, completion);
}

static int launch_replace(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    return launch_write(put_of(call), false, ioctx, completion);
}

static int launch_read(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_put *put = put_of(call);

    put->read_operation = rados_create_read_op();
    head_add_to_read(put->read_operation, &put->reading);
    return rados_aio_read_op_operate(put->read_operation, ioctx, completion, put->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_written(struct rados_call *call);
static void on_read(struct rados_call *call);

static void step_write(struct store_put *put, bool exclusive)
{
    put->created = !put->head.exists;
    put->call.memory = put->content.len;
    put->call.launch = exclusive ? launch_create : launch_replace;
    put->call.done = on_written;
    lane_call(&put->store->lanes[put->home->index], &put->call);
}

static void step_read(struct store_put *put)
{
    if (put->attempts++ == ATTEMPTS_MAX) {
        finish(put, STORE_CONTENDED);
        return;
    }
    put->call.memory = 0;
    put->call.launch = launch_read;
    put->call.done = on_read;
    lane_call(&put->store->lanes[put->home->index], &put->call);
}

static void on_written(struct rados_call *call)
{
    struct store_put *put = put_of(call);

    switch (call->result) {
    case -EEXIST: /* create: there is something */
    case -ENOENT: /* replace: deleted meanwhile */
    case -ERANGE: /* replace: another version by now; these two are how assert_version says so */
    case -EOVERFLOW:
        head_free(&put->head);
        step_read(put);
        return;
    }
    if (call->result < 0) {
        finish(put, store_result_of_errno(put->store, call->result, "cannot write", put->object));
        return;
    }
    atomic_fetch_add_explicit(&put->store->counters.bytes_written, put->content.len, memory_order_relaxed);
    head_etag_of_tag(put->tag, put->etag);
    finish(put, STORE_OK);
}

static void on_read(struct rados_call *call)
{
    struct store_put *put = put_of(call);
    struct validators there;
    int error;

    if (put->read_operation != NULL) {
        rados_release_read_op(put->read_operation);
        put->read_operation = NULL;
    }
    error = head_take(&put->reading, call->result, call->version, &put->head);
    if (error < 0) {
        finish(put, store_result_of_errno(put->store, error, "cannot read the head of", put->object));
        return;
    }

    there.exists = put->head.exists;
    there.etag = put->head.etag;
    there.modified_seconds = put->head.manifest.modified_ns / 1000000000;
    if (conditions_evaluate(&put->conditions, &there, false) != CONDITION_HOLDS)
        finish(put, STORE_PRECONDITION_FAILED);
    else
        step_write(put, !put->head.object_exists);
}

void store_put_begin(struct store_put *put)
{
    memcpy(put->object, put->name.base, put->name.len);
    put->object[put->name.len] = '\0';
    head_new_tag(put->tag);
    put->manifest->size = put->content.len;
    put->manifest->modified_ns = clock_realtime_ns();
    put->call.deadline_ms = store_deadline_ms(put->store);
    put->head = (struct head){.exists = false};
    put->read_operation = NULL;
    put->attempts = 0;

    /* Conditions that can only hold when something is there are judged before the content is sent anywhere.
     */
    if (put->conditions.if_match.base != NULL || put->conditions.if_unmodified_since.base != NULL)
        step_read(put);
    else
        step_write(put, true);
}
