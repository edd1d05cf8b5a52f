#include "support.h"

#include "manifest.h"

static struct slice encode(const struct manifest *manifest, struct buffer *to)
{
    manifest_encode(manifest, to);
    return buffer_slice(to);
}

static bool same(const struct manifest *a, const struct manifest *b)
{
    size_t i;

    if (a->size != b->size || a->modified_ns != b->modified_ns || a->stripe_size != b->stripe_size ||
        a->metadata_count != b->metadata_count ||
        (a->media_type.base != NULL) != (b->media_type.base != NULL) ||
        !slice_equals(a->media_type, b->media_type))
        return false;
    for (i = 0; i < a->metadata_count; i++)
        if (!slice_equals(a->metadata[i].name, b->metadata[i].name) ||
            !slice_equals(a->metadata[i].value, b->metadata[i].value))
            return false;
    return true;
}

static bool is_within(const struct manifest *manifest, struct slice bytes)
{
    size_t i;

    if (!slice_is_within(manifest->media_type, bytes) || manifest->metadata_count > METADATA_FIELDS_MAX)
        return false;
    for (i = 0; i < manifest->metadata_count; i++)
        if (!slice_is_within(manifest->metadata[i].name, bytes) ||
            !slice_is_within(manifest->metadata[i].value, bytes))
            return false;
    return true;
}

static void test_stripes(void **state)
{
    struct manifest manifest = {
        .size = 4097, .modified_ns = 1, .stripe_size = 4096, .media_type = SLICE_ABSENT};
    struct buffer encoded = {NULL, 0, 0};
    struct manifest decoded;
    const char *field;

    (void)state;
    assert_int_equal(manifest_stripe_count(&manifest), 2);
    manifest.size = 4096;
    assert_int_equal(manifest_stripe_count(&manifest), 1);
    manifest.size = UINT64_MAX;
    assert_true(manifest_stripe_count(&manifest) == UINT64_MAX / 4096 + 1);

    encode(&manifest, &encoded);
    assert_true(manifest_decode(buffer_slice(&encoded), &decoded));
    assert_true(same(&manifest, &decoded));

    /* Neither a stripe of no bytes, nor two sizes of a stripe. */
    field = "\x05\x08\0\0\0\x00\x10\0\0\0\0\0\0";
    buffer_append(&encoded, field, 13);
    assert_false(manifest_decode(buffer_slice(&encoded), &decoded));
    encoded.len -= 2 * 13;
    assert_true(manifest_decode(buffer_slice(&encoded), &decoded));
    assert_int_equal(manifest_stripe_count(&decoded), 0);
    buffer_append(&encoded, "\x05\x08\0\0\0\0\0\0\0\0\0\0\0", 13);
    assert_false(manifest_decode(buffer_slice(&encoded), &decoded));
    buffer_free(&encoded);
}

/* ---- the format, byte for byte ---- */

#define HEAD     "M\x01"
#define SIZE     "\x01\x08\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11"
#define MODIFIED "\x02\x08\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff"
#define TYPE     "\x03\x0a\0\0\0text/plain"
#define COLOUR   "\x04\x0a\0\0\0colour\0red"
#define EMPTY    "\x04\x02\0\0\0e\0"

static void test_format(void **state)
{
    struct manifest manifest = {
        .size = UINT64_C(0x1122334455667788),
        .modified_ns = -2,
        .media_type = BYTES("text/plain"),
        .metadata_count = 2,
        .metadata = {{BYTES("colour"), BYTES("red")}, {BYTES("e"), BYTES("")}},
    };
    struct buffer encoded = {NULL, 0, 0};
    struct manifest decoded;

    (void)state;
    assert_slice_equals(encode(&manifest, &encoded), SLICE_LITERAL(HEAD SIZE MODIFIED TYPE COLOUR EMPTY));
    assert_true(manifest_decode(buffer_slice(&encoded), &decoded));
    assert_true(same(&manifest, &decoded));
    buffer_free(&encoded);
}

static void test_format_without_optional_fields(void **state)
{
    struct manifest manifest = {.size = 0, .modified_ns = 1, .media_type = SLICE_ABSENT};
    struct buffer encoded = {NULL, 0, 0};
    struct manifest decoded;

    (void)state;
    assert_slice_equals(encode(&manifest, &encoded), SLICE_LITERAL(HEAD "\x01\x08\0\0\0\0\0\0\0\0\0\0\0"
                                                                        "\x02\x08\0\0\0\x01\0\0\0\0\0\0\0"));
    assert_true(manifest_decode(buffer_slice(&encoded), &decoded));
    assert_null(decoded.media_type.base);
    assert_int_equal(decoded.metadata_count, 0);
    buffer_free(&encoded);
}

