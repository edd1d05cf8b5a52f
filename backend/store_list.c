/*
 * Listing: a walk over all objects of the pool, of which the first `limit` names in byte order behind `after`
 * are kept; then size, time and type of each are read. The walk gives names in the order of their hashes, so
 * every page walks the whole pool; but it keeps no more than some multiple of a page in memory, however large
 * the pool is.
 */
#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <stdlib.h>

#include "name.h"
#include "xalloc.h"

#define WALK_BATCH    1000
#define HEADS_AT_ONCE 32

/* ---- the smallest names ---- */

/* Names are added in any order; when there are twice as many as wanted, the larger half goes. */
struct smallest {
    size_t wanted, count, capacity;
    struct list_entry *entries;
};

static int compare_entries(const void *left, const void *right)
{
    const struct list_entry *a = left, *b = right;
    return slice_compare((struct slice){a->name, a->name_len}, (struct slice){b->name, b->name_len});
}

/* Sorts, drops what is there twice (names folded into one prefix), and all above the number wanted. */
static void smallest_settle(struct smallest *smallest)
{
    size_t i, kept = 0;

    if (smallest->count != 0)
        qsort(smallest->entries, smallest->count, sizeof(*smallest->entries), compare_entries);
    for (i = 0; i < smallest->count; i++) {
        struct list_entry *entry = &smallest->entries[i];
        if (kept == smallest->wanted ||
            (kept != 0 && compare_entries(entry, &smallest->entries[kept - 1]) == 0))
            free(entry->name);
        else
            smallest->entries[kept++] = *entry;
    }
    smallest->count = kept;
}

static void smallest_add(struct smallest *smallest, struct slice name, bool is_prefix)
{
    if (smallest->count == smallest->capacity) {
        smallest_settle(smallest);
        if (smallest->capacity < 2 * smallest->wanted) {
            smallest->capacity = smallest->capacity != 0 ? 2 * smallest->capacity : 64;
            smallest->entries = xrealloc(smallest->entries, smallest->capacity * sizeof(*smallest->entries));
        }
    }
    smallest->entries[smallest->count++] = (struct list_entry){
        .name = xmemdup0(name.base, name.len), .name_len = name.len, .is_prefix = is_prefix};
}

/* ---- the walk ---- */

static void consider(struct smallest *smallest, const struct list_options *options, struct slice name)
{
    struct slice shown = name;
    bool is_prefix = false;

    /* Another program may use longer names than a file of ours can have. */
    if (name_problem(name) != NULL || !slice_begins_with(name, options->prefix))
        return;
    if (options->delimiter.len != 0) {
        const char *rest = name.base + options->prefix.len;
        const char *end =
            memmem(rest, name.len - options->prefix.len, options->delimiter.base, options->delimiter.len);
        if (end != NULL) {
            is_prefix = true;
            shown.len = (size_t)(end - name.base) + options->delimiter.len;
        }
    }
    if (slice_compare(shown, options->after) > 0)
        smallest_add(smallest, shown, is_prefix);
}

static int walk(rados_ioctx_t ioctx, const struct list_options *options, struct smallest *smallest)
{
    rados_object_list_cursor at = rados_object_list_begin(ioctx), end = rados_object_list_end(ioctx);
    rados_object_list_item *items = xcalloc(WALK_BATCH, sizeof(*items));
    int count = 0;

    while (count >= 0 && !rados_object_list_is_end(ioctx, at)) {
        rados_object_list_cursor next = rados_object_list_begin(ioctx);
        int i;

        count = rados_object_list(ioctx, at, end, WALK_BATCH, NULL, 0, items, &next);
        for (i = 0; i < count; i++)
            consider(smallest, options, (struct slice){items[i].oid, items[i].oid_length});
        if (count >= 0)
            rados_object_list_free((size_t)count, items);
        rados_object_list_cursor_free(ioctx, at);
        at = next;
    }
    free(items);
    rados_object_list_cursor_free(ioctx, at);
    rados_object_list_cursor_free(ioctx, end);
    return count < 0 ? count : 0;
}

/* ---- size, time and type of each ---- */

