#ifndef CEPH_LB_INDEX_H
#define CEPH_LB_INDEX_H

/*
 * The index of names: what a listing shows without reading a head. It lies in omaps of the namespace "index":
 *
 *     index.N     N below index_shards: file name → entry. A name's shard is index_shard(name).
 *     journal.N.S N below index_journals, S below INDEX_SLOTS: a key of its own for each change → file name and entry. What
 *                 happened lately. Who writes uses one slot after the other, a second each, so that one that nobody writes
 *                 to just now can be moved on to the shards, and removed. Of the entries for one name, wherever they stand,
 *                 that of the highest version counts.
 *
 * An entry, version 1:
 *
 *     version     8 bytes big-endian: the head's object version at the change. First, and in this order of bytes, so that
 *                 entries can be compared by it as they are. Versions of a name only grow, deletions included.
 *     'I' 0x01
 *     kind        1 byte: 'f' a file, 'd' a tombstone: there is no file
 *     modified    8 bytes little-endian, nanoseconds since 1970 UTC; of a tombstone: when it was written
 *     size        8 bytes little-endian
 *     expires     8 bytes little-endian, nanoseconds since 1970 UTC; 0: never
 *     etag        1 byte length, then the entity tag with its quotes
 *     type        the rest: the media type; empty when none is known
 *
 * A value in a journal: the length of the name in 2 bytes little-endian, the name, the entry.
 */

#include <stdint.h>

#include "buffer.h"
#include "slice.h"

#define INDEX_VERSION_SIZE 8

enum index_kind { INDEX_FILE = 'f', INDEX_TOMBSTONE = 'd' };

struct index_entry {
    uint64_t version;
    enum index_kind kind;
    int64_t modified_ns;
    uint64_t size;
    int64_t expires_ns; /* 0: never */
    struct slice etag, media_type;
};

void index_entry_encode(const struct index_entry *entry, struct buffer *to);

/* The slices point into `bytes`. False when the bytes are damaged or of another version. */
bool index_entry_decode(struct slice bytes, struct index_entry *entry);

/* Whether a listing shows the file. */
static inline bool index_entry_is_shown(const struct index_entry *entry, int64_t now_ns)
{
    return entry->kind == INDEX_FILE && (entry->expires_ns == 0 || entry->expires_ns > now_ns);
}

/* The version alone, as it stands at the start of an entry: in the order of bytes that memcmp compares. */
void index_version_encode(uint64_t version, char bytes[INDEX_VERSION_SIZE]);

void index_journal_encode(struct slice name, const struct index_entry *entry, struct buffer *to);
bool index_journal_decode(struct slice bytes, struct slice *name, struct index_entry *entry);

/* FNV-1a of 32 bits (draft-eastlake-fnv), modulo the number of shards. */
uint32_t index_shard(struct slice name, uint32_t shards);

#define INDEX_OBJECT_SIZE 32
void index_shard_object(uint32_t shard, char object[INDEX_OBJECT_SIZE]);
void index_journal_object(uint32_t journal, uint32_t slot, char object[INDEX_OBJECT_SIZE]);

/* The slot to write to at a time. Clocks that differ cost time, and nothing else. */
#define INDEX_SLOTS 3
static inline uint32_t index_slot(int64_t now_ns)
{
    return (uint32_t)(now_ns / 1000000000 % INDEX_SLOTS);
}

#endif
