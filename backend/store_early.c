/*
 * Stripes of a file that is still arriving are written while it does: so storing a large one takes as long as the
 * slower of both, and not their sum. Nothing depends on it. It ends with a stripe set to which the right to publish is
 * there, or with an error, and then the file is stored from what was kept of it as if this had never been.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_write.h"
#include "xalloc.h"

enum stage { STAGE_CLAIMING, STAGE_WRITING, STAGE_OVER };

struct writing {
    struct store_early early; /* first */
    struct store *store;
    struct executor *home;
    struct slice name; /* owned */
    struct slice content;
    uint64_t arrived;
    void (*used)(void *context, struct slice part); /* NULL: nobody wants to know any more */
    void *used_context;

    enum stage stage;
    bool dropped;
    void (*ready)(void *context);
    void *ready_context;

    char object[STORE_OBJECT_SIZE];
    struct store_head_read read;
    struct store_stripes stripes;
};

#define WRITING_OF(step, member) ((struct writing *)((char *)(step)-offsetof(struct writing, member)))

void store_early_free(struct store_early *early)
{
    struct writing *writing = (struct writing *)early;

    head_free(&writing->read.head);
    free((char *)writing->name.base);
    free(writing);
}

static void over(struct writing *writing, int error)
{
    writing->stage = STAGE_OVER;
    writing->early.error = error;
    writing->early.crc32c = writing->stripes.crc32c;
    if (writing->dropped)
        store_early_free(&writing->early);
    else if (writing->ready != NULL)
        writing->ready(writing->ready_context);
}

static void on_written(struct store_stripes *stripes)
{
    over(WRITING_OF(stripes, stripes), stripes->error);
}

static void on_used(struct store_stripes *stripes, struct slice part)
{
    struct writing *writing = WRITING_OF(stripes, stripes);

    if (writing->used != NULL)
        writing->used(writing->used_context, part);
}

static void on_claimed(struct store_claim *claim)
{
    struct writing *writing = WRITING_OF(claim, early.claim);

    if (claim->error < 0 || writing->dropped) {
        over(writing, claim->error < 0 ? claim->error : -ECANCELED);
        return;
    }
    writing->stage = STAGE_WRITING;
    writing->stripes =
        (struct store_stripes){.store = writing->store,
                               .home = writing->home,
                               .uid = writing->early.uid,
                               .content = writing->content,
                               .available = writing->arrived,
                               .stripe_size = cluster_layout(writing->store->cluster)->stripe_size,
                               .begun_ms = claim->begun_ms,
                               .done = on_written,
                               .used = on_used};
    store_stripes_begin(&writing->stripes);
}

/* Conditions are judged when it is published. */
static void on_head_read(struct store_head_read *read)
{
    struct writing *writing = WRITING_OF(read, read);
    static const struct conditions none;

    if (read->error < 0 || writing->dropped || store_may_claim(&read->head, &none) != STORE_OK) {
        over(writing, -ECANCELED);
        return;
    }
    writing->early.claim = (struct store_claim){
        .store = writing->store,
        .home = writing->home,
        .name = writing->name,
        .object = writing->object,
        .uid = writing->early.uid,
        .stripes = stripe_count(writing->content.len, cluster_layout(writing->store->cluster)->stripe_size),
        .done = on_claimed};
    store_claim_begin(&writing->early.claim);
}

struct store_early *store_early_begin(struct store *store, struct executor *home, struct slice name,
                                      struct slice content, void (*used)(void *context, struct slice part),
                                      void *context)
{
    struct writing *writing;

    if (!cluster_is_ready(store->cluster) || content.len < 2 * cluster_layout(store->cluster)->stripe_size)
        return NULL;
    writing = xcalloc(1, sizeof(*writing));
    writing->store = store;
    writing->home = home;
    writing->name = (struct slice){xmemdup0(name.base, name.len), name.len};
    writing->content = content;
    writing->used = used;
    writing->used_context = context;
    memcpy(writing->object, name.base, name.len);
    head_new_tag(writing->early.uid);
    writing->read = (struct store_head_read){
        .store = store, .home = home, .object = writing->object, .done = on_head_read};
    store_head_read_begin(&writing->read);
    return &writing->early;
}

void store_early_more(struct store_early *early, uint64_t arrived)
{
    struct writing *writing = (struct writing *)early;

    writing->arrived = arrived;
    if (writing->stage == STAGE_WRITING)
        store_stripes_more(&writing->stripes, arrived);
}

void store_early_finish(struct store_early *early, void (*ready)(void *context), void *context)
{
    struct writing *writing = (struct writing *)early;

    writing->ready = ready;
    writing->ready_context = context;
    if (writing->stage == STAGE_OVER)
        ready(context);
    else
        store_early_more(early, writing->content.len);
}

void store_early_drop(struct store_early *early)
{
    struct writing *writing = (struct writing *)early;

    writing->dropped = true;
    writing->used = NULL;
    if (writing->stage == STAGE_OVER)
        store_early_free(early);
    else if (writing->stage == STAGE_WRITING)
        store_stripes_stop(&writing->stripes);
}
