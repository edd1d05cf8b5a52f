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

int blocking_omap_get(rados_ioctx_t ioctx, const char *object, const char *key, struct buffer *value)
{
    rados_read_op_t operation = rados_create_read_op();
    rados_omap_iter_t entries = NULL;
    int result = 0, error, found = 0;
    size_t key_len = strlen(key);

    rados_read_op_omap_get_vals_by_keys2(operation, &key, 1, &key_len, &entries, &result);
    error = rados_read_op_operate(operation, ioctx, object, LIBRADOS_OPERATION_NOFLAG);
    error = error < 0 ? error : result;
    if (error >= 0) {
        char *found_key, *bytes;
        size_t found_len, len;

        error = rados_omap_get_next2(entries, &found_key, &bytes, &found_len, &len);
        if (error >= 0 && found_key != NULL) {
            buffer_append(value, bytes, len);
            found = 1;
        }
    }
    if (entries != NULL)
        rados_omap_get_end(entries);
    rados_release_read_op(operation);
    if (error == -ENOENT)
        return 0;
    return error < 0 ? error : found;
}

/* Marks what stands in the shard already, in this version or a higher one. *version is the shard's, 0 when it does not exist. */
static int mark_known(rados_ioctx_t index, const char *object, const struct slice *names,
                      const struct slice *values, size_t count, bool *known, uint64_t *version)
{
    rados_read_op_t operation = rados_create_read_op();
    const char *key[BLOCKING_INDEX_SET_MOST];
    size_t key_len[BLOCKING_INDEX_SET_MOST], i;
    rados_omap_iter_t entries = NULL;
    int result = 0, error;

    for (i = 0; i < count; i++) {
        key[i] = names[i].base;
        key_len[i] = names[i].len;
        known[i] = false;
    }
    rados_read_op_omap_get_vals_by_keys2(operation, key, count, key_len, &entries, &result);
    error = rados_read_op_operate(operation, index, object, LIBRADOS_OPERATION_NOFLAG);
    error = error < 0 ? error : result;
    *version = error < 0 ? 0 : rados_get_last_version(index);
    while (error == 0) {
        char *found, *value;
        size_t found_len, len;

        error = rados_omap_get_next2(entries, &found, &value, &found_len, &len);
        if (error < 0 || found == NULL)
            break;
        for (i = 0; i < count; i++)
            if (slice_equals(names[i], (struct slice){found, found_len}))
                known[i] =
                    len >= INDEX_VERSION_SIZE && memcmp(value, values[i].base, INDEX_VERSION_SIZE) >= 0;
    }
    if (entries != NULL)
        rados_omap_get_end(entries);
    rados_release_read_op(operation);
    return error == -ENOENT ? 0 : error;
}

static int set_unknown(rados_ioctx_t index, const char *object, const struct slice *names,
                       const struct slice *values, size_t count, const bool *known, uint64_t version)
{
    rados_write_op_t operation;
    const char *key[BLOCKING_INDEX_SET_MOST], *value[BLOCKING_INDEX_SET_MOST];
    size_t key_len[BLOCKING_INDEX_SET_MOST], value_len[BLOCKING_INDEX_SET_MOST], i, set = 0;

    for (i = 0; i < count; i++) {
        if (known[i])
            continue;
        key[set] = names[i].base;
        key_len[set] = names[i].len;
        value[set] = values[i].base;
        value_len[set++] = values[i].len;
    }
    if (set == 0)
        return 0;
    operation = rados_create_write_op();
    if (version != 0)
        rados_write_op_assert_version(operation, version);
    else
        rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_omap_set2(operation, key, value, key_len, value_len, set);
    return blocking_write(index, object, operation);
}

int blocking_index_set(rados_ioctx_t index, uint32_t shard, const struct slice *names,
                       const struct slice *values, size_t count)
{
    bool known[BLOCKING_INDEX_SET_MOST];
    char object[INDEX_OBJECT_SIZE];
    uint64_t version;
    int error, attempt;

    index_shard_object(shard, object);
    for (attempt = 0; attempt < ATTEMPTS_MOST; attempt++) {
        error = mark_known(index, object, names, values, count, known, &version);
        if (error == 0)
            error = set_unknown(index, object, names, values, count, known, version);
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

static int repair(rados_ioctx_t heads, rados_ioctx_t index, uint32_t shard, const char *name,
                  const struct head *head)
{
    struct buffer value = {NULL, 0, 0};
    struct index_entry right, stored;
    char object[INDEX_OBJECT_SIZE];
    bool is_file = right_entry(head, &right);
    int found, error = 0;

    index_shard_object(shard, object);
    found = blocking_omap_get(index, object, name, &value);
    if (found < 0) {
        error = found;
    } else if (found == 1 && index_entry_decode(buffer_slice(&value), &stored) &&
               blocking_index_agrees(&stored, head)) {
        found = 0;
    } else if (found == 1 || is_file) {
        if (!head->object_exists)
            error = version_of_nothing(heads, name, &right.version);
        if (error == 0)
            error = set_entry(index, shard, slice_of(name), &right);
        found = 1;
    }
    buffer_free(&value);
    /* Somebody else's change is newer than what was read. */
    if (error == -ECANCELED)
        return 0;
    return error < 0 ? error : found;
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
