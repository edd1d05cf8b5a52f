#ifndef CEPH_LB_GC_H
#define CEPH_LB_GC_H

/*
 * The log of what is, or may become, garbage. It lies in the omaps of the objects "gc.0" to "gc.N-1" of the namespace "gc";
 * an entry's key is the uid of a stripe set, or for a file that expires its tag. The value, version 1:
 *
 *     'G' 0x01
 *     kind       1 byte: 'u' an upload under way, 'd' a version that is about to be, or has been, replaced or deleted,
 *                'g' garbage: it has been seen that nothing uses it or can publish it; 'e' a version that expires
 *     time       8 bytes little-endian, nanoseconds since 1970 UTC: when it was noted; of 'e' when it expires
 *     stripes    8 bytes little-endian: how many there are at most; of 'e' 0
 *     name       the rest: the file's name, whose head says whether the stripe set is in use
 */

#include <stdint.h>

#include "head.h"

enum gc_kind { GC_UPLOAD = 'u', GC_DEAD = 'd', GC_GARBAGE = 'g', GC_EXPIRY = 'e' };

struct gc_entry {
    enum gc_kind kind;
    int64_t time_ns;
    uint64_t stripes;
    struct slice name;
};

void gc_entry_encode(const struct gc_entry *entry, struct buffer *to);

/* entry->name points into `bytes`. False when the bytes are damaged or of another version. */
bool gc_entry_decode(struct slice bytes, struct gc_entry *entry);

/* Adds to a write operation on the key's object that the entry is set. */
void gc_entry_add_to_write(rados_write_op_t operation, const char *key, const struct gc_entry *entry);

/* The name of the object that holds the entry of a key. */
#define GC_OBJECT_SIZE 16
void gc_object_of_uid(const char *uid, uint32_t shards, char object[GC_OBJECT_SIZE]);
void gc_object_of_shard(uint32_t shard, char object[GC_OBJECT_SIZE]);

#endif
