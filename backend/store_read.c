/*
 * Reading a file as a stream. The opening operation brings the head and a first piece of the content
 * together. After that one piece is under way while the one before it is with the consumer: two buffers, from
 * the loop's share of the memory budget, smaller when that is short.
 *
 * Each further piece is read under assert_version: a file that is replaced while it is being read ends in
 * STORE_CHANGED, never in a mixture of two versions.
 */
#include "store.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "xalloc.h"

#define FIRST_PIECE_SIZE (128 * 1024)
#define PIECE_SIZE_MOST  (1024 * 1024)
#define PIECE_SIZE_LEAST (64 * 1024)
#define PIECES           2

struct piece {
    char *bytes; /* NULL while unused; its capacity is accounted for in the lane's memory budget */
    size_t capacity;
    size_t len; /* what the read brought */
};

struct store_reader {
    struct store *store;
    struct lane *lane;
    struct store_reader_callbacks callbacks;
    void *context;
    bool closed; /* the consumer has left; freed when the call under way is home */

    struct rados_call call;
    bool calling;
    rados_read_op_t operation;
    struct head_reading reading;
    struct head head;
    uint64_t call_offset;
    size_t call_length, call_brought;
    int call_read_result;

    /* What is still to be read, and what to be delivered. */
    uint64_t offset, unread, undelivered;
    uint64_t first_offset; /* where the piece of the opening operation begins */
    struct piece *with_consumer, *ready, *being_read;
    struct piece pieces[PIECES];
    bool wanted;               /* the consumer waits for data */
    bool in_callback;          /* so a call from the consumer must not lead to another callback */
    enum store_result failure; /* what to say when `ready` is used up; STORE_OK for none */
    struct task delivery;
    bool delivery_queued;

    char object[1025];
};

static struct store_reader *reader_of_call(struct rados_call *call)
{
    return (struct store_reader *)((char *)call - offsetof(struct store_reader, call));
}

static void piece_alloc(struct store_reader *reader, struct piece *piece, size_t wanted)
{
    piece->capacity = memory_budget_take_some(&reader->lane->memory, wanted, PIECE_SIZE_LEAST);
    piece->bytes = xmalloc(piece->capacity);
    piece->len = 0;
}

static void piece_free(struct store_reader *reader, struct piece *piece)
{
    if (piece == NULL || piece->bytes == NULL)
        return;
    free(piece->bytes);
    piece->bytes = NULL;
    memory_budget_return(&reader->lane->memory, piece->capacity);
    lane_memory_returned(reader->lane);
}

static void reader_free(struct store_reader *reader)
{
    size_t i;

    for (i = 0; i < PIECES; i++)
        piece_free(reader, &reader->pieces[i]);
    head_free(&reader->head);
    free(reader);
}

/* True when the consumer has left; the reader is freed with it, unless something under way will come back to
 * it. */
static bool free_if_closed(struct store_reader *reader)
{
    if (!reader->closed)
        return false;
    if (!reader->calling && !reader->delivery_queued && !reader->in_callback)
        reader_free(reader);
    return true;
}

static void read_operation_end(struct store_reader *reader)
{
    if (reader->operation != NULL)
        rados_release_read_op(reader->operation);
    reader->operation = NULL;
    reader->calling = false;
}

