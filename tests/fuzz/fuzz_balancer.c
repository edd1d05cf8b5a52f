/*
 * The load balancer's URL, and its list: the names of the columns, then rows, all of it cut at NULs. A list is
 * compared with what its table says, and with another one of the same table.
 */
#include "fuzz.h"

#include "ceph_lb_list.h"
#include "ceph_lb_url.h"

#define COLUMNS_MAX 12

static void on_problem(void *data, size_t row, const char *address, const char *problem)
{
    size_t *problems = data;

    (void)address;
    must(problem[0] != '\0');
    *problems += row != 0;
}

static void check_host(const ceph_lb_url_host_t *host)
{
    char port[8];
    size_t length = strlen(host->name);

    must(host->host[0] != '\0' && host->port != 0);
    must(strstr(host->name, host->host) != NULL);
    must(snprintf(port, sizeof(port), ":%u", host->port) > 0);
    must(strcmp(host->name + length - strlen(port), port) == 0);
}

static void fuzz_url(struct slice bytes)
{
    ceph_lb_url_t url;
    size_t i;

    if (ceph_lb_url_parse(&url, bytes.base, bytes.len) != NULL)
        return;
    must(url.user[0] != '\0' && url.database[0] != '\0');
    must(url.nhosts <= CEPH_LB_URL_HOSTS_MAX && (url.nhosts == 0) == (url.path[0] != '\0'));
    for (i = 0; i < url.nhosts; i++)
        check_host(&url.hosts[i]);
}

/* The first value says how many columns there are; as many names follow. */
static size_t cut_columns(struct slice *bytes, const char *names[], size_t lengths[])
{
    struct slice count = fuzz_cut(bytes);
    size_t i, columns = count.len == 0 ? 0 : (unsigned char)count.base[0] % (COLUMNS_MAX + 1);

    for (i = 0; i < columns; i++) {
        struct slice name = fuzz_cut(bytes);
        names[i] = name.base;
        lengths[i] = name.len;
    }
    return columns;
}

static void fill_table(ceph_lb_table_t *table, size_t columns, struct slice bytes)
{
    const char *values[COLUMNS_MAX];
    unsigned long lengths[COLUMNS_MAX];
    size_t i;

    while (bytes.len != 0) {
        for (i = 0; i < columns; i++) {
            struct slice value = fuzz_cut(&bytes);
            values[i] = slice_is(value, "NULL") ? NULL : value.base;
            lengths[i] = value.len;
        }
        must(ceph_lb_table_add(table, values, lengths) == 0);
        if (columns == 0)
            return;
    }
}

static void check_list(const ceph_lb_list_t *list, const ceph_lb_table_t *table, size_t problems)
{
    size_t i, j;

    must(list->count + problems <= table->rows);
    must(ceph_lb_table_equal(&list->table, table));
    for (i = 0; i < list->count; i++) {
        const ceph_lb_backend_t *b = &list->backends[i];

        must(b->weight >= 1 && b->socklen != 0 && b->name_len != 0 && b->name[b->name_len] == '\0');
        for (j = 0; j < i; j++)
            must(!ceph_lb_address_equal(&list->backends[j], b));
    }
}

static void fuzz_list(struct slice bytes)
{
    const char *names[COLUMNS_MAX], *error = NULL;
    size_t lengths[COLUMNS_MAX], problems = 0;
    size_t columns = cut_columns(&bytes, names, lengths);
    ceph_lb_table_t table;
    ceph_lb_list_t *list;

    ceph_lb_table_init(&table);
    must(ceph_lb_table_begin(&table, columns, names, lengths) == 0);
    fill_table(&table, columns, bytes);
    list = ceph_lb_list_create(&table, on_problem, &problems, &error);
    must((list == NULL) == (error != NULL));
    if (list != NULL) {
        check_list(list, &table, problems);
        ceph_lb_list_free(list);
    }
    ceph_lb_table_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size != 0 && data[0] % 2 == 0)
        fuzz_url(fuzz_slice(data + 1, size - 1));
    else if (size != 0)
        fuzz_list(fuzz_slice(data + 1, size - 1));
    return 0;
}
