#include "gc.h"

#include <inttypes.h>
#include <stdio.h>

#include "little_endian.h"

static const char version_1[2] = {'G', 1};

#define FIXED_SIZE (sizeof(version_1) + 1 + 8 + 8)

void gc_entry_encode(const struct gc_entry *entry, struct buffer *to)
{
    char kind = (char)entry->kind;

    buffer_append(to, version_1, sizeof(version_1));
    buffer_append(to, &kind, 1);
    little_endian_append(to, (uint64_t)entry->time_ns, 8);
    little_endian_append(to, entry->stripes, 8);
    buffer_append_slice(to, entry->name);
}

bool gc_entry_decode(struct slice bytes, struct gc_entry *entry)
{
    if (bytes.len < FIXED_SIZE || memcmp(bytes.base, version_1, sizeof(version_1)) != 0)
        return false;
    entry->kind = (enum gc_kind)bytes.base[2];
    entry->time_ns = (int64_t)little_endian_read(bytes.base + 3, 8);
    entry->stripes = little_endian_read(bytes.base + 11, 8);
    entry->name = (struct slice){bytes.base + FIXED_SIZE, bytes.len - FIXED_SIZE};
    return (entry->kind == GC_UPLOAD || entry->kind == GC_DEAD || entry->kind == GC_GARBAGE ||
            entry->kind == GC_EXPIRY) &&
           entry->name.len != 0;
}

void gc_entry_add_to_write(rados_write_op_t operation, const char *key, const struct gc_entry *entry)
{
    struct buffer value = {NULL, 0, 0};
    const char *bytes;
    size_t len;

    gc_entry_encode(entry, &value);
    bytes = value.base;
    len = value.len;
    rados_write_op_omap_set(operation, &key, &bytes, &len, 1);
    buffer_free(&value);
}

void gc_object_of_shard(uint32_t shard, char object[GC_OBJECT_SIZE])
{
    snprintf(object, GC_OBJECT_SIZE, "gc.%" PRIu32, shard);
}

/* A uid is random, so its first digits are as good as any hash of it. */
void gc_object_of_uid(const char *uid, uint32_t shards, char object[GC_OBJECT_SIZE])
{
    unsigned first = 0;

    sscanf(uid, "%4x", &first);
    gc_object_of_shard(first % shards, object);
}
