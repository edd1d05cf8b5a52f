#include "store.h"

#include <stddef.h>

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
    read->call.space = SPACE_HEADS;
    read->call.memory = 0;
    read->call.deadline_ms = read->deadline_ms;
    read->call.launch = launch_head_read;
    read->call.done = on_head_read;
    lane_call(&read->store->lanes[read->home->index], &read->call);
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
    struct buffer value = {NULL, 0, 0};
    char object[GC_OBJECT_SIZE];
    size_t len;
    int result;

    note->entry.noted_ns = clock_realtime_ns();
    gc_entry_encode(&note->entry, &value);
    gc_object_of_uid(note->uid, cluster_layout(note->store->cluster)->gc_shards, object);
    len = value.len;
    rados_write_op_omap_set(operation, (const char *const *)&note->uid, (const char *const *)&value.base,
                            &len, 1);
    /* What is noted as dead makes room, so a full cluster must not keep it out. */
    result = rados_aio_write_op_operate(operation, ioctx, completion, object, NULL,
                                        note->entry.kind == GC_DEAD ? LIBRADOS_OPERATION_FULL_FORCE
                                                                    : LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    buffer_free(&value);
    return result;
}

static void on_noted(struct rados_call *call)
{
    struct store_note *note = note_of(call);

    note->error = call->result < 0 ? call->result : 0;
    note->done(note);
}

void store_note_begin(struct store_note *note)
{
    note->call.space = SPACE_GC;
    note->call.memory = 0;
    note->call.deadline_ms = note->deadline_ms;
    note->call.launch = launch_note;
    note->call.done = on_noted;
    lane_call(&note->store->lanes[note->home->index], &note->call);
}
