#include "scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "blocking.h"
#include "executor.h"
#include "json.h"
#include "log.h"
#include "name.h"
#include "xalloc.h"

#define SCRUB_OBJECT    "scrub"
#define STATE_SIZE_MOST 1024
#define NAMES_AT_ONCE   1000
#define NAMES_A_TURN    20000
#define HEADS_AT_ONCE   32
#define NO_SHARD        UINT32_MAX

struct scrub {
    rados_ioctx_t heads, index;
    const struct layout *layout;
    const struct indexer_options *options;
    struct indexer_counters *counters;

    rados_object_list_cursor at, end; /* names: NULL when all were seen */
    uint32_t shard;                   /* entries */
    struct buffer after;
    int64_t moved_until_ns;
    unsigned budget; /* heads that may still be read in this turn */
};

/* ---- when ---- */

int scrub_is_due(rados_ioctx_t index, unsigned interval_seconds)
{
    char text[STATE_SIZE_MOST + 1];
    int len = rados_read(index, SCRUB_OBJECT, text, STATE_SIZE_MOST, 0);
    int64_t finished_ns;
    yajl_val tree;

    if (len == -ENOENT)
        return 1;
    if (len < 0)
        return len;
    text[len] = '\0';
    tree = yajl_tree_parse(text, NULL, 0);
    finished_ns = json_number_at(tree, "finished_ns", 0);
    yajl_tree_free(tree);
    return (clock_realtime_ns() - finished_ns) / 1000000000 >= (int64_t)interval_seconds;
}

static int note_the_end(const struct scrub *scrub)
{
    rados_write_op_t operation = rados_create_write_op();
    struct buffer text = {NULL, 0, 0};
    yajl_gen gen = json_begin();
    int error;

    yajl_gen_map_open(gen);
    json_member_number(gen, "finished_ns", clock_realtime_ns());
    yajl_gen_map_close(gen);
    json_finish(gen, &text);
    rados_write_op_write_full(operation, text.base, text.len);
    error = blocking_write(scrub->index, SCRUB_OBJECT, operation);
    buffer_free(&text);
    return error;
}

/* ---- names ---- */

static int look_at(struct scrub *scrub, struct slice name)
{
    int result = blocking_index_repair(scrub->heads, scrub->index, scrub->layout, name);

    scrub->budget -= scrub->budget != 0;
    atomic_fetch_add(&scrub->counters->scrub_heads, 1);
    if (result == 1)
        atomic_fetch_add(&scrub->counters->repaired, 1);
    return result < 0 ? result : 0;
}

/* Objects of the pool, by the shards that their names belong to. */
struct listed {
    struct slice names[NAMES_AT_ONCE]; /* of the shard that is looked at */
    bool known[NAMES_AT_ONCE];         /* the index says that it is a file */
    size_t count;
    uint32_t shards[NAMES_AT_ONCE]; /* of each object that was listed */
};

static int mark_known(struct slice name, struct slice value, void *context)
{
    struct listed *listed = context;
    struct index_entry entry;
    size_t i;

    if (!index_entry_decode(value, &entry) || entry.kind != INDEX_FILE)
        return 0;
    for (i = 0; i < listed->count; i++)
        if (slice_equals(listed->names[i], name))
            listed->known[i] = true;
    return 0;
}

static struct slice name_of(const rados_object_list_item *item)
{
    return (struct slice){item->oid, item->oid_length};
}

static int look_at_names_of_shard(struct scrub *scrub, uint32_t shard, const rados_object_list_item *items,
                                  size_t count, struct listed *listed)
{
    int error;
    size_t i;

    listed->count = 0;
    for (i = 0; i < count; i++) {
        if (listed->shards[i] != shard)
            continue;
        listed->known[listed->count] = false;
        listed->names[listed->count++] = name_of(&items[i]);
    }
    if (listed->count == 0)
        return 0;
    error = blocking_index_look_up(scrub->index, shard, listed->names, listed->count, mark_known, listed);
    if (error == -ENOENT)
        error = 0;
    for (i = 0; i < listed->count && error == 0; i++)
        if (!listed->known[i])
            error = look_at(scrub, listed->names[i]);
    return error;
}

