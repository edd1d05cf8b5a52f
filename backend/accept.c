#include "accept.h"

/* How well a media range meets a type: 0 not at all, then wildcards, then the type itself. */
enum fit { FIT_NONE, FIT_ANY, FIT_TYPE, FIT_EXACT };

struct rank {
    enum fit fit;
    int weight; /* in thousandths */
};

/* The value of q, "0.8" for example; anything that is not one counts as 1. */
static int parse_weight(struct slice value)
{
    int weight = 0, unit = 100;
    size_t i;

    if (value.len == 0 || value.base[0] != '0')
        return 1000;
    for (i = 2; i < value.len && i < 5 && value.base[i] >= '0' && value.base[i] <= '9'; i++, unit /= 10)
        weight += (value.base[i] - '0') * unit;
    return weight;
}

static void meet(struct rank *rank, struct slice range, const char *exact, const char *type, int weight)
{
    enum fit fit = FIT_NONE;

    if (slice_is_ignoring_case(range, exact))
        fit = FIT_EXACT;
    else if (slice_is_ignoring_case(range, type))
        fit = FIT_TYPE;
    else if (slice_is(range, "*/*"))
        fit = FIT_ANY;
    /* The most specific range decides. */
    if (fit > rank->fit)
        *rank = (struct rank){fit, weight};
}

bool accept_prefers_text(struct slice field)
{
    struct rank text = {FIT_NONE, 0}, json = {FIT_NONE, 0};

    while (field.len != 0) {
        struct slice parameters = slice_cut(&field, ',');
        struct slice range = slice_trim(slice_cut(&parameters, ';'));
        int weight = 1000;

        while (parameters.len != 0) {
            struct slice value = slice_cut(&parameters, ';');
            struct slice name = slice_trim(slice_cut(&value, '='));
            if (slice_is_ignoring_case(name, "q"))
                weight = parse_weight(slice_trim(value));
        }
        meet(&text, range, "text/plain", "text/*", weight);
        meet(&json, range, "application/json", "application/*", weight);
    }
    if (text.weight != json.weight)
        return text.weight > json.weight;
    return text.weight != 0 && text.fit == FIT_EXACT && json.fit < FIT_EXACT;
}
