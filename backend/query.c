#include "query.h"

#include "name.h"

void query_begin(struct query *query, struct slice text)
{
    *query = (struct query){.rest = text};
}

int query_next(struct query *query)
{
    struct slice pair, name, value;

    do {
        if (query->rest.len == 0)
            return 0;
        pair = slice_cut(&query->rest, '&');
    } while (pair.len == 0);

    value = pair;
    name = slice_cut(&value, '=');

    query->name.len = query->value.len = 0;
    if (!percent_decode(name, PERCENT_PLUS_IS_SPACE, &query->name) ||
        !percent_decode(value, PERCENT_PLUS_IS_SPACE, &query->value))
        return -1;
    return 1;
}

void query_end(struct query *query)
{
    buffer_free(&query->name);
    buffer_free(&query->value);
}
