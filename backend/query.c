#include "query.h"

#include "name.h"

void query_begin(struct query *query, struct slice text)
{
    *query = (struct query){.rest = text};
}

int query_next(struct query *query)
{
    struct slice pair, name, value = SLICE_LITERAL("");
    const char *end;

    do {
        if (query->rest.len == 0)
            return 0;
        end = memchr(query->rest.base, '&', query->rest.len);
        pair.base = query->rest.base;
        pair.len = end != NULL ? (size_t)(end - pair.base) : query->rest.len;
        query->rest.base += pair.len + (end != NULL);
        query->rest.len -= pair.len + (end != NULL);
    } while (pair.len == 0);

    name = pair;
    end = memchr(pair.base, '=', pair.len);
    if (end != NULL) {
        name.len = (size_t)(end - pair.base);
        value = (struct slice){end + 1, pair.len - name.len - 1};
    }

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
