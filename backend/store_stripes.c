#include "store_write.h"

#include <errno.h>

#include "crc32c.h"
#include "fault.h"
#include "stripe.h"

static void go_on(struct store_stripes *stripes);

/* Launched in the order of the file, so the CRC of all of it grows with each. */
static int launch_stripe(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_stripe_write *write = (struct store_stripe_write *)call;
    struct store_stripes *stripes = write->stripes;
    struct slice content = {stripes->content.base + write->number * stripes->stripe_size, call->memory};
    rados_write_op_t operation = rados_create_write_op();
    struct buffer checksums = {NULL, 0, 0};
    char object[STRIPE_OBJECT_SIZE];
    uint32_t crc = stripe_checksums(content, &checksums);
    int result;

    stripes->crc32c = crc32c_combine(stripes->crc32c, crc, content.len);
    stripe_object(stripes->uid, write->number, object);
    rados_write_op_write_full(operation, content.base, content.len);
    rados_write_op_setxattr(operation, STRIPE_XATTR_CHECKSUMS, checksums.base, checksums.len);
    buffer_free(&checksums);
    result = store_launch_write(operation, ioctx, completion, object, LIBRADOS_OPERATION_NOFLAG);
    /* librados has copied it. */
    if (stripes->used != NULL)
        stripes->used(stripes, content);
    return result;
}

static void on_stripe_written(struct rados_call *call)
{
    struct store_stripe_write *write = (struct store_stripe_write *)call;
    struct store_stripes *stripes = write->stripes;

    fault_point("stripe-written");
    write->stripes = NULL;
    stripes->under_way--;
    if (call->result < 0 && stripes->error == 0)
        stripes->error = call->result;
    go_on(stripes);
}

static void begin_stripe(struct store_stripes *stripes, struct store_stripe_write *write)
{
    uint64_t offset = stripes->next * stripes->stripe_size, left = stripes->content.len - offset;

    write->stripes = stripes;
    write->number = stripes->next++;
    stripes->under_way++;
    store_call_begin(stripes->store, stripes->home, &write->call, SPACE_STRIPES,
                     (size_t)(left < stripes->stripe_size ? left : stripes->stripe_size), launch_stripe,
                     on_stripe_written);
}

static void go_on(struct store_stripes *stripes)
{
    unsigned i;

    if (stripes->error == 0 && store_claim_is_old(stripes->store, stripes->begun_ms))
        stripes->error = -ETIMEDOUT;
    for (i = 0; i < STORE_STRIPES_AT_ONCE && stripes->next < stripes->count && stripes->error == 0; i++)
        if (stripes->writes[i].stripes == NULL)
            begin_stripe(stripes, &stripes->writes[i]);
    if (stripes->under_way == 0)
        stripes->done(stripes);
}

void store_stripes_begin(struct store_stripes *stripes)
{
    unsigned i;

    for (i = 0; i < STORE_STRIPES_AT_ONCE; i++)
        stripes->writes[i].stripes = NULL;
    stripes->count =
        stripes->content.len / stripes->stripe_size + (stripes->content.len % stripes->stripe_size != 0);
    stripes->next = 0;
    stripes->under_way = 0;
    stripes->error = 0;
    stripes->crc32c = 0;
    go_on(stripes);
}
