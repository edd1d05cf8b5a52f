#ifndef CEPH_LB_HEAD_H
#define CEPH_LB_HEAD_H

/*
 * The head of a file: the RADOS object that bears its name. Its xattrs:
 *
 *     tag       random for every version of the file; 32 hexadecimal digits; the entity tag
 *     manifest  see manifest.h
 *     pending   present while an upload is under way that has published nothing yet
 *
 * The data of the object is the file's content. An object without a tag, or whose size is not what its
 * manifest says, was written by somebody else (`rados put`): it is served as a file all the same, with the
 * object's version as its entity tag. An empty object that has only `pending` is no file.
 */

#include <rados/librados.h>
#include <time.h>

#include "manifest.h"

#define HEAD_TAG_SIZE  33 /* with the NUL */
#define HEAD_ETAG_SIZE 64 /* with quotes and the NUL */

#define HEAD_XATTR_TAG      "tag"
#define HEAD_XATTR_MANIFEST "manifest"
#define HEAD_XATTR_PENDING  "pending"

struct head {
    bool object_exists; /* there is a RADOS object of this name */
    bool exists;        /* and it is a file */
    uint64_t version;   /* RADOS' own of the object: grows with every change and removal */
    char etag[HEAD_ETAG_SIZE];
    struct manifest manifest; /* for foreign objects made up from size and time of the object */
    char *storage;            /* owned: what the manifest points into */
};

/* What a read operation fills in. It must live until the operation has completed. */
struct head_reading {
    rados_xattrs_iter_t xattrs;
    int xattrs_result, stat_result;
    uint64_t size;
    time_t modified;
};

/* Adds to the operation what a head is made of. */
void head_add_to_read(rados_read_op_t operation, struct head_reading *reading);

/*
 * Takes a completed reading apart; `result` and `version` are the operation's. Returns 0, also when there is
 * no file (head->exists is false), or a negative errno. The head is to be freed with head_free in either
 * case.
 */
int head_take(struct head_reading *reading, int result, uint64_t version, struct head *head);

/* Adds to a write operation the xattrs of a new version. */
void head_add_to_write(rados_write_op_t operation, const char *tag, const struct manifest *manifest);

/* Makes a new random tag, and an entity tag of a tag. */
void head_new_tag(char tag[HEAD_TAG_SIZE]);
void head_etag_of_tag(const char *tag, char etag[HEAD_ETAG_SIZE]);

void head_free(struct head *head);

#endif
