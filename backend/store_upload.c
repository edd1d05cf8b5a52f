#include "store_upload.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "crc32c.h"
#include "fault.h"
#include "little_endian.h"
#include "log.h"
#include "store_write.h"
#include "stripe.h"
#include "xalloc.h"

#define PARTS_AT_ONCE 1000

/* ---- reading what is known ---- */

static struct store_upload_read *read_of(struct rados_call *call)
{
    return (struct store_upload_read *)((char *)call - offsetof(struct store_upload_read, call));
}

static void read_step(struct store_upload_read *read);

static int launch_read(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_upload_read *read = read_of(call);
    char after[UPLOAD_PART_KEY_SIZE] = "";

    read->operation = rados_create_read_op();
    if (read->storage == NULL) {
        read->storage = xmalloc(STORE_UPLOAD_RECORD_SIZE_MOST);
        rados_read_op_read(read->operation, 0, STORE_UPLOAD_RECORD_SIZE_MOST, read->storage, &read->len,
                           &read->data_result);
        rados_read_op_getxattrs(read->operation, &read->xattrs, &read->xattrs_result);
    }
    if (read->part_count != 0)
        upload_part_key(read->parts[read->part_count - 1].number, after);
    if (read->parts_wanted)
        rados_read_op_omap_get_vals2(read->operation, after, "", PARTS_AT_ONCE, &read->entries, &read->more,
                                     &read->entries_result);
    return rados_aio_read_op_operate(read->operation, ioctx, completion, read->id, LIBRADOS_OPERATION_NOFLAG);
}

static void take_published(struct store_upload_read *read)
{
    const char *name, *value;
    size_t len;

    while (read->xattrs != NULL && rados_getxattrs_next(read->xattrs, &name, &value, &len) == 0 &&
           name != NULL) {
        if (strcmp(name, UPLOAD_XATTR_PUBLISHED) != 0 || len < 16 || len - 16 >= HEAD_ETAG_SIZE)
            continue;
        read->published = true;
        read->published_size = little_endian_read(value, 8);
        read->published_ns = (int64_t)little_endian_read(value + 8, 8);
        memcpy(read->published_etag, value + 16, len - 16);
        read->published_etag[len - 16] = '\0';
    }
    if (read->xattrs != NULL)
        rados_getxattrs_end(read->xattrs);
    read->xattrs = NULL;
}

/* False when there is something that no part is: then what is behind it cannot be asked for either. */
static bool take_parts(struct store_upload_read *read)
{
    char *key, *value;
    size_t key_len, len;
    bool well = true;

    while (read->entries != NULL && rados_omap_get_next2(read->entries, &key, &value, &key_len, &len) == 0 &&
           key != NULL) {
        struct upload_part part;

        if (!upload_part_decode((struct slice){key, key_len}, (struct slice){value, len}, &part)) {
            log_error("the upload %s has an entry that cannot be read, under \"%s\"", read->id, key);
            well = false;
            break;
        }
        if (read->part_count == read->part_capacity) {
            read->part_capacity = read->part_capacity != 0 ? 2 * read->part_capacity : 64;
            read->parts = xrealloc(read->parts, read->part_capacity * sizeof(*read->parts));
        }
        read->parts[read->part_count++] = part;
    }
    if (read->entries != NULL)
        rados_omap_get_end(read->entries);
    read->entries = NULL;
    return well;
}

static void on_read(struct rados_call *call)
{
    struct store_upload_read *read = read_of(call);
    int error = call->result < 0 ? call->result : read->data_result;
    bool parts_well;

    if (error >= 0)
        error = read->xattrs_result < 0 ? read->xattrs_result : read->entries_result;
    if (read->operation != NULL)
        rados_release_read_op(read->operation);
    read->operation = NULL;
    take_published(read);
    parts_well = take_parts(read);
    if (error == 0 && parts_well && read->more != 0) {
        read_step(read);
        return;
    }
    read->result = parts_well ? STORE_OK : STORE_FAILED;
    if (error < 0) {
        read->result = store_result_of_errno(read->store, error, "cannot read the upload", read->id);
    } else if (!upload_record_decode((struct slice){read->storage, read->len}, &read->record)) {
        log_error("the upload %s has a record that cannot be read", read->id);
        read->result = STORE_FAILED;
    }
    read->done(read);
}

