/*
 * Copying a file: the source's head is read, and with it the content if it is a small one. That is put as a client's upload
 * would be. A larger content is put too, but its stripes come from the source's (store_transfer.c): a new set, since two
 * heads never share one. The version that is copied is the one whose head was read, whatever happens to its name.
 */
#include <stdlib.h>

#include "fault.h"
#include "store_write.h"
#include "xalloc.h"

struct copying {
    struct store_put put; /* first */
    struct store_copy *copy;
    struct store_reader *reader; /* NULL when it is not needed any more */
    struct store_source source;
    char object[STORE_OBJECT_SIZE]; /* the source's */
};

static void finish(struct copying *copying, enum store_result result, bool about_source)
{
    struct store_copy *copy = copying->copy;

    if (copying->reader != NULL)
        store_reader_close(copying->reader);
    free(copying);
    copy->result = result;
    copy->about_source = about_source;
    copy->done(copy);
}

static void on_put(struct store_put *put)
{
    struct copying *copying = (struct copying *)put;

    fault_point("copy-published");
    copying->copy->created = put->created;
    memcpy(copying->copy->etag, put->etag, sizeof(put->etag));
    finish(copying, put->result, put->result == STORE_CHANGED || put->result == STORE_DAMAGED);
}

static void step_put(struct copying *copying, struct slice content, const struct store_source *source)
{
    struct store_copy *copy = copying->copy;

    copying->put = (struct store_put){.store = copy->store,
                                      .home = copy->home,
                                      .name = copy->name,
                                      .content = content,
                                      .source = source,
                                      .manifest = &copy->manifest,
                                      .conditions = copy->conditions,
                                      .wish = copy->wish,
                                      .done = on_put};
    store_put_begin(&copying->put);
}

static void on_data(void *context, struct slice bytes, bool last)
{
    (void)last; /* What lies in a head, and has at most a stripe, comes whole. */
    step_put(context, bytes, NULL);
}

static void on_failed(void *context, enum store_result result)
{
    finish(context, result, true);
}

/* What is known of the new version: the description that is wanted, else the source's. */
static void describe(struct store_copy *copy, const struct head *head)
{
    const struct manifest *wanted = copy->description;
    struct manifest *manifest = &copy->manifest;

    /* The source's goes when the reader is closed: there and back gives one that is our own. */
    buffer_free(&copy->storage);
    manifest_encode(&head->manifest, &copy->storage);
    (void)manifest_decode(buffer_slice(&copy->storage), manifest);
    if (wanted->media_type.base != NULL)
        manifest->media_type = wanted->media_type;
    else if (manifest->media_type.base == NULL)
        manifest->media_type = copy->media_type_otherwise;
    if (wanted->metadata_count != 0) {
        memcpy(manifest->metadata, wanted->metadata, sizeof(manifest->metadata));
        manifest->metadata_count = wanted->metadata_count;
    }
    if (wanted->expires_ns != 0 || !copy->keep_expiry)
        manifest->expires_ns = wanted->expires_ns;
    memcpy(copy->source_etag, head->etag, sizeof(head->etag));
}

static void on_opened(void *context, enum store_result result, const struct head *head)
{
    struct copying *copying = context;
    struct store_copy *copy = copying->copy;
    struct validators there;

    if (result != STORE_OK) {
        finish(copying, result, true);
        return;
    }
    there = head_validators(head);
    if (conditions_evaluate(&copy->source_conditions, &there, false) != CONDITION_HOLDS) {
        finish(copying, STORE_PRECONDITION_FAILED, true);
        return;
    }
    if (head->manifest.size > copy->size_max) {
        finish(copying, STORE_TOO_LARGE, true);
        return;
    }
    describe(copy, head);
    if (head->manifest.size == 0) {
        step_put(copying, (struct slice){"", 0}, NULL);
        return;
    }
    if (head->manifest.stripe_size == 0 &&
        head->manifest.size <= cluster_layout(copy->store->cluster)->stripe_size) {
        store_reader_start(copying->reader, 0, head->manifest.size);
        return;
    }
    copying->source = (struct store_source){.object = copying->object,
                                            .version = head->version,
                                            .size = head->manifest.size,
                                            .stripe_size = head->manifest.stripe_size};
    if (head->manifest.stripe_size != 0)
        memcpy(copying->source.uid, head->uid, sizeof(head->uid));
    store_reader_close(copying->reader);
    copying->reader = NULL;
    step_put(copying, SLICE_ABSENT, &copying->source);
}

void store_copy_begin(struct store_copy *copy)
{
    static const struct store_reader_callbacks callbacks = {on_opened, on_data, on_failed};
    static const struct range everything = {.kind = RANGE_NONE};
    struct copying *copying = xcalloc(1, sizeof(*copying));

    copying->copy = copy;
    memcpy(copying->object, copy->source_name.base, copy->source_name.len);
    copying->reader =
        store_reader_open(copy->store, copy->home, copy->source_name, &everything, true, &callbacks, copying);
}

void store_copy_free(struct store_copy *copy)
{
    buffer_free(&copy->storage);
}
