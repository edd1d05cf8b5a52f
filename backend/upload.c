#include "upload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"
#include "field.h"
#include "json.h"
#include "little_endian.h"
#include "stripe.h"

enum {
    FIELD_NAME = 1,
    FIELD_PART_SIZE = 2,
    FIELD_SIZE = 3,
    FIELD_MANIFEST = 4,
    FIELD_IF_MATCH = 5,
    FIELD_IF_NONE_MATCH = 6,
    FIELD_IF_UNMODIFIED_SINCE = 7,
    FIELD_CLAIMED = 8,
};

#define PUBLICATION_SIZE_MOST 4096

static const char version_1[2] = {'U', 1};

/* ---- the record ---- */

static void append_if_present(struct buffer *to, int id, struct slice value)
{
    if (value.base != NULL)
        field_append(to, id, value);
}

void upload_record_encode(const struct upload_record *record, struct buffer *to)
{
    struct buffer manifest = {NULL, 0, 0};

    buffer_append(to, version_1, sizeof(version_1));
    field_append(to, FIELD_NAME, record->name);
    field_append_number(to, FIELD_PART_SIZE, record->part_size);
    field_append_number(to, FIELD_CLAIMED, (uint64_t)record->claimed_ns);
    if (record->declared)
        field_append_number(to, FIELD_SIZE, record->size);
    manifest_encode(&record->manifest, &manifest);
    field_append(to, FIELD_MANIFEST, buffer_slice(&manifest));
    buffer_free(&manifest);
    append_if_present(to, FIELD_IF_MATCH, record->conditions.if_match);
    append_if_present(to, FIELD_IF_NONE_MATCH, record->conditions.if_none_match);
    append_if_present(to, FIELD_IF_UNMODIFIED_SINCE, record->conditions.if_unmodified_since);
}

static bool take_field(struct upload_record *record, const struct field *field)
{
    struct slice value = field->value;
    uint64_t number;

    switch (field->id) {
    case FIELD_NAME:
        record->name = value;
        return value.len != 0;
    case FIELD_PART_SIZE:
        return field_number(value, &record->part_size) && record->part_size != 0 &&
               record->part_size <= UPLOAD_PART_SIZE_MOST;
    case FIELD_SIZE:
        record->declared = true;
        return field_number(value, &record->size) && record->size <= UPLOAD_FILE_SIZE_MOST;
    case FIELD_CLAIMED:
        if (!field_number(value, &number))
            return false;
        record->claimed_ns = (int64_t)number;
        return true;
    case FIELD_MANIFEST:
        return manifest_decode(value, &record->manifest);
    case FIELD_IF_MATCH:
        record->conditions.if_match = value;
        return true;
    case FIELD_IF_NONE_MATCH:
        record->conditions.if_none_match = value;
        return true;
    case FIELD_IF_UNMODIFIED_SINCE:
        record->conditions.if_unmodified_since = value;
        return true;
    }
    return false;
}

bool upload_record_decode(struct slice bytes, struct upload_record *record)
{
    bool seen[FIELD_CLAIMED + 1] = {false};
    struct field field;

    *record = (struct upload_record){.declared = false};
    if (bytes.len < sizeof(version_1) || memcmp(bytes.base, version_1, sizeof(version_1)) != 0)
        return false;
    bytes.base += sizeof(version_1);
    bytes.len -= sizeof(version_1);
    while (field_next(&bytes, &field)) {
        if (field.id > FIELD_CLAIMED || seen[field.id] || !take_field(record, &field))
            return false;
        seen[field.id] = true;
    }
    return bytes.len == 0 && seen[FIELD_NAME] && seen[FIELD_PART_SIZE] && seen[FIELD_CLAIMED] &&
           seen[FIELD_MANIFEST];
}

/* ---- parts ---- */

uint64_t upload_part_size(uint64_t least, bool declared, uint64_t size)
{
    uint64_t part_size = least;

    while (declared && part_size < UPLOAD_PART_SIZE_MOST &&
           stripe_count(size, part_size) > UPLOAD_PARTS_MOST_UNDECLARED)
        part_size *= 2;
    return part_size < UPLOAD_PART_SIZE_MOST ? part_size : UPLOAD_PART_SIZE_MOST;
}

uint64_t upload_parts_most(const struct upload_record *record)
{
    return record->declared ? stripe_count(record->size, record->part_size) : UPLOAD_PARTS_MOST_UNDECLARED;
}

const char *upload_part_problem(const struct upload_record *record, uint64_t number, uint64_t len)
{
    static _Thread_local char sentence[160];
    uint64_t most = upload_parts_most(record), wanted = record->part_size;

    if (number >= most) {
        snprintf(sentence, sizeof(sentence),
                 "The parts of this upload have the numbers from 0 to %" PRIu64 " at most.", most - 1);
        return most != 0 ? sentence : "This upload is of an empty file: it has no parts.";
    }
    if (record->declared && number == most - 1)
        wanted = record->size - number * record->part_size;
    if (len == wanted || (!record->declared && len != 0 && len < wanted))
        return NULL;
    snprintf(sentence, sizeof(sentence),
             "Part %" PRIu64 " has %" PRIu64 " bytes; it has to have %s%" PRIu64 ".", number, len,
             record->declared ? "" : "from 1 to ", wanted);
    return sentence;
}