static void read_step(struct store_upload_read *read)
{
    read->more = 0;
    read->data_result = read->xattrs_result = read->entries_result = 0;
    store_call_begin(read->store, read->home, &read->call, SPACE_UPLOADS, 0, launch_read, on_read);
}

void store_upload_read_begin(struct store_upload_read *read)
{
    read_step(read);
}

void store_upload_read_free(struct store_upload_read *read)
{
    free(read->storage);
    free(read->parts);
    read->storage = NULL;
    read->parts = NULL;
}

/* ---- creating: the conditions are judged, the right to publish is taken, then the record is written ---- */

struct creating {
    struct store_upload_create *create;
    char object[STORE_OBJECT_SIZE];
    struct buffer record;
    struct store_head_read read;
    struct store_claim claim;
    struct rados_call call;
};

#define CREATING_OF(step, member) ((struct creating *)((char *)(step)-offsetof(struct creating, member)))

static void create_finish(struct creating *creating, enum store_result result)
{
    struct store_upload_create *create = creating->create;

    head_free(&creating->read.head);
    buffer_free(&creating->record);
    free(creating);
    create->result = result;
    create->done(create);
}

static void create_fail(struct creating *creating, int error)
{
    create_finish(creating, store_result_of_errno(creating->create->store, error, "cannot begin an upload of",
                                                  creating->object));
}

static int launch_create(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct creating *creating = CREATING_OF(call, call);
    rados_write_op_t operation = rados_create_write_op();

    rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_write_full(operation, creating->record.base, creating->record.len);
    return store_launch_write(operation, ioctx, completion, creating->create->id, LIBRADOS_OPERATION_NOFLAG);
}

static void on_created(struct rados_call *call)
{
    struct creating *creating = CREATING_OF(call, call);

    fault_point("upload-created");
    if (call->result < 0)
        create_fail(creating, call->result);
    else
        create_finish(creating, STORE_OK);
}

static void on_create_claimed(struct store_claim *claim)
{
    struct creating *creating = CREATING_OF(claim, claim);

    if (claim->error < 0) {
        create_fail(creating, claim->error);
        return;
    }
    creating->create->record->claimed_ns = claim->note.entry.time_ns;
    upload_record_encode(creating->create->record, &creating->record);
    if (creating->record.len > STORE_UPLOAD_RECORD_SIZE_MOST)
        create_finish(creating, STORE_REFUSED);
    else
        store_call_begin(claim->store, claim->home, &creating->call, SPACE_UPLOADS, creating->record.len,
                         launch_create, on_created);
}

static void on_create_head_read(struct store_head_read *read)
{
    struct creating *creating = CREATING_OF(read, read);
    struct store_upload_create *create = creating->create;
    enum store_result result;

    if (read->error < 0) {
        create_fail(creating, read->error);
        return;
    }
    result = store_may_claim(&read->head, &create->record->conditions);
    if (result != STORE_OK) {
        create_finish(creating, result);
        return;
    }
    create->record->part_size = upload_part_size(cluster_layout(create->store->cluster)->stripe_size,
                                                 create->record->declared, create->record->size);
    creating->claim = (struct store_claim){.store = create->store,
                                           .home = create->home,
                                           .name = create->record->name,
                                           .object = creating->object,
                                           .uid = create->id,
                                           .stripes = upload_parts_most(create->record),
                                           .done = on_create_claimed};
    store_claim_begin(&creating->claim);
}

