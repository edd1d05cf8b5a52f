/*
 * Deleting a file. Without conditions it is one round trip: remove what is there. With conditions the head is
 * read, and what is removed is exactly what was judged: the tag guards it, or for a foreign object, which has
 * none, its version.
 */
#include "store.h"

#include <errno.h>
#include <stddef.h>

#define ATTEMPTS_MAX 64

static struct store_delete *delete_of(struct rados_call *call)
{
    return (struct store_delete *)((char *)call - offsetof(struct store_delete, call));
}

static void finish(struct store_delete *operation, enum store_result result)
{
    head_free(&operation->head);
    operation->result = result;
    operation->done(operation);
}

static int launch_remove(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_delete *operation = delete_of(call);
    rados_write_op_t removal = rados_create_write_op();
    int result;

    if (operation->head.exists)
        rados_write_op_assert_version(removal, operation->head.version);
    else
        rados_write_op_assert_exists(removal);
    rados_write_op_remove(removal);
    result = rados_aio_write_op_operate(removal, ioctx, completion, operation->object, NULL,
                                        LIBRADOS_OPERATION_FULL_FORCE);
    rados_release_write_op(removal);
    return result;
}

static int launch_read(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_delete *operation = delete_of(call);

    operation->read_operation = rados_create_read_op();
    head_add_to_read(operation->read_operation, &operation->reading);
    return rados_aio_read_op_operate(operation->read_operation, ioctx, completion, operation->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_read(struct rados_call *call);

static void step_read(struct store_delete *operation)
{
    if (operation->attempts++ == ATTEMPTS_MAX) {
        finish(operation, STORE_CONTENDED);
        return;
    }
    operation->call.launch = launch_read;
    operation->call.done = on_read;
    lane_call(&operation->store->lanes[operation->home->index], &operation->call);
}

static void on_removed(struct rados_call *call)
{
    struct store_delete *operation = delete_of(call);

    /* These two are how assert_version says that the object is another version by now. */
    if (call->result == -ERANGE || call->result == -EOVERFLOW) {
        head_free(&operation->head);
        step_read(operation);
    } else if (call->result < 0) {
        finish(operation,
               store_result_of_errno(operation->store, call->result, "cannot delete", operation->object));
    } else {
        finish(operation, STORE_OK);
    }
}

static void step_remove(struct store_delete *operation)
{
    operation->call.launch = launch_remove;
    operation->call.done = on_removed;
    lane_call(&operation->store->lanes[operation->home->index], &operation->call);
}

static void on_read(struct rados_call *call)
{
    struct store_delete *operation = delete_of(call);
    struct validators there;
    int error;

    if (operation->read_operation != NULL) {
        rados_release_read_op(operation->read_operation);
        operation->read_operation = NULL;
    }
    error = head_take(&operation->reading, call->result, call->version, &operation->head);
    if (error < 0) {
        finish(operation,
               store_result_of_errno(operation->store, error, "cannot read the head of", operation->object));
        return;
    }
    if (!operation->head.exists) {
        finish(operation, STORE_NOT_FOUND);
        return;
    }

    there.exists = true;
    there.etag = operation->head.etag;
    there.modified_seconds = operation->head.manifest.modified_ns / 1000000000;
    if (conditions_evaluate(&operation->conditions, &there, false) != CONDITION_HOLDS)
        finish(operation, STORE_PRECONDITION_FAILED);
    else
        step_remove(operation);
}

void store_delete_begin(struct store_delete *operation)
{
    memcpy(operation->object, operation->name.base, operation->name.len);
    operation->object[operation->name.len] = '\0';
    operation->call.deadline_ms = store_deadline_ms(operation->store);
    operation->call.memory = 0;
    operation->head = (struct head){.exists = false};
    operation->read_operation = NULL;
    operation->attempts = 0;

    if (conditions_guard_writes(&operation->conditions))
        step_read(operation);
    else
        step_remove(operation);
}
