#include "layout.h"

#include <errno.h>
#include <stdio.h>

#include "json.h"
#include "name.h"

#define LAYOUT_OBJECT    "layout"
#define LAYOUT_SIZE_MAX  4096
#define STRIPE_SIZE      (4 * 1024 * 1024)
#define STRIPE_SIZE_MOST (64 * 1024 * 1024)
#define SHARDS           16
#define SHARDS_MOST      4096
#define JOURNALS         2
#define JOURNALS_MOST    64

void layout_init(struct layout *layout, const char *data_pool)
{
    layout->stripe_size = STRIPE_SIZE;
    layout->index_shards = layout->gc_shards = SHARDS;
    layout->index_journals = JOURNALS;
    snprintf(layout->data_pool, sizeof(layout->data_pool), "%s", data_pool);
}

void layout_encode(const struct layout *layout, struct buffer *to)
{
    yajl_gen gen = json_begin();

    yajl_gen_map_open(gen);
    json_member_number(gen, "format", LAYOUT_FORMAT);
    json_member_number(gen, "stripe_size", layout->stripe_size);
    json_member_number(gen, "index_shards", layout->index_shards);
    json_member_number(gen, "index_journals", layout->index_journals);
    json_member_number(gen, "gc_shards", layout->gc_shards);
    json_member_text(gen, "data_pool", layout->data_pool);
    yajl_gen_map_close(gen);
    json_finish(gen, to);
}

static bool take_number(yajl_val tree, const char *key, int64_t otherwise, int64_t most, uint32_t *number)
{
    int64_t value = json_number_at(tree, key, otherwise);

    *number = (uint32_t)value;
    return value >= 1 && value <= most;
}

/* yajl makes bytes that are not UTF-8 of half a surrogate pair, and no JSON could give them back. */
static const char *decode_tree(yajl_val tree, struct layout *layout)
{
    const char *data_pool = json_text_at(tree, "data_pool", "");

    if (json_number_at(tree, "format", 0) != LAYOUT_FORMAT)
        return "its format is not 1, the only one that this version knows";
    if (!take_number(tree, "stripe_size", 0, STRIPE_SIZE_MOST, &layout->stripe_size) ||
        !take_number(tree, "index_shards", 0, SHARDS_MOST, &layout->index_shards) ||
        !take_number(tree, "index_journals", JOURNALS, JOURNALS_MOST, &layout->index_journals) ||
        !take_number(tree, "gc_shards", 0, SHARDS_MOST, &layout->gc_shards) || data_pool[0] == '\0' ||
        strlen(data_pool) >= sizeof(layout->data_pool) || !utf8_is_valid(slice_of(data_pool)))
        return "it is damaged";
    strcpy(layout->data_pool, data_pool);
    return NULL;
}

const char *layout_decode(struct slice bytes, struct layout *layout)
{
    struct buffer text = {NULL, 0, 0};
    char reason[128];
    yajl_val tree;
    const char *problem;

    buffer_append_slice(&text, bytes);
    tree = yajl_tree_parse(text.base, reason, sizeof(reason));
    problem = tree != NULL ? decode_tree(tree, layout) : "it is damaged";
    yajl_tree_free(tree);
    buffer_free(&text);
    return problem;
}

/* -EEXIST when somebody else was first. */
static int create(rados_ioctx_t ioctx, const struct layout *layout)
{
    rados_write_op_t operation = rados_create_write_op();
    struct buffer text = {NULL, 0, 0};
    int error;

    layout_encode(layout, &text);
    rados_write_op_create(operation, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_write_full(operation, text.base, text.len);
    error = rados_write_op_operate(operation, ioctx, LAYOUT_OBJECT, NULL, LIBRADOS_OPERATION_NOFLAG);
    rados_release_write_op(operation);
    buffer_free(&text);
    return error;
}

int layout_agree(rados_ioctx_t ioctx, struct layout *layout, const char **refusal)
{
    char text[LAYOUT_SIZE_MAX];
    struct layout there;
    int len, error = create(ioctx, layout);

    if (error != -EEXIST)
        return error;
    len = rados_read(ioctx, LAYOUT_OBJECT, text, sizeof(text), 0);
    if (len < 0)
        return len;
    *refusal = layout_decode((struct slice){text, (size_t)len}, &there);
    if (*refusal == NULL && strcmp(there.data_pool, layout->data_pool) != 0)
        *refusal = "its files lie in another data pool than --data-pool says";
    if (*refusal != NULL)
        return -EPROTO;
    *layout = there;
    return 0;
}