static int launch_open(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_reader *reader = reader_of_call(call);

    reader->operation = rados_create_read_op();
    head_add_to_read(reader->operation, &reader->reading);
    if (reader->being_read != NULL)
        rados_read_op_read(reader->operation, reader->call_offset, reader->call_length,
                           reader->being_read->bytes, &reader->call_brought, &reader->call_read_result);
    return rados_aio_read_op_operate(reader->operation, ioctx, completion, reader->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void deliver(struct store_reader *reader);

static void on_opened(struct rados_call *call)
{
    struct store_reader *reader = reader_of_call(call);
    enum store_result result = STORE_OK;
    int error;

    read_operation_end(reader);
    error = head_take(&reader->reading, call->result, call->version, &reader->head);
    if (free_if_closed(reader))
        return;

    if (error < 0)
        result = store_result_of_errno(reader->store, error, "cannot read", reader->object);
    else if (!reader->head.exists)
        result = STORE_NOT_FOUND;
    if (result == STORE_OK && reader->being_read != NULL && reader->call_read_result >= 0) {
        reader->being_read->len = reader->call_brought;
        reader->ready = reader->being_read;
        reader->first_offset = reader->call_offset;
    }
    if (reader->ready == NULL)
        piece_free(reader, reader->being_read);
    reader->being_read = NULL;

    reader->in_callback = true;
    reader->callbacks.opened(reader->context, result, &reader->head);
    reader->in_callback = false;
    deliver(reader);
}

struct store_reader *store_reader_open(struct store *store, struct executor *home, struct slice name,
                                       uint64_t first_guess, bool want_content,
                                       const struct store_reader_callbacks *callbacks, void *context)
{
    struct store_reader *reader = xcalloc(1, sizeof(*reader));

    reader->store = store;
    reader->lane = &store->lanes[home->index];
    reader->callbacks = *callbacks;
    reader->context = context;
    memcpy(reader->object, name.base, name.len);

    if (want_content) {
        reader->being_read = &reader->pieces[0];
        piece_alloc(reader, reader->being_read, FIRST_PIECE_SIZE);
        reader->call_offset = first_guess;
        reader->call_length = reader->being_read->capacity;
    }
    reader->calling = true;
    reader->call.deadline_ms = store_deadline_ms(store);
    reader->call.launch = launch_open;
    reader->call.done = on_opened;
    lane_call(reader->lane, &reader->call);
    return reader;
}

static int launch_piece(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_reader *reader = reader_of_call(call);

    reader->operation = rados_create_read_op();
    rados_read_op_assert_version(reader->operation, reader->head.version);
    rados_read_op_read(reader->operation, reader->call_offset, reader->call_length, reader->being_read->bytes,
                       &reader->call_brought, &reader->call_read_result);
    return rados_aio_read_op_operate(reader->operation, ioctx, completion, reader->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_piece(struct rados_call *call);

/* Begins to read the next piece if there is one, and a place for it. */
static void read_ahead(struct store_reader *reader)
{
    struct piece *piece;
    size_t wanted;

    if (reader->calling || reader->unread == 0 || reader->ready != NULL || reader->failure != STORE_OK)
        return;
    piece = reader->with_consumer == &reader->pieces[0] ? &reader->pieces[1] : &reader->pieces[0];
    wanted = reader->unread < PIECE_SIZE_MOST ? (size_t)reader->unread : PIECE_SIZE_MOST;
    piece_alloc(reader, piece, wanted);

    reader->being_read = piece;
    reader->call_offset = reader->offset;
    reader->call_length = piece->capacity < wanted ? piece->capacity : wanted;
    reader->calling = true;
    reader->call.deadline_ms = store_deadline_ms(reader->store);
    reader->call.launch = launch_piece;
    reader->call.done = on_piece;
    lane_call(reader->lane, &reader->call);
}

static enum store_result piece_failure(struct store_reader *reader, int error)
{
    switch (error) {
    case -ERANGE: /* these two are how assert_version says that the object is another version by now */
    case -EOVERFLOW:
    case -ENOENT:
        return STORE_CHANGED;
    }
    return store_result_of_errno(reader->store, error, "cannot read", reader->object);
}

static void on_piece(struct rados_call *call)
{
    struct store_reader *reader = reader_of_call(call);
    int error = call->result < 0 ? call->result : reader->call_read_result;

    read_operation_end(reader);
    if (free_if_closed(reader))
        return;

    /* A version has one size: if it is shorter than its manifest said, something else is wrong. */
    if (error >= 0 && reader->call_brought != reader->call_length)
        error = -EIO;
    if (error < 0) {
        piece_free(reader, reader->being_read);
        reader->failure = piece_failure(reader, error);
    } else {
        reader->being_read->len = reader->call_brought;
        reader->ready = reader->being_read;
        reader->offset += reader->call_brought;
        reader->unread -= reader->call_brought;
    }
    reader->being_read = NULL;
    deliver(reader);
}

static void deliver_piece(struct store_reader *reader)
{
    struct piece *piece = reader->ready;

    reader->wanted = false;
    if (piece == NULL) {
        reader->callbacks.failed(reader->context, reader->failure);
        return;
    }
    reader->ready = NULL;
    reader->with_consumer = piece;
    reader->undelivered -= piece->len;
    atomic_fetch_add_explicit(&reader->store->counters.bytes_read, piece->len, memory_order_relaxed);
    /* Before the callback, so that the next piece is on its way while this one is sent. */
    read_ahead(reader);
    reader->callbacks.data(reader->context, (struct slice){piece->bytes, piece->len},
                           reader->undelivered == 0);
}

/* Hands over what is wanted and ready, or sees to it that it is being read. The consumer may ask for the next
 * piece, or leave, while it is called. */
static void deliver(struct store_reader *reader)
{
    reader->in_callback = true;
    while (reader->wanted && !reader->closed && (reader->ready != NULL || reader->failure != STORE_OK))
        deliver_piece(reader);
    reader->in_callback = false;
    if (!free_if_closed(reader) && reader->wanted)
        read_ahead(reader);
}

static void run_delivery(struct task *task)
{
    struct store_reader *reader =
        (struct store_reader *)((char *)task - offsetof(struct store_reader, delivery));

    reader->delivery_queued = false;
    if (!free_if_closed(reader))
        deliver(reader);
}

static void want(struct store_reader *reader)
{
    reader->wanted = true;
    if (reader->in_callback || reader->delivery_queued)
        return;
    if (reader->ready == NULL && reader->failure == STORE_OK) {
        read_ahead(reader);
        return;
    }
    reader->delivery_queued = true;
    reader->delivery.run = run_delivery;
    executor_submit(reader->lane->home, &reader->delivery);
}

void store_reader_start(struct store_reader *reader, uint64_t offset, uint64_t length)
{
    struct piece *first = reader->ready;

    reader->offset = offset;
    reader->unread = reader->undelivered = length;

    /* What came with the head is used where it begins at the right place. */
    if (first != NULL && reader->first_offset == offset && first->len != 0) {
        if (first->len > length)
            first->len = (size_t)length;
        reader->offset += first->len;
        reader->unread -= first->len;
    } else if (first != NULL) {
        piece_free(reader, first);
        reader->ready = NULL;
    }
    want(reader);
}

void store_reader_next(struct store_reader *reader)
{
    piece_free(reader, reader->with_consumer);
    reader->with_consumer = NULL;
    if (reader->undelivered != 0)
        want(reader);
}

void store_reader_close(struct store_reader *reader)
{
    reader->closed = true;
    free_if_closed(reader);
}