static void test_encode_appends(void **state)
{
    struct manifest manifest = {.size = UINT64_C(0x1122334455667788), .modified_ns = -2};
    struct buffer encoded = {NULL, 0, 0};

    (void)state;
    buffer_append_text(&encoded, "before");
    assert_slice_equals(encode(&manifest, &encoded), SLICE_LITERAL("before" HEAD SIZE MODIFIED));
    buffer_free(&encoded);
}

/* A media type that is empty is not the same as none. */
static void test_empty_media_type(void **state)
{
    struct manifest decoded;

    (void)state;
    assert_true(manifest_decode(SLICE_LITERAL(HEAD SIZE MODIFIED "\x03\0\0\0\0"), &decoded));
    assert_non_null(decoded.media_type.base);
    assert_int_equal(decoded.media_type.len, 0);
}

static void test_decode(void **state)
{
    static const struct {
        const char *what;
        struct slice bytes;
        bool well;
    } rows[] = {
        {"fields in another order", BYTES(HEAD COLOUR TYPE MODIFIED SIZE), true},
        {"the same metadata name twice", BYTES(HEAD SIZE MODIFIED COLOUR COLOUR), true},
        {"an unknown field of 128", BYTES(HEAD SIZE MODIFIED "\x80\x03\0\0\0abc"), true},
        {"an unknown field of 255", BYTES(HEAD "\xff\0\0\0\0" SIZE MODIFIED), true},
        {"the same unknown field twice", BYTES(HEAD "\x80\0\0\0\0" SIZE "\x80\0\0\0\0" MODIFIED), true},
        {"a NUL in a metadata value", BYTES(HEAD SIZE MODIFIED "\x04\x04\0\0\0a\0b\0"), true},
        {"a metadata name that is empty", BYTES(HEAD SIZE MODIFIED "\x04\x02\0\0\0\0b"), true},

        {"nothing", BYTES(""), false},
        {"half a head", BYTES("M"), false},
        {"the head alone", BYTES(HEAD), false},
        {"another first byte", BYTES("m\x01" SIZE MODIFIED), false},
        {"version 0", BYTES("M\0" SIZE MODIFIED), false},
        {"version 2", BYTES("M\x02" SIZE MODIFIED), false},
        {"no size", BYTES(HEAD MODIFIED), false},
        {"no time", BYTES(HEAD SIZE), false},
        {"two sizes", BYTES(HEAD SIZE SIZE MODIFIED), false},
        {"two times", BYTES(HEAD SIZE MODIFIED MODIFIED), false},
        {"two media types", BYTES(HEAD SIZE MODIFIED TYPE TYPE), false},
        {"two empty media types", BYTES(HEAD SIZE MODIFIED "\x03\0\0\0\0\x03\0\0\0\0"), false},
        {"a size of 7 bytes", BYTES(HEAD "\x01\x07\0\0\0\1\2\3\4\5\6\7" MODIFIED), false},
        {"a size of 9 bytes", BYTES(HEAD "\x01\x09\0\0\0\1\2\3\4\5\6\7\1\2" MODIFIED), false},
        {"a time of 4 bytes", BYTES(HEAD SIZE "\x02\x04\0\0\0\1\2\3\4"), false},
        {"a time of no bytes", BYTES(HEAD SIZE "\x02\0\0\0\0"), false},
        {"an unknown field of 0", BYTES(HEAD SIZE MODIFIED "\0\0\0\0\0"), false},
        {"an unknown field of 5", BYTES(HEAD SIZE MODIFIED "\x05\0\0\0\0"), false},
        {"an unknown field of 127", BYTES(HEAD SIZE MODIFIED "\x7f\0\0\0\0"), false},
        {"metadata without its NUL", BYTES(HEAD SIZE MODIFIED "\x04\x03\0\0\0abc"), false},
        {"metadata without anything", BYTES(HEAD SIZE MODIFIED "\x04\0\0\0\0"), false},
        {"one byte behind", BYTES(HEAD SIZE MODIFIED "\x80"), false},
        {"half a field header behind", BYTES(HEAD SIZE MODIFIED "\x80\x01\0\0"), false},
        {"a length of one too many", BYTES(HEAD SIZE MODIFIED "\x80\x04\0\0\0abc"), false},
        {"the largest length",
         BYTES(HEAD SIZE MODIFIED "\x80\xff\xff\xff\xff"
                                  "abc"),
         false},
        {"a large length in its high byte", BYTES(HEAD SIZE MODIFIED "\x80\0\0\0\x80"), false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char *copy = copy_exactly(rows[i].bytes);
        struct manifest decoded;
        assert_row(manifest_decode((struct slice){copy, rows[i].bytes.len}, &decoded) == rows[i].well,
                   rows[i].what);
        free(copy);
    }
    assert_false(manifest_decode(SLICE_ABSENT, &(struct manifest){.size = 0}));
}

static void test_decode_order_and_values(void **state)
{
    struct manifest decoded;

    (void)state;
    assert_true(manifest_decode(
        SLICE_LITERAL(HEAD COLOUR "\x80\x03\0\0\0abc" TYPE EMPTY MODIFIED SIZE "\x04\x04\0\0\0a\0b\0"),
        &decoded));
    assert_true(decoded.size == UINT64_C(0x1122334455667788));
    assert_true(decoded.modified_ns == -2);
    assert_slice_equals(decoded.media_type, SLICE_LITERAL("text/plain"));
    assert_int_equal(decoded.metadata_count, 3);
    assert_slice_equals(decoded.metadata[0].name, SLICE_LITERAL("colour"));
    assert_slice_equals(decoded.metadata[0].value, SLICE_LITERAL("red"));
    assert_slice_equals(decoded.metadata[1].name, SLICE_LITERAL("e"));
    assert_slice_equals(decoded.metadata[1].value, SLICE_LITERAL(""));
    assert_slice_equals(decoded.metadata[2].name, SLICE_LITERAL("a"));
    assert_slice_equals(decoded.metadata[2].value, SLICE_LITERAL("b\0"));
}

static void test_metadata_fields_max(void **state)
{
    struct buffer encoded = {NULL, 0, 0};
    struct manifest decoded;
    size_t i;

    (void)state;
    buffer_append(&encoded, HEAD SIZE MODIFIED, sizeof(HEAD SIZE MODIFIED) - 1);
    for (i = 0; i < METADATA_FIELDS_MAX; i++)
        buffer_append(&encoded, EMPTY, sizeof(EMPTY) - 1);
    assert_true(manifest_decode(buffer_slice(&encoded), &decoded));
    assert_int_equal(decoded.metadata_count, METADATA_FIELDS_MAX);
    buffer_append(&encoded, EMPTY, sizeof(EMPTY) - 1);
    assert_false(manifest_decode(buffer_slice(&encoded), &decoded));
    buffer_free(&encoded);
}

/* ---- random manifests ---- */

/* Slices into `storage`, which has to outlive the manifest. */
static void random_manifest(struct random *random, struct buffer *storage, struct manifest *manifest)
{
    size_t lengths[1 + 2 * METADATA_FIELDS_MAX], i, count, at = 0;

    memset(manifest, 0, sizeof(*manifest));
    manifest->size = random_next(random) >> random_below(random, 64);
    manifest->modified_ns = (int64_t)random_next(random);
    manifest->metadata_count =
        random_below(random, 8) == 0 ? METADATA_FIELDS_MAX : random_below(random, METADATA_FIELDS_MAX / 8);
    count = 1 + 2 * manifest->metadata_count;
    for (i = 0; i < count; i++) {
        lengths[i] = random_below(random, 20);
        random_append_bytes(random, lengths[i], storage);
    }
    /* A name ends at its NUL, so it has none in it. */
    for (i = 0; i < storage->len; i++)
        if (storage->base[i] == '\0')
            storage->base[i] = 'n';
    buffer_append_text(storage, "");

    if (random_below(random, 4) != 0)
        manifest->media_type = (struct slice){storage->base, lengths[0]};
    at = lengths[0];
    for (i = 0; i < manifest->metadata_count; i++) {
        manifest->metadata[i].name = (struct slice){storage->base + at, lengths[1 + 2 * i]};
        at += lengths[1 + 2 * i];
        manifest->metadata[i].value = (struct slice){storage->base + at, lengths[2 + 2 * i]};
        at += lengths[2 + 2 * i];
    }
}

/* What is accepted must also come out the same when it is written and read again. */
static bool survives_rewriting(const struct manifest *manifest)
{
    struct buffer encoded = {NULL, 0, 0};
    struct manifest decoded;
    bool well = manifest_decode(encode(manifest, &encoded), &decoded) && same(manifest, &decoded);

    buffer_free(&encoded);
    return well;
}

static void test_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 1000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer storage = {NULL, 0, 0}, encoded = {NULL, 0, 0};
        struct manifest manifest, decoded;
        char *copy;

        random_manifest(&random, &storage, &manifest);
        encode(&manifest, &encoded);
        copy = copy_exactly(buffer_slice(&encoded));
        assert_seeded(manifest_decode((struct slice){copy, encoded.len}, &decoded), seed);
        assert_seeded(same(&manifest, &decoded), seed);
        assert_seeded(is_within(&decoded, (struct slice){copy, encoded.len}), seed);
        free(copy);
        buffer_free(&storage);
        buffer_free(&encoded);
    }
}

