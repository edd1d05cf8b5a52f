#include "blocking.h"

#include <errno.h>
#include <stdlib.h>

#include "executor.h"
#include "xalloc.h"

#define ATTEMPTS_MOST 16

int blocking_read_head(rados_ioctx_t heads, const char *name, struct head *head)
{
    rados_read_op_t operation = rados_create_read_op();
    struct head_reading reading;
    int error;

    head_add_to_read(operation, &reading);
    error = rados_read_op_operate(operation, heads, name, LIBRADOS_OPERATION_NOFLAG);
    rados_release_read_op(operation);
    /* The ioctx is used by this thread only, so the last version is that of this operation. */
    return head_take(&reading, error, error < 0 ? 0 : rados_get_last_version(heads), head);
}

int blocking_write(rados_ioctx_t ioctx, const char *object, rados_write_op_t operation)
{
    int error = rados_write_op_operate(operation, ioctx, object, NULL, LIBRADOS_OPERATION_FULL_FORCE);

    rados_release_write_op(operation);
    return error;
}

/* ---- omaps ---- */

/* Operates, tells of what was read, and releases all of it. */
static int read_entries(rados_ioctx_t ioctx, const char *object, rados_read_op_t operation,
                        rados_omap_iter_t *entries, const int *result, blocking_omap_entry *each,
                        void *context)
{
    int error = rados_read_op_operate(operation, ioctx, object, LIBRADOS_OPERATION_NOFLAG);

    error = error < 0 ? error : *result;
    while (error == 0) {
        char *key, *value;
        size_t key_len, len;

        error = rados_omap_get_next2(*entries, &key, &value, &key_len, &len);
        if (error < 0 || key == NULL)
            break;
        error = each((struct slice){key, key_len}, (struct slice){value, len}, context);
    }
    if (*entries != NULL)
        rados_omap_get_end(*entries);
    rados_release_read_op(operation);
    return error;
}

int blocking_omap_read(rados_ioctx_t ioctx, const char *object, const char *after, unsigned most,
                       blocking_omap_entry *each, void *context)
{
    rados_read_op_t operation = rados_create_read_op();
    rados_omap_iter_t entries = NULL;
    unsigned char more = 0;
    int result = 0, error;

    rados_read_op_omap_get_vals2(operation, after, "", most, &entries, &more, &result);
    error = read_entries(ioctx, object, operation, &entries, &result, each, context);
    return error < 0 ? error : more != 0;
}

/* ---- the index ---- */

int blocking_index_look_up(rados_ioctx_t index, uint32_t shard, const struct slice *names, size_t count,
                           blocking_omap_entry *each, void *context)
{
    rados_read_op_t operation = rados_create_read_op();
    const char **keys = xcalloc(count, sizeof(*keys));
    size_t *lens = xcalloc(count, sizeof(*lens)), i;
    rados_omap_iter_t entries = NULL;
    char object[INDEX_OBJECT_SIZE];
    int result = 0, error;

    for (i = 0; i < count; i++) {
        keys[i] = names[i].base;
        lens[i] = names[i].len;
    }
    index_shard_object(shard, object);
    rados_read_op_omap_get_vals_by_keys2(operation, keys, count, lens, &entries, &result);
    error = read_entries(index, object, operation, &entries, &result, each, context);
    free(keys);
    free(lens);
    return error;
}

/* Some entries that are to be set, and which of them the shard knows already, in their versions or higher ones. */
struct setting {
    const struct slice *names, *values;
    size_t count;
    bool *known;
};

static int mark_known(struct slice name, struct slice value, void *context)
{
    struct setting *setting = context;
    size_t i;

    for (i = 0; i < setting->count; i++)
        if (slice_equals(setting->names[i], name))
            setting->known[i] = value.len >= INDEX_VERSION_SIZE &&
                                memcmp(value.base, setting->values[i].base, INDEX_VERSION_SIZE) >= 0;
    return 0;
}

/* `version`: the shard's, 0 when it does not exist. */
static int set_unknown(rados_ioctx_t index, uint32_t shard, const struct setting *setting, uint64_t version)
{
    rados_write_op_t operation;
    const char *key[BLOCKING_INDEX_SET_MOST], *value[BLOCKING_INDEX_SET_MOST];
    size_t key_len[BLOCKING_INDEX_SET_MOST], value_len[BLOCKING_INDEX_SET_MOST], i, set = 0;
    char object[INDEX_OBJECT_SIZE];

    for (i = 0; i < setting->count; i++) {
        if (setting->known[i])
            continue;
        key[set] = setting->names[i].base;
        key_len[set] = setting->names[i].len;
        value[set] = setting->values[i].base;
        value_len[set++] = setting->values[i].len;
    }
    if (set == 0)
        return 0;
    operation = rados_create_write_op();
    if (version != 0)
        rados_write_op_assert_version(operation, version);
    else
        rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_omap_set2(operation, key, value, key_len, value_len, set);
    index_shard_object(shard, object);
    return blocking_write(index, object, operation);
}

