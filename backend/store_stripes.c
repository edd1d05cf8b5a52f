#include "store_write.h"

#include <errno.h>

#include "crc32c.h"
#include "fault.h"
#include "stripe.h"

/* ---- one ---- */

static int launch_stripe(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_stripe_write *write = (struct store_stripe_write *)call;
    rados_write_op_t operation;
    struct buffer checksums = {NULL, 0, 0};
    char object[STRIPE_OBJECT_SIZE];

    if (write->stripes != NULL && write->stripes->stopped)
        return -ECANCELED;
    operation = rados_create_write_op();
    write->crc32c = stripe_checksums(write->content, &checksums);
    stripe_object(write->uid, write->number, object);
    rados_write_op_write_full(operation, write->content.base, write->content.len);
    rados_write_op_setxattr(operation, STRIPE_XATTR_CHECKSUMS, checksums.base, checksums.len);
    buffer_free(&checksums);
    if (write->launched != NULL)
        write->launched(write);
    return store_launch_write(operation, ioctx, completion, object, LIBRADOS_OPERATION_NOFLAG);
}

static void on_written(struct rados_call *call)
{
    struct store_stripe_write *write = (struct store_stripe_write *)call;

    fault_point("stripe-written");
    write->done(write);
}

void store_stripe_write_begin(struct store_stripe_write *write, struct store *store, struct executor *home,
                              size_t memory)
{
    store_call_begin(store, home, &write->call, SPACE_STRIPES, memory, launch_stripe, on_written);
}

/* ---- all of a content ---- */

static void go_on(struct store_stripes *stripes);

/* librados has copied it. Stripes are launched in the order of the file, so the CRC of all of it grows with each. */
static void on_stripe_launched(struct store_stripe_write *write)
{
    struct store_stripes *stripes = write->stripes;

    stripes->crc32c = crc32c_combine(stripes->crc32c, write->crc32c, write->content.len);
    if (stripes->used != NULL)
        stripes->used(stripes, write->content);
}

static void on_stripe_written(struct store_stripe_write *write)
{
    struct store_stripes *stripes = write->stripes;

    write->stripes = NULL;
    stripes->under_way--;
    if (write->call.result < 0 && stripes->error == 0)
        stripes->error = write->call.result;
    go_on(stripes);
}

static void begin_stripe(struct store_stripes *stripes, struct store_stripe_write *write)
{
    uint64_t offset = stripes->next * stripes->stripe_size, left = stripes->content.len - offset;

    write->stripes = stripes;
    write->uid = stripes->uid;
    write->number = stripes->next++;
    write->content = (struct slice){stripes->content.base + offset,
                                    (size_t)(left < stripes->stripe_size ? left : stripes->stripe_size)};
    write->launched = on_stripe_launched;
    write->done = on_stripe_written;
    stripes->under_way++;
    store_stripe_write_begin(write, stripes->store, stripes->home, write->content.len);
}

static bool next_is_there(const struct store_stripes *stripes)
{
    uint64_t begin = stripes->next * stripes->stripe_size;

    return stripes->next < stripes->count &&
           (stripes->available == stripes->content.len || stripes->available - begin >= stripes->stripe_size);
}

static void go_on(struct store_stripes *stripes)
{
    unsigned i;

    if (stripes->error == 0 && store_claim_is_old(stripes->store, stripes->begun_ms))
        stripes->error = -ETIMEDOUT;
    for (i = 0; i < STORE_STRIPES_AT_ONCE && next_is_there(stripes) && stripes->error == 0; i++)
        if (stripes->writes[i].stripes == NULL)
            begin_stripe(stripes, &stripes->writes[i]);
    if (stripes->under_way == 0 && (stripes->error != 0 || stripes->next == stripes->count))
        stripes->done(stripes);
}

void store_stripes_more(struct store_stripes *stripes, uint64_t available)
{
    stripes->available = available;
    go_on(stripes);
}

void store_stripes_stop(struct store_stripes *stripes)
{
    stripes->stopped = true;
    if (stripes->error == 0)
        stripes->error = -ECANCELED;
    go_on(stripes);
}

void store_stripes_begin(struct store_stripes *stripes)
{
    unsigned i;

    for (i = 0; i < STORE_STRIPES_AT_ONCE; i++)
        stripes->writes[i].stripes = NULL;
    stripes->count = stripe_count(stripes->content.len, stripes->stripe_size);
    stripes->next = 0;
    stripes->under_way = 0;
    stripes->error = 0;
    stripes->crc32c = 0;
    stripes->stopped = false;
    go_on(stripes);
}
