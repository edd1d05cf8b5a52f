#include "store_write.h"

#include <errno.h>
#include <stddef.h>

#include "fault.h"

void store_call_begin(struct store *store, struct executor *home, struct rados_call *call,
                      enum cluster_space space, size_t memory,
                      int (*launch)(struct rados_call *call, rados_ioctx_t ioctx,
                                    rados_completion_t completion),
                      void (*done)(struct rados_call *call))
{
    call->space = space;
    call->memory = memory;
    call->deadline_ms = store_deadline_ms(store);
    call->launch = launch;
    call->done = done;
    lane_call(&store->lanes[home->index], call);
}

int store_launch_write(rados_write_op_t operation, rados_ioctx_t ioctx, rados_completion_t completion,
                       const char *object, int flags)
{
    int result = rados_aio_write_op_operate(operation, ioctx, completion, object, NULL, flags);

    rados_release_write_op(operation);
    return result;
}

bool store_is_lost_race(int error)
{
    /* ERANGE and EOVERFLOW are how assert_version says it; EEXIST is of an exclusive creation. */
    return error == -ERANGE || error == -EOVERFLOW || error == -ENOENT || error == -EEXIST;
}

/* ---- reading a head ---- */

static struct store_head_read *read_of(struct rados_call *call)
{
    return (struct store_head_read *)((char *)call - offsetof(struct store_head_read, call));
}

static int launch_head_read(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_head_read *read = read_of(call);

    read->operation = rados_create_read_op();
    head_add_to_read(read->operation, &read->reading);
    return rados_aio_read_op_operate(read->operation, ioctx, completion, read->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_head_read(struct rados_call *call)
{
    struct store_head_read *read = read_of(call);

    if (read->operation != NULL)
        rados_release_read_op(read->operation);
    read->error = head_take(&read->reading, call->result, call->version, &read->head);
    read->done(read);
}

void store_head_read_begin(struct store_head_read *read)
{
    read->operation = NULL;
    read->reading = (struct head_reading){0};
    store_call_begin(read->store, read->home, &read->call, SPACE_HEADS, 0, launch_head_read, on_head_read);
}

/* ---- noting in the gc log ---- */

static struct store_note *note_of(struct rados_call *call)
{
    return (struct store_note *)((char *)call - offsetof(struct store_note, call));
}

static int launch_note(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_note *note = note_of(call);
    rados_write_op_t operation = rados_create_write_op();
    char object[GC_OBJECT_SIZE];
    bool makes_room = note->forget || note->entry.kind == GC_DEAD;

    gc_object_of_uid(note->key, cluster_layout(note->store->cluster)->gc_shards, object);
    if (note->forget)
        rados_write_op_omap_rm_keys(operation, (const char *const *)&note->key, 1);
    else
        gc_entry_add_to_write(operation, note->key, &note->entry);
    /* A full cluster must not keep out what makes room. */
    return store_launch_write(operation, ioctx, completion, object,
                              makes_room ? LIBRADOS_OPERATION_FULL_FORCE : LIBRADOS_OPERATION_NOFLAG);
}

static void on_noted(struct rados_call *call)
{
    struct store_note *note = note_of(call);

    note->error = call->result < 0 ? call->result : 0;
    note->done(note);
}

void store_note_begin(struct store_note *note)
{
    store_call_begin(note->store, note->home, &note->call, SPACE_GC, 0, launch_note, on_noted);
}

void store_note_dead_begin(struct store_note *note, struct store *store, struct executor *home,
                           const struct head *head, struct slice name, void (*done)(struct store_note *note))
{
    *note = (struct store_note){.store = store,
                                .home = home,
                                .key = head->uid,
                                .entry = {.kind = GC_DEAD,
                                          .time_ns = clock_realtime_ns(),
                                          .stripes = head->stripe_count,
                                          .name = name},
                                .done = done};
    store_note_begin(note);
}

bool store_forget_expiry_begin(struct store_note *note, struct store *store, struct executor *home,
                               const struct head *head, char key[HEAD_TAG_SIZE],
                               void (*done)(struct store_note *note))
{
    if (!head_expiry_key(head, key))
        return false;
    *note = (struct store_note){.store = store, .home = home, .key = key, .forget = true, .done = done};
    store_note_begin(note);
    return true;
}

/* ---- claiming ---- */

enum store_result store_may_claim(const struct head *head, const struct conditions *conditions)
{
    struct validators there = head_validators(head);

    if (conditions_evaluate(conditions, &there, false) != CONDITION_HOLDS)
        return STORE_PRECONDITION_FAILED;
    return head->pending_count == HEAD_PENDING_MOST ? STORE_CONTENDED : STORE_OK;
}

static struct store_claim *claim_of(struct rados_call *call)
{
    return (struct store_claim *)((char *)call - offsetof(struct store_claim, call));
}

static int launch_pend(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_claim *claim = claim_of(call);
    rados_write_op_t operation = rados_create_write_op();
    char pending[HEAD_PENDING_SIZE];

    head_pending_name(claim->uid, pending);
    rados_write_op_create(operation, LIBRADOS_CREATE_IDEMPOTENT, NULL);
    rados_write_op_setxattr(operation, pending, "1", 1);
    return store_launch_write(operation, ioctx, completion, claim->object, LIBRADOS_OPERATION_NOFLAG);
}

static void on_pending(struct rados_call *call)
{
    struct store_claim *claim = claim_of(call);

    fault_point("claimed");
    claim->error = call->result < 0 ? call->result : 0;
    claim->done(claim);
}

static void on_claim_noted(struct store_note *note)
{
    struct store_claim *claim = (struct store_claim *)((char *)note - offsetof(struct store_claim, note));

    fault_point("upload-noted");
    claim->error = note->error;
    /* Not to set a right that nobody would know of any more. */
    if (note->error == 0 && store_claim_is_old(claim->store, claim->begun_ms))
        claim->error = -ETIMEDOUT;
    if (claim->error < 0)
        claim->done(claim);
    else
        store_call_begin(claim->store, claim->home, &claim->call, SPACE_HEADS, 0, launch_pend, on_pending);
}

void store_claim_begin(struct store_claim *claim)
{
    claim->begun_ms = clock_monotonic_ms();
    claim->note = (struct store_note){.store = claim->store,
                                      .home = claim->home,
                                      .key = claim->uid,
                                      .entry = {.kind = GC_UPLOAD,
                                                .time_ns = clock_realtime_ns(),
                                                .stripes = claim->stripes,
                                                .name = claim->name},
                                      .done = on_claim_noted};
    store_note_begin(&claim->note);
}

bool store_claim_is_old(const struct store *store, int64_t begun_ms)
{
    return clock_monotonic_ms() - begun_ms > (int64_t)store->options.upload_grace_seconds * 500;
}