int blocking_index_set(rados_ioctx_t index, uint32_t shard, const struct slice *names,
                       const struct slice *values, size_t count)
{
    bool known[BLOCKING_INDEX_SET_MOST];
    struct setting setting = {names, values, count, known};
    int error, attempt;

    for (attempt = 0; attempt < ATTEMPTS_MOST; attempt++) {
        memset(known, 0, sizeof(known));
        error = blocking_index_look_up(index, shard, names, count, mark_known, &setting);
        if (error == 0)
            error = set_unknown(index, shard, &setting, rados_get_last_version(index));
        else if (error == -ENOENT)
            error = set_unknown(index, shard, &setting, 0);
        if (error != -ERANGE && error != -EOVERFLOW && error != -EEXIST && error != -ENOENT)
            return error;
    }
    return -EBUSY;
}

/* What the index has to say of a head. False when it says nothing yet and need not. */
static bool right_entry(const struct head *head, struct index_entry *entry)
{
    *entry = (struct index_entry){.version = head->version, .kind = INDEX_TOMBSTONE};
    if (!head->exists && !head->expired) {
        entry->modified_ns = clock_realtime_ns();
        return false;
    }
    entry->kind = INDEX_FILE;
    entry->modified_ns = head->manifest.modified_ns;
    entry->size = head->manifest.size;
    entry->expires_ns = head->manifest.expires_ns;
    entry->etag = slice_of(head->etag);
    entry->media_type = head->manifest.media_type;
    return true;
}

/*
 * The version of an object that is not there: at least that of its removal. Reading does not tell it; a write that fails since
 * there is nothing does. If there is something by now, this changes nothing but its version.
 */
static int version_of_nothing(rados_ioctx_t heads, const char *name, uint64_t *version)
{
    rados_write_op_t operation = rados_create_write_op();
    rados_completion_t completion;
    int error;

    rados_write_op_assert_exists(operation);
    rados_write_op_rmxattr(operation, "nothing");
    rados_aio_create_completion2(NULL, NULL, &completion);
    error =
        rados_aio_write_op_operate(operation, heads, completion, name, NULL, LIBRADOS_OPERATION_FULL_FORCE);
    if (error >= 0) {
        rados_aio_wait_for_complete(completion);
        error = rados_aio_get_return_value(completion);
        *version = rados_aio_get_version(completion);
    }
    rados_aio_release(completion);
    rados_release_write_op(operation);
    /* It has come to be: whoever made it tells the index. */
    return error == 0 ? -ECANCELED : error == -ENOENT ? 0 : error;
}

bool blocking_index_agrees(const struct index_entry *entry, const struct head *head)
{
    struct index_entry right;

    if (!right_entry(head, &right))
        return entry->kind == INDEX_TOMBSTONE;
    return entry->kind == right.kind && entry->modified_ns == right.modified_ns &&
           entry->size == right.size && entry->expires_ns == right.expires_ns &&
           slice_equals(entry->etag, right.etag) && slice_equals(entry->media_type, right.media_type);
}

static int set_entry(rados_ioctx_t index, uint32_t shard, struct slice name, const struct index_entry *entry)
{
    struct buffer value = {NULL, 0, 0};
    struct slice encoded;
    int error;

    index_entry_encode(entry, &value);
    encoded = buffer_slice(&value);
    error = blocking_index_set(index, shard, &name, &encoded, 1);
    buffer_free(&value);
    return error;
}

/* What the index says of one name. */
struct stored {
    const struct head *head;
    bool found, agrees;
};

static int compare_stored(struct slice name, struct slice value, void *context)
{
    struct stored *stored = context;
    struct index_entry entry;

    (void)name;
    stored->found = true;
    stored->agrees = index_entry_decode(value, &entry) && blocking_index_agrees(&entry, stored->head);
    return 0;
}

static int repair(rados_ioctx_t heads, rados_ioctx_t index, uint32_t shard, const char *object,
                  const struct head *head)
{
    struct slice name = slice_of(object);
    struct stored stored = {head, false, false};
    struct index_entry right;
    bool is_file = right_entry(head, &right);
    int error = blocking_index_look_up(index, shard, &name, 1, compare_stored, &stored);

    if (error < 0 && error != -ENOENT)
        return error;
    if (stored.agrees || (!stored.found && !is_file))
        return 0;
    error = 0;
    if (!head->object_exists)
        error = version_of_nothing(heads, object, &right.version);
    if (error == 0)
        error = set_entry(index, shard, name, &right);
    /* Somebody else's change is newer than what was read. */
    if (error == -ECANCELED)
        return 0;
    return error < 0 ? error : 1;
}

int blocking_index_repair(rados_ioctx_t heads, rados_ioctx_t index, const struct layout *layout,
                          struct slice name)
{
    char *object = xmemdup0(name.base, name.len);
    struct head head;
    int result = blocking_read_head(heads, object, &head);

    if (result >= 0)
        result = repair(heads, index, index_shard(name, layout->index_shards), object, &head);
    head_free(&head);
    free(object);
    return result;
}