struct head_ask {
    struct list_entry *entry;
    rados_read_op_t operation;
    rados_completion_t completion; /* NULL while unused */
    struct head_reading reading;
    int launch_error;
};

static void ask_head(rados_ioctx_t ioctx, struct head_ask *ask, struct list_entry *entry)
{
    ask->entry = entry;
    ask->operation = rados_create_read_op();
    head_add_to_read(ask->operation, &ask->reading);
    rados_aio_create_completion2(NULL, NULL, &ask->completion);
    ask->launch_error = rados_aio_read_op_operate(ask->operation, ioctx, ask->completion, entry->name,
                                                  LIBRADOS_OPERATION_NOFLAG);
}

/* Waits for the answer. An entry whose file has gone meanwhile gets name NULL. */
static int take_head(struct head_ask *ask)
{
    struct list_entry *entry = ask->entry;
    struct head head;
    int error = ask->launch_error;
    uint64_t version = 0;

    if (error >= 0) {
        rados_aio_wait_for_complete(ask->completion);
        error = rados_aio_get_return_value(ask->completion);
        version = rados_aio_get_version(ask->completion);
    }
    rados_release_read_op(ask->operation);
    rados_aio_release(ask->completion);
    ask->completion = NULL;

    error = head_take(&ask->reading, error, version, &head);
    if (error >= 0 && head.exists) {
        entry->size = head.manifest.size;
        entry->modified_ns = head.manifest.modified_ns;
        memcpy(entry->etag, head.etag, sizeof(entry->etag));
        if (head.manifest.media_type.base != NULL)
            entry->media_type = xmemdup0(head.manifest.media_type.base, head.manifest.media_type.len);
    } else if (error >= 0) {
        free(entry->name);
        entry->name = NULL;
    }
    head_free(&head);
    return error;
}

static int take_heads(rados_ioctx_t ioctx, struct smallest *found)
{
    struct head_ask *asks = xcalloc(HEADS_AT_ONCE, sizeof(*asks));
    int error = 0;
    size_t i;

    for (i = 0; i < found->count + HEADS_AT_ONCE; i++) {
        struct head_ask *ask = &asks[i % HEADS_AT_ONCE];
        if (ask->completion != NULL) {
            int result = take_head(ask);
            error = error < 0 ? error : result;
        }
        if (i < found->count && error >= 0 && !found->entries[i].is_prefix)
            ask_head(ioctx, ask, &found->entries[i]);
    }
    free(asks);
    return error;
}

static void drop_vanished(struct list *list)
{
    size_t i, kept = 0;

    for (i = 0; i < list->count; i++)
        if (list->entries[i].name != NULL)
            list->entries[kept++] = list->entries[i];
    list->count = kept;
}

enum store_result store_list(struct store *store, const struct list_options *options, struct list *list)
{
    struct smallest smallest = {.wanted = options->limit + 1U};
    rados_ioctx_t ioctx;
    int error;

    *list = (struct list){0};
    error = cluster_open_ioctx(store->cluster, SPACE_HEADS, &ioctx);
    if (error < 0)
        return store_result_of_errno(store, error, "cannot list pool", cluster_pool(store->cluster));

    error = walk(ioctx, options, &smallest);
    smallest_settle(&smallest);

    /* One more than wanted was kept: it says whether there is a next page, which begins behind the last one
     * shown. */
    if (smallest.count > options->limit) {
        struct list_entry *last = &smallest.entries[options->limit - 1];
        free(smallest.entries[--smallest.count].name);
        list->next = xmemdup0(last->name, last->name_len);
        list->next_len = last->name_len;
    }
    if (error >= 0)
        error = take_heads(ioctx, &smallest);
    rados_ioctx_destroy(ioctx);

    list->count = smallest.count;
    list->entries = smallest.entries;
    drop_vanished(list);
    return error < 0 ? store_result_of_errno(store, error, "cannot list pool", cluster_pool(store->cluster))
                     : STORE_OK;
}

void store_list_free(struct list *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        free(list->entries[i].name);
        free(list->entries[i].media_type);
    }
    free(list->entries);
    free(list->next);
    *list = (struct list){0};
}
