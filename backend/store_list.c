/*
 * Listing: a merge of the index's shards, each of which is sorted by name, and of what stands in the journals. Of the
 * entries for one name that of the highest version counts.
 *
 * The journals are read first, and whole: what is moved from them to a shard meanwhile is seen in either. From the shards some
 * entries are read at a time, all at once at the beginning. What a delimiter folds is jumped over, never read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "index.h"
#include "log.h"
#include "store.h"
#include "xalloc.h"

#define ENTRIES_AT_ONCE_LEAST 4
#define ENTRIES_AT_ONCE_MOST  1024
#define JOURNAL_ENTRIES_MOST                                                                                 \
    1000000 /* of one page that may be needed; more means that nobody moves them on */

/* ---- an omap, some entries at a time ---- */

struct cursor {
    char object[INDEX_OBJECT_SIZE];
    unsigned entries_at_once;
    rados_completion_t completion; /* NULL when nothing is under way */
    rados_read_op_t operation;
    int launch_error, result;
    rados_omap_iter_t entries;
    unsigned char more;

    bool valid; /* there is an entry, the two slices, which stay until the cursor moves */
    struct slice key, value;
    struct buffer last; /* key that was read */
};

static void cursor_launch(rados_ioctx_t ioctx, struct cursor *cursor, const char *after, const char *prefix)
{
    if (cursor->entries != NULL)
        rados_omap_get_end(cursor->entries);
    cursor->entries = NULL;
    cursor->more = 0;
    cursor->result = 0;
    cursor->operation = rados_create_read_op();
    rados_read_op_omap_get_vals2(cursor->operation, after, prefix, cursor->entries_at_once, &cursor->entries,
                                 &cursor->more, &cursor->result);
    rados_aio_create_completion2(NULL, NULL, &cursor->completion);
    cursor->launch_error = rados_aio_read_op_operate(cursor->operation, ioctx, cursor->completion,
                                                     cursor->object, LIBRADOS_OPERATION_NOFLAG);
    if (cursor->entries_at_once < ENTRIES_AT_ONCE_MOST)
        cursor->entries_at_once *= 2;
}

/* The next of the entries that were read; none leaves the cursor invalid. */
static int cursor_take(struct cursor *cursor)
{
    char *key, *value;
    size_t key_len, value_len;
    int error;

    cursor->valid = false;
    if (cursor->entries == NULL)
        return 0;
    error = rados_omap_get_next2(cursor->entries, &key, &value, &key_len, &value_len);
    if (error < 0 || key == NULL)
        return error;
    cursor->valid = true;
    cursor->key = (struct slice){key, key_len};
    cursor->value = (struct slice){value, value_len};
    return 0;
}

/* Waits for what was launched, and stands at the first entry of it. */
static int cursor_land(struct cursor *cursor)
{
    int error = cursor->launch_error;

    if (error >= 0) {
        rados_aio_wait_for_complete(cursor->completion);
        error = rados_aio_get_return_value(cursor->completion);
    }
    rados_release_read_op(cursor->operation);
    rados_aio_release(cursor->completion);
    cursor->completion = NULL;
    if (error >= 0)
        error = cursor->result;
    if (error == -ENOENT) {
        cursor->valid = false;
        return 0;
    }
    return error < 0 ? error : cursor_take(cursor);
}

static void cursor_free(struct cursor *cursor)
{
    if (cursor->completion != NULL)
        (void)cursor_land(cursor);
    if (cursor->entries != NULL)
        rados_omap_get_end(cursor->entries);
    buffer_free(&cursor->last);
}

/* ---- what stands in the journals ---- */

struct recent {
    char *value; /* owned; the slices point into it */
    struct slice name;
    struct index_entry entry;
};

/* ---- a page ---- */

struct page {
    rados_ioctx_t ioctx;
    const struct layout *layout;
    const struct list_options *options;
    char *prefix, *after; /* owned: with a NUL behind them */
    int64_t now_ns;

    struct recent *recents; /* sorted by name, one for each */
    size_t recent_count, recent_capacity, recent_at;
    struct cursor *shards;

