/*
 * Renaming a file: a copy, then the old name is deleted, provided that it still stands for the version that was copied. If
 * it does not, all of it begins again. At every moment the content is under the old name, or under both, or under the
 * new one.
 */
#include <stddef.h>

#include "fault.h"
#include "store_write.h"

#define COPIES_MOST 4

static struct store_rename *rename_of_deletion(struct store_delete *deletion)
{
    return (struct store_rename *)((char *)deletion - offsetof(struct store_rename, deletion));
}

static void finish(struct store_rename *rename, enum store_result result, bool about_old)
{
    rename->result = result;
    rename->about_old = about_old;
    rename->done(rename);
}

static void step_copy(struct store_rename *rename);

static void on_deleted(struct store_delete *deletion)
{
    struct store_rename *rename = rename_of_deletion(deletion);

    switch (deletion->result) {
    case STORE_OK:
    case STORE_NOT_FOUND: /* Somebody else has deleted it: it is gone, as was wanted. */
        fault_point("rename-removed");
        finish(rename, STORE_OK, true);
        break;
    case STORE_PRECONDITION_FAILED: /* It is another version by now. */
        step_copy(rename);
        break;
    default:
        finish(rename, deletion->result, true);
    }
}

static void step_delete(struct store_rename *rename)
{
    rename->deletion = (struct store_delete){.store = rename->copy.store,
                                             .home = rename->copy.home,
                                             .name = rename->copy.source_name,
                                             .conditions = {.if_match = slice_of(rename->copy.source_etag)},
                                             .done = on_deleted};
    store_delete_begin(&rename->deletion);
}

static void on_copied(struct store_copy *copy)
{
    struct store_rename *rename = (struct store_rename *)copy;

    if (copy->result == STORE_OK) {
        fault_point("rename-copied");
        rename->created = rename->copied ? rename->created : copy->created;
        rename->copied = true;
        memcpy(rename->etag, copy->etag, sizeof(copy->etag));
        step_delete(rename);
    } else if (copy->result == STORE_CHANGED) {
        step_copy(rename);
    } else if (copy->result == STORE_NOT_FOUND && copy->about_source && rename->copied) {
        /* A version was copied, and what came after it has been deleted. */
        finish(rename, STORE_OK, true);
    } else {
        finish(rename, copy->result, copy->about_source);
    }
}

static void step_copy(struct store_rename *rename)
{
    struct conditions *conditions = &rename->copy.conditions;

    if (rename->copies++ == COPIES_MOST) {
        finish(rename, STORE_CONTENDED, true);
        return;
    }
    *conditions = (struct conditions){.if_match = SLICE_ABSENT};
    /* After the first time what must not be replaced is what others put there; our own copy may be. */
    if (rename->only_new && rename->copied)
        conditions->if_match = slice_of(rename->etag);
    else if (rename->only_new)
        conditions->if_none_match = slice_of("*");
    store_copy_begin(&rename->copy);
}

void store_rename_begin(struct store_rename *rename)
{
    rename->copy.done = on_copied;
    rename->copied = false;
    rename->copies = 0;
    step_copy(rename);
}
