#ifndef CEPH_LB_STORE_H
#define CEPH_LB_STORE_H

/*
 * Files in RADOS. Every call begins on an event loop and ends there, by a callback; nothing here blocks, but
 * for store_list, which is for the workers.
 *
 * What a file is, its head says (head.h). Each change is one atomic operation on it, guarded by what was read
 * before, so that of concurrent changes one wins whole and no one's conditions are evaluated against
 * something that has gone.
 */

#include <stdatomic.h>
#include <stdint.h>

#include "condition.h"
#include "doubts.h"
#include "executor.h"
#include "head.h"
#include "journal.h"
#include "lane.h"
#include "range.h"

/* Every way in which a call can end. */
enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,
    STORE_NOT_MODIFIED,        /* reading: a condition says that the client has it already */
    STORE_PRECONDITION_FAILED, /* a condition does not hold */
    STORE_FULL,                /* cluster, pool or quota */
    STORE_UNAVAILABLE, /* Ceph did not answer in time, or not at all, or too much is waiting already */
    STORE_CONTENDED,   /* too many others change the same file just now */
    STORE_CHANGED,     /* reading: the file was replaced under way */
    STORE_DAMAGED,     /* what was read is not what was written; the log says what */
    STORE_REFUSED,     /* what was asked for cannot be; the call tells why */
    STORE_TOO_LARGE,   /* copying: the source is larger than it may be */
    STORE_GIVEN_UP,    /* an upload that took too long; nothing of it is left */
    STORE_WITHDRAWN,   /* nobody wanted it any more: nothing was changed */
    STORE_FAILED,      /* anything else; the log says what */
};

/*
 * Whoever wants a change. Asked on the loop, right before the change is made and after all that it is guarded by has been
 * read: one that was withdrawn by then is not made. NULL: it is wanted, whatever happens.
 */
struct store_wish {
    bool (*is_withdrawn)(void *context);
    void *context;
};

struct store_counters {
    atomic_uint_fast64_t operations;        /* handed to RADOS */
    atomic_uint_fast64_t operations_failed; /* that ended with an error other than an expected one */
    atomic_uint_fast64_t bytes_written, bytes_read;
    atomic_uint_fast64_t damaged; /* stripes and heads whose checksums did not fit */
};

struct store_options {
    unsigned loops;
    unsigned op_timeout_seconds;
    unsigned upload_grace_seconds; /* after which an upload that has not been published may be given up */
    size_t memory;                 /* for data under way, all loops together */
};

struct store {
    struct cluster *cluster;
    struct store_options options;
    struct store_counters counters;
    struct lane *lanes; /* one per loop */
    struct journal *journal;
    struct doubts *doubts;
};

#define STORE_OBJECT_SIZE 1025 /* a name with a NUL behind it */

/* `homes` holds options->loops event loops, numbered by their index. A store stays until the process ends; store_stop
 * ends its thread, when no call is under way. */
struct store *store_new(struct cluster *cluster, const struct store_options *options,
                        struct executor *const *homes);
void store_stop(struct store *store);

/* ---- putting ---- */

struct store_source; /* store_write.h */

struct store_early;

struct store_put {
    /* Set by the caller. All of it must live until `done`. */
    struct store *store;
    struct executor *home;
    struct slice name; /* checked with name_problem */
    struct slice content;
    const struct store_source *source; /* in place of the content, for store_copy; else NULL */
    struct store_early *early;         /* NULL, or its stripes, to which more has come; it is taken over */
    struct manifest *manifest;         /* size, time, stripe size and CRC-32C are filled in here */
    struct conditions conditions;
    struct store_wish wish;
    void (*done)(struct store_put *put); /* on the loop, exactly once; not from within store_put_begin */
    /* On the loop: a part of the content has been read, and is hardly needed again. NULL: nobody wants to know. */
    void (*used)(struct store_put *put, struct slice part);

    /* The outcome. */
    enum store_result result;
    bool created; /* false: something was replaced */
    char etag[HEAD_ETAG_SIZE];
};

void store_put_begin(struct store_put *put);

/*
 * Begins to write the stripes of a content that is still arriving; all of it will lie where it says. `used` is told of
 * parts that have been read and are hardly needed again. On the loop, as are the others. NULL: it is too small for
 * that, or there is no connection to the cluster. It ends with store_put_begin or store_early_drop.
 */
struct store_early *store_early_begin(struct store *store, struct executor *home, struct slice name,
                                      struct slice content, void (*used)(void *context, struct slice part),
                                      void *context);
/* So many bytes have come. */
void store_early_more(struct store_early *early, uint64_t arrived);
/* It is of no use any more, and the content is not touched after this; what was written is left to the collector. */
void store_early_drop(struct store_early *early);

/* ---- deleting ---- */

struct store_delete {
    struct store *store;
    struct executor *home;
    struct slice name;
    struct conditions conditions;
    struct store_wish wish;
    void (*done)(struct store_delete *operation); /* as above */

    enum store_result result;
};

void store_delete_begin(struct store_delete *operation);

/* ---- copying ---- */

struct store_copy {
    /* Set by the caller. All of it must live until `done`. */
    struct store *store;
    struct executor *home;
    struct slice source_name, name; /* two that differ */
    struct conditions source_conditions, conditions;
    uint64_t size_max;
    /* What it gives of media type, metadata and expiry takes the place of the source's. */
    const struct manifest *description;
    struct slice media_type_otherwise; /* when neither of them gives one */
    struct store_wish wish;
    bool keep_expiry;                      /* else a copy expires only if the description says so */
    void (*done)(struct store_copy *copy); /* as above */