    struct list *list;
};

static void page_free(struct page *page)
{
    size_t i;

    for (i = 0; i < page->recent_count; i++)
        free(page->recents[i].value);
    free(page->recents);
    for (i = 0; page->shards != NULL && i < page->layout->index_shards; i++)
        cursor_free(&page->shards[i]);
    free(page->shards);
    free(page->prefix);
    free(page->after);
}

/* ---- reading the journals ---- */

static int compare_recents(const void *left, const void *right)
{
    const struct recent *a = left, *b = right;
    int order = slice_compare(a->name, b->name);

    if (order != 0)
        return order;
    return a->entry.version > b->entry.version ? -1 : a->entry.version < b->entry.version;
}

static int recent_add(struct page *page, struct slice value)
{
    struct recent recent;

    if (!index_journal_decode(value, &recent.name, &recent.entry)) {
        log_error("the index has an entry in a journal that cannot be read");
        return 0;
    }
    if (!slice_begins_with(recent.name, page->options->prefix) ||
        slice_compare(recent.name, page->options->after) <= 0)
        return 0;
    if (page->recent_count == JOURNAL_ENTRIES_MOST)
        return -EBUSY;
    if (page->recent_count == page->recent_capacity) {
        page->recent_capacity = page->recent_capacity != 0 ? 2 * page->recent_capacity : 64;
        page->recents = xrealloc(page->recents, page->recent_capacity * sizeof(*page->recents));
    }
    recent.value = xmemdup0(value.base, value.len);
    (void)index_journal_decode((struct slice){recent.value, value.len}, &recent.name, &recent.entry);
    page->recents[page->recent_count++] = recent;
    return 0;
}

/* All entries of a journal, of which the first ones are on their way. */
static int read_journal(struct page *page, struct cursor *journal)
{
    int error = cursor_land(journal);

    while (error == 0 && journal->valid) {
        unsigned char more = journal->more;

        error = recent_add(page, journal->value);
        journal->last.len = 0;
        buffer_append_slice(&journal->last, journal->key);
        if (error == 0)
            error = cursor_take(journal);
        if (error == 0 && !journal->valid && more != 0) {
            cursor_launch(page->ioctx, journal, journal->last.base, "");
            error = cursor_land(journal);
        }
    }
    return error;
}

static int read_journals(struct page *page)
{
    uint32_t count = page->layout->index_journals * INDEX_SLOTS, i;
    struct cursor *journals = xcalloc(count, sizeof(*journals));
    size_t kept = 0, at;
    int error = 0;

    for (i = 0; i < count; i++) {
        index_journal_object(i / INDEX_SLOTS, i % INDEX_SLOTS, journals[i].object);
        journals[i].entries_at_once = ENTRIES_AT_ONCE_MOST;
        cursor_launch(page->ioctx, &journals[i], "", "");
    }
    for (i = 0; i < count && error == 0; i++)
        error = read_journal(page, &journals[i]);
    for (i = 0; i < count; i++)
        cursor_free(&journals[i]);
    free(journals);

    if (page->recent_count != 0)
        qsort(page->recents, page->recent_count, sizeof(*page->recents), compare_recents);
    for (at = 0; at < page->recent_count; at++) {
        if (kept != 0 && slice_equals(page->recents[kept - 1].name, page->recents[at].name))
            free(page->recents[at].value);
        else
            page->recents[kept++] = page->recents[at];
    }
    page->recent_count = kept;
    return error;
}

/* ---- moving through the shards ---- */

/* A key that lies behind every name that begins with `prefix`, and before all others behind those. */
static char *key_behind(struct slice prefix)
{
    char *key = xcalloc(1, STORE_OBJECT_SIZE + 1);

    memset(key, 0xff, STORE_OBJECT_SIZE);
    memcpy(key, prefix.base, prefix.len);
    return key;
}

