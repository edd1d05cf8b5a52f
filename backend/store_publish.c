/*
 * Publishing a version, as steps:
 *
 *     check     that the gc log still says of the stripe set what its claim wrote there. If not, the collector has begun to
 *               give this upload up, and its stripes may go.
 *     create    content for the head that does not expire, and no condition that needs something to be there:
 *               create(exclusive). A new file is one round trip. Exists already: read.
 *     read      the head that stands there; the client's conditions are judged by it. Without the right to publish
 *               the stripe set any more, the collector has given this upload up.
 *     expiry    of a version that expires: its tag is noted in the gc log.
 *     note old  if the head has a stripe set, that is noted in the gc log: it is about to be garbage.
 *     write     guarded by the version that was read. Another one by now: read again. Not if nobody wants it any more.
 *     index     is told, before anybody else is.
 *     forget    the note of when the version that was replaced would have expired.
 */
#include "store_write.h"

#include <errno.h>
#include <stddef.h>

#include "fault.h"

static struct store_publish *publish_of_call(struct rados_call *call)
{
    return (struct store_publish *)((char *)call - offsetof(struct store_publish, call));
}

static struct store_publish *publish_of_read(struct store_head_read *read)
{
    return (struct store_publish *)((char *)read - offsetof(struct store_publish, read));
}

static void finish(struct store_publish *publish, enum store_result result)
{
    head_free(&publish->read.head);
    publish->result = result;
    publish->done(publish);
}

static void fail(struct store_publish *publish, int error)
{
    finish(publish, store_result_of_errno(publish->store, error, "cannot write", publish->object));
}

/* ---- afterwards ---- */

static void on_forgotten(struct store_note *note)
{
    finish((struct store_publish *)((char *)note - offsetof(struct store_publish, note)), STORE_OK);
}

static void step_forget_old_expiry(struct store_publish *publish)
{
    if (!store_forget_expiry_begin(&publish->note, publish->store, publish->home, &publish->read.head,
                                   publish->old_key, on_forgotten))
        finish(publish, STORE_OK);
}

static void on_indexed(struct journal_entry *entry)
{
    struct store_publish *publish =
        (struct store_publish *)((char *)entry - offsetof(struct store_publish, entry));

    fault_point("indexed");
    if (entry->error < 0) {
        store_doubt(publish->store, publish->name);
        fail(publish, entry->error);
    } else if (publish->published_before) {
        /* What the head says of an expiry is of this version, not of an old one. */
        finish(publish, STORE_OK);
    } else {
        step_forget_old_expiry(publish);
    }
}

/* Tells what the head holds at this version of it. */
static void step_index(struct store_publish *publish, uint64_t version, const struct manifest *manifest)
{
    publish->modified_ns = manifest->modified_ns;
    publish->entry = (struct journal_entry){.home = publish->home,
                                            .name = publish->name,
                                            .entry = {.version = version,
                                                      .kind = INDEX_FILE,
                                                      .modified_ns = manifest->modified_ns,
                                                      .size = manifest->size,
                                                      .expires_ns = manifest->expires_ns,
                                                      .etag = slice_of(publish->etag),
                                                      .media_type = manifest->media_type},
                                            .done = on_indexed};
    journal_append(publish->store->journal, &publish->entry);
}

/* ---- the head ---- */

static void step_read(struct store_publish *publish);

static int launch_write(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_publish *publish = publish_of_call(call);
    rados_write_op_t operation = rados_create_write_op();
    char pending[HEAD_PENDING_SIZE];

    if (publish->read.head.object_exists)
        rados_write_op_assert_version(operation, publish->read.head.version);
    else
        rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    if (publish->uid == NULL)
        rados_write_op_write_full(operation, publish->content.base, publish->content.len);
    else
        rados_write_op_truncate(operation, 0);
    head_add_to_write(operation, publish->tag, publish->uid, publish->manifest);
    if (publish->uid != NULL) {
        head_pending_name(publish->uid, pending);
        rados_write_op_rmxattr(operation, pending);
    } else if (publish->read.head.uid[0] != '\0') {
        rados_write_op_rmxattr(operation, HEAD_XATTR_UID);
    }
    return store_launch_write(operation, ioctx, completion, publish->object, LIBRADOS_OPERATION_NOFLAG);
}

static void on_written(struct rados_call *call)
{
    struct store_publish *publish = publish_of_call(call);

    if (store_is_lost_race(call->result)) {
        step_read(publish);
    } else if (call->result < 0) {
        /* Whether it was done, or will be, is not known. */
        store_doubt(publish->store, publish->name);
        fail(publish, call->result);
    } else {
        fault_point("published");
        head_etag_of_tag(publish->tag, publish->etag);
        step_index(publish, publish->call.version, publish->manifest);
    }
}

static void step_write(struct store_publish *publish)
{
    if (store_is_withdrawn(&publish->wish)) {
        finish(publish, STORE_WITHDRAWN);
        return;
    }
    publish->created = !publish->read.head.exists;
    store_call_begin(publish->store, publish->home, &publish->call, SPACE_HEADS,
                     publish->uid == NULL ? publish->content.len : 0, launch_write, on_written);
}