static int look_at_some_names(struct scrub *scrub)
{
    rados_object_list_cursor next = rados_object_list_begin(scrub->heads);
    rados_object_list_item *items = xcalloc(NAMES_AT_ONCE, sizeof(*items));
    int count = rados_object_list(scrub->heads, scrub->at, scrub->end, NAMES_AT_ONCE, NULL, 0, items, &next);
    struct listed *listed = xcalloc(1, sizeof(*listed));
    int error = count < 0 ? count : 0, i;
    uint32_t shard, shards = scrub->layout->index_shards;

    /* Another program may use longer names than a file of ours can have. */
    for (i = 0; i < count; i++)
        listed->shards[i] =
            name_problem(name_of(&items[i])) == NULL ? index_shard(name_of(&items[i]), shards) : NO_SHARD;
    for (shard = 0; shard < shards && error == 0 && count != 0; shard++)
        error = look_at_names_of_shard(scrub, shard, items, (size_t)count, listed);
    free(listed);
    if (count >= 0)
        rados_object_list_free((size_t)count, items);
    free(items);
    /* After an error the same names come again. */
    rados_object_list_cursor_free(scrub->heads, error == 0 ? scrub->at : next);
    if (error == 0)
        scrub->at = next;
    return error;
}

/* ---- entries ---- */

struct comparison {
    char *name, *value; /* owned */
    size_t name_len, value_len;
    struct index_entry entry;
    rados_read_op_t operation;
    rados_completion_t completion;
    struct head_reading reading;
    int launch_error;
};

static void ask_head(struct scrub *scrub, struct comparison *comparison)
{
    comparison->operation = rados_create_read_op();
    head_add_to_read(comparison->operation, &comparison->reading);
    rados_aio_create_completion2(NULL, NULL, &comparison->completion);
    comparison->launch_error =
        rados_aio_read_op_operate(comparison->operation, scrub->heads, comparison->completion,
                                  comparison->name, LIBRADOS_OPERATION_NOFLAG);
}

static int take_head(struct scrub *scrub, struct comparison *comparison)
{
    int error = comparison->launch_error;
    uint64_t version = 0;
    struct head head;
    bool agrees;

    if (error >= 0) {
        rados_aio_wait_for_complete(comparison->completion);
        error = rados_aio_get_return_value(comparison->completion);
        version = rados_aio_get_version(comparison->completion);
    }
    rados_release_read_op(comparison->operation);
    rados_aio_release(comparison->completion);
    error = head_take(&comparison->reading, error, version, &head);
    agrees = error >= 0 && blocking_index_agrees(&comparison->entry, &head);
    head_free(&head);
    atomic_fetch_add(&scrub->counters->scrub_heads, 1);
    if (error < 0 || agrees)
        return error < 0 ? error : 0;
    return look_at(scrub, (struct slice){comparison->name, comparison->name_len});
}

static int purge(struct scrub *scrub, const char *object, const struct comparison *comparison)
{
    rados_write_op_t operation = rados_create_write_op();
    const char *key = comparison->name;
    int compared, error;

    rados_write_op_omap_cmp(operation, key, LIBRADOS_CMPXATTR_OP_EQ, comparison->value, comparison->value_len,
                            &compared);
    rados_write_op_omap_rm_keys(operation, &key, 1);
    error = blocking_write(scrub->index, object, operation);
    return error == -ECANCELED ? 0 : error;
}

static bool is_to_be_purged(const struct scrub *scrub, const struct index_entry *entry)
{
    int64_t age_ns = scrub->moved_until_ns - entry->modified_ns;

    return entry->kind == INDEX_TOMBSTONE && age_ns > 0 &&
           age_ns / 1000000000 >= (int64_t)scrub->options->tombstone_seconds;
}

static int compare_all(struct scrub *scrub, const char *object, struct comparison *list, size_t count)
{
    int error = 0, result;
    size_t i;

    for (i = 0; i < count; i++)
        if (list[i].entry.kind == INDEX_FILE)
            ask_head(scrub, &list[i]);
    for (i = 0; i < count; i++) {
        result = 0;
        if (list[i].entry.kind == INDEX_FILE)
            result = take_head(scrub, &list[i]);
        else if (is_to_be_purged(scrub, &list[i].entry))
            result = purge(scrub, object, &list[i]);
        error = error < 0 ? error : result;
    }
    return error;
}

static void next_shard(struct scrub *scrub)
{
    scrub->shard++;
    scrub->after.len = 0;
    buffer_append_text(&scrub->after, "");
}

