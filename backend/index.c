#include "index.h"

#include <inttypes.h>
#include <stdio.h>

#include "little_endian.h"

static const char version_1[2] = {'I', 1};

#define FIXED_SIZE (INDEX_VERSION_SIZE + sizeof(version_1) + 1 + 8 + 8 + 8 + 1)

void index_version_encode(uint64_t version, char bytes[INDEX_VERSION_SIZE])
{
    unsigned i;

    for (i = 0; i < INDEX_VERSION_SIZE; i++)
        bytes[i] = (char)(version >> (8 * (INDEX_VERSION_SIZE - 1 - i)));
}

static uint64_t version_decode(const char *bytes)
{
    uint64_t version = 0;
    unsigned i;

    for (i = 0; i < INDEX_VERSION_SIZE; i++)
        version = version << 8 | (unsigned char)bytes[i];
    return version;
}

void index_entry_encode(const struct index_entry *entry, struct buffer *to)
{
    char version[INDEX_VERSION_SIZE], kind = (char)entry->kind;

    index_version_encode(entry->version, version);
    buffer_append(to, version, sizeof(version));
    buffer_append(to, version_1, sizeof(version_1));
    buffer_append(to, &kind, 1);
    little_endian_append(to, (uint64_t)entry->modified_ns, 8);
    little_endian_append(to, entry->size, 8);
    little_endian_append(to, (uint64_t)entry->expires_ns, 8);
    little_endian_append(to, entry->etag.len, 1);
    buffer_append_slice(to, entry->etag);
    buffer_append_slice(to, entry->media_type);
}

bool index_entry_decode(struct slice bytes, struct index_entry *entry)
{
    const char *at = bytes.base + INDEX_VERSION_SIZE;

    if (bytes.len < FIXED_SIZE || memcmp(at, version_1, sizeof(version_1)) != 0)
        return false;
    at += sizeof(version_1);
    entry->version = version_decode(bytes.base);
    entry->kind = (enum index_kind)at[0];
    entry->modified_ns = (int64_t)little_endian_read(at + 1, 8);
    entry->size = little_endian_read(at + 9, 8);
    entry->expires_ns = (int64_t)little_endian_read(at + 17, 8);
    entry->etag = (struct slice){at + 26, (unsigned char)at[25]};
    if (entry->etag.len > bytes.len - FIXED_SIZE)
        return false;
    entry->media_type =
        (struct slice){entry->etag.base + entry->etag.len, bytes.len - FIXED_SIZE - entry->etag.len};
    return entry->kind == INDEX_FILE || entry->kind == INDEX_TOMBSTONE;
}

void index_journal_encode(struct slice name, const struct index_entry *entry, struct buffer *to)
{
    little_endian_append(to, name.len, 2);
    buffer_append_slice(to, name);
    index_entry_encode(entry, to);
}

bool index_journal_decode(struct slice bytes, struct slice *name, struct index_entry *entry)
{
    size_t len;

    if (bytes.len < 2)
        return false;
    len = (size_t)little_endian_read(bytes.base, 2);
    if (len == 0 || len > bytes.len - 2)
        return false;
    *name = (struct slice){bytes.base + 2, len};
    return index_entry_decode((struct slice){bytes.base + 2 + len, bytes.len - 2 - len}, entry);
}

uint32_t index_shard(struct slice name, uint32_t shards)
{
    uint32_t hash = UINT32_C(2166136261);
    size_t i;

    for (i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.base[i]) * UINT32_C(16777619);
    return hash % shards;
}

void index_shard_object(uint32_t shard, char object[INDEX_OBJECT_SIZE])
{
    snprintf(object, INDEX_OBJECT_SIZE, "index.%" PRIu32, shard);
}

void index_journal_object(uint32_t journal, uint32_t slot, char object[INDEX_OBJECT_SIZE])
{
    snprintf(object, INDEX_OBJECT_SIZE, "journal.%" PRIu32 ".%" PRIu32, journal, slot);
}