static int advance_shard(struct page *page, struct cursor *shard)
{
    int error;

    shard->last.len = 0;
    buffer_append_slice(&shard->last, shard->key);
    error = cursor_take(shard);
    if (error < 0 || shard->valid || shard->more == 0)
        return error;
    cursor_launch(page->ioctx, shard, shard->last.base, page->prefix);
    return cursor_land(shard);
}

/* Leaves all names behind that begin with `prefix`, which may be long gone by then: it is copied. */
static int jump_behind(struct page *page, struct slice prefix)
{
    char *behind = key_behind(prefix);
    struct slice folded = {behind, prefix.len};
    uint32_t i;
    int error = 0, result;

    while (page->recent_at < page->recent_count &&
           slice_begins_with(page->recents[page->recent_at].name, folded))
        page->recent_at++;
    for (i = 0; i < page->layout->index_shards && error == 0; i++) {
        struct cursor *shard = &page->shards[i];
        bool was_valid = shard->valid;

        while (error == 0 && shard->valid && slice_begins_with(shard->key, folded))
            error = cursor_take(shard);
        if (error == 0 && was_valid && !shard->valid && shard->more != 0) {
            /* What follows may be folded as well. */
            shard->entries_at_once = ENTRIES_AT_ONCE_LEAST;
            cursor_launch(page->ioctx, shard, behind, page->prefix);
        }
    }
    for (i = 0; i < page->layout->index_shards; i++) {
        result = page->shards[i].completion != NULL ? cursor_land(&page->shards[i]) : 0;
        error = error < 0 ? error : result;
    }
    free(behind);
    return error;
}

static int open_shards(struct page *page)
{
    uint32_t count = page->layout->index_shards, i;
    unsigned share = (page->options->limit + 1) / count;
    int error = 0, result;

    page->shards = xcalloc(count, sizeof(*page->shards));
    for (i = 0; i < count; i++) {
        /* Names fall on shards at random: few have an eighth more than their share. The next readings are small ones. */
        page->shards[i].entries_at_once = share + share / 8 + 8;
        if (page->shards[i].entries_at_once > ENTRIES_AT_ONCE_MOST)
            page->shards[i].entries_at_once = ENTRIES_AT_ONCE_MOST;
        index_shard_object(i, page->shards[i].object);
        cursor_launch(page->ioctx, &page->shards[i], page->after, page->prefix);
        page->shards[i].entries_at_once = share / 8 + ENTRIES_AT_ONCE_LEAST;
    }
    for (i = 0; i < count; i++) {
        result = cursor_land(&page->shards[i]);
        error = error < 0 ? error : result;
    }
    return error;
}

/* ---- the merge ---- */

static struct cursor *first_shard(struct page *page)
{
    struct cursor *first = NULL;
    uint32_t i;

    for (i = 0; i < page->layout->index_shards; i++)
        if (page->shards[i].valid && (first == NULL || slice_compare(page->shards[i].key, first->key) < 0))
            first = &page->shards[i];
    return first;
}

/* Whether a name is folded, and into which prefix. */
static bool is_folded(const struct list_options *options, struct slice name, struct slice *into)
{
    const char *rest, *end;

    if (options->delimiter.len == 0)
        return false;
    rest = name.base + options->prefix.len;
    end = memmem(rest, name.len - options->prefix.len, options->delimiter.base, options->delimiter.len);
    if (end == NULL)
        return false;
    *into = (struct slice){name.base, (size_t)(end - name.base) + options->delimiter.len};
    return true;
}

static struct list_entry *list_add(struct list *list, struct slice name)
{
    struct list_entry *entry = &list->entries[list->count++];

    *entry = (struct list_entry){.name = xmemdup0(name.base, name.len), .name_len = name.len};
    return entry;
}

static void list_add_file(struct list *list, struct slice name, const struct index_entry *from)
{
    struct list_entry *entry = list_add(list, name);
    size_t etag_len = from->etag.len < HEAD_ETAG_SIZE ? from->etag.len : HEAD_ETAG_SIZE - 1;

    entry->size = from->size;
    entry->modified_ns = from->modified_ns;
    entry->expires_ns = from->expires_ns;
    memcpy(entry->etag, from->etag.base, etag_len);
    if (from->media_type.len != 0)
        entry->media_type = xmemdup0(from->media_type.base, from->media_type.len);
}