/* Some entries of a shard. */
struct compared {
    const char *object; /* the shard's */
    struct comparison list[HEADS_AT_ONCE];
    size_t count;
};

static int add_comparison(struct slice name, struct slice value, void *context)
{
    struct compared *compared = context;
    struct comparison *comparison = &compared->list[compared->count++];

    comparison->name = xmemdup0(name.base, name.len);
    comparison->name_len = name.len;
    comparison->value = xmemdup0(value.base, value.len);
    comparison->value_len = value.len;
    if (!index_entry_decode((struct slice){comparison->value, value.len}, &comparison->entry)) {
        log_error("the index has an entry that cannot be read, in %s under \"%s\"", compared->object,
                  comparison->name);
        comparison->entry = (struct index_entry){.kind = INDEX_FILE};
    }
    return 0;
}

static int look_at_some_entries(struct scrub *scrub)
{
    struct compared *compared = xcalloc(1, sizeof(*compared));
    char object[INDEX_OBJECT_SIZE];
    int more, error;
    size_t i;

    index_shard_object(scrub->shard, object);
    compared->object = object;
    more =
        blocking_omap_read(scrub->index, object, scrub->after.base, HEADS_AT_ONCE, add_comparison, compared);
    error = more < 0 ? more : compare_all(scrub, object, compared->list, compared->count);
    if (more >= 0)
        scrub->budget -= compared->count < scrub->budget ? (unsigned)compared->count : scrub->budget;
    if (error == -ENOENT || (error == 0 && more == 0)) {
        next_shard(scrub);
        error = 0;
    } else if (error == 0) {
        const struct comparison *last = &compared->list[compared->count - 1];
        scrub->after.len = 0;
        buffer_append(&scrub->after, last->name, last->name_len);
    }
    for (i = 0; i < compared->count; i++) {
        free(compared->list[i].name);
        free(compared->list[i].value);
    }
    free(compared);
    return error;
}

/* ---- all of it ---- */

static void names_end(struct scrub *scrub)
{
    if (scrub->at == NULL)
        return;
    rados_object_list_cursor_free(scrub->heads, scrub->at);
    rados_object_list_cursor_free(scrub->heads, scrub->end);
    scrub->at = NULL;
}

struct scrub *scrub_begin(rados_ioctx_t heads, rados_ioctx_t index, const struct layout *layout,
                          const struct indexer_options *options, struct indexer_counters *counters)
{
    struct scrub *scrub = xcalloc(1, sizeof(*scrub));

    scrub->heads = heads;
    scrub->index = index;
    scrub->layout = layout;
    scrub->options = options;
    scrub->counters = counters;
    scrub->at = rados_object_list_begin(heads);
    scrub->end = rados_object_list_end(heads);
    buffer_append_text(&scrub->after, "");
    /* One step for all the names, one for each shard. */
    atomic_store(&counters->scrub_steps, layout->index_shards + 1);
    return scrub;
}

int scrub_go_on(struct scrub *scrub, int64_t moved_until_ns)
{
    unsigned names = 0;
    int error = 0;

    scrub->budget = scrub->options->scrub_rate;
    scrub->moved_until_ns = moved_until_ns;
    while (error == 0 && scrub->at != NULL && scrub->budget != 0 && names < NAMES_A_TURN) {
        if (rados_object_list_is_end(scrub->heads, scrub->at)) {
            names_end(scrub);
        } else {
            error = look_at_some_names(scrub);
            names += NAMES_AT_ONCE;
        }
    }
    while (error == 0 && scrub->at == NULL && scrub->budget != 0 &&
           scrub->shard < scrub->layout->index_shards)
        error = look_at_some_entries(scrub);
    atomic_store(&scrub->counters->scrub_step, (scrub->at == NULL) + scrub->shard);
    if (error < 0)
        return error;
    if (scrub->at != NULL || scrub->shard < scrub->layout->index_shards)
        return 1;
    error = note_the_end(scrub);
    if (error == 0)
        atomic_fetch_add(&scrub->counters->scrubs, 1);
    return error;
}

void scrub_end(struct scrub *scrub)
{
    names_end(scrub);
    atomic_store(&scrub->counters->scrub_step, 0);
    atomic_store(&scrub->counters->scrub_steps, 0);
    buffer_free(&scrub->after);
    free(scrub);
}