void store_upload_create_begin(struct store_upload_create *create)
{
    struct creating *creating = xcalloc(1, sizeof(*creating));

    creating->create = create;
    memcpy(creating->object, create->record->name.base, create->record->name.len);
    head_new_tag(create->id);
    creating->read = (struct store_head_read){.store = create->store,
                                              .home = create->home,
                                              .object = creating->object,
                                              .done = on_create_head_read};
    store_head_read_begin(&creating->read);
}

/* ---- a part: the record is read, the stripe created, then noted in the record ---- */

struct parting {
    struct store_upload_part *part;
    struct store_upload_read read;
    char stripe[STRIPE_OBJECT_SIZE];
    struct buffer checksums;
    uint32_t crc32c;
    int64_t begun_ms;
    struct rados_call call;
    rados_read_op_t operation;
    rados_xattrs_iter_t xattrs;
    uint64_t size;
    time_t modified;
    int stat_result, xattrs_result;
    bool created; /* the stripe, by this call */
};

#define PARTING_OF(step, member) ((struct parting *)((char *)(step)-offsetof(struct parting, member)))

static void part_finish(struct parting *parting, enum store_result result)
{
    struct store_upload_part *part = parting->part;

    store_upload_read_free(&parting->read);
    buffer_free(&parting->checksums);
    free(parting);
    part->result = result;
    part->done(part);
}

static void part_fail(struct parting *parting, int error)
{
    part_finish(parting,
                store_result_of_errno(parting->part->store, error, "cannot write the part", parting->stripe));
}

static int launch_note_part(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct parting *parting = PARTING_OF(call, call);
    struct upload_part entry = {parting->part->number, parting->part->content.len, parting->crc32c};
    rados_write_op_t operation = rados_create_write_op();
    struct buffer value = {NULL, 0, 0};
    char key[UPLOAD_PART_KEY_SIZE];
    const char *keys = key;
    size_t len;

    upload_part_key(entry.number, key);
    upload_part_encode(&entry, &value);
    len = value.len;
    /* The sign of life, too; and of an upload that has been given up nothing comes back. */
    rados_write_op_assert_exists(operation);
    rados_write_op_omap_set(operation, &keys, (const char *const *)&value.base, &len, 1);
    buffer_free(&value);
    return store_launch_write(operation, ioctx, completion, parting->part->id, LIBRADOS_OPERATION_NOFLAG);
}

static int launch_remove_part(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    rados_write_op_t operation = rados_create_write_op();

    rados_write_op_remove(operation);
    return store_launch_write(operation, ioctx, completion, PARTING_OF(call, call)->stripe,
                              LIBRADOS_OPERATION_FULL_FORCE);
}

static void on_part_removed(struct rados_call *call)
{
    part_finish(PARTING_OF(call, call), STORE_NOT_FOUND);
}

static void on_part_noted(struct rados_call *call)
{
    struct parting *parting = PARTING_OF(call, call);

    fault_point("part-recorded");
    /*
     * The record went while the stripe was written, and the log's entry may have gone before the stripe was there. It is
     * in no file: a file's stripes were all there when it was published, and this one was not there until now.
     */
    if (call->result == -ENOENT && parting->created) {
        store_call_begin(parting->part->store, parting->part->home, &parting->call, SPACE_STRIPES, 0,
                         launch_remove_part, on_part_removed);
        return;
    }
    if (call->result < 0) {
        part_fail(parting, call->result);
        return;
    }
    atomic_fetch_add_explicit(&parting->part->store->counters.bytes_written, parting->part->content.len,
                              memory_order_relaxed);
    part_finish(parting, STORE_OK);
}

static void step_note_part(struct parting *parting)
{
    store_call_begin(parting->part->store, parting->part->home, &parting->call, SPACE_UPLOADS, 0,
                     launch_note_part, on_part_noted);
}

