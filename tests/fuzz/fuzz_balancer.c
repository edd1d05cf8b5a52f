/* The load balancer's URL and its list: rows of the registry, their values cut at NULs. */
#include "fuzz.h"

#include "ceph_lb_list.h"
#include "ceph_lb_url.h"

#define COLUMNS 7

static void on_problem(void *data, size_t row, const char *address, const char *problem)
{
    (void)data;
    (void)row;
    (void)address;
    must(problem[0] != '\0');
}

static void fuzz_url(struct slice bytes)
{
    ceph_lb_url_t url;

    if (ceph_lb_url_parse(&url, bytes.base, bytes.len) != NULL)
        return;
    must(url.user[0] != '\0' && url.database[0] != '\0');
    must((url.host[0] != '\0') != (url.path[0] != '\0') && (url.host[0] != '\0') == (url.port != 0));
}

static void fuzz_list(struct slice bytes)
{
    static const char *const names[COLUMNS] = {"address", "port",      "weight", "state",
                                               "backup",  "max_conns", "zone"};
    static const size_t lengths[COLUMNS] = {7, 4, 6, 5, 6, 9, 4};
    ceph_lb_table_t table;
    ceph_lb_list_t *list;
    const char *error = NULL;
    size_t i;

    ceph_lb_table_init(&table);
    must(ceph_lb_table_begin(&table, COLUMNS, names, lengths) == 0);
    while (bytes.len != 0) {
        const char *values[COLUMNS];
        unsigned long lens[COLUMNS];

        for (i = 0; i < COLUMNS; i++) {
            struct slice value = fuzz_cut(&bytes);
            values[i] = slice_is(value, "NULL") ? NULL : value.base;
            lens[i] = value.len;
        }
        must(ceph_lb_table_add(&table, values, lens) == 0);
    }
    list = ceph_lb_list_create(&table, on_problem, NULL, &error);
    must((list == NULL) == (error != NULL));
    for (i = 0; list != NULL && i < list->count; i++)
        must(list->backends[i].weight >= 1 && list->backends[i].socklen != 0 &&
             list->backends[i].name_len != 0);
    if (list != NULL)
        ceph_lb_list_free(list);
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
