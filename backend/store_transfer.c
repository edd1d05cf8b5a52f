/*
 * A stripe set with the content of another version, a few stripes at a time. Each is read, verified and written by
 * itself, and takes its share of the loop's memory budget before it is read, while it holds nothing else, and keeps it
 * until it is written: so no two can wait for each other.
 *
 * What is read is of one version: stripes never change, and a foreign object is read under assert_version.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log.h"
#include "store_write.h"
#include "stripe.h"
#include "xalloc.h"

static void go_on(struct store_transfer *transfer);

static size_t size_of(const struct store_transfer *transfer, uint64_t number)
{
    uint64_t left = transfer->source->size - number * transfer->stripe_size;

    return (size_t)(left < transfer->stripe_size ? left : transfer->stripe_size);
}

static void end_stripe(struct store_transfer_stripe *stripe, int error)
{
    struct store_transfer *transfer = stripe->transfer;
    struct lane *lane = &transfer->store->lanes[transfer->home->index];

    free(stripe->bytes);
    stripe->transfer = NULL;
    transfer->under_way--;
    if (error < 0 && transfer->error == 0)
        transfer->error = error;
    memory_budget_return(&lane->memory, stripe->held);
    lane_memory_returned(lane);
    go_on(transfer);
}

/* ---- writing ---- */

static void on_written(struct store_stripe_write *write)
{
    end_stripe((struct store_transfer_stripe *)write, write->call.result < 0 ? write->call.result : 0);
}

/* ---- reading ---- */

static int launch_read(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_transfer_stripe *stripe = (struct store_transfer_stripe *)call;
    struct store_transfer *transfer = stripe->transfer;
    const struct store_source *source = transfer->source;
    size_t size = size_of(transfer, stripe->write.number);
    char object[STRIPE_OBJECT_SIZE];

    stripe->bytes = xmalloc(size);
    stripe->operation = rados_create_read_op();
    if (source->uid[0] == '\0') {
        rados_read_op_assert_version(stripe->operation, source->version);
        rados_read_op_read(stripe->operation, stripe->write.number * transfer->stripe_size, size,
                           stripe->bytes, &stripe->brought, &stripe->read_result);
        return rados_aio_read_op_operate(stripe->operation, ioctx, completion, source->object,
                                         LIBRADOS_OPERATION_NOFLAG);
    }
    stripe_object(source->uid, stripe->write.number, object);
    rados_read_op_read(stripe->operation, 0, size, stripe->bytes, &stripe->brought, &stripe->read_result);
    rados_read_op_getxattrs(stripe->operation, &stripe->xattrs, &stripe->xattrs_result);
    return rados_aio_read_op_operate(stripe->operation, ioctx, completion, object, LIBRADOS_OPERATION_NOFLAG);
}

/* A stripe without checksums is of before there were any. */
static bool is_as_written(const struct store_transfer_stripe *stripe, size_t size)
{
    struct slice bytes = {stripe->bytes, size};
    const char *name, *value;
    uint64_t bad_block;
    size_t len;

    if (stripe->brought != size)
        return false;
    while (stripe->xattrs != NULL && rados_getxattrs_next(stripe->xattrs, &name, &value, &len) == 0 &&
           name != NULL)
        if (strcmp(name, STRIPE_XATTR_CHECKSUMS) == 0 &&
            (len != stripe_checksums_size(size) ||
             !stripe_check((struct slice){value, len}, 0, bytes, &bad_block)))
            return false;
    return true;
}

static int outcome_of_read(struct store_transfer_stripe *stripe)
{
    const struct store_source *source = stripe->transfer->source;
    size_t size = size_of(stripe->transfer, stripe->write.number);
    int error = stripe->write.call.result < 0 ? stripe->write.call.result
                : stripe->read_result < 0     ? stripe->read_result
                                              : stripe->xattrs_result;

    /* The stripes of a version that was replaced are there for a while only. */
    if (store_is_lost_race(error))
        return -ESTALE;
    if (error >= 0 && !is_as_written(stripe, size)) {
        log_error("DAMAGED: \"%s\", stripe %" PRIu64 " of %s, which was to be copied", source->object,
                  stripe->write.number, source->uid);
        atomic_fetch_add_explicit(&stripe->transfer->store->counters.damaged, 1, memory_order_relaxed);
        error = -EBADMSG;
    }
    return error < 0 ? error : 0;
}

static void on_read(struct rados_call *call)
{
    struct store_transfer_stripe *stripe = (struct store_transfer_stripe *)call;
    struct store_transfer *transfer = stripe->transfer;
    size_t size = size_of(transfer, stripe->write.number);
    int error;

    /* The lane has just given back what the call had taken. */
    stripe->held = memory_budget_take_some(&transfer->store->lanes[transfer->home->index].memory, size, size);
    error = outcome_of_read(stripe);
    if (stripe->operation != NULL)
        rados_release_read_op(stripe->operation);
    if (stripe->xattrs != NULL)
        rados_getxattrs_end(stripe->xattrs);
    if (error < 0) {
        end_stripe(stripe, error);
        return;
    }
    stripe->write.uid = transfer->uid;
    stripe->write.content = (struct slice){stripe->bytes, size};
    stripe->write.done = on_written;
    store_stripe_write_begin(&stripe->write, transfer->store, transfer->home, 0);
}

static void begin_stripe(struct store_transfer *transfer, struct store_transfer_stripe *stripe)
{
    *stripe = (struct store_transfer_stripe){.transfer = transfer, .write.number = transfer->next++};
    transfer->under_way++;
    store_call_begin(transfer->store, transfer->home, &stripe->write.call,
                     transfer->source->uid[0] != '\0' ? SPACE_STRIPES : SPACE_HEADS,
                     size_of(transfer, stripe->write.number), launch_read, on_read);
}

static void go_on(struct store_transfer *transfer)
{
    unsigned i;

    if (transfer->error == 0 && store_claim_is_old(transfer->store, transfer->begun_ms))
        transfer->error = -ETIMEDOUT;
    for (i = 0; i < STORE_STRIPES_AT_ONCE && transfer->next < transfer->count && transfer->error == 0; i++)
        if (transfer->stripes[i].transfer == NULL)
            begin_stripe(transfer, &transfer->stripes[i]);
    if (transfer->under_way == 0)
        transfer->done(transfer);
}

void store_transfer_begin(struct store_transfer *transfer)
{
    unsigned i;

    for (i = 0; i < STORE_STRIPES_AT_ONCE; i++)
        transfer->stripes[i].transfer = NULL;
    transfer->count = stripe_count(transfer->source->size, transfer->stripe_size);
    transfer->next = 0;
    transfer->under_way = 0;
    transfer->error = 0;
    go_on(transfer);
}
