/*
 * Deleting a file: the head is read and the client's conditions judged, a stripe set is noted in the gc log, and what is
 * removed is exactly what was read, guarded by its version. While uploads to this name are under way the head stays, as
 * no file: it holds their right to publish. Then the index gets a tombstone, and if it was a version that would have
 * expired, the note of that goes.
 */
#include <stddef.h>
#include <stdlib.h>

#include "fault.h"
#include "store_write.h"
#include "xalloc.h"

struct deleting {
    struct store_delete *operation;
    char object[STORE_OBJECT_SIZE];
    struct store_head_read read;
    struct store_note note;
    char key[HEAD_TAG_SIZE]; /* in the gc log, of a version that would have expired */
    struct rados_call call;
    struct journal_entry entry;
    unsigned attempts;
};

#define DELETING_OF(step, member) ((struct deleting *)((char *)(step)-offsetof(struct deleting, member)))

static void finish(struct deleting *deleting, enum store_result result)
{
    struct store_delete *operation = deleting->operation;

    head_free(&deleting->read.head);
    free(deleting);
    operation->result = result;
    operation->done(operation);
}

static void fail(struct deleting *deleting, int error)
{
    finish(deleting,
           store_result_of_errno(deleting->operation->store, error, "cannot delete", deleting->object));
}

static void on_forgotten(struct store_note *note)
{
    finish(DELETING_OF(note, note), STORE_OK);
}

static void step_forget_expiry(struct deleting *deleting)
{
    struct store_delete *operation = deleting->operation;

    if (!store_forget_expiry_begin(&deleting->note, operation->store, operation->home, &deleting->read.head,
                                   deleting->key, on_forgotten))
        finish(deleting, STORE_OK);
}

static void on_indexed(struct journal_entry *entry)
{
    struct deleting *deleting = DELETING_OF(entry, entry);

    fault_point("deletion-indexed");
    if (entry->error < 0) {
        store_doubt(deleting->operation->store, deleting->operation->name);
        fail(deleting, entry->error);
    } else {
        step_forget_expiry(deleting);
    }
}

static void step_index(struct deleting *deleting)
{
    struct store_delete *operation = deleting->operation;

    deleting->entry = (struct journal_entry){.home = operation->home,
                                             .name = operation->name,
                                             .entry = {.version = deleting->call.version,
                                                       .kind = INDEX_TOMBSTONE,
                                                       .modified_ns = clock_realtime_ns()},
                                             .done = on_indexed};
    journal_append(operation->store->journal, &deleting->entry);
}

static int launch_remove(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct deleting *deleting = DELETING_OF(call, call);
    rados_write_op_t removal = rados_create_write_op();

    head_add_to_removal(removal, &deleting->read.head);
    /* A full cluster must not keep anybody from making room. */
    return store_launch_write(removal, ioctx, completion, deleting->object, LIBRADOS_OPERATION_FULL_FORCE);
}

static void step_read(struct deleting *deleting);

static void on_removed(struct rados_call *call)
{
    struct deleting *deleting = DELETING_OF(call, call);

    if (store_is_lost_race(call->result)) {
        step_read(deleting);
    } else if (call->result < 0) {
        store_doubt(deleting->operation->store, deleting->operation->name);
        fail(deleting, call->result);
    } else {
        fault_point("removed");
        step_index(deleting);
    }
}

static void step_remove(struct deleting *deleting)
{
    if (store_is_withdrawn(&deleting->operation->wish)) {
        finish(deleting, STORE_WITHDRAWN);
        return;
    }
    store_call_begin(deleting->operation->store, deleting->operation->home, &deleting->call, SPACE_HEADS, 0,
                     launch_remove, on_removed);
}

static void on_noted(struct store_note *note)
{
    struct deleting *deleting = DELETING_OF(note, note);

    fault_point("deletion-noted");
    if (note->error < 0)
        fail(deleting, note->error);
    else
        step_remove(deleting);
}

static void step_note(struct deleting *deleting)
{
    struct store_delete *operation = deleting->operation;

    store_note_dead_begin(&deleting->note, operation->store, operation->home, &deleting->read.head,
                          operation->name, on_noted);
}

static void on_head_read(struct store_head_read *read)
{
    struct deleting *deleting = DELETING_OF(read, read);
    const struct head *head = &read->head;
    struct validators there = head_validators(head);

    if (read->error < 0)
        fail(deleting, read->error);
    else if (!head->exists)
        finish(deleting, STORE_NOT_FOUND);
    else if (conditions_evaluate(&deleting->operation->conditions, &there, false) != CONDITION_HOLDS)
        finish(deleting, STORE_PRECONDITION_FAILED);
    else if (head->uid[0] != '\0')
        step_note(deleting);
    else
        step_remove(deleting);
}

static void step_read(struct deleting *deleting)
{
    if (deleting->attempts++ == STORE_ATTEMPTS_MAX) {
        finish(deleting, STORE_CONTENDED);
        return;
    }
    head_free(&deleting->read.head);
    deleting->read = (struct store_head_read){.store = deleting->operation->store,
                                              .home = deleting->operation->home,
                                              .object = deleting->object,
                                              .done = on_head_read};
    store_head_read_begin(&deleting->read);
}

void store_delete_begin(struct store_delete *operation)
{
    struct deleting *deleting = xcalloc(1, sizeof(*deleting));

    deleting->operation = operation;
    memcpy(deleting->object, operation->name.base, operation->name.len);
    step_read(deleting);
}