static int launch_look(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct parting *parting = PARTING_OF(call, call);

    parting->operation = rados_create_read_op();
    rados_read_op_stat(parting->operation, &parting->size, &parting->modified, &parting->stat_result);
    rados_read_op_getxattrs(parting->operation, &parting->xattrs, &parting->xattrs_result);
    return rados_aio_read_op_operate(parting->operation, ioctx, completion, parting->stripe,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static bool is_the_same(struct parting *parting)
{
    const char *name, *value;
    bool same = false;
    size_t len;

    while (parting->xattrs != NULL && rados_getxattrs_next(parting->xattrs, &name, &value, &len) == 0 &&
           name != NULL)
        if (strcmp(name, STRIPE_XATTR_CHECKSUMS) == 0)
            same = parting->size == parting->part->content.len &&
                   slice_equals((struct slice){value, len}, buffer_slice(&parting->checksums));
    return same;
}

static void on_looked(struct rados_call *call)
{
    struct parting *parting = PARTING_OF(call, call);
    int error = call->result < 0 ? call->result : parting->stat_result;
    bool same = error >= 0 && is_the_same(parting);

    if (parting->xattrs != NULL)
        rados_getxattrs_end(parting->xattrs);
    if (parting->operation != NULL)
        rados_release_read_op(parting->operation);
    if (error < 0) {
        part_fail(parting, error);
    } else if (same) {
        step_note_part(parting);
    } else {
        parting->part->problem =
            "There are other bytes under this number already; a part cannot be replaced.";
        parting->part->conflict = true;
        part_finish(parting, STORE_REFUSED);
    }
}

static int launch_part(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct parting *parting = PARTING_OF(call, call);
    rados_write_op_t operation = rados_create_write_op();
    int result;

    rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_write_full(operation, parting->part->content.base, parting->part->content.len);
    rados_write_op_setxattr(operation, STRIPE_XATTR_CHECKSUMS, parting->checksums.base,
                            parting->checksums.len);
    result = store_launch_write(operation, ioctx, completion, parting->stripe, LIBRADOS_OPERATION_NOFLAG);
    parting->part->used(parting->part);
    return result;
}

static void on_part_written(struct rados_call *call)
{
    struct parting *parting = PARTING_OF(call, call);

    fault_point("part-written");
    if (call->result == -EEXIST) {
        store_call_begin(parting->part->store, parting->part->home, &parting->call, SPACE_STRIPES, 0,
                         launch_look, on_looked);
    } else if (call->result < 0) {
        part_fail(parting, call->result);
    } else {
        parting->created = true;
        step_note_part(parting);
    }
}

static void on_part_record_read(struct store_upload_read *read)
{
    struct parting *parting = PARTING_OF(read, read);
    struct store_upload_part *part = parting->part;

    if (read->result != STORE_OK) {
        part_finish(parting, read->result);
        return;
    }
    part->problem = upload_part_problem(&read->record, part->number, part->content.len);
    if (part->problem == NULL && read->published) {
        part->problem = "The upload has been published.";
        part->conflict = true;
    }
    if (part->problem != NULL) {
        part_finish(parting, STORE_REFUSED);
        return;
    }
    if (store_claim_is_old(part->store, parting->begun_ms)) {
        part_finish(parting, STORE_UNAVAILABLE);
        return;
    }
    parting->crc32c = stripe_checksums(part->content, &parting->checksums);
    stripe_object(part->id, part->number, parting->stripe);
    fault_point("part-judged");
    store_call_begin(part->store, part->home, &parting->call, SPACE_STRIPES, part->content.len, launch_part,
                     on_part_written);
}

void store_upload_part_begin(struct store_upload_part *part)
{
    struct parting *parting = xcalloc(1, sizeof(*parting));

    parting->part = part;
    parting->begun_ms = clock_monotonic_ms();
    parting->read = (struct store_upload_read){
        .store = part->store, .home = part->home, .id = part->id, .done = on_part_record_read};
    store_upload_read_begin(&parting->read);
}

/*
 * ---- publishing: as any other version; then the record says so, for who asks again ----
 *
 * An empty file gets its stripe set too, one of no stripes: it is the uid on the head, and the right that is used up for it, by
 * which a second try is known for what it is, and does not replace what somebody has stored meanwhile.
 */

struct publishing {
    struct store_upload_publish *publish;
    char object[STORE_OBJECT_SIZE];
    char tag[HEAD_TAG_SIZE];
    struct manifest manifest;
    struct gc_entry claim;
    struct store_publish step;
    struct rados_call call;
};

#define PUBLISHING_OF(member_pointer, member)                                                                \
    ((struct publishing *)((char *)(member_pointer)-offsetof(struct publishing, member)))

static void publish_finish(struct publishing *publishing, enum store_result result)
{
    struct store_upload_publish *publish = publishing->publish;

    free(publishing);
    publish->result = result;
    publish->done(publish);
}

static int launch_mark(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct publishing *publishing = PUBLISHING_OF(call, call);
    rados_write_op_t operation = rados_create_write_op();
    struct buffer value = {NULL, 0, 0};

    little_endian_append(&value, publishing->publish->size, 8);
    little_endian_append(&value, (uint64_t)publishing->publish->modified_ns, 8);
    buffer_append_text(&value, publishing->publish->etag);
    rados_write_op_assert_exists(operation);
    rados_write_op_setxattr(operation, UPLOAD_XATTR_PUBLISHED, value.base, value.len);
    buffer_free(&value);
    return store_launch_write(operation, ioctx, completion, publishing->publish->id,
                              LIBRADOS_OPERATION_NOFLAG);
}

/* Without the mark the head still tells, until somebody replaces the file. */
static void on_marked(struct rados_call *call)
{
    publish_finish(PUBLISHING_OF(call, call), STORE_OK);
}

static void on_step_published(struct store_publish *step)
{
    struct publishing *publishing = PUBLISHING_OF(step, step);
    struct store_upload_publish *publish = publishing->publish;

    fault_point("upload-published");
    if (step->result != STORE_OK) {
        publish_finish(publishing, step->result);
        return;
    }
    publish->created = step->created;
    publish->modified_ns = step->modified_ns;
    memcpy(publish->etag, step->etag, sizeof(publish->etag));
    store_call_begin(publish->store, publish->home, &publishing->call, SPACE_UPLOADS, 0, launch_mark,
                     on_marked);
}

uint32_t store_upload_crc32c(const struct store_upload_read *read)
{
    uint32_t crc = 0;
    size_t i;

    for (i = 0; i < read->part_count; i++)
        crc = crc32c_combine(crc, read->parts[i].crc32c, read->parts[i].size);
    return crc;
}

void store_upload_publish_begin(struct store_upload_publish *publish)
{
    struct publishing *publishing = xcalloc(1, sizeof(*publishing));
    const struct upload_record *record = &publish->read->record;

    publishing->publish = publish;
    memcpy(publishing->object, record->name.base, record->name.len);
    head_new_tag(publishing->tag);
    publishing->manifest = record->manifest;
    publishing->manifest.size = publish->size;
    publishing->manifest.modified_ns = clock_realtime_ns();
    publishing->manifest.stripe_size = record->part_size;
    publishing->manifest.digests = publish->digests;
    digests_set_crc32c(&publishing->manifest.digests, store_upload_crc32c(publish->read));
    publishing->claim = (struct gc_entry){.kind = GC_UPLOAD,
                                          .time_ns = record->claimed_ns,
                                          .stripes = upload_parts_most(record),
                                          .name = record->name};
    publishing->step = (struct store_publish){.store = publish->store,
                                              .home = publish->home,
                                              .name = record->name,
                                              .object = publishing->object,
                                              .tag = publishing->tag,
                                              .uid = publish->id,
                                              .claim = &publishing->claim,
                                              .manifest = &publishing->manifest,
                                              .conditions = &record->conditions,
                                              .done = on_step_published};
    store_publish_begin(&publishing->step);
}

/*
 * ---- giving it up: the record goes, then the right to publish; the collector does the rest ----
 *
 * The right would go with the collector, too. But a head has room for a few of them only, and whoever begins and gives up
 * one upload after the other is not to stand in his own way.
 */

struct giving_up {
    struct store_upload_delete *operation;
    char object[STORE_OBJECT_SIZE];
    struct rados_call call;
    struct store_note note;
    struct store_head_read read;
    unsigned attempts;
};

#define GIVING_UP_OF(step, member) ((struct giving_up *)((char *)(step)-offsetof(struct giving_up, member)))

static void delete_finish(struct giving_up *giving_up, int error)
{
    struct store_upload_delete *operation = giving_up->operation;

    head_free(&giving_up->read.head);
    free(giving_up);
    operation->result =
        error < 0 ? store_result_of_errno(operation->store, error, "cannot give up the upload", operation->id)
                  : STORE_OK;
    operation->done(operation);
}

static int launch_remove_right(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct giving_up *giving_up = GIVING_UP_OF(call, call);
    rados_write_op_t operation = rados_create_write_op();

    head_add_to_right_removal(operation, &giving_up->read.head, giving_up->operation->id);
    return store_launch_write(operation, ioctx, completion, giving_up->object, LIBRADOS_OPERATION_FULL_FORCE);
}

static void step_read_right(struct giving_up *giving_up);

static void on_right_removed(struct rados_call *call)
{
    struct giving_up *giving_up = GIVING_UP_OF(call, call);

    if (store_is_lost_race(call->result) && ++giving_up->attempts < STORE_ATTEMPTS_MAX)
        step_read_right(giving_up);
    else
        delete_finish(giving_up, 0);
}

/* What fails from here on is left to the collector, who knows of it. */
static void on_right_read(struct store_head_read *read)
{
    struct giving_up *giving_up = GIVING_UP_OF(read, read);

    if (read->error == 0 && head_has_pending(&read->head, giving_up->operation->id))
        store_call_begin(read->store, read->home, &giving_up->call, SPACE_HEADS, 0, launch_remove_right,
                         on_right_removed);
    else
        delete_finish(giving_up, 0);
}

static void step_read_right(struct giving_up *giving_up)
{
    head_free(&giving_up->read.head);
    giving_up->read = (struct store_head_read){.store = giving_up->operation->store,
                                               .home = giving_up->operation->home,
                                               .object = giving_up->object,
                                               .done = on_right_read};
    store_head_read_begin(&giving_up->read);
}

static void on_given_up(struct store_note *note)
{
    struct giving_up *giving_up = GIVING_UP_OF(note, note);

    fault_point("upload-given-up");
    if (note->error < 0)
        delete_finish(giving_up, note->error);
    else
        step_read_right(giving_up);
}

static int launch_remove_record(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    rados_write_op_t operation = rados_create_write_op();

    rados_write_op_remove(operation);
    return store_launch_write(operation, ioctx, completion, GIVING_UP_OF(call, call)->operation->id,
                              LIBRADOS_OPERATION_FULL_FORCE);
}

static void on_record_removed(struct rados_call *call)
{
    struct giving_up *giving_up = GIVING_UP_OF(call, call);
    struct store_upload_delete *operation = giving_up->operation;

    if (call->result < 0) {
        delete_finish(giving_up, call->result);
        return;
    }
    /* So that the collector does not wait for as long as it does for one that may go on. */
    giving_up->note = (struct store_note){.store = operation->store,
                                          .home = operation->home,
                                          .key = operation->id,
                                          .entry = {.kind = GC_DEAD,
                                                    .time_ns = clock_realtime_ns(),
                                                    .stripes = upload_parts_most(&operation->read->record),
                                                    .name = operation->read->record.name},
                                          .done = on_given_up};
    store_note_begin(&giving_up->note);
}

void store_upload_delete_begin(struct store_upload_delete *operation)
{
    struct giving_up *giving_up = xcalloc(1, sizeof(*giving_up));

    giving_up->operation = operation;
    memcpy(giving_up->object, operation->read->record.name.base, operation->read->record.name.len);
    store_call_begin(operation->store, operation->home, &giving_up->call, SPACE_UPLOADS, 0,
                     launch_remove_record, on_record_removed);
}
