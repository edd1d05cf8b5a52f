#ifndef CEPH_LB_HEAD_H
#define CEPH_LB_HEAD_H

/*
 * The head of a file: the RADOS object that bears its name. Its xattrs:
 *
 *     tag       random for every version of the file; 32 hexadecimal digits; the entity tag
 *     manifest  see manifest.h
 *     uid       the stripe set that holds the content; absent when the object's own data is the content
 *     pending.UID   for each upload under way that may still publish the stripe set UID
 *
 * An object without a tag, or whose size is not what its
 * manifest says, was written by somebody else (`rados put`): it is served as a file all the same, with the
 * object's version as its entity tag. An empty object without a tag that has a `pending` is no file.
 */

#include <rados/librados.h>
#include <time.h>

#include "condition.h"
#include "manifest.h"

#define HEAD_TAG_SIZE  33 /* with the NUL; of a uid, too */
#define HEAD_ETAG_SIZE 64 /* with quotes and the NUL */

#define HEAD_XATTR_TAG      "tag"
#define HEAD_XATTR_MANIFEST "manifest"
#define HEAD_XATTR_UID      "uid"
#define HEAD_XATTR_PENDING  "pending." /* a uid follows */

#define HEAD_PENDING_SIZE (sizeof(HEAD_XATTR_PENDING) - 1 + HEAD_TAG_SIZE)
#define HEAD_PENDING_MOST 32 /* uploads of one name that are known at a time */

struct head {
    bool object_exists; /* there is a RADOS object of this name */
    bool exists;        /* and it is a file */
    bool expired;       /* it was a file, until its time was over */
    bool foreign;       /* it is a file that another program put there */
    uint64_t version;   /* RADOS' own of the object: grows with every change and removal */
    char etag[HEAD_ETAG_SIZE];
    char uid[HEAD_TAG_SIZE]; /* "" when there is none */
    uint64_t stripe_count;   /* of the stripe set uid */
    unsigned pending_count;
    char pending[HEAD_PENDING_MOST][HEAD_TAG_SIZE]; /* uids */
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

/* What conditions are judged by; it points into the head. */
static inline struct validators head_validators(const struct head *head)
{
    return (struct validators){head->exists, head->etag, head->manifest.modified_ns / 1000000000};
}

/* Adds to a write operation the xattrs of a new version; `uid` is NULL when the object's own data is the content. */
void head_add_to_write(rados_write_op_t operation, const char *tag, const char *uid,
                       const struct manifest *manifest);

/* Adds to a write operation, guarded by the version that was read, that the file goes. What holds an upload's right to
 * publish stays. */
void head_add_to_removal(rados_write_op_t operation, const struct head *head);

/*
 * Adds to a write operation, guarded by the version that was read, that the right to publish `uid` goes, and the head with it
 * if that was all that it was there for. The version grows even if there was no such right.
 */
void head_add_to_right_removal(rados_write_op_t operation, const struct head *head, const char *uid);

/* The name of the xattr by which the upload of a stripe set holds its right to publish it. */
void head_pending_name(const char *uid, char name[HEAD_PENDING_SIZE]);
bool head_has_pending(const struct head *head, const char *uid);

/* The key that a version which expires has in the gc log: its tag. False when it does not expire. */
bool head_expiry_key(const struct head *head, char key[HEAD_TAG_SIZE]);

/* Makes a new random tag (or uid), and an entity tag of a tag. */
void head_new_tag(char tag[HEAD_TAG_SIZE]);
void head_etag_of_tag(const char *tag, char etag[HEAD_ETAG_SIZE]);

void head_free(struct head *head);

#endif