/* 1: the page is full, and there is more. *folded is the prefix that the name was folded into, or absent. */
static int show(struct page *page, struct slice name, const struct index_entry *entry, struct slice *folded)
{
    struct list *list = page->list;

    *folded = SLICE_ABSENT;
    if (slice_compare(is_folded(page->options, name, folded) ? *folded : name, page->options->after) <= 0)
        return 0;
    if (list->count == page->options->limit) {
        const struct list_entry *last = &list->entries[list->count - 1];
        list->next = xmemdup0(last->name, last->name_len);
        list->next_len = last->name_len;
        return 1;
    }
    if (folded->base != NULL)
        list_add(list, *folded)->is_prefix = true;
    else
        list_add_file(list, name, entry);
    return 0;
}

/* Takes the next name. 1: it is in *name and *entry, which point into the shard or the journal that is moved on afterwards. */
static int next_name(struct page *page, struct slice *name, struct index_entry *entry, struct cursor **shard,
                     bool *recent_taken)
{
    struct recent *recent = page->recent_at < page->recent_count ? &page->recents[page->recent_at] : NULL;
    int order;

    *shard = first_shard(page);
    *recent_taken = false;
    if (*shard == NULL && recent == NULL)
        return 0;
    order = recent == NULL ? -1 : *shard == NULL ? 1 : slice_compare((*shard)->key, recent->name);
    if (order <= 0) {
        *name = (*shard)->key;
        if (!index_entry_decode((*shard)->value, entry)) {
            log_error("the index has an entry that cannot be read, in %s under \"%.*s\"", (*shard)->object,
                      (int)name->len, name->base);
            *entry = (struct index_entry){.kind = INDEX_TOMBSTONE};
        }
    }
    if (order >= 0) {
        *recent_taken = true;
        if (order > 0 || recent->entry.version > entry->version) {
            *name = recent->name;
            *entry = recent->entry;
        }
        if (order > 0)
            *shard = NULL;
    }
    return 1;
}

static int merge(struct page *page)
{
    struct index_entry entry;
    struct cursor *shard;
    struct slice name;
    bool recent_taken;
    int result;

    while ((result = next_name(page, &name, &entry, &shard, &recent_taken)) == 1) {
        struct slice folded = SLICE_ABSENT;

        if (index_entry_is_shown(&entry, page->now_ns)) {
            result = show(page, name, &entry, &folded);
            if (result != 0)
                return 0;
        }
        if (folded.base != NULL) {
            result = jump_behind(page, folded);
        } else {
            page->recent_at += recent_taken;
            result = shard != NULL ? advance_shard(page, shard) : 0;
        }
        if (result < 0)
            break;
    }
    return result;
}

/* Where to begin to read: behind `after`, and when that lies in what is folded, behind all of it. */
static char *first_key(const struct list_options *options)
{
    struct slice folded;

    if (slice_begins_with(options->after, options->prefix) && is_folded(options, options->after, &folded))
        return key_behind(folded);
    return xmemdup0(options->after.base, options->after.len);
}

enum store_result store_list(struct store *store, const struct list_options *options, struct list *list)
{
    struct page page = {.options = options, .list = list, .now_ns = clock_realtime_ns()};
    int error;

    *list = (struct list){0};
    error = cluster_open_ioctx(store->cluster, SPACE_INDEX, &page.ioctx);
    if (error >= 0) {
        page.layout = cluster_layout(store->cluster);
        page.prefix = xmemdup0(options->prefix.base, options->prefix.len);
        page.after = first_key(options);
        list->entries = xcalloc(options->limit, sizeof(*list->entries));
        error = read_journals(&page);
        if (error >= 0)
            error = open_shards(&page);
        if (error >= 0)
            error = merge(&page);
        page_free(&page);
        rados_ioctx_destroy(page.ioctx);
    }
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