void upload_part_key(uint64_t number, char key[UPLOAD_PART_KEY_SIZE])
{
    snprintf(key, UPLOAD_PART_KEY_SIZE, "%08" PRIu64, number);
}

void upload_part_encode(const struct upload_part *part, struct buffer *to)
{
    little_endian_append(to, part->size, 8);
    little_endian_append(to, part->crc32c, 4);
}

bool upload_part_decode(struct slice key, struct slice value, struct upload_part *part)
{
    if (key.len != 8 || value.len != 12 || !decimal_parse(key, 99999999, &part->number))
        return false;
    part->size = little_endian_read(value.base, 8);
    part->crc32c = (uint32_t)little_endian_read(value.base + 8, 4);
    return true;
}

static void tell(uint64_t number, uint64_t *count, size_t *told, uint64_t *numbers)
{
    (*count)++;
    if (*told < 1000)
        numbers[(*told)++] = number;
}

bool upload_is_complete(uint64_t part_size, uint64_t size, const struct upload_part *parts, size_t count,
                        struct upload_gaps *gaps)
{
    uint64_t needed = stripe_count(size, part_size), number;
    size_t at = 0;

    gaps->missing = gaps->wrong = 0;
    gaps->missing_told = gaps->wrong_told = 0;
    for (number = 0; number < needed; number++) {
        uint64_t wanted = number + 1 < needed ? part_size : size - number * part_size;

        if (at == count || parts[at].number != number)
            tell(number, &gaps->missing, &gaps->missing_told, gaps->missing_numbers);
        else if (parts[at++].size != wanted)
            tell(number, &gaps->wrong, &gaps->wrong_told, gaps->wrong_numbers);
    }
    /* What lies behind the end does not belong there. */
    for (; at < count; at++)
        tell(parts[at].number, &gaps->wrong, &gaps->wrong_told, gaps->wrong_numbers);
    return gaps->missing == 0 && gaps->wrong == 0;
}

/* ---- publication ---- */

static const char *take_member(const char *key, yajl_val value, bool *size_seen, uint64_t *size,
                               struct digests *claimed)
{
    static _Thread_local char sentence[160];

    if (strcmp(key, "size") == 0) {
        if (!YAJL_IS_INTEGER(value) || YAJL_GET_INTEGER(value) < 0 ||
            (uint64_t)YAJL_GET_INTEGER(value) > UPLOAD_FILE_SIZE_MOST)
            return "\"size\" has to be a number of bytes, at most 5 TiB.";
        *size = (uint64_t)YAJL_GET_INTEGER(value);
        *size_seen = true;
        return NULL;
    }
    if (strcmp(key, "repr_digest") == 0) {
        if (!YAJL_IS_STRING(value))
            return "\"repr_digest\" has to be a text, the value of a Repr-Digest field.";
        return digests_take_field(slice_of(YAJL_GET_STRING(value)), "repr_digest", claimed);
    }
    snprintf(sentence, sizeof(sentence),
             "There is no member \"%.64s\": they are \"size\" and, if it is wanted, \"repr_digest\".", key);
    return sentence;
}

static const char *take_members(yajl_val tree, uint64_t *size, struct digests *claimed)
{
    const char *problem = NULL;
    bool size_seen = false;
    size_t i;

    if (!YAJL_IS_OBJECT(tree))
        return "The body has to be a JSON object like {\"size\": 12345}.";
    for (i = 0; i < tree->u.object.len && problem == NULL; i++)
        problem = take_member(tree->u.object.keys[i], tree->u.object.values[i], &size_seen, size, claimed);
    if (problem == NULL && !size_seen)
        problem = "\"size\", the number of bytes of the file, is missing.";
    return problem;
}

const char *upload_parse_publication(struct slice body, uint64_t *size, struct digests *claimed)
{
    struct buffer text = {NULL, 0, 0};
    const char *problem;
    char reason[128];
    yajl_val tree;

    claimed->known = 0;
    if (body.len > PUBLICATION_SIZE_MOST || memchr(body.base, '\0', body.len) != NULL)
        return "The body has to be a JSON object of at most 4096 bytes.";
    buffer_append_slice(&text, body);
    buffer_append(&text, "", 0);
    tree = text.base != NULL ? yajl_tree_parse(text.base, reason, sizeof(reason)) : NULL;
    problem = tree != NULL ? take_members(tree, size, claimed)
                           : "The body is not JSON; it has to be like {\"size\": 12345}.";
    yajl_tree_free(tree);
    buffer_free(&text);
    return problem;
}
