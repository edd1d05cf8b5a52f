/*
 * Deleting a file: the head is read and the client's conditions judged, a stripe set is noted in the gc log, and what is
 * removed is exactly what was read, guarded by its version. While uploads to this name are under way the head stays, as
 * no file: it holds their right to publish.
 */
#include "store.h"

#include <errno.h>
#include <stddef.h>

#define ATTEMPTS_MAX 64

static struct store_delete *delete_of_call(struct rados_call *call)
{
    return (struct store_delete *)((char *)call - offsetof(struct store_delete, call));
}

static struct store_delete *delete_of_read(struct store_head_read *read)
{
    return (struct store_delete *)((char *)read - offsetof(struct store_delete, read));
}

static struct store_delete *delete_of_note(struct store_note *note)
{
    return (struct store_delete *)((char *)note - offsetof(struct store_delete, note));
}

static void finish(struct store_delete *operation, enum store_result result)
{
    head_free(&operation->read.head);
    operation->result = result;
    operation->done(operation);
}

static void fail(struct store_delete *operation, int error)
{
    finish(operation, store_result_of_errno(operation->store, error, "cannot delete", operation->object));
}

static int launch_remove(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_delete *operation = delete_of_call(call);
    rados_write_op_t removal = rados_create_write_op();
    int result;

    rados_write_op_assert_version(removal, operation->read.head.version);
    if (operation->read.head.pending_count == 0) {
        rados_write_op_remove(removal);
    } else {
        rados_write_op_truncate(removal, 0);
        rados_write_op_rmxattr(removal, HEAD_XATTR_TAG);
        rados_write_op_rmxattr(removal, HEAD_XATTR_MANIFEST);
        rados_write_op_rmxattr(removal, HEAD_XATTR_UID);
    }
    /* A full cluster must not keep anybody from making room. */
    result = rados_aio_write_op_operate(removal, ioctx, completion, operation->object, NULL,
                                        LIBRADOS_OPERATION_FULL_FORCE);
    rados_release_write_op(removal);
    return result;
}

static void on_head_read(struct store_head_read *read);

static void step_read(struct store_delete *operation)
{
    if (operation->attempts++ == ATTEMPTS_MAX) {
        finish(operation, STORE_CONTENDED);
        return;
    }
    head_free(&operation->read.head);
    operation->read.store = operation->store;
    operation->read.home = operation->home;
    operation->read.object = operation->object;
    operation->read.deadline_ms = store_deadline_ms(operation->store);
    operation->read.done = on_head_read;
    store_head_read_begin(&operation->read);
}

static void on_removed(struct rados_call *call)
{
    struct store_delete *operation = delete_of_call(call);

    /* The first two are how assert_version says that the object is another version by now. */
    if (call->result == -ERANGE || call->result == -EOVERFLOW || call->result == -ENOENT)
        step_read(operation);
    else if (call->result < 0)
        fail(operation, call->result);
    else
        finish(operation, STORE_OK);
}

static void step_remove(struct store_delete *operation)
{
    operation->call.space = SPACE_HEADS;
    operation->call.memory = 0;
    operation->call.deadline_ms = store_deadline_ms(operation->store);
    operation->call.launch = launch_remove;
    operation->call.done = on_removed;
    lane_call(&operation->store->lanes[operation->home->index], &operation->call);
}

static void on_noted(struct store_note *note)
{
    struct store_delete *operation = delete_of_note(note);

    if (note->error < 0)
        fail(operation, note->error);
    else
        step_remove(operation);
}

static void step_note(struct store_delete *operation)
{
    const struct head *head = &operation->read.head;

    operation->note.store = operation->store;
    operation->note.home = operation->home;
    operation->note.uid = head->uid;
    operation->note.entry =
        (struct gc_entry){.kind = GC_DEAD, .stripes = head->stripe_count, .name = operation->name};
    operation->note.deadline_ms = store_deadline_ms(operation->store);
    operation->note.done = on_noted;
    store_note_begin(&operation->note);
}

static void on_head_read(struct store_head_read *read)
{
    struct store_delete *operation = delete_of_read(read);
    const struct head *head = &read->head;
    struct validators there = {head->exists, head->etag, head->manifest.modified_ns / 1000000000};

    if (read->error < 0)
        fail(operation, read->error);
    else if (!head->exists)
        finish(operation, STORE_NOT_FOUND);
    else if (conditions_evaluate(&operation->conditions, &there, false) != CONDITION_HOLDS)
        finish(operation, STORE_PRECONDITION_FAILED);
    else if (head->uid[0] != '\0')
        step_note(operation);
    else
        step_remove(operation);
}

void store_delete_begin(struct store_delete *operation)
{
    memcpy(operation->object, operation->name.base, operation->name.len);
    operation->object[operation->name.len] = '\0';
    operation->read.head = (struct head){.exists = false};
    operation->attempts = 0;
    step_read(operation);
}
