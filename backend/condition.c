#include "condition.h"

#include "http_date.h"

/* One entity-tag off the front of a list (RFC 9110, 8.8.3). False at a syntax error. */
static bool next_entity_tag(struct slice *list, bool *weak, struct slice *tag)
{
    const char *end;

    *weak = false;
    if (slice_starts_with(*list, "W/")) {
        *weak = true;
        list->base += 2;
        list->len -= 2;
    }
    if (list->len < 2 || list->base[0] != '"')
        return false;
    end = memchr(list->base + 1, '"', list->len - 1);
    if (end == NULL)
        return false;

    tag->base = list->base;
    tag->len = (size_t)(end + 1 - list->base);
    list->base += tag->len;
    list->len -= tag->len;
    return true;
}

/* Skips what stands between two members of a list. False when something else does. */
static bool next_member(struct slice *list)
{
    bool comma = false;

    while (list->len != 0 && (list->base[0] == ' ' || list->base[0] == '\t' || list->base[0] == ',')) {
        comma = comma || list->base[0] == ',';
        list->base++;
        list->len--;
    }
    return comma || list->len == 0;
}

enum match { MATCH_NO, MATCH_YES, MATCH_SYNTAX };

/* Walks the whole list, so that a syntax error behind a match is still seen. */
static enum match list_matches(struct slice list, const char *etag, bool strong)
{
    bool matched = false;

    list = slice_trim(list);
    if (slice_is(list, "*"))
        return etag != NULL ? MATCH_YES : MATCH_NO;
    (void)next_member(&list); /* empty members may stand first, too */
    if (list.len == 0)
        return MATCH_SYNTAX;

    while (list.len != 0) {
        struct slice tag;
        bool weak;
        if (!next_entity_tag(&list, &weak, &tag))
            return MATCH_SYNTAX;
        if (etag != NULL && !(strong && weak) && slice_is(tag, etag))
            matched = true;
        if (!next_member(&list))
            return MATCH_SYNTAX;
    }
    return matched ? MATCH_YES : MATCH_NO;
}

const char *conditions_problem(const struct conditions *conditions)
{
    if (conditions->if_match.base != NULL && list_matches(conditions->if_match, NULL, true) == MATCH_SYNTAX)
        return "If-Match is neither * nor a list of entity tags, which stand in double quotes.";
    if (conditions->if_none_match.base != NULL &&
        list_matches(conditions->if_none_match, NULL, false) == MATCH_SYNTAX)
        return "If-None-Match is neither * nor a list of entity tags, which stand in double quotes.";
    return NULL;
}

enum condition_result conditions_evaluate(const struct conditions *conditions,
                                          const struct validators *validators, bool reading)
{
    const char *etag = validators->exists ? validators->etag : NULL;
    int64_t date;

    if (conditions->if_match.base != NULL) {
        if (list_matches(conditions->if_match, etag, true) != MATCH_YES)
            return CONDITION_FAILED;
    } else if (conditions->if_unmodified_since.base != NULL &&
               http_date_parse(conditions->if_unmodified_since, &date)) {
        /* What is not there has no date, and then the field is ignored (RFC 9110, 13.1.4). */
        if (validators->exists && validators->modified_seconds > date)
            return CONDITION_FAILED;
    }

    if (conditions->if_none_match.base != NULL) {
        if (list_matches(conditions->if_none_match, etag, false) == MATCH_YES)
            return reading ? CONDITION_NOT_MODIFIED : CONDITION_FAILED;
    } else if (reading && conditions->if_modified_since.base != NULL && validators->exists &&
               http_date_parse(conditions->if_modified_since, &date)) {
        if (validators->modified_seconds <= date)
            return CONDITION_NOT_MODIFIED;
    }
    return CONDITION_HOLDS;
}

bool condition_if_range(const struct conditions *conditions, const struct validators *validators,
                        int64_t now_seconds)
{
    struct slice field = slice_trim(conditions->if_range);
    int64_t date;

    if (conditions->if_range.base == NULL)
        return true;
    /* A weak one never matches, and needs no care: ours are all strong. */
    if (slice_starts_with(field, "\"") || slice_starts_with(field, "W/"))
        return slice_is(field, validators->etag);
    return http_date_parse(field, &date) && date == validators->modified_seconds && date < now_seconds;
}
