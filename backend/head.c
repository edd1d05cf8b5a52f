#include "head.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "executor.h"
#include "log.h"
#include "xalloc.h"

void head_add_to_read(rados_read_op_t operation, struct head_reading *reading)
{
    *reading = (struct head_reading){0};
    rados_read_op_stat(operation, &reading->size, &reading->modified, &reading->stat_result);
    rados_read_op_getxattrs(operation, &reading->xattrs, &reading->xattrs_result);
}

struct xattrs {
    bool tag_seen;
    char tag[HEAD_TAG_SIZE];
    struct slice manifest; /* points into the head's storage */
};

static void take_pending(struct head *head, const char *uid)
{
    if (strlen(uid) == HEAD_TAG_SIZE - 1 && head->pending_count < HEAD_PENDING_MOST)
        strcpy(head->pending[head->pending_count++], uid);
}

static int take_xattrs(rados_xattrs_iter_t iterator, struct xattrs *xattrs, struct head *head)
{
    const char *name, *value;
    size_t len;
    int error;

    while ((error = rados_getxattrs_next(iterator, &name, &value, &len)) == 0 && name != NULL) {
        if (strcmp(name, HEAD_XATTR_TAG) == 0 && len == HEAD_TAG_SIZE - 1) {
            memcpy(xattrs->tag, value, len);
            xattrs->tag_seen = true;
        } else if (strcmp(name, HEAD_XATTR_MANIFEST) == 0 && head->storage == NULL) {
            head->storage = xmemdup0(value, len);
            xattrs->manifest = (struct slice){head->storage, len};
        } else if (strcmp(name, HEAD_XATTR_UID) == 0 && len == HEAD_TAG_SIZE - 1) {
            memcpy(head->uid, value, len);
            head->uid[len] = '\0';
        } else if (strncmp(name, HEAD_XATTR_PENDING, strlen(HEAD_XATTR_PENDING)) == 0) {
            take_pending(head, name + strlen(HEAD_XATTR_PENDING));
        }
    }
    return error;
}

static void make_foreign(struct head *head, const struct head_reading *reading)
{
    head->manifest.size = reading->size;
    head->manifest.modified_ns = (int64_t)reading->modified * 1000000000;
    head->manifest.stripe_size = 0;
    head->manifest.expires_ns = 0;
    head->manifest.digests.known = 0;
    head->manifest.media_type = SLICE_ABSENT;
    head->manifest.metadata_count = 0;
    snprintf(head->etag, sizeof(head->etag), "\"rados-%" PRIu64 "\"", head->version);
}

/* Somebody else may have put other content over a file of ours; our xattrs stay then. */
static bool is_consistent(const struct head *head, const struct head_reading *reading)
{
    if (head->manifest.stripe_size != 0)
        return head->uid[0] != '\0' && reading->size == 0;
    return reading->size == head->manifest.size;
}

int head_take(struct head_reading *reading, int result, uint64_t version, struct head *head)
{
    struct xattrs xattrs = {false, "", SLICE_ABSENT};
    bool decoded;
    int error = result;

    head->object_exists = head->exists = head->expired = head->foreign = false;
    head->version = version;
    head->storage = NULL;
    head->uid[0] = '\0';
    head->stripe_count = 0;
    head->pending_count = 0;

    if (error >= 0)
        error = reading->stat_result < 0 ? reading->stat_result : reading->xattrs_result;
    if (error >= 0)
        error = take_xattrs(reading->xattrs, &xattrs, head);
    if (reading->xattrs != NULL)
        rados_getxattrs_end(reading->xattrs);
    reading->xattrs = NULL;
    if (error == -ENOENT)
        return 0;
    if (error < 0)
        return error;

    head->object_exists = true;
    decoded = xattrs.tag_seen && manifest_decode(xattrs.manifest, &head->manifest);
    if (decoded)
        head->stripe_count = manifest_stripe_count(&head->manifest);
    if (decoded && is_consistent(head, reading)) {
        head->expired = manifest_is_expired(&head->manifest, clock_realtime_ns());
        head->exists = !head->expired;
        head_etag_of_tag(xattrs.tag, head->etag);
    } else {
        make_foreign(head, reading);
        head->exists = head->foreign = xattrs.tag_seen || head->pending_count == 0 || reading->size != 0;
    }
    return 0;
}

void head_add_to_write(rados_write_op_t operation, const char *tag, const char *uid,
                       const struct manifest *manifest)
{
    struct buffer encoded = {NULL, 0, 0};

    manifest_encode(manifest, &encoded);
    rados_write_op_setxattr(operation, HEAD_XATTR_TAG, tag, HEAD_TAG_SIZE - 1);
    rados_write_op_setxattr(operation, HEAD_XATTR_MANIFEST, encoded.base, encoded.len);
    if (uid != NULL)
        rados_write_op_setxattr(operation, HEAD_XATTR_UID, uid, HEAD_TAG_SIZE - 1);
    buffer_free(&encoded);
}

void head_add_to_removal(rados_write_op_t operation, const struct head *head)
{
    rados_write_op_assert_version(operation, head->version);
    if (head->pending_count == 0) {
        rados_write_op_remove(operation);
        return;
    }
    rados_write_op_truncate(operation, 0);
    rados_write_op_rmxattr(operation, HEAD_XATTR_TAG);
    rados_write_op_rmxattr(operation, HEAD_XATTR_MANIFEST);
    rados_write_op_rmxattr(operation, HEAD_XATTR_UID);
}

void head_add_to_right_removal(rados_write_op_t operation, const struct head *head, const char *uid)
{
    char pending[HEAD_PENDING_SIZE];

    rados_write_op_assert_version(operation, head->version);
    if (!head->exists && !head->expired && head->pending_count == 1) {
        rados_write_op_remove(operation);
    } else {
        head_pending_name(uid, pending);
        rados_write_op_rmxattr(operation, pending);
    }
}

void head_pending_name(const char *uid, char name[HEAD_PENDING_SIZE])
{
    snprintf(name, HEAD_PENDING_SIZE, "%s%s", HEAD_XATTR_PENDING, uid);
}

bool head_has_pending(const struct head *head, const char *uid)
{
    unsigned i;

    for (i = 0; i < head->pending_count; i++)
        if (strcmp(head->pending[i], uid) == 0)
            return true;
    return false;
}

bool head_expiry_key(const struct head *head, char key[HEAD_TAG_SIZE])
{
    if ((!head->exists && !head->expired) || head->manifest.expires_ns == 0)
        return false;
    /* Without the quotes of the entity tag. */
    memcpy(key, head->etag + 1, HEAD_TAG_SIZE - 1);
    key[HEAD_TAG_SIZE - 1] = '\0';
    return true;
}

void head_new_tag(char tag[HEAD_TAG_SIZE])
{
    unsigned char random[(HEAD_TAG_SIZE - 1) / 2];
    size_t i;

    /* Up to 256 bytes never fail and are never cut short, once the kernel's pool is ready. */
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        log_error("getrandom: %s", strerror(errno));
        abort();
    }
    for (i = 0; i < sizeof(random); i++)
        snprintf(tag + 2 * i, 3, "%02x", random[i]);
}

void head_etag_of_tag(const char *tag, char etag[HEAD_ETAG_SIZE])
{
    snprintf(etag, HEAD_ETAG_SIZE, "\"%s\"", tag);
}

void head_free(struct head *head)
{
    free(head->storage);
    *head = (struct head){.exists = false};
}
