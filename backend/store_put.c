/*
 * Putting a file. One of up to a stripe goes into the head itself, in one operation. A larger one goes to a stripe set
 * under a new uid while the head stays as it was:
 *
 *     read      the conditions are judged before anything is sent anywhere.
 *     claim     the uid is noted in the gc log, so that whatever happens its stripes are known, and the head gets
 *               `pending.UID`: the right to publish, which the collector takes away from an upload that does not end.
 *     stripes   a few at a time; from the content, or for a copy from another version's.
 *     publish   the same as for a small one, but what is set on the head is the uid, and the right is used up.
 *
 * An upload that fails half-way leaves its entry in the log; the collector does the rest.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "crc32c.h"
#include "store_write.h"
#include "xalloc.h"

struct putting {
    struct store_put *put;
    char object[STORE_OBJECT_SIZE];
    char tag[HEAD_TAG_SIZE], uid[HEAD_TAG_SIZE];
    struct store_head_read read;
    struct store_claim claim;
    struct store_stripes stripes;
    struct store_transfer transfer;
    struct store_publish publish;
    struct store_early *early; /* NULL, or where the stripes come from */
};

#define PUTTING_OF(step, member) ((struct putting *)((char *)(step)-offsetof(struct putting, member)))

static void finish(struct putting *putting, enum store_result result)
{
    struct store_put *put = putting->put;

    if (result == STORE_OK)
        atomic_fetch_add_explicit(&put->store->counters.bytes_written, put->manifest->size,
                                  memory_order_relaxed);
    put->result = result;
    if (putting->early != NULL)
        store_early_free(putting->early);
    head_free(&putting->read.head);
    free(putting);
    put->done(put);
}

static void fail(struct putting *putting, int error)
{
    finish(putting, store_result_of_errno(putting->put->store, error, "cannot write", putting->object));
}

static void on_published(struct store_publish *publish)
{
    struct putting *putting = PUTTING_OF(publish, publish);

    putting->put->created = publish->created;
    memcpy(putting->put->etag, publish->etag, sizeof(publish->etag));
    finish(putting, publish->result);
}

static void step_publish(struct putting *putting, const char *uid, const struct store_claim *claim)
{
    struct store_put *put = putting->put;

    putting->publish = (struct store_publish){.store = put->store,
                                              .home = put->home,
                                              .name = put->name,
                                              .object = putting->object,
                                              .tag = putting->tag,
                                              .uid = uid,
                                              .claim = &claim->note.entry,
                                              .content = put->content,
                                              .manifest = put->manifest,
                                              .conditions = &put->conditions,
                                              .wish = put->wish,
                                              .done = on_published};
    store_publish_begin(&putting->publish);
}

static void on_stripes_written(struct store_stripes *stripes)
{
    struct putting *putting = PUTTING_OF(stripes, stripes);

    if (stripes->error < 0) {
        fail(putting, stripes->error);
        return;
    }
    digests_set_crc32c(&putting->put->manifest->digests, stripes->crc32c);
    step_publish(putting, putting->uid, &putting->claim);
}

static void on_used(struct store_stripes *stripes, struct slice part)
{
    struct store_put *put = PUTTING_OF(stripes, stripes)->put;

    if (put->used != NULL)
        put->used(put, part);
}

static void on_transferred(struct store_transfer *transfer)
{
    struct putting *putting = PUTTING_OF(transfer, transfer);

    if (transfer->error == -ESTALE)
        finish(putting, STORE_CHANGED);
    else if (transfer->error == -EBADMSG)
        finish(putting, STORE_DAMAGED);
    else if (transfer->error < 0)
        fail(putting, transfer->error);
    else
        step_publish(putting, putting->uid, &putting->claim);
}

static void step_transfer(struct putting *putting)
{
    struct store_put *put = putting->put;

    putting->transfer = (struct store_transfer){.store = put->store,
                                                .home = put->home,
                                                .uid = putting->uid,
                                                .source = put->source,
                                                .stripe_size = put->manifest->stripe_size,
                                                .begun_ms = putting->claim.begun_ms,
                                                .done = on_transferred};
    store_transfer_begin(&putting->transfer);
}

static void on_claimed(struct store_claim *claim)
{
    struct putting *putting = PUTTING_OF(claim, claim);
    struct store_put *put = putting->put;

    if (claim->error < 0) {
        fail(putting, claim->error);
        return;
    }
    if (put->source != NULL) {
        step_transfer(putting);
        return;
    }
    putting->stripes = (struct store_stripes){.store = put->store,
                                              .home = put->home,
                                              .uid = putting->uid,
                                              .content = put->content,
                                              .available = put->content.len,
                                              .stripe_size = put->manifest->stripe_size,
                                              .begun_ms = claim->begun_ms,
                                              .done = on_stripes_written,
                                              .used = on_used};
    store_stripes_begin(&putting->stripes);
}

static void on_head_read(struct store_head_read *read)
{
    struct putting *putting = PUTTING_OF(read, read);
    struct store_put *put = putting->put;
    enum store_result result;

    if (read->error < 0) {
        fail(putting, read->error);
        return;
    }
    result = store_may_claim(&read->head, &put->conditions);
    if (result != STORE_OK) {
        finish(putting, result);
        return;
    }
    putting->claim = (struct store_claim){.store = put->store,
                                          .home = put->home,
                                          .name = put->name,
                                          .object = putting->object,
                                          .uid = putting->uid,
                                          .stripes = manifest_stripe_count(put->manifest),
                                          .done = on_claimed};
    store_claim_begin(&putting->claim);
}

static void step_read(struct putting *putting)
{
    struct store_put *put = putting->put;

    head_new_tag(putting->uid);
    putting->read = (struct store_head_read){
        .store = put->store, .home = put->home, .object = putting->object, .done = on_head_read};
    store_head_read_begin(&putting->read);
}

/* What was written while it arrived is used, or, if that has failed, all is done anew. */
static void on_early_ready(void *context)
{
    struct putting *putting = context;

    if (putting->early->error == 0) {
        digests_set_crc32c(&putting->put->manifest->digests, putting->early->crc32c);
        step_publish(putting, putting->early->uid, &putting->early->claim);
        return;
    }
    store_early_free(putting->early);
    putting->early = NULL;
    step_read(putting);
}

void store_put_begin(struct store_put *put)
{
    struct putting *putting = xcalloc(1, sizeof(*putting));
    uint64_t stripe_size = cluster_layout(put->store->cluster)->stripe_size;

    putting->put = put;
    memcpy(putting->object, put->name.base, put->name.len);
    head_new_tag(putting->tag);
    put->manifest->size = put->source != NULL ? put->source->size : put->content.len;
    put->manifest->modified_ns = clock_realtime_ns();
    put->manifest->stripe_size = 0;

    if (put->source != NULL && put->source->stripe_size != 0)
        stripe_size = put->source->stripe_size;
    if (put->source == NULL && (put->content.len <= stripe_size || !cluster_is_ready(put->store->cluster))) {
        if (put->early != NULL)
            store_early_drop(put->early);
        digests_set_crc32c(&put->manifest->digests, crc32c_update(0, put->content.base, put->content.len));
        step_publish(putting, NULL, &putting->claim);
        return;
    }
    put->manifest->stripe_size = stripe_size;
    putting->early = put->early;
    if (put->early != NULL)
        store_early_finish(put->early, on_early_ready, putting);
    else
        step_read(putting);
}
