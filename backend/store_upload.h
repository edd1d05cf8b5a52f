#ifndef CEPH_LB_STORE_UPLOAD_H
#define CEPH_LB_STORE_UPLOAD_H

/*
 * Uploads in parts (upload.h). All that is known of one lies in RADOS, so each call may come to another backend. A part is
 * written once: the same bytes again are no change, other bytes under its number are refused. So the stripes of a
 * file never change, however late a part arrives.
 *
 * Every call begins on an event loop and ends there by `done`, exactly once, and never from within its begin. What is
 * given to it must live until then.
 */

#include "store.h"
#include "upload.h"

/* ---- reading what is known ---- */

struct store_upload_read {
    struct store *store;
    struct executor *home;
    const char *id; /* the caller's */
    bool parts_wanted;
    void (*done)(struct store_upload_read *read);

    enum store_result result; /* STORE_NOT_FOUND: there is none, or it has been given up */
    struct upload_record record;
    bool published;
    uint64_t published_size;
    int64_t published_ns;
    char published_etag[HEAD_ETAG_SIZE];
    struct upload_part *parts; /* by their numbers */
    size_t part_count;

    struct rados_call call;
    rados_read_op_t operation;
    rados_xattrs_iter_t xattrs;
    rados_omap_iter_t entries;
    char *storage; /* the record's bytes */
    size_t len, part_capacity;
    int data_result, xattrs_result, entries_result;
    unsigned char more;
};

void store_upload_read_begin(struct store_upload_read *read);
void store_upload_read_free(struct store_upload_read *read);

/* ---- creating ---- */

#define STORE_UPLOAD_RECORD_SIZE_MOST (64 * 1024)

struct store_upload_create {
    struct store *store;
    struct executor *home;
    struct upload_record *record; /* name, size, manifest, conditions; the size of a part is filled in */
    void (*done)(struct store_upload_create *create);

    enum store_result result; /* STORE_REFUSED: the record is too large */
    char id[HEAD_TAG_SIZE];
};

void store_upload_create_begin(struct store_upload_create *create);

/* ---- a part ---- */

struct store_upload_part {
    struct store *store;
    struct executor *home;
    const char *id;
    uint64_t number;
    struct slice content;
    void (*done)(struct store_upload_part *part);
    void (*used)(struct store_upload_part
                     *part); /* on the loop: the content has been read, and is hardly needed again */

    enum store_result result;
    const char *problem; /* with STORE_REFUSED: a sentence */
    bool conflict;       /* and whether it is since there is something else already */
};

void store_upload_part_begin(struct store_upload_part *part);

/* ---- publishing ---- */

/* The parts are complete; the caller has seen to that. */
struct store_upload_publish {
    struct store *store;
    struct executor *home;
    const char *id;
    struct store_upload_read *read; /* with the parts */
    uint64_t size;
    struct digests digests; /* that were verified; CRC-32C is filled in */
    void (*done)(struct store_upload_publish *publish);

    enum store_result result;
    bool created;
    char etag[HEAD_ETAG_SIZE];
    int64_t modified_ns;
};

void store_upload_publish_begin(struct store_upload_publish *publish);

/* The CRC-32C of a file that consists of these parts. */
uint32_t store_upload_crc32c(const struct store_upload_read *read);

/* ---- giving it up ---- */

struct store_upload_delete {
    struct store *store;
    struct executor *home;
    const char *id;
    struct store_upload_read *read; /* without the parts will do */
    void (*done)(struct store_upload_delete *operation);

    enum store_result result;
};

void store_upload_delete_begin(struct store_upload_delete *operation);

#endif
