#include "support.h"

#include "index.h"

static const struct index_entry entry = {.version = 0x0102030405060708,
                                         .kind = INDEX_FILE,
                                         .modified_ns = -2,
                                         .size = 258,
                                         .expires_ns = 1,
                                         .etag = BYTES("\"t\""),
                                         .media_type = BYTES("text/plain")};

static void test_format(void **state)
{
    struct buffer encoded = {NULL, 0, 0};

    (void)state;
    index_entry_encode(&entry, &encoded);
    assert_slice_equals(buffer_slice(&encoded), (struct slice)BYTES("\x01\x02\x03\x04\x05\x06\x07\x08I\x01"
                                                                    "f\xfe\xff\xff\xff\xff\xff\xff\xff"
                                                                    "\x02\x01\0\0\0\0\0\0"
                                                                    "\x01\0\0\0\0\0\0\0"
                                                                    "\x03\"t\"text/plain"));
    buffer_free(&encoded);
}

static void assert_same(const struct index_entry *a, const struct index_entry *b)
{
    assert_true(a->version == b->version && a->kind == b->kind && a->modified_ns == b->modified_ns &&
                a->size == b->size && a->expires_ns == b->expires_ns);
    assert_slice_equals(a->etag, b->etag);
    assert_slice_equals(a->media_type, b->media_type);
}

static void test_round_trips(void **state)
{
    static const struct index_entry tombstone = {
        .version = UINT64_MAX, .kind = INDEX_TOMBSTONE, .modified_ns = INT64_MAX};
    struct buffer encoded = {NULL, 0, 0};
    struct index_entry decoded;
    struct slice name;

    (void)state;
    index_entry_encode(&entry, &encoded);
    assert_true(index_entry_decode(buffer_slice(&encoded), &decoded));
    assert_same(&decoded, &entry);
    encoded.len = 0;
    index_entry_encode(&tombstone, &encoded);
    assert_true(index_entry_decode(buffer_slice(&encoded), &decoded));
    assert_same(&decoded, &tombstone);
    encoded.len = 0;
    index_journal_encode((struct slice)BYTES("a/\xff"), &entry, &encoded);
    assert_true(index_journal_decode(buffer_slice(&encoded), &name, &decoded));
    assert_slice_equals(name, (struct slice)BYTES("a/\xff"));
    assert_same(&decoded, &entry);
    buffer_free(&encoded);
}

/* Whatever is cut off, only what lies in the bytes is used. */
static void test_damaged(void **state)
{
    struct buffer encoded = {NULL, 0, 0};
    struct index_entry decoded;
    struct slice name;
    size_t len, fixed;

    (void)state;
    index_journal_encode((struct slice)BYTES("name"), &entry, &encoded);
    fixed = encoded.len - entry.media_type.len;
    for (len = 0; len < fixed; len++) {
        char *copy = len != 0 ? memcpy(malloc(len), encoded.base, len) : NULL;
        assert_false(index_journal_decode((struct slice){copy, len}, &name, &decoded));
        free(copy);
    }
    assert_true(index_journal_decode((struct slice){encoded.base, fixed}, &name, &decoded));
    encoded.base[2 + 4 + INDEX_VERSION_SIZE + 1] = 2; /* the format's version */
    assert_false(index_journal_decode(buffer_slice(&encoded), &name, &decoded));
    encoded.base[2 + 4 + INDEX_VERSION_SIZE + 1] = 1;
    encoded.base[2 + 4 + INDEX_VERSION_SIZE + 2] = 'x'; /* the kind */
    assert_false(index_journal_decode(buffer_slice(&encoded), &name, &decoded));
    encoded.len = 0;
    index_journal_encode((struct slice)BYTES(""), &entry, &encoded);
    assert_false(index_journal_decode(buffer_slice(&encoded), &name, &decoded));
    buffer_free(&encoded);
}

/* An OSD compares the bytes. */
static void test_versions_are_ordered_as_bytes(void **state)
{
    static const uint64_t versions[] = {0, 1, 255, 256, 65535, 1ULL << 32, UINT64_MAX};
    char low[INDEX_VERSION_SIZE], high[INDEX_VERSION_SIZE];
    size_t i;

    (void)state;
    for (i = 0; i + 1 < COUNT_OF(versions); i++) {
        index_version_encode(versions[i], low);
        index_version_encode(versions[i + 1], high);
        assert_true(memcmp(low, high, sizeof(low)) < 0);
    }
}

static void test_shown(void **state)
{
    struct index_entry some = {.kind = INDEX_FILE};

    (void)state;
    assert_true(index_entry_is_shown(&some, 100));
    some.expires_ns = 101;
    assert_true(index_entry_is_shown(&some, 100));
    some.expires_ns = 100;
    assert_false(index_entry_is_shown(&some, 100));
    some = (struct index_entry){.kind = INDEX_TOMBSTONE};
    assert_false(index_entry_is_shown(&some, 100));
}

static void test_shards(void **state)
{
    unsigned found[16] = {0}, i;

    (void)state;
    /* FNV-1a's own test values. */
    assert_int_equal(index_shard((struct slice)BYTES(""), 0x10000), 0x811c9dc5 % 0x10000);
    assert_int_equal(index_shard((struct slice)BYTES("a"), 0x10000), 0xe40c292c % 0x10000);
    assert_int_equal(index_shard((struct slice)BYTES("foobar"), 0x10000), 0xbf9cf968 % 0x10000);
    for (i = 0; i < 16000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "folder/file-%u.txt", i);
        found[index_shard(slice_of(name), 16)]++;
    }
    for (i = 0; i < 16; i++)
        assert_true(found[i] > 850 && found[i] < 1150);
}

static void test_names_of_objects(void **state)
{
    char object[INDEX_OBJECT_SIZE];

    (void)state;
    index_shard_object(4095, object);
    assert_string_equal(object, "index.4095");
    index_journal_object(63, 2, object);
    assert_string_equal(object, "journal.63.2");
    assert_int_equal(index_slot(0), 0);
    assert_int_equal(index_slot(1999999999), 1);
    assert_int_equal(index_slot(3000000000), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_versions_are_ordered_as_bytes),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_names_of_objects),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
