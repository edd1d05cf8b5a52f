/*
 * The stored formats: the first byte chooses one. What can be read can be written again, and is then the same; what is
 * found lies within the bytes.
 */
#include "fuzz.h"

#include "gc.h"
#include "index.h"
#include "layout.h"
#include "manifest.h"
#include "stripe.h"
#include "upload.h"

static void fuzz_manifest(struct slice bytes)
{
    struct buffer once = {NULL, 0, 0}, twice = {NULL, 0, 0};
    struct manifest manifest, again;

    if (!manifest_decode(bytes, &manifest))
        return;
    must(fuzz_within(manifest.media_type, bytes) && manifest.metadata_count <= METADATA_FIELDS_MAX);
    manifest_encode(&manifest, &once);
    must(manifest_decode(buffer_slice(&once), &again));
    manifest_encode(&again, &twice);
    must(slice_equals(buffer_slice(&once), buffer_slice(&twice)));
    buffer_free(&once);
    buffer_free(&twice);
}

static void fuzz_gc(struct slice bytes)
{
    struct buffer again = {NULL, 0, 0};
    struct gc_entry entry;

    if (!gc_entry_decode(bytes, &entry))
        return;
    must(fuzz_within(entry.name, bytes));
    gc_entry_encode(&entry, &again);
    must(slice_equals(buffer_slice(&again), bytes));
    buffer_free(&again);
}

static void fuzz_index(struct slice bytes)
{
    struct buffer again = {NULL, 0, 0};
    struct index_entry entry;
    struct slice name;

    if (!index_journal_decode(bytes, &name, &entry))
        return;
    must(name.len != 0 && fuzz_within(name, bytes) && fuzz_within(entry.etag, bytes) &&
         fuzz_within(entry.media_type, bytes));
    must(index_shard(name, 16) < 16);
    index_journal_encode(name, &entry, &again);
    must(slice_equals(buffer_slice(&again), bytes));
    buffer_free(&again);
}

static void fuzz_layout(struct slice bytes)
{
    struct layout layout;

    if (layout_decode(bytes, &layout) == NULL)
        must(layout.stripe_size != 0 && layout.index_shards != 0 && layout.gc_shards != 0 &&
             layout.index_journals != 0 && layout.data_pool[0] != '\0');
}

static void fuzz_upload(struct slice bytes)
{
    struct buffer once = {NULL, 0, 0}, twice = {NULL, 0, 0};
    struct upload_record record, again;

    if (!upload_record_decode(bytes, &record))
        return;
    must(fuzz_within(record.name, bytes) && record.part_size != 0);
    must(upload_part_problem(&record, UINT64_MAX, 1) != NULL);
    upload_record_encode(&record, &once);
    must(upload_record_decode(buffer_slice(&once), &again));
    upload_record_encode(&again, &twice);
    must(slice_equals(buffer_slice(&once), buffer_slice(&twice)));
    buffer_free(&once);
    buffer_free(&twice);
}

static void fuzz_part(struct slice bytes)
{
    struct slice value = bytes, key = fuzz_cut(&value);
    struct upload_part part;

    if (upload_part_decode(key, value, &part))
        must(part.number <= 999999999);
}

static void fuzz_stripe(struct slice bytes)
{
    struct slice content = bytes, checksums = fuzz_cut(&content);
    struct buffer right = {NULL, 0, 0};
    uint64_t bad;

    (void)stripe_check(checksums, bytes.len, content, &bad);
    (void)stripe_checksums(content, &right);
    must(stripe_check(buffer_slice(&right), 0, content, &bad));
    buffer_free(&right);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const formats[])(struct slice bytes) = {fuzz_manifest, fuzz_gc,   fuzz_index, fuzz_layout,
                                                          fuzz_upload,   fuzz_part, fuzz_stripe};

    if (size != 0)
        formats[data[0] % (sizeof(formats) / sizeof(formats[0]))](fuzz_slice(data + 1, size - 1));
    return 0;
}
