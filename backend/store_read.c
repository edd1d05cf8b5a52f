/*
 * Reading a file as a stream, in steps:
 *
 *     open     one operation brings the head and a first piece of the content.
 *     fill     when the content lies in the head, the rest of the range is read too, up to a stripe, under
 *              assert_version; if the file is replaced between the two, the head is read again. So what is delivered
 *              is one version, whole, and its delivery cannot fail.
 *     verify   the whole content of a head, and whatever comes from stripes, by the checksums that were written with it.
 *     window   of a striped file, and of a larger foreign object, some pieces are under way ahead of the consumer, as
 *              many as the loop's share of the memory budget allows. Stripes never change. A foreign object is read under
 *              assert_version, and ends in STORE_CHANGED, never in a mixture, when it is replaced.
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "crc32c.h"
#include "log.h"
#include "stripe.h"
#include "xalloc.h"

#define FIRST_PIECE_SIZE (128 * 1024)
#define PIECE_SIZE_MOST  (1024 * 1024)
#define PIECE_SIZE_LEAST (64 * 1024)
#define PIECES_MOST      8 /* of one reader, with the one that the consumer has */
#define OPENINGS_MOST    16

enum piece_state { PIECE_FREE, PIECE_UNDER_WAY, PIECE_READY, PIECE_WITH_CONSUMER };

struct piece {
    struct rados_call call; /* first */
    struct store_reader *reader;
    enum piece_state state;
    char *bytes; /* its capacity is accounted for in the lane's memory budget */
    size_t capacity;
    uint64_t offset; /* in the file */
    size_t wanted, len;
    size_t skipped, shown; /* of stripes, whole blocks are read: what of them is for the consumer */
    rados_read_op_t operation;
    rados_xattrs_iter_t xattrs; /* of a stripe */
    size_t brought;
    int read_result, xattrs_result, error;
};

struct store_reader {
    struct store *store;
    struct lane *lane;
    struct store_reader_callbacks callbacks;
    void *context;
    struct range range;
    bool content_wanted;
    bool closed; /* the consumer has left; freed when the last call under way is home */

    struct head_reading reading;
    struct head head;
    unsigned openings;

    /*
     * A ring in the order of the file: `first` is the next to be delivered (or with the consumer), `count` are in use.
     * The opening's piece is the first of it.
     */
    struct piece pieces[PIECES_MOST];
    unsigned first, count, under_way;

    bool whole;        /* the first piece is the content of the head, all of it, and stays */
    struct slice rest; /* of it, to be delivered */

    uint64_t offset;              /* of what is to be read next */
    uint64_t unread, undelivered; /* bytes */
    bool wanted;                  /* the consumer waits for data */
    bool in_callback;             /* so a call from the consumer must not lead to another callback */
    struct task delivery;
    bool delivery_queued;

    char object[STORE_OBJECT_SIZE];
};

/* ---- pieces ---- */

static struct piece *piece_at(struct store_reader *reader, unsigned place)
{
    return &reader->pieces[(reader->first + place) % PIECES_MOST];
}

/* Takes the next place of the ring, with room for `wanted` bytes or less; the caller has checked that there is one. */
static struct piece *piece_take(struct store_reader *reader, size_t wanted, size_t least)
{
    struct piece *piece = piece_at(reader, reader->count++);

    piece->reader = reader;
    piece->capacity = memory_budget_take_some(&reader->lane->memory, wanted, least);
    piece->bytes = xmalloc(piece->capacity);
    piece->len = 0;
    piece->error = 0;
    piece->operation = NULL;
    piece->xattrs = NULL;
    return piece;
}

static void piece_free(struct piece *piece)
{
    struct lane *lane = piece->reader->lane;

    free(piece->bytes);
    piece->bytes = NULL;
    piece->state = PIECE_FREE;
    memory_budget_return(&lane->memory, piece->capacity);
    lane_memory_returned(lane);
}

static void pieces_free(struct store_reader *reader)
{
    while (reader->count != 0) {
        piece_free(piece_at(reader, 0));
        reader->first = (reader->first + 1) % PIECES_MOST;
        reader->count--;
    }
}

/* True when the consumer has left; the reader is freed with it, unless something under way will come back to it. */
static bool free_if_closed(struct store_reader *reader)
{
    if (!reader->closed)
        return false;
    if (reader->under_way == 0 && !reader->delivery_queued && !reader->in_callback) {
        pieces_free(reader);
        head_free(&reader->head);
        free(reader);
    }
    return true;
}

