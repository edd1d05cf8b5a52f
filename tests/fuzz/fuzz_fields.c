/* Fields and bodies of requests: the first byte chooses one. */
#include "fuzz.h"

#include "accept.h"
#include "address.h"
#include "condition.h"
#include "digest.h"
#include "http_date.h"
#include "query.h"
#include "upload.h"

static void fuzz_digest(struct slice bytes)
{
    struct digests digests = {.known = 0}, again = {.known = 0};
    struct digest_preferences preferences = {{0}};
    struct buffer text = {NULL, 0, 0};

    (void)digest_preferences_take(bytes, "Want-Repr-Digest", &preferences);
    if (digests_take_field(bytes, "Repr-Digest", &digests) != NULL)
        return;
    digests_format(&digests, NULL, &text);
    if (text.len != 0) {
        must(digests_take_field(buffer_slice(&text), "Repr-Digest", &again) == NULL);
        again.known |= digests.known & DIGEST_BIT(DIGEST_MD5);
        must(again.known == digests.known);
    }
    buffer_free(&text);
}

static void fuzz_md5(struct slice bytes)
{
    struct digests digests = {.known = 0};

    if (digests_take_content_md5(bytes, &digests) == NULL)
        must(digests.known == DIGEST_BIT(DIGEST_MD5));
}

static void fuzz_date(struct slice bytes)
{
    char text[HTTP_DATE_SIZE];
    int64_t seconds, again;

    /* A leap second at the end of 9999 is of a year that cannot be written. */
    if (!http_date_parse(bytes, &seconds) || seconds >= INT64_C(253402300800))
        return;
    http_date_format(seconds, text);
    must(http_date_parse(slice_of(text), &again) && again == seconds);
}

static void fuzz_query(struct slice bytes)
{
    struct query query;
    size_t count = 0;

    query_begin(&query, bytes);
    while (query_next(&query) == 1) {
        must(query.name.len + query.value.len <= bytes.len);
        must(++count <= bytes.len + 1);
    }
    query_end(&query);
}

static void fuzz_condition(struct slice bytes)
{
    struct validators there = {true, "\"tag\"", 784111777};
    struct conditions conditions = {.if_match = SLICE_ABSENT};

    conditions.if_match = fuzz_cut(&bytes);
    conditions.if_none_match = fuzz_cut(&bytes);
    conditions.if_unmodified_since = fuzz_cut(&bytes);
    conditions.if_range = bytes;
    (void)conditions_problem(&conditions);
    (void)conditions_evaluate(&conditions, &there, false);
    if (condition_if_range(&conditions, &there, INT64_MAX) && conditions.if_range.len < 20)
        must(slice_is(slice_trim(conditions.if_range), there.etag));
}

static void fuzz_publication(struct slice bytes)
{
    struct digests claimed;
    uint64_t size;

    if (upload_parse_publication(bytes, &size, &claimed) == NULL)
        must(size <= UPLOAD_FILE_SIZE_MOST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const fields[])(struct slice bytes) = {fuzz_digest, fuzz_md5,       fuzz_date,
                                                         fuzz_query,  fuzz_condition, fuzz_publication};

    if (size != 0)
        fields[data[0] % (sizeof(fields) / sizeof(fields[0]))](fuzz_slice(data + 1, size - 1));
    return 0;
}
