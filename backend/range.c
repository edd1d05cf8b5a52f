#include "range.h"

/* Digits up to `end` or the end of the field; a number too large for 64 bits counts as the largest. */
static bool parse_number(struct slice *field, uint64_t *number)
{
    bool some = false;

    *number = 0;
    while (field->len != 0 && field->base[0] >= '0' && field->base[0] <= '9') {
        uint64_t digit = (uint64_t)(field->base[0] - '0');
        *number = *number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *number * 10 + digit;
        some = true;
        field->base++;
        field->len--;
    }
    return some;
}

struct range range_parse(struct slice field)
{
    static const struct range none = {RANGE_NONE, 0, 0, 0};
    struct range range = none;
    bool first_given;

    field = slice_trim(field);
    if (field.len < 6 || strncasecmp(field.base, "bytes=", 6) != 0)
        return none;
    field.base += 6;
    field.len -= 6;
    field = slice_trim(field);

    first_given = parse_number(&field, &range.first);
    if (field.len == 0 || field.base[0] != '-')
        return none;
    field.base++;
    field.len--;

    if (!first_given)
        range.kind = parse_number(&field, &range.length) ? RANGE_SUFFIX : RANGE_NONE;
    else if (parse_number(&field, &range.last))
        range.kind = range.last >= range.first ? RANGE_CLOSED : RANGE_NONE;
    else
        range.kind = RANGE_FROM;

    return field.len == 0 ? range : none;
}

bool range_resolve(const struct range *range, uint64_t size, uint64_t *offset, uint64_t *length)
{
    switch (range->kind) {
    case RANGE_NONE:
        *offset = 0;
        *length = size;
        return true;
    case RANGE_FROM:
    case RANGE_CLOSED:
        if (range->first >= size)
            return false;
        *offset = range->first;
        *length = size - range->first;
        if (range->kind == RANGE_CLOSED && range->last - range->first < *length)
            *length = range->last - range->first + 1;
        return true;
    case RANGE_SUFFIX:
        if (range->length == 0 || size == 0)
            return false;
        *length = range->length < size ? range->length : size;
        *offset = size - *length;
        return true;
    }
    return false;
}