/* A manifest that was cut off is refused, or cut where a field ends, and then exactly those fields are in it.
 */
static void test_every_truncation(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 60; seed++) {
        struct random random = random_seeded(seed);
        struct buffer storage = {NULL, 0, 0}, encoded = {NULL, 0, 0};
        struct manifest manifest, decoded;
        size_t len, accepted = 0;

        random_manifest(&random, &storage, &manifest);
        encode(&manifest, &encoded);
        for (len = 0; len < encoded.len; len++) {
            char *copy = copy_exactly((struct slice){encoded.base, len});

            if (manifest_decode((struct slice){copy, len}, &decoded)) {
                struct buffer again = {NULL, 0, 0};
                accepted++;
                assert_seeded(is_within(&decoded, (struct slice){copy, len}), seed);
                assert_seeded(slice_equals(encode(&decoded, &again), (struct slice){copy, len}), seed);
                buffer_free(&again);
            }
            free(copy);
        }
        assert_seeded(accepted == manifest.metadata_count + (manifest.media_type.base != NULL), seed);
        buffer_free(&storage);
        buffer_free(&encoded);
    }
}

static void check_damaged(char *bytes, size_t len, uint64_t seed)
{
    struct manifest decoded;

    memset(&decoded, 0xa5, sizeof(decoded));
    if (manifest_decode((struct slice){bytes, len}, &decoded)) {
        assert_seeded(is_within(&decoded, (struct slice){bytes, len}), seed);
        assert_seeded(survives_rewriting(&decoded), seed);
    }
}

