#ifndef CEPH_LB_STORE_WRITE_H
#define CEPH_LB_STORE_WRITE_H

/*
 * What the calls that change files are made of; docs/format.md has the order in which they must follow each other. For
 * the store's own files. Each step begins on a loop, and ends there by its `done`, exactly once and never from within
 * its begin; its memory must stay until then.
 */

#include "gc.h"
#include "head.h"
#include "journal.h"
#include "lane.h"
#include "store.h"

/* How often a step that lost a race begins again. Losing means that somebody else's change came first, so this is only
 * so that every loop ends. */
#define STORE_ATTEMPTS_MAX 64

#define STORE_STRIPES_AT_ONCE 4 /* of one stripe set */

/* ---- one operation on RADOS ---- */

/* Hands a call over to the loop's lane. `memory` is what `launch` will copy. */
void store_call_begin(struct store *store, struct executor *home, struct rados_call *call,
                      enum cluster_space space, size_t memory,
                      int (*launch)(struct rados_call *call, rados_ioctx_t ioctx,
                                    rados_completion_t completion),
                      void (*done)(struct rados_call *call));

/* Launches a write operation and releases it. */
int store_launch_write(rados_write_op_t operation, rados_ioctx_t ioctx, rados_completion_t completion,
                       const char *object, int flags);

/* Whether a write that was guarded by a version, or by exclusive creation, failed because of that. */
bool store_is_lost_race(int error);

/* ---- reading a head ---- */

struct store_head_read {
    struct store *store;
    struct executor *home;
    const char *object; /* the caller's */
    void (*done)(struct store_head_read *read);

    int error;        /* 0, also when there is no such file, or a negative errno */
    struct head head; /* the caller frees it after use, and before the next reading */

    struct rados_call call;
    struct head_reading reading;
    rados_read_op_t operation;
};

void store_head_read_begin(struct store_head_read *read);

/* ---- writing an entry of the gc log, or removing it ---- */

struct store_note {
    struct store *store;
    struct executor *home;
    const char *key;       /* the caller's: see gc.h */
    bool forget;           /* the entry is removed, whatever it is; `entry` is not used */
    struct gc_entry entry; /* the name is the caller's */
    void (*done)(struct store_note *note);

    int error; /* 0 or a negative errno */

    struct rados_call call;
};

void store_note_begin(struct store_note *note);

/* Notes that the stripe set of this head, which has one, is about to be garbage. Fills in all of *note. */
void store_note_dead_begin(struct store_note *note, struct store *store, struct executor *home,
                           const struct head *head, struct slice name, void (*done)(struct store_note *note));

/*
 * The version that this head was read as will not expire any more: it has been replaced or deleted. Fills in all of *note,
 * and `key`, which has to stay as long. False when it never would have: then nothing is begun, and `done` does not come.
 * If it fails, the collector finds the entry when its time has come.
 */
bool store_forget_expiry_begin(struct store_note *note, struct store *store, struct executor *home,
                               const struct head *head, char key[HEAD_TAG_SIZE],
                               void (*done)(struct store_note *note));

/* ---- the right to publish a stripe set ---- */

/* What keeps an upload from claiming: its conditions, or that too many are under way already. STORE_OK: nothing does. */
enum store_result store_may_claim(const struct head *head, const struct conditions *conditions);

/* Notes the uid in the gc log, then sets `pending.UID` on the head. */
struct store_claim {
    struct store *store;
    struct executor *home;
    struct slice name;
    const char *object, *uid; /* the caller's */
    uint64_t stripes;         /* the most that there will be */
    void (*done)(struct store_claim *claim);

    int error;        /* 0 or a negative errno */
    int64_t begun_ms; /* on clock_monotonic_ms: before this, the collector could know nothing of it */

    struct store_note note;
    struct rados_call call;
};

void store_claim_begin(struct store_claim *claim);

/* Whether the collector may be about to give the claim up: half of what it grants has passed. */
bool store_claim_is_old(const struct store *store, int64_t begun_ms);

/* ---- the stripes ---- */

/* Writes one stripe, with its checksums. */
struct store_stripe_write {
    struct rados_call call; /* first; its result tells how it ended */
    const char *uid;        /* the caller's, as the content */
    uint64_t number;
    struct slice content;
    void (*launched)(
        struct store_stripe_write *write); /* the content is not needed any more; NULL: nobody waits for it */
    void (*done)(struct store_stripe_write *write);

    uint32_t crc32c;               /* of the content, when it was launched */
    struct store_stripes *stripes; /* of which it is a part; NULL when it is none's */
};