    /* The outcome. */
    enum store_result result;
    bool about_source; /* the result, when it is not STORE_OK */
    bool created;
    char etag[HEAD_ETAG_SIZE],
        source_etag[HEAD_ETAG_SIZE]; /* of the new version, and of the one that was copied */
    struct manifest manifest;        /* of the new version */
    struct buffer storage;           /* what it points into, with the caller's slices */
};

void store_copy_begin(struct store_copy *copy);

/* After `done`; also before the first time, and between, when all of the struct was zero at first. */
void store_copy_free(struct store_copy *copy);

/* ---- renaming ---- */

struct store_rename {
    /* Set by the caller, of the copy all but the conditions of the new name, and `done`. */
    struct store_copy copy;                    /* first; to be freed by store_copy_free */
    bool only_new;                             /* the new name must not be there */
    void (*done)(struct store_rename *rename); /* as above */

    /* The outcome. */
    enum store_result result;
    bool about_old; /* the result, when it is not STORE_OK */
    bool copied;    /* a version has been copied, also when the result is another */
    bool created;
    char etag[HEAD_ETAG_SIZE];

    struct store_delete deletion;
    unsigned copies;
};

void store_rename_begin(struct store_rename *rename);

/* ---- reading ---- */

struct store_reader;

struct store_reader_callbacks {
    /* The head has come, or `result` says why not. Then store_reader_start or store_reader_close is due. */
    void (*opened)(void *context, enum store_result result, const struct head *head);
    /* The next bytes, in order. They stay valid until store_reader_next or store_reader_close. `last`: no
     * more. */
    void (*data)(void *context, struct slice bytes, bool last);
    /* The rest cannot be had. */
    void (*failed)(void *context, enum store_result result);
};

/*
 * Reads the head, and with it, in the same operation, the first piece of the content in `range`, so that a small file is
 * one round trip. A file that lies in its head and has at most a stripe is read to the end of the range before `opened`
 * is called, so nobody can replace it under way; what has stripes keeps them for a while after it was replaced.
 *
 * Whole contents of heads, and all that comes from stripes, are verified by their checksums before they are delivered.
 *
 * Callbacks come on the loop, never from within a call to the reader, and none after store_reader_close.
 */
struct store_reader *store_reader_open(struct store *store, struct executor *home, struct slice name,
                                       const struct range *range, bool want_content,
                                       const struct store_reader_callbacks *callbacks, void *context);

/*
 * Delivers `length` bytes from `offset`, by one call of `data` for each store_reader_next. length is not 0. All of them
 * are of the version that the head described. When the last ones have been given back another start may follow; for that,
 * `range` has to have been all of it.
 */
void store_reader_start(struct store_reader *reader, uint64_t offset, uint64_t length);

/* The bytes delivered are no longer needed; the next ones are wanted. */
void store_reader_next(struct store_reader *reader);

/* At any time, from callbacks too. */
void store_reader_close(struct store_reader *reader);

/* ---- listing: blocks, for workers only ---- */

#define LIST_LIMIT_MAX 10000

struct list_options {
    struct slice prefix, delimiter, after; /* "" for none */
    unsigned limit;                        /* 1 to LIST_LIMIT_MAX */
};

struct list_entry {
    char *name; /* owned, with a NUL behind it */
    size_t name_len;
    bool is_prefix; /* stands for all names that begin with it; has no head */
    uint64_t size;
    int64_t modified_ns;
    int64_t expires_ns; /* 0: never */
    char etag[HEAD_ETAG_SIZE];
    char *media_type; /* owned; NULL when none is known */
};

struct list {
    size_t count;
    struct list_entry *entries; /* in byte order of their names */
    char *next;                 /* owned: `after` for the next page; NULL when this is the last */
    size_t next_len;
};

/* Fills *list, to be freed with store_list_free in any case. */
enum store_result store_list(struct store *store, const struct list_options *options, struct list *list);
void store_list_free(struct list *list);

/* ---- probing ---- */

/* Asks RADOS whether an object exists that need not: any answer means that the cluster works. */
struct store_probe {
    struct store *store;
    struct executor *home;
    void (*done)(
        struct store_probe *probe); /* on the loop, exactly once; not from within store_probe_begin */
    enum store_result result;       /* STORE_OK or why not */

    struct rados_call call;
    struct head_reading reading;
    rados_read_op_t operation;
};

void store_probe_begin(struct store_probe *probe);

/* ---- for the store's own files ---- */

/* The result for a negative errno of RADOS; `doing` and the object's name go to the log when it is
 * unexpected. */
enum store_result store_result_of_errno(struct store *store, int error, const char *doing,
                                        const char *object);

/* The name's entry in the index is looked at again. Any thread. */
static inline void store_doubt(struct store *store, struct slice name)
{
    doubts_add(store->doubts, name);
}

static inline bool store_is_withdrawn(const struct store_wish *wish)
{
    return wish->is_withdrawn != NULL && wish->is_withdrawn(wish->context);
}

/* The deadline of a call that begins now. */
int64_t store_deadline_ms(const struct store *store);

#endif