static void test_flipped_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 20000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer storage = {NULL, 0, 0}, encoded = {NULL, 0, 0};
        size_t flips = 1 + random_below(&random, 4);
        struct manifest manifest;
        char *copy;

        random_manifest(&random, &storage, &manifest);
        encode(&manifest, &encoded);
        copy = copy_exactly(buffer_slice(&encoded));
        while (flips-- != 0)
            copy[random_below(&random, encoded.len)] ^= (char)(1U << random_below(&random, 8));
        check_damaged(copy, encoded.len, seed);
        free(copy);
        buffer_free(&storage);
        buffer_free(&encoded);
    }
}

/* Fields of random ids and lengths, so that more than the first check is reached. */
static void test_any_fields(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 20000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0};
        size_t fields = random_below(&random, 6);
        char *copy;

        buffer_append(&bytes, HEAD, 2);
        while (fields-- != 0) {
            random_append_of(&random, SLICE_LITERAL("\x01\x02\x03\x04\x05\x80"), 1, &bytes);
            random_append_of(&random, SLICE_LITERAL("\0\x01\x02\x08\x08\x08\xff"), 1, &bytes);
            random_append_of(&random, SLICE_LITERAL("\0\0\0\0\0\0\0\0\xff"), 3, &bytes);
            random_append_of(&random, SLICE_LITERAL("\0ab\xff"), random_below(&random, 10), &bytes);
        }
        copy = copy_exactly(buffer_slice(&bytes));
        check_damaged(copy, bytes.len, seed);
        free(copy);
        buffer_free(&bytes);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stripes),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_format_without_optional_fields),
        cmocka_unit_test(test_encode_appends),
        cmocka_unit_test(test_empty_media_type),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_order_and_values),
        cmocka_unit_test(test_metadata_fields_max),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_any_fields),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