static void piece_call(struct piece *piece, enum cluster_space space,
                       int (*launch)(struct rados_call *call, rados_ioctx_t ioctx,
                                     rados_completion_t completion),
                       void (*done)(struct rados_call *call))
{
    struct store_reader *reader = piece->reader;

    piece->state = PIECE_UNDER_WAY;
    piece->brought = 0;
    piece->read_result = 0;
    piece->xattrs_result = 0;
    reader->under_way++;
    piece->call.space = space;
    piece->call.memory = 0;
    piece->call.deadline_ms = store_deadline_ms(reader->store);
    piece->call.launch = launch;
    piece->call.done = done;
    lane_call(reader->lane, &piece->call);
}

static void piece_come_home(struct piece *piece)
{
    if (piece->operation != NULL)
        rados_release_read_op(piece->operation);
    piece->operation = NULL;
    piece->state = PIECE_READY;
    piece->reader->under_way--;
    piece->error = piece->call.result < 0 ? piece->call.result : piece->read_result;
}

static void deliver(struct store_reader *reader);

/* ---- opening ---- */

static int launch_open(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct piece *piece = (struct piece *)call;
    struct store_reader *reader = piece->reader;

    piece->operation = rados_create_read_op();
    head_add_to_read(piece->operation, &reader->reading);
    if (piece->wanted != 0)
        rados_read_op_read(piece->operation, piece->offset, piece->wanted, piece->bytes, &piece->brought,
                           &piece->read_result);
    return rados_aio_read_op_operate(piece->operation, ioctx, completion, reader->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static bool is_another_version(int error)
{
    /* The first two are how assert_version says it. */
    return error == -ERANGE || error == -EOVERFLOW || error == -ENOENT;
}

static enum store_result result_of(struct store_reader *reader, int error)
{
    if (error == -EBADMSG)
        return STORE_DAMAGED;
    if (is_another_version(error))
        return STORE_CHANGED;
    return store_result_of_errno(reader->store, error, "cannot read", reader->object);
}

static int damaged(struct store_reader *reader, const char *object, uint64_t offset)
{
    log_error("DAMAGED: \"%s\", in the object %s from byte %" PRIu64 " on: its checksum does not fit",
              reader->object, object, offset);
    atomic_fetch_add_explicit(&reader->store->counters.damaged, 1, memory_order_relaxed);
    return -EBADMSG;
}

/* All of the content that lies in the head has been read: then it can be verified, and stays. */
static enum store_result verify_head(struct store_reader *reader)
{
    const struct manifest *manifest = &reader->head.manifest;
    const struct piece *piece = piece_at(reader, 0);
    struct digests found = {0};

    if (!reader->content_wanted || manifest->stripe_size != 0 || piece->offset != 0 ||
        piece->len != manifest->size)
        return STORE_OK;
    reader->whole = true;
    if ((manifest->digests.known & DIGEST_BIT(DIGEST_CRC32C)) == 0)
        return STORE_OK;
    digests_set_crc32c(&found, crc32c_update(0, piece->bytes, piece->len));
    if (memcmp(found.value[DIGEST_CRC32C], manifest->digests.value[DIGEST_CRC32C],
               digest_size(DIGEST_CRC32C)) == 0)
        return STORE_OK;
    return result_of(reader, damaged(reader, reader->object, 0));
}

static void opened(struct store_reader *reader, enum store_result result)
{
    if (result == STORE_OK)
        result = verify_head(reader);
    reader->in_callback = true;
    reader->callbacks.opened(reader->context, result, &reader->head);
    reader->in_callback = false;
    deliver(reader);
}

static void open_head(struct store_reader *reader);

static int launch_fill(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct piece *piece = (struct piece *)call;

    piece->operation = rados_create_read_op();
    rados_read_op_assert_version(piece->operation, piece->reader->head.version);
    rados_read_op_read(piece->operation, piece->offset + piece->len, piece->wanted - piece->len,
                       piece->bytes + piece->len, &piece->brought, &piece->read_result);
    return rados_aio_read_op_operate(piece->operation, ioctx, completion, piece->reader->object,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_filled(struct rados_call *call)
{
    struct piece *piece = (struct piece *)call;
    struct store_reader *reader = piece->reader;

    piece_come_home(piece);
    if (free_if_closed(reader))
        return;
    if (is_another_version(piece->error) && reader->openings < OPENINGS_MOST) {
        pieces_free(reader);
        head_free(&reader->head);
        open_head(reader);
        return;
    }
    piece->len += piece->brought;
    if (piece->error == 0 && piece->len != piece->wanted)
        piece->error = -EIO;
    opened(reader, piece->error < 0 ? result_of(reader, piece->error) : STORE_OK);
}

/* Whether the whole range of the content is to be read before it is opened. */
static bool is_to_be_filled(struct store_reader *reader, struct piece *piece)
{
    uint64_t offset, length, stripe_size = cluster_layout(reader->store->cluster)->stripe_size;

    if (!reader->content_wanted || reader->head.manifest.stripe_size != 0 ||
        reader->head.manifest.size > stripe_size ||
        !range_resolve(&reader->range, reader->head.manifest.size, &offset, &length) || length == 0)
        return false;
    /* More than the range came, and all of it can be verified. */
    if (piece->offset == 0 && piece->len == reader->head.manifest.size)
        return false;
    if (offset != piece->offset)
        piece->len = 0;
    piece->offset = offset;
    piece->wanted = (size_t)length;
    if (piece->len > piece->wanted)
        piece->len = piece->wanted;
    return piece->len != piece->wanted;
}

static void fill(struct store_reader *reader, struct piece *piece)
{
    size_t more = piece->wanted > piece->capacity ? piece->wanted - piece->capacity : 0;

    if (more != 0) {
        piece->capacity += memory_budget_take_some(&reader->lane->memory, more, more);
        piece->bytes = xrealloc(piece->bytes, piece->capacity);
    }
    piece_call(piece, SPACE_HEADS, launch_fill, on_filled);
}

static void on_opened(struct rados_call *call)
{
    struct piece *piece = (struct piece *)call;
    struct store_reader *reader = piece->reader;
    int error;

    piece_come_home(piece);
    error = head_take(&reader->reading, call->result, call->version, &reader->head);
    if (free_if_closed(reader))
        return;
    if (error < 0) {
        opened(reader, store_result_of_errno(reader->store, error, "cannot read", reader->object));
        return;
    }
    if (!reader->head.exists) {
        opened(reader, STORE_NOT_FOUND);
        return;
    }
    /* It may not be listed yet. */
    if (reader->head.foreign)
        store_doubt(reader->store, slice_of(reader->object));
    piece->error = 0;
    piece->len = reader->head.manifest.stripe_size == 0 ? piece->brought : 0;
    if (is_to_be_filled(reader, piece))
        fill(reader, piece);
    else
        opened(reader, STORE_OK);
}

static void open_head(struct store_reader *reader)
{
    bool guessable = reader->content_wanted && reader->range.kind != RANGE_SUFFIX;
    struct piece *piece =
        piece_take(reader, guessable ? FIRST_PIECE_SIZE : 0, guessable ? PIECE_SIZE_LEAST : 0);

    reader->openings++;
    piece->offset = guessable ? reader->range.first : 0;
    piece->wanted = piece->capacity;
    piece_call(piece, SPACE_HEADS, launch_open, on_opened);
}

struct store_reader *store_reader_open(struct store *store, struct executor *home, struct slice name,
                                       const struct range *range, bool want_content,
                                       const struct store_reader_callbacks *callbacks, void *context)
{
    struct store_reader *reader = xcalloc(1, sizeof(*reader));

    reader->store = store;
    reader->lane = &store->lanes[home->index];
    reader->callbacks = *callbacks;
    reader->context = context;
    reader->range = *range;
    reader->content_wanted = want_content;
    memcpy(reader->object, name.base, name.len);
    open_head(reader);
    return reader;
}

/* ---- the window ---- */

static int launch_piece(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct piece *piece = (struct piece *)call;
    struct store_reader *reader = piece->reader;
    uint64_t stripe_size = reader->head.manifest.stripe_size, offset = piece->offset;
    char stripe[STRIPE_OBJECT_SIZE];
    const char *object = reader->object;

    piece->operation = rados_create_read_op();
    if (stripe_size != 0) {
        stripe_object(reader->head.uid, offset / stripe_size, stripe);
        object = stripe;
        offset %= stripe_size;
    } else {
        rados_read_op_assert_version(piece->operation, reader->head.version);
    }
    rados_read_op_read(piece->operation, offset, piece->wanted, piece->bytes, &piece->brought,
                       &piece->read_result);
    if (stripe_size != 0)
        rados_read_op_getxattrs(piece->operation, &piece->xattrs, &piece->xattrs_result);
    return rados_aio_read_op_operate(piece->operation, ioctx, completion, object, LIBRADOS_OPERATION_NOFLAG);
}

/* Of a stripe's blocks that have come. One without checksums is of before there were any. */
static int verify_blocks(struct store_reader *reader, const struct piece *piece)
{
    const struct manifest *manifest = &reader->head.manifest;
    uint64_t stripe_size = manifest->stripe_size, in_stripe = piece->offset % stripe_size;
    uint64_t stripe = piece->offset - in_stripe, left = manifest->size - stripe;
    uint64_t stripe_len = left < stripe_size ? left : stripe_size, bad_block = in_stripe / STRIPE_BLOCK_SIZE;
    char object[STRIPE_OBJECT_SIZE];
    const char *name, *value;
    size_t len;

    stripe_object(reader->head.uid, piece->offset / stripe_size, object);
    if (piece->len != piece->wanted)
        return damaged(reader, object, in_stripe + piece->len);
    while (rados_getxattrs_next(piece->xattrs, &name, &value, &len) == 0 && name != NULL) {
        if (strcmp(name, STRIPE_XATTR_CHECKSUMS) != 0)
            continue;
        if (len != stripe_checksums_size(stripe_len) ||
            !stripe_check((struct slice){value, len}, bad_block, (struct slice){piece->bytes, piece->len},
                          &bad_block))
            return damaged(reader, object, bad_block * STRIPE_BLOCK_SIZE);
    }
    return 0;
}

static void on_piece(struct rados_call *call)
{
    struct piece *piece = (struct piece *)call;
    struct store_reader *reader = piece->reader;

    piece_come_home(piece);
    piece->len = piece->brought;
    if (piece->error >= 0 && piece->xattrs_result < 0)
        piece->error = piece->xattrs_result;
    if (reader->head.manifest.stripe_size != 0 && !reader->closed) {
        if (piece->error >= 0)
            piece->error = verify_blocks(reader, piece);
        else if (piece->error == -ENOENT)
            log_warn("\"%s\": the download breaks off, its stripe %s.%" PRIu64
                     " is not there: it was replaced longer ago than --download-grace, or the stripe is lost",
                     reader->object, reader->head.uid, piece->offset / reader->head.manifest.stripe_size);
    }
    /* A version has one size: if it is shorter than its manifest said, something else is wrong. */
    if (piece->error >= 0 && piece->len != piece->wanted)
        piece->error = -EIO;
    if (piece->xattrs != NULL)
        rados_getxattrs_end(piece->xattrs);
    piece->xattrs = NULL;
    if (!free_if_closed(reader))
        deliver(reader);
}

/* The next bytes to be read: whole blocks of a stripe, up to its end; of other content what is left. */
static struct span next_span(const struct store_reader *reader)
{
    const struct manifest *manifest = &reader->head.manifest;
    struct span span = {reader->offset, reader->unread};
    uint64_t stripe_end;

    if (manifest->stripe_size != 0) {
        uint64_t stripe = reader->offset / manifest->stripe_size * manifest->stripe_size, end;

        stripe_end =
            manifest->size - stripe < manifest->stripe_size ? manifest->size : stripe + manifest->stripe_size;
        span.offset = stripe + (reader->offset - stripe) / STRIPE_BLOCK_SIZE * STRIPE_BLOCK_SIZE;
        end = reader->offset + reader->unread;
        if (end >= stripe_end || stripe_end - end < STRIPE_BLOCK_SIZE)
            end = stripe_end;
        else
            end = stripe + ((end - stripe - 1) / STRIPE_BLOCK_SIZE + 1) * STRIPE_BLOCK_SIZE;
        span.length = end - span.offset;
    }
    if (span.length > PIECE_SIZE_MOST)
        span.length = PIECE_SIZE_MOST;
    return span;
}

/* Begins to read what the window has room for. When memory is short, that is one piece at a time, and a small one. */
static void read_ahead(struct store_reader *reader)
{
    bool striped = reader->head.manifest.stripe_size != 0;

    while (reader->unread != 0 && reader->count < PIECES_MOST) {
        struct span span = next_span(reader);
        size_t wanted = (size_t)span.length;
        struct memory_budget *memory = &reader->lane->memory;
        struct piece *piece;

        if (reader->under_way != 0 &&
            (memory->used >= memory->total || memory->total - memory->used < wanted))
            return;
        piece = piece_take(reader, wanted, striped ? STRIPE_BLOCK_SIZE : PIECE_SIZE_LEAST);
        piece->offset = span.offset;
        piece->wanted = piece->capacity < wanted ? piece->capacity : wanted;
        if (striped && piece->wanted < wanted)
            piece->wanted -= piece->wanted % STRIPE_BLOCK_SIZE;
        piece->skipped = (size_t)(reader->offset - span.offset);
        piece->shown = piece->wanted - piece->skipped;
        if (piece->shown > reader->unread)
            piece->shown = (size_t)reader->unread;
        reader->offset += piece->shown;
        reader->unread -= piece->shown;
        piece_call(piece, striped ? SPACE_STRIPES : SPACE_HEADS, launch_piece, on_piece);
    }
}

static void deliver_piece(struct store_reader *reader, struct piece *piece)
{
    reader->wanted = false;
    if (piece->error < 0) {
        if (piece->error == -ETIMEDOUT)
            log_warn("\"%s\": the download breaks off, Ceph has not given its bytes from %" PRIu64
                     " on within --op-timeout",
                     reader->object, piece->offset);
        reader->callbacks.failed(reader->context, result_of(reader, piece->error));
        return;
    }
    piece->state = PIECE_WITH_CONSUMER;
    reader->undelivered -= piece->shown;
    atomic_fetch_add_explicit(&reader->store->counters.bytes_read, piece->shown, memory_order_relaxed);
    /* Before the callback, so that the next pieces are on their way while this one is sent. */
    read_ahead(reader);
    reader->callbacks.data(reader->context, (struct slice){piece->bytes + piece->skipped, piece->shown},
                           reader->undelivered == 0);
}

static void deliver_rest(struct store_reader *reader)
{
    reader->wanted = false;
    atomic_fetch_add_explicit(&reader->store->counters.bytes_read, reader->rest.len, memory_order_relaxed);
    reader->callbacks.data(reader->context, reader->rest, true);
}

/* Hands over what is wanted and ready, or sees to it that it is being read. The consumer may ask for the next piece,
 * or leave, while it is called. */
static void deliver(struct store_reader *reader)
{
    reader->in_callback = true;
    while (reader->wanted && !reader->closed && reader->whole)
        deliver_rest(reader);
    while (reader->wanted && !reader->closed && reader->count != 0 &&
           piece_at(reader, 0)->state == PIECE_READY)
        deliver_piece(reader, piece_at(reader, 0));
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
    if (reader->count == 0 || piece_at(reader, 0)->state != PIECE_READY) {
        read_ahead(reader);
        return;
    }
    reader->delivery_queued = true;
    reader->delivery.run = run_delivery;
    executor_submit(reader->lane->home, &reader->delivery);
}

void store_reader_start(struct store_reader *reader, uint64_t offset, uint64_t length)
{
    struct piece *first = piece_at(reader, 0);

    reader->offset = offset;
    reader->unread = reader->undelivered = length;

    if (reader->whole) {
        reader->rest = (struct slice){first->bytes + offset, (size_t)length};
        reader->unread = reader->undelivered = 0;
    } else if (reader->count != 0 && first->offset == offset && first->len != 0) {
        /* What came with the head is used where it begins at the right place. */
        first->skipped = 0;
        first->shown = first->len < length ? first->len : (size_t)length;
        reader->offset += first->shown;
        reader->unread -= first->shown;
    } else {
        pieces_free(reader);
    }
    want(reader);
}

void store_reader_next(struct store_reader *reader)
{
    if (reader->whole)
        return;
    piece_free(piece_at(reader, 0));
    reader->first = (reader->first + 1) % PIECES_MOST;
    reader->count--;
    if (reader->undelivered != 0)
        want(reader);
}

void store_reader_close(struct store_reader *reader)
{
    reader->closed = true;
    free_if_closed(reader);
}
