#include "manifest.h"

#include "little_endian.h"

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

static void append_header(struct buffer *to, int id, size_t length)
{
    char byte = (char)id;
    buffer_append(to, &byte, 1);
    little_endian_append(to, length, 4);
}

static void append_number(struct buffer *to, int id, uint64_t number)
{
    append_header(to, id, 8);
    little_endian_append(to, number, 8);
}

void manifest_encode(const struct manifest *manifest, struct buffer *to)
{
    size_t i;

    buffer_append(to, version_1, sizeof(version_1));
    append_number(to, FIELD_SIZE, manifest->size);
    append_number(to, FIELD_MODIFIED, (uint64_t)manifest->modified_ns);
    if (manifest->stripe_size != 0)
        append_number(to, FIELD_STRIPE_SIZE, manifest->stripe_size);
    if (manifest->expires_ns != 0)
        append_number(to, FIELD_EXPIRES, (uint64_t)manifest->expires_ns);
    if (manifest->media_type.base != NULL) {
        append_header(to, FIELD_MEDIA_TYPE, manifest->media_type.len);
        buffer_append_slice(to, manifest->media_type);
    }
    for (i = 0; i < manifest->metadata_count; i++) {
        const struct metadata_field *field = &manifest->metadata[i];
        append_header(to, FIELD_METADATA, field->name.len + 1 + field->value.len);
        buffer_append_slice(to, field->name);
        buffer_append(to, "", 1);
        buffer_append_slice(to, field->value);
    }
    for (i = 0; i < DIGEST_FIELDS; i++) {
        enum digest_algorithm algorithm = digest_fields[i].algorithm;
        if ((manifest->digests.known & DIGEST_BIT(algorithm)) == 0)
            continue;
        append_header(to, digest_fields[i].id, digest_size(algorithm));
        buffer_append(to, manifest->digests.value[algorithm], digest_size(algorithm));
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

bool manifest_decode(struct slice bytes, struct manifest *manifest)
{
    bool size_seen = false, modified_seen = false;

    manifest->stripe_size = 0;
    manifest->expires_ns = 0;
    manifest->digests.known = 0;
    manifest->media_type = SLICE_ABSENT;
    manifest->metadata_count = 0;
    if (bytes.len < sizeof(version_1) || memcmp(bytes.base, version_1, sizeof(version_1)) != 0)
        return false;
    bytes.base += sizeof(version_1);
    bytes.len -= sizeof(version_1);

    while (bytes.len != 0) {
        unsigned char id;
        struct slice value;

        if (bytes.len < 5)
            return false;
        id = (unsigned char)bytes.base[0];
        value = (struct slice){bytes.base + 5, (size_t)little_endian_read(bytes.base + 1, 4)};
        if (value.len > bytes.len - 5)
            return false;
        bytes.base += 5 + value.len;
        bytes.len -= 5 + value.len;

        switch (id) {
        case FIELD_SIZE:
            if (size_seen || value.len != 8)
                return false;
            manifest->size = little_endian_read(value.base, 8);
            size_seen = true;
            break;
        case FIELD_MODIFIED:
            if (modified_seen || value.len != 8)
                return false;
            manifest->modified_ns = (int64_t)little_endian_read(value.base, 8);
            modified_seen = true;
            break;
        case FIELD_STRIPE_SIZE:
            if (manifest->stripe_size != 0 || value.len != 8)
                return false;
            manifest->stripe_size = little_endian_read(value.base, 8);
            if (manifest->stripe_size == 0)
                return false;
            break;
        case FIELD_EXPIRES:
            if (manifest->expires_ns != 0 || value.len != 8)
                return false;
            manifest->expires_ns = (int64_t)little_endian_read(value.base, 8);
            if (manifest->expires_ns == 0)
                return false;
            break;
        case FIELD_MEDIA_TYPE:
            if (manifest->media_type.base != NULL)
                return false;
            manifest->media_type = value;
            break;
        case FIELD_METADATA:
            if (!decode_metadata(value, manifest))
                return false;
            break;
        case FIELD_CRC32C:
        case FIELD_SHA_256:
        case FIELD_MD5:
            if (!decode_digest(value, digest_fields[id - FIELD_CRC32C].algorithm, &manifest->digests))
                return false;
            break;
        default:
            if (id < FIELD_OPTIONAL_FROM)
                return false;
        }
    }
    return size_seen && modified_seen;
}
