#include "manifest.h"

#include "field.h"

enum {
    FIELD_SIZE = 1,
    FIELD_MODIFIED = 2,
    FIELD_MEDIA_TYPE = 3,
    FIELD_METADATA = 4,
    FIELD_STRIPE_SIZE = 5,
    FIELD_EXPIRES = 6,
    FIELD_OPTIONAL_FROM = 128,
    FIELD_CRC32C = 129,
    FIELD_SHA_256 = 130,
    FIELD_MD5 = 131,
};

static const struct {
    int id;
    enum digest_algorithm algorithm;
} digest_fields[] = {{FIELD_CRC32C, DIGEST_CRC32C}, {FIELD_SHA_256, DIGEST_SHA_256}, {FIELD_MD5, DIGEST_MD5}};

#define DIGEST_FIELDS (sizeof(digest_fields) / sizeof(digest_fields[0]))

static const char version_1[2] = {'M', 1};

void manifest_encode(const struct manifest *manifest, struct buffer *to)
{
    size_t i;

    buffer_append(to, version_1, sizeof(version_1));
    field_append_number(to, FIELD_SIZE, manifest->size);
    field_append_number(to, FIELD_MODIFIED, (uint64_t)manifest->modified_ns);
    if (manifest->stripe_size != 0)
        field_append_number(to, FIELD_STRIPE_SIZE, manifest->stripe_size);
    if (manifest->expires_ns != 0)
        field_append_number(to, FIELD_EXPIRES, (uint64_t)manifest->expires_ns);
    if (manifest->media_type.base != NULL)
        field_append(to, FIELD_MEDIA_TYPE, manifest->media_type);
    for (i = 0; i < manifest->metadata_count; i++) {
        const struct metadata_field *field = &manifest->metadata[i];
        field_append_header(to, FIELD_METADATA, field->name.len + 1 + field->value.len);
        buffer_append_slice(to, field->name);
        buffer_append(to, "", 1);
        buffer_append_slice(to, field->value);
    }
    for (i = 0; i < DIGEST_FIELDS; i++) {
        enum digest_algorithm algorithm = digest_fields[i].algorithm;
        if ((manifest->digests.known & DIGEST_BIT(algorithm)) != 0)
            field_append(
                to, digest_fields[i].id,
                (struct slice){(const char *)manifest->digests.value[algorithm], digest_size(algorithm)});
    }
}

static bool decode_digest(struct slice value, enum digest_algorithm algorithm, struct digests *digests)
{
    if ((digests->known & DIGEST_BIT(algorithm)) != 0 || value.len != digest_size(algorithm))
        return false;
    memcpy(digests->value[algorithm], value.base, value.len);
    digests->known |= DIGEST_BIT(algorithm);
    return true;
}

static bool decode_metadata(struct slice value, struct manifest *manifest)
{
    const char *nul = value.len != 0 ? memchr(value.base, '\0', value.len) : NULL;
    struct metadata_field *field;

    if (nul == NULL || manifest->metadata_count == METADATA_FIELDS_MAX)
        return false;
    field = &manifest->metadata[manifest->metadata_count++];
    field->name = (struct slice){value.base, (size_t)(nul - value.base)};
    field->value = (struct slice){nul + 1, value.len - field->name.len - 1};
    return true;
}

/* A number that must not be there twice; 0 stands for its absence, and is no value. */
static bool decode_number_once(struct slice value, uint64_t *number)
{
    return *number == 0 && field_number(value, number) && *number != 0;
}

static bool decode_field(const struct field *field, struct manifest *manifest, bool *size_seen,
                         bool *modified_seen)
{
    uint64_t number = (uint64_t)manifest->expires_ns;

    switch (field->id) {
    case FIELD_SIZE:
        if (*size_seen)
            return false;
        *size_seen = true;
        return field_number(field->value, &manifest->size);
    case FIELD_MODIFIED:
        if (*modified_seen || !field_number(field->value, &number))
            return false;
        *modified_seen = true;
        manifest->modified_ns = (int64_t)number;
        return true;
    case FIELD_STRIPE_SIZE:
        return decode_number_once(field->value, &manifest->stripe_size);
    case FIELD_EXPIRES:
        if (!decode_number_once(field->value, &number))
            return false;
        manifest->expires_ns = (int64_t)number;
        return true;
    case FIELD_MEDIA_TYPE:
        if (manifest->media_type.base != NULL)
            return false;
        manifest->media_type = field->value;
        return true;
    case FIELD_METADATA:
        return decode_metadata(field->value, manifest);
    case FIELD_CRC32C:
    case FIELD_SHA_256:
    case FIELD_MD5:
        return decode_digest(field->value, digest_fields[field->id - FIELD_CRC32C].algorithm,
                             &manifest->digests);
    }
    return field->id >= FIELD_OPTIONAL_FROM;
}

bool manifest_decode(struct slice bytes, struct manifest *manifest)
{
    bool size_seen = false, modified_seen = false;
    struct field field;

    manifest->stripe_size = 0;
    manifest->expires_ns = 0;
    manifest->digests.known = 0;
    manifest->media_type = SLICE_ABSENT;
    manifest->metadata_count = 0;
    if (bytes.len < sizeof(version_1) || memcmp(bytes.base, version_1, sizeof(version_1)) != 0)
        return false;
    bytes.base += sizeof(version_1);
    bytes.len -= sizeof(version_1);
    while (field_next(&bytes, &field))
        if (!decode_field(&field, manifest, &size_seen, &modified_seen))
            return false;
    return bytes.len == 0 && size_seen && modified_seen;
}