/* `memory`: what is to be taken from the memory budget for it; 0 when the content is in it already. */
void store_stripe_write_begin(struct store_stripe_write *write, struct store *store, struct executor *home,
                              size_t memory);

/* Writes the content as a stripe set, a few stripes at a time. */
struct store_stripes {
    struct store *store;
    struct executor *home;
    const char *uid; /* the caller's */
    struct slice content;
    uint64_t stripe_size;
    int64_t begun_ms; /* the claim's */
    void (*done)(struct store_stripes *stripes);
    /* On the loop: a part of the content has been read, and is not needed again. NULL: nobody wants to know. */
    void (*used)(struct store_stripes *stripes, struct slice part);
    /* How much of the content is there: its length, or less, while it arrives, and then store_stripes_more. */
    uint64_t available;

    int error;
    uint32_t crc32c; /* of the content */

    struct store_stripe_write writes[STORE_STRIPES_AT_ONCE];
    uint64_t next, count;
    unsigned under_way;
    bool stopped; /* the content is gone */
};

void store_stripes_begin(struct store_stripes *stripes);

/* More of the content is there. Not after `done`. */
void store_stripes_more(struct store_stripes *stripes, uint64_t available);

/* From now on the content is not touched any more, and `done` comes, with an error, as soon as nothing is under way. It
 * may come from within. Not after `done`. */
void store_stripes_stop(struct store_stripes *stripes);

/* ---- stripes of what is still arriving ---- */

/* In store_early.c: what store_put needs of it. `ready` comes on the loop, maybe from within, and then `error` is set. */
struct store_early {
    int error; /* 0: all stripes are written */
    uint32_t crc32c;
    char uid[HEAD_TAG_SIZE];
    struct store_claim claim;
};

/* All of the content is there. */
void store_early_finish(struct store_early *early, void (*ready)(void *context), void *context);
/* After `ready`. */
void store_early_free(struct store_early *early);

/* ---- stripes from stripes ---- */

/* A version whose content is to be copied: a stripe set, or the data of a foreign object. */
struct store_source {
    const char *object;      /* the caller's: the head */
    uint64_t version;        /* of the head */
    char uid[HEAD_TAG_SIZE]; /* "" for a foreign object */
    uint64_t size, stripe_size;
};

struct store_transfer_stripe {
    struct store_stripe_write write; /* first; its call reads before it writes */
    struct store_transfer *transfer; /* NULL when nothing is under way here */
    char *bytes;                     /* owned; `held` of them are taken from the memory budget */
    size_t held;
    rados_read_op_t operation;
    rados_xattrs_iter_t xattrs;
    size_t brought;
    int read_result, xattrs_result;
};

/* Writes a new stripe set with the content of the source. */
struct store_transfer {
    struct store *store;
    struct executor *home;
    const char *uid;                   /* the caller's: the new set */
    const struct store_source *source; /* the caller's */
    uint64_t stripe_size;              /* of the source's stripes too */
    int64_t begun_ms;                  /* the claim's */
    void (*done)(struct store_transfer *transfer);

    int error; /* 0 or a negative errno; -ESTALE: the version that was to be copied is not there any more */

    struct store_transfer_stripe stripes[STORE_STRIPES_AT_ONCE];
    uint64_t next, count;
    unsigned under_way;
};

void store_transfer_begin(struct store_transfer *transfer);

/* ---- publishing ---- */

/* Makes a version what its name stands for, if the conditions hold; and tells the index. */
struct store_publish {
    struct store *store;
    struct executor *home;
    struct slice name;
    const char *object; /* the name with a NUL behind it; the caller's, as all that follows */
    const char *tag;
    const char *uid; /* of a claimed set whose stripes are written; NULL: `content` goes into the head */
    const struct gc_entry *claim; /* the entry that the claim of the uid wrote */
    struct slice content;
    const struct manifest *manifest;
    const struct conditions *conditions;
    struct store_wish wish;
    void (*done)(struct store_publish *publish);

    enum store_result result;
    bool created; /* false: something was replaced */
    char etag[HEAD_ETAG_SIZE];
    int64_t modified_ns; /* the manifest's, or that of an earlier publication of the same stripe set */

    struct store_head_read read;
    struct store_note note;
    bool expiry_noted;
    char old_key[HEAD_TAG_SIZE]; /* in the gc log, of the version that was replaced */
    struct rados_call call;
    struct journal_entry entry;
    unsigned attempts;
    bool given_up; /* the collector has begun to */
    bool published_before;
    rados_read_op_t check;
    int compared;
};

void store_publish_begin(struct store_publish *publish);

#endif
