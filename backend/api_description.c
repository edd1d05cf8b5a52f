/* What a request that makes a file says about it, beside its content: type, metadata, and when it ceases to be. */
#include "api.h"

#include "decimal.h"
#include "http_date.h"

#define EXPIRY_SECONDS_MAX 315360000 /* ten years of 365 days */

struct metadata_taking {
    struct manifest *manifest;
    size_t size;
    bool too_much;
};

static void take_metadata(struct slice name, struct slice value, void *context)
{
    struct metadata_taking *taking = context;
    struct metadata_field *field;

    name.base += strlen("x-meta-");
    name.len -= strlen("x-meta-");
    taking->size += name.len + value.len;
    if (taking->size > METADATA_SIZE_MAX || taking->manifest->metadata_count == METADATA_FIELDS_MAX) {
        taking->too_much = true;
        return;
    }
    field = &taking->manifest->metadata[taking->manifest->metadata_count++];
    field->name = name;
    field->value = value;
}

/* NULL, or a sentence about what is wrong. Files expire at full seconds, so that X-Expires-At can say when exactly. */
static const char *take_expiry(const struct http_request *request, int64_t *expires_ns)
{
    /* Of two fields of one name, put together, neither can be read. */
    struct slice in = slice_trim(http_request_list_field(request, "x-expires-in"));
    struct slice at = slice_trim(http_request_list_field(request, "x-expires-at"));
    int64_t now = (clock_realtime_ns() + 999999999) / 1000000000, seconds;
    uint64_t from_now;

    if (in.base != NULL && at.base != NULL)
        return "X-Expires-In and X-Expires-At say the same: only one of them may be there.";
    if (in.base != NULL && (!decimal_parse(in, EXPIRY_SECONDS_MAX, &from_now) || from_now == 0))
        return "X-Expires-In has to be a number of seconds from 1 to 315360000 (ten years).";
    if (in.base != NULL)
        *expires_ns = (now + (int64_t)from_now) * 1000000000;
    if (at.base == NULL)
        return NULL;
    if (!http_date_parse(at, &seconds))
        return "X-Expires-At has to be a date as HTTP writes it, such as Sun, 06 Nov 2094 08:49:37 GMT.";
    if (seconds <= now || seconds - now > EXPIRY_SECONDS_MAX)
        return "X-Expires-At has to be in the future, and at most 315360000 seconds (ten years) from now.";
    *expires_ns = seconds * 1000000000;
    return NULL;
}

bool api_take_description(struct http_request *request, struct manifest *manifest)
{
    struct metadata_taking taking = {manifest, 0, false};
    struct slice type = slice_trim(http_request_field(request, "content-type"));
    const char *problem;

    manifest->metadata_count = 0;
    manifest->expires_ns = 0;
    manifest->media_type = SLICE_ABSENT;
    http_request_fields(request, "x-meta-", take_metadata, &taking);
    if (taking.too_much) {
        problem_respond(request, PROBLEM_BAD_METADATA,
                        "The X-Meta-* fields are more than 64, or more than 8192 bytes together.");
        return false;
    }
    /* curl names this type for whatever --data-binary sends: it says nothing about the file. */
    if (type.len != 0 && !slice_is_ignoring_case(type, "application/x-www-form-urlencoded"))
        manifest->media_type = type;
    problem = type.len > MEDIA_TYPE_SIZE_MAX ? "The Content-Type is longer than 255 bytes."
                                             : take_expiry(request, &manifest->expires_ns);
    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_REQUEST, problem);
    return problem == NULL;
}