static void on_old_noted(struct store_note *note)
{
    struct store_publish *publish =
        (struct store_publish *)((char *)note - offsetof(struct store_publish, note));

    fault_point("old-noted");
    if (note->error < 0)
        fail(publish, note->error);
    else
        step_write(publish);
}

/*
 * By somebody else, or by ourselves, in a try that nobody heard of the outcome of. That one may not have told the index yet,
 * or may never do so; and what the client is told of now, a listing has to show.
 */
static void finish_published_before(struct store_publish *publish)
{
    const struct head *head = &publish->read.head;

    memcpy(publish->etag, head->etag, sizeof(publish->etag));
    publish->created = false;
    publish->published_before = true;
    step_index(publish, head->version, &head->manifest);
}

static void step_note_old_or_write(struct store_publish *publish)
{
    if (publish->read.head.uid[0] != '\0')
        store_note_dead_begin(&publish->note, publish->store, publish->home, &publish->read.head,
                              publish->name, on_old_noted);
    else
        step_write(publish);
}

static void on_expiry_noted(struct store_note *note)
{
    struct store_publish *publish =
        (struct store_publish *)((char *)note - offsetof(struct store_publish, note));

    fault_point("expiry-noted");
    publish->expiry_noted = note->error == 0;
    if (note->error < 0)
        fail(publish, note->error);
    else
        step_note_old_or_write(publish);
}

static void step_note_expiry(struct store_publish *publish)
{
    publish->note = (struct store_note){
        .store = publish->store,
        .home = publish->home,
        .key = publish->tag,
        .entry = {.kind = GC_EXPIRY, .time_ns = publish->manifest->expires_ns, .name = publish->name},
        .done = on_expiry_noted};
    store_note_begin(&publish->note);
}

static void on_head_read(struct store_head_read *read)
{
    struct store_publish *publish = publish_of_read(read);
    const struct head *head = &read->head;
    struct validators there = head_validators(head);

    if (read->error < 0)
        fail(publish, read->error);
    else if (publish->uid != NULL && !head->foreign && strcmp(head->uid, publish->uid) == 0)
        finish_published_before(publish);
    else if (conditions_evaluate(publish->conditions, &there, false) != CONDITION_HOLDS)
        finish(publish, STORE_PRECONDITION_FAILED);
    else if (publish->uid != NULL && (publish->given_up || !head_has_pending(head, publish->uid)))
        finish(publish, STORE_GIVEN_UP);
    else if (publish->manifest->expires_ns != 0 && !publish->expiry_noted)
        step_note_expiry(publish);
    else
        step_note_old_or_write(publish);
}

static void step_read(struct store_publish *publish)
{
    if (publish->attempts++ == STORE_ATTEMPTS_MAX) {
        finish(publish, STORE_CONTENDED);
        return;
    }
    head_free(&publish->read.head);
    publish->read = (struct store_head_read){
        .store = publish->store, .home = publish->home, .object = publish->object, .done = on_head_read};
    store_head_read_begin(&publish->read);
}

/* Conditions that can only hold when something is there are judged before the content is sent anywhere; all of them before
 * anything is noted. */
static void step_create_or_read(struct store_publish *publish)
{
    if (publish->uid != NULL || publish->manifest->expires_ns != 0 ||
        publish->conditions->if_match.base != NULL || publish->conditions->if_unmodified_since.base != NULL)
        step_read(publish);
    else
        step_write(publish);
}

static int launch_check(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_publish *publish = publish_of_call(call);
    struct buffer value = {NULL, 0, 0};
    char object[GC_OBJECT_SIZE];

    gc_entry_encode(publish->claim, &value);
    gc_object_of_uid(publish->uid, cluster_layout(publish->store->cluster)->gc_shards, object);
    publish->check = rados_create_read_op();
    rados_read_op_omap_cmp(publish->check, publish->uid, LIBRADOS_CMPXATTR_OP_EQ, value.base, value.len,
                           &publish->compared);
    buffer_free(&value);
    return rados_aio_read_op_operate(publish->check, ioctx, completion, object, LIBRADOS_OPERATION_NOFLAG);
}

static void on_checked(struct rados_call *call)
{
    struct store_publish *publish = publish_of_call(call);

    if (publish->check != NULL)
        rados_release_read_op(publish->check);
    if (call->result == -ECANCELED || call->result == -ENOENT) {
        /* Or it has been published already, and the collector has seen that: the head tells. */
        publish->given_up = true;
        step_read(publish);
    } else if (call->result < 0) {
        fail(publish, call->result);
    } else {
        fault_point("checked");
        step_create_or_read(publish);
    }
}

void store_publish_begin(struct store_publish *publish)
{
    publish->read.head = (struct head){.exists = false};
    publish->attempts = 0;
    publish->expiry_noted = false;
    publish->given_up = publish->published_before = false;
    publish->check = NULL;
    if (publish->uid == NULL)
        step_create_or_read(publish);
    else
        store_call_begin(publish->store, publish->home, &publish->call, SPACE_GC, 0, launch_check,
                         on_checked);
}
