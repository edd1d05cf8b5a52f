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

static bool parse_one(struct slice field, struct range *range)
{
    bool first_given = parse_number(&field, &range->first);

    if (field.len == 0 || field.base[0] != '-')
        return false;
    field.base++;
    field.len--;

    range->kind = RANGE_FROM;
    if (!first_given) {
        range->kind = RANGE_SUFFIX;
        if (!parse_number(&field, &range->length))
            return false;
    } else if (parse_number(&field, &range->last)) {
        range->kind = RANGE_CLOSED;
        if (range->last < range->first)
            return false;
    }
    return field.len == 0;
}

struct ranges ranges_parse(struct slice field)
{
    static const struct ranges none = {false, 0, {{RANGE_NONE, 0, 0, 0}}};
    struct ranges ranges = none;

    field = slice_trim(field);
    if (field.len < 6 || strncasecmp(field.base, "bytes=", 6) != 0)
        return none;
    field.base += 6;
    field.len -= 6;

    /* A list may have empty members (RFC 9110, 5.6.1). */
    while (field.len != 0) {
        struct slice member = slice_trim(slice_cut(&field, ','));
        struct range range = {RANGE_NONE, 0, 0, 0};

        if (member.len == 0)
            continue;
        if (!parse_one(member, &range))
            return none;
        if (ranges.count < RANGES_MAX)
            ranges.list[ranges.count++] = range;
        else
            ranges.too_many = true;
    }
    return ranges;
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

static bool touch(const struct span *a, const struct span *b)
{
    return a->offset <= b->offset + b->length && b->offset <= a->offset + a->length;
}

static struct span join(const struct span *a, const struct span *b)
{
    uint64_t a_end = a->offset + a->length, b_end = b->offset + b->length;
    uint64_t offset = a->offset < b->offset ? a->offset : b->offset;

    return (struct span){offset, (a_end > b_end ? a_end : b_end) - offset};
}

/* Adds a span to those that are there. One that touches another takes it in, and may touch a third by then. */
static size_t add_span(struct span *spans, size_t count, struct span span)
{
    size_t place = count, i = 0;

    while (i < count) {
        if (!touch(&spans[i], &span)) {
            i++;
            continue;
        }
        span = join(&spans[i], &span);
        place = i < place ? i : place;
        memmove(&spans[i], &spans[i + 1], (count - i - 1) * sizeof(*spans));
        count--;
        i = 0;
    }
    place = place < count ? place : count;
    memmove(&spans[place + 1], &spans[place], (count - place) * sizeof(*spans));
    spans[place] = span;
    return count + 1;
}

size_t ranges_resolve(const struct ranges *ranges, uint64_t size, struct span spans[RANGES_MAX])
{
    size_t count = 0, i;

    for (i = 0; i < ranges->count; i++) {
        struct span span;

        if (range_resolve(&ranges->list[i], size, &span.offset, &span.length))
            count = add_span(spans, count, span);
    }
    return count;
}
