#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ceph_lb_list.h"

enum { COLUMNS_MAX = 8, PROBLEMS_MAX = 16 };

typedef struct {
    size_t n;
    size_t row[PROBLEMS_MAX];
    char text[PROBLEMS_MAX][128];
} problems_t;

static void note(void *data, size_t row, const char *address, const char *problem)
{
    problems_t *p = data;

    assert_true(p->n < PROBLEMS_MAX);
    p->row[p->n] = row;
    (void)snprintf(p->text[p->n], sizeof(p->text[p->n]), "%s: %s", address ? address : "NULL", problem);
    p->n++;
}

/* Columns and values are separated by spaces; "-" is NULL, "''" is empty. */
static void split(const char *text, char *copy, const char **part, unsigned long *len, size_t *n)
{
    char *p;

    strcpy(copy, text);
    *n = 0;

    for (p = strtok(copy, " "); p != NULL; p = strtok(NULL, " ")) {
        part[*n] = strcmp(p, "-") == 0 ? NULL : strcmp(p, "''") == 0 ? "" : p;
        len[*n] = part[*n] ? strlen(part[*n]) : 0;
        (*n)++;
    }
}

static void fill(ceph_lb_table_t *t, const char *columns, const char *const *rows)
{
    char copy[256];
    size_t n, i, lengths[COLUMNS_MAX];
    const char *part[COLUMNS_MAX];
    unsigned long len[COLUMNS_MAX];

    split(columns, copy, part, len, &n);

    for (i = 0; i < n; i++) {
        lengths[i] = len[i];
    }

    assert_int_equal(ceph_lb_table_begin(t, n, part, lengths), 0);

    for (; *rows != NULL; rows++) {
        split(*rows, copy, part, len, &n);
        assert_int_equal(n, t->columns);
        assert_int_equal(ceph_lb_table_add(t, part, len), 0);
    }
}

static ceph_lb_list_t *make(const char *columns, const char *const *rows, problems_t *problems)
{
    const char *error = NULL;
    ceph_lb_list_t *list;
    ceph_lb_table_t t;

    ceph_lb_table_init(&t);
    problems->n = 0;
    fill(&t, columns, rows);
    list = ceph_lb_list_create(&t, note, problems, &error);
    ceph_lb_table_free(&t);
    assert_non_null(list);

    return list;
}

static void test_all_columns(void **state)
{
    problems_t p;
    ceph_lb_list_t *list;
    const char *rows[] = {"x 8081 10.0.0.1 5 up 0 7 z", "x 8082 2001:DB8:0::1 1 UP 1 0 -", NULL};

    (void)state;
    list = make("junk port ADDRESS weight state backup max_conns zone", rows, &p);
    assert_int_equal(p.n, 0);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->total, 2);
    assert_int_equal(list->refs, 1);
    assert_null(list->states);
    assert_null(list->plan);
    assert_null(list->backends[0].state);

    assert_string_equal(list->backends[0].name, "10.0.0.1:8081");
    assert_int_equal(list->backends[0].name_len, strlen("10.0.0.1:8081"));
    assert_int_equal(list->backends[0].socklen, sizeof(struct sockaddr_in));
    assert_int_equal(list->backends[0].address.in.sin_port, htons(8081));
    assert_int_equal(list->backends[0].weight, 5);
    assert_int_equal(list->backends[0].max_conns, 7);
    assert_string_equal(list->backends[0].zone, "z");
    assert_false(list->backends[0].backup);

    assert_string_equal(list->backends[1].name, "[2001:db8::1]:8082");
    assert_int_equal(list->backends[1].socklen, sizeof(struct sockaddr_in6));
    assert_true(list->backends[1].backup);

    ceph_lb_list_free(list);
}

static void test_original_table(void **state)
{
    problems_t p;
    ceph_lb_list_t *list;
    const char *rows[] = {"172.16.3.219", "fd00::7", NULL};

    (void)state;
    list = make("address", rows, &p);
    assert_int_equal(p.n, 0);
    assert_int_equal(list->count, 2);
    assert_string_equal(list->backends[0].name, "172.16.3.219:8080");
    assert_string_equal(list->backends[1].name, "[fd00::7]:8080");
    assert_int_equal(list->backends[0].weight, 1);
    ceph_lb_list_free(list);
}

static void test_bad_rows_are_skipped_and_named(void **state)
{
    size_t i;
    problems_t p;
    ceph_lb_list_t *list;
    const char *columns = "address port weight state backup max_conns";

    static const struct {
        const char *row, *problem;
    } cases[] = {
        {"foo 80 1 up 0 0", "foo: not an IP address"},
        {"'' 80 1 up 0 0", ": not an IP address"},
        {"10.0.0.1.5 80 1 up 0 0", "not an IP address"},
        {"localhost 80 1 up 0 0", "not an IP address"},
        {"0.0.0.0 80 1 up 0 0", "one host"},
        {"255.255.255.255 80 1 up 0 0", "one host"},
        {"224.0.0.1 80 1 up 0 0", "one host"},
        {":: 80 1 up 0 0", "one host"},
        {"ff02::1 80 1 up 0 0", "one host"},
        {"10.0.0.1 0 1 up 0 0", "port"},
        {"10.0.0.1 65536 1 up 0 0", "port"},
        {"10.0.0.1 4294967376 1 up 0 0", "port"},
        {"10.0.0.1 -1 1 up 0 0", "port"},
        {"10.0.0.1 http 1 up 0 0", "port"},
        {"10.0.0.1 80 -1 up 0 0", "weight"},
        {"10.0.0.1 80 1.5 up 0 0", "weight"},
        {"10.0.0.1 80 4294967296 up 0 0", "weight"},
        {"10.0.0.1 80 1 sleepy 0 0", "state"},
        {"10.0.0.1 80 1 up maybe 0", "backup"},
        {"10.0.0.1 80 1 up 0 many", "max_conns"},
        {"- 80 1 up 0 0", "NULL: a column is NULL"},
        {"10.0.0.1 - 1 up 0 0", "10.0.0.1: a column is NULL"},
        {"10.0.0.1 80 1 - 0 0", "NULL"},
        {"10.0.0.1 80 1 up 0 "
         "00000000000000000000000000000000000000000000000000000000000000000000",
         "too long"},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *rows[] = {"10.9.9.1 80 1 up 0 0", cases[i].row, "10.9.9.2 80 1 up 0 0", NULL};

        list = make(columns, rows, &p);

        assert_int_equal(list->count, 2);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.row[0], 2);

        if (strstr(p.text[0], cases[i].problem) == NULL) {
            fail_msg("\"%s\": %s", cases[i].row, p.text[0]);
        }

        ceph_lb_list_free(list);
    }
}

/* They stand behind those that may get requests, and both kinds in the order of the table. */
static void test_those_without_requests(void **state)
{
    size_t i, c;
    problems_t p;
    ceph_lb_list_t *list;

    static const struct {
        const char *rows[8];
        size_t count;
        const char *order; /* the last numbers of the addresses */
    } cases[] = {
        {{"10.0.0.1 1 up", "10.0.0.2 1 up"}, 2, "12"},
        {{"10.0.0.1 1 down", "10.0.0.2 0 up"}, 0, "12"},
        {{"10.0.0.1 1 drain", "10.0.0.2 1 down", "10.0.0.3 0 up", "10.0.0.4 1 up"}, 1, "4123"},
        {{"10.0.0.1 1 up", "10.0.0.2 1 down"}, 1, "12"},
        {{"10.0.0.1 1 drain", "10.0.0.2 1 up", "10.0.0.3 1 down", "10.0.0.4 1 up", "10.0.0.5 0 up",
          "10.0.0.6 9 up", "10.0.0.7 1 drain"},
         3,
         "2461357"},
    };

    (void)state;

    for (c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        list = make("address weight state", cases[c].rows, &p);
        assert_int_equal(p.n, 0);
        assert_int_equal(list->count, cases[c].count);
        assert_int_equal(list->total, strlen(cases[c].order));

        for (i = 0; i < list->total; i++) {
            assert_int_equal(ntohl(list->backends[i].address.in.sin_addr.s_addr) & 255,
                             cases[c].order[i] - '0');
            assert_int_equal(ceph_lb_list_find(list, &list->backends[i]), i < list->count ? (long)i : -1);
        }

        ceph_lb_list_free(list);
    }
}

static void test_row_states(void **state)
{
    problems_t p;
    ceph_lb_list_t *list;
    const char *rows[] = {"10.0.0.1 1 drain", "10.0.0.2 1 Down", "10.0.0.3 0 up", "10.0.0.4 1 UP", NULL};

    (void)state;
    list = make("address weight state", rows, &p);
    assert_int_equal(list->backends[0].row_state, CEPH_LB_UP);
    assert_int_equal(list->backends[1].row_state, CEPH_LB_DRAIN);
    assert_int_equal(list->backends[2].row_state, CEPH_LB_DOWN);
    assert_int_equal(list->backends[3].row_state, CEPH_LB_UP);
    assert_int_equal(list->backends[3].weight, 0);
    ceph_lb_list_free(list);
}

/* By address and port, whatever else the other list says of it. */
static void test_find(void **state)
{
    size_t i;
    problems_t p;
    ceph_lb_list_t *list, *other;
    const char *rows[] = {"10.0.0.1 80 down", "10.0.0.1 81 up", "fd00::1 80 up", "10.0.0.2 80 drain", NULL};
    const char *others[] = {"fd00::1 80 up",         "10.0.0.1 81 up", "10.0.0.1 80 up",
                            "10.0.0.2 80 up",        "fd00::1 81 up",  "fd00::2 80 up",
                            "::ffff:10.0.0.1 81 up", "10.0.0.3 80 up", NULL};
    const long found[] = {1, 0, -1, -1, -1, -1, -1, -1};

    (void)state;
    list = make("address port state", rows, &p);
    other = make("address port state", others, &p);
    assert_int_equal(other->count, sizeof(found) / sizeof(found[0]));

    for (i = 0; i < other->count; i++) {
        assert_int_equal(ceph_lb_list_find(list, &other->backends[i]), found[i]);
    }

    ceph_lb_list_free(list);
    ceph_lb_list_free(other);

    list = make("address port state", rows + 4, &p);
    other = make("address port state", others, &p);
    assert_int_equal(ceph_lb_list_find(list, &other->backends[0]), -1);
    ceph_lb_list_free(list);
    ceph_lb_list_free(other);
}

/* In a list as long as there may be, with every third backend out. */
static void test_find_among_many(void **state)
{
    char text[2][32];
    size_t i, lengths[] = {7, 5};
    problems_t p = {0};
    const char *names[] = {"address", "state"}, *values[] = {text[0], text[1]}, *error;
    unsigned long len[2];
    ceph_lb_list_t *list;
    ceph_lb_table_t t;

    (void)state;
    ceph_lb_table_init(&t);
    assert_int_equal(ceph_lb_table_begin(&t, 2, names, lengths), 0);

    for (i = 0; i < CEPH_LB_ROWS_MAX; i++) {
        len[0] = (unsigned long)snprintf(text[0], sizeof(text[0]), "10.1.%zu.%zu", i / 250, i % 250 + 1);
        len[1] = (unsigned long)snprintf(text[1], sizeof(text[1]), "%s", i % 3 == 1 ? "drain" : "up");
        assert_int_equal(ceph_lb_table_add(&t, values, len), 0);
    }

    list = ceph_lb_list_create(&t, note, &p, &error);
    assert_non_null(list);
    assert_int_equal(list->total, CEPH_LB_ROWS_MAX);
    assert_int_equal(list->count, CEPH_LB_ROWS_MAX - CEPH_LB_ROWS_MAX / 3);

    for (i = 0; i < list->total; i++) {
        assert_int_equal(ceph_lb_list_find(list, &list->backends[i]), i < list->count ? (long)i : -1);
    }

    ceph_lb_list_free(list);
    ceph_lb_table_free(&t);
}

static void test_zones(void **state)
{
    char row[128], longest[CEPH_LB_ZONE_MAX], longer[CEPH_LB_ZONE_MAX + 1];
    size_t i;
    problems_t p;
    ceph_lb_list_t *list;

    memset(longest, 'z', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    memset(longer, 'z', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';

    const struct {
        const char *zone, *is; /* NULL: refused */
    } cases[] = {
        {"-", ""}, {"''", ""}, {"a", "a"}, {"Rack7", "Rack7"}, {longest, longest}, {longer, NULL},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *rows[] = {row, "10.0.0.2 b", NULL};

        (void)snprintf(row, sizeof(row), "10.0.0.1 %s", cases[i].zone);
        list = make("address zone", rows, &p);
        assert_int_equal(list->count, cases[i].is != NULL ? 2 : 1);
        assert_int_equal(p.n, cases[i].is != NULL ? 0 : 1);

        if (cases[i].is != NULL) {
            assert_string_equal(list->backends[0].zone, cases[i].is);

        } else {
            assert_non_null(strstr(p.text[0], "too long"));
        }

        assert_string_equal(list->backends[list->count - 1].zone, "b");
        ceph_lb_list_free(list);
    }

    /* A table without the column. */

    list = make("address", (const char *[]){"10.0.0.1", NULL}, &p);
    assert_string_equal(list->backends[0].zone, "");
    ceph_lb_list_free(list);
}

static void test_duplicates(void **state)
{
    problems_t p;
    ceph_lb_list_t *list;
    const char *rows[] = {"10.0.0.1 80 down", "10.0.0.1 81 up", "10.0.0.1 80 up",
                          "fd00:0::1 80 up",  "fd00::1 80 up",  NULL};

    (void)state;
    list = make("address port state", rows, &p);

    /* The first row counts, and it said "down". */
    assert_int_equal(list->count, 2);
    assert_int_equal(list->total, 3);
    assert_string_equal(list->backends[0].name, "10.0.0.1:81");
    assert_string_equal(list->backends[1].name, "[fd00::1]:80");
    assert_int_equal(p.n, 2);
    assert_int_equal(p.row[0], 3);
    assert_int_equal(p.row[1], 5);
    assert_non_null(strstr(p.text[0], "same address"));
    ceph_lb_list_free(list);
}

static void test_no_address_column(void **state)
{
    problems_t p = {0};
    const char *rows[] = {"10.0.0.1", NULL}, *error = NULL;
    ceph_lb_table_t t;

    (void)state;
    ceph_lb_table_init(&t);
    fill(&t, "addres", rows);
    assert_null(ceph_lb_list_create(&t, note, &p, &error));
    assert_non_null(strstr(error, "address"));
    ceph_lb_table_free(&t);
}

static void test_empty(void **state)
{
    problems_t p;
    ceph_lb_list_t *list;
    const char *rows[] = {NULL};

    (void)state;
    list = make("address port", rows, &p);
    assert_int_equal(list->count, 0);
    assert_int_equal(p.n, 0);
    ceph_lb_list_free(list);
}

static void test_tables_are_compared_whole(void **state)
{
    size_t i;
    ceph_lb_table_t a, b;
    const char *rows[] = {"10.0.0.1 80", "10.0.0.2 -", NULL};

    static const struct {
        const char *columns, *row1, *row2;
        int equal;
    } cases[] = {
        {"address port", "10.0.0.1 80", "10.0.0.2 -", 1}, {"address part", "10.0.0.1 80", "10.0.0.2 -", 0},
        {"address port", "10.0.0.1 81", "10.0.0.2 -", 0}, {"address port", "10.0.0.1 80", "10.0.0.2 ''", 0},
        {"address port", "10.0.0.2 -", "10.0.0.1 80", 0}, {"address port", "10.0.0.1 80", NULL, 0},
    };

    (void)state;
    ceph_lb_table_init(&a);
    ceph_lb_table_init(&b);
    fill(&a, "address port", rows);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *others[] = {cases[i].row1, cases[i].row2, NULL};

        fill(&b, cases[i].columns, others);
        assert_int_equal(ceph_lb_table_equal(&a, &b), cases[i].equal);
        assert_int_equal(ceph_lb_table_equal(&b, &a), cases[i].equal);
    }

    ceph_lb_table_free(&a);
    ceph_lb_table_free(&b);
}

static void test_list_outlives_its_table(void **state)
{
    problems_t p = {0};
    const char *rows[] = {"10.0.0.1", NULL}, *other[] = {"10.0.0.2", NULL};
    const char *error;
    ceph_lb_list_t *list;
    ceph_lb_table_t t;

    (void)state;
    ceph_lb_table_init(&t);
    fill(&t, "address", rows);
    list = ceph_lb_list_create(&t, note, &p, &error);
    assert_true(ceph_lb_table_equal(&list->table, &t));
    fill(&t, "address", other);
    assert_false(ceph_lb_table_equal(&list->table, &t));
    assert_string_equal(list->backends[0].name, "10.0.0.1:8080");
    ceph_lb_table_free(&t);
    ceph_lb_list_free(list);
}

static void test_limits(void **state)
{
    char text[32];
    size_t i, length = strlen("address");
    problems_t p = {0};
    const char *name = "address", *value = text, *error;
    unsigned long len;
    ceph_lb_list_t *list;
    ceph_lb_table_t t;
    char *big;

    (void)state;
    ceph_lb_table_init(&t);
    assert_int_equal(ceph_lb_table_begin(&t, 1, &name, &length), 0);

    for (i = 0; i < CEPH_LB_ROWS_MAX + 3; i++) {
        len = (unsigned long)snprintf(text, sizeof(text), "10.1.%zu.%zu", i / 250, i % 250 + 1);
        assert_int_equal(ceph_lb_table_add(&t, &value, &len), 0);
    }

    assert_int_equal(t.rows, CEPH_LB_ROWS_MAX);
    assert_int_equal(t.skipped, 3);

    list = ceph_lb_list_create(&t, note, &p, &error);
    assert_int_equal(list->count, CEPH_LB_ROWS_MAX);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.row[0], 0);
    ceph_lb_list_free(list);

    /* A row that does not fit is left out, and all rows after it. */

    len = CEPH_LB_BYTES_MAX;
    big = calloc(1, len);
    assert_non_null(big);
    assert_int_equal(ceph_lb_table_begin(&t, 1, &name, &length), 0);
    value = big;
    assert_int_equal(ceph_lb_table_add(&t, &value, &len), 0);
    value = "10.0.0.1";
    len = strlen(value);
    assert_int_equal(ceph_lb_table_add(&t, &value, &len), 0);
    assert_int_equal(t.rows, 0);
    assert_int_equal(t.skipped, 2);
    free(big);

    ceph_lb_table_free(&t);
}

/* What of a table stays, as "address address ...". */
static void assert_left(const char *columns, const char *const *rows, const char *expected)
{
    char left[256] = "";
    size_t i;
    const char *error;
    ceph_lb_list_t *list;
    ceph_lb_table_t t;
    problems_t problems = {0};

    ceph_lb_table_init(&t);
    fill(&t, columns, rows);
    ceph_lb_table_leave_out_unseen(&t);
    list = ceph_lb_list_create(&t, note, &problems, &error);
    assert_non_null(list);
    assert_int_equal(problems.n, 0);
    for (i = 0; i < list->total; i++) {
        strcat(left, i > 0 ? " " : "");
        strcat(left, list->backends[i].name);
    }
    assert_string_equal(left, expected);
    ceph_lb_list_free(list);
    ceph_lb_table_free(&t);
}

static void test_unseen_rows(void **state)
{
    static const char *const all[] = {"10.0.0.1 1 -", "10.0.0.2 2 -", NULL};
    static const char *const seen[] = {"1000.5 10.0.0.1 1 1001",     "995.5 10.0.0.2 2 1001",
                                       "995.499999 10.0.0.3 3 1001", "- 10.0.0.4 4 1001",
                                       "1002 10.0.0.5 5 1001",       NULL};
    static const char *const away[] = {"940.000001 10.0.0.1 1 1000", "935.1 10.0.0.2 2 1000",
                                       "- 10.0.0.3 3 1000", NULL};
    static const char *const gone[] = {"940 10.0.0.1 1 1000", "- 10.0.0.3 3 1000", NULL};
    static const char *const no_clock[] = {"940 10.0.0.1 1", "934.9 10.0.0.2 2", NULL};
    static const char *const none[] = {NULL};

    (void)state;
    assert_left("address port seen_at", all, "10.0.0.1:1 10.0.0.2:2");
    assert_left("seen_at address port now_at", seen, "10.0.0.1:1 10.0.0.4:4 10.0.0.5:5");
    assert_left("Seen_At address port NOW_AT", away, "10.0.0.1:1 10.0.0.3:3");
    assert_left("seen_at address port now_at", gone, "10.0.0.3:3");
    assert_left("seen_at address port", no_clock, "10.0.0.1:1");
    assert_left("seen_at address port", none, "");
    assert_left("address port now_at", all, "10.0.0.1:1 10.0.0.2:2");
}

/* A later heartbeat changes nothing of what is left: the same list can be used. */
static void test_heartbeats_are_no_change(void **state)
{
    static const char *const now[] = {"10.0.0.1 1000.1 1000.5", "10.0.0.2 1000.2 1000.5", NULL};
    static const char *const later[] = {"10.0.0.1 1001.1 1001.7", "10.0.0.2 1000.2 1001.7", NULL};
    static const char *const plain[] = {"10.0.0.1", "10.0.0.2", NULL};
    ceph_lb_table_t a, b, c;

    (void)state;
    ceph_lb_table_init(&a);
    ceph_lb_table_init(&b);
    ceph_lb_table_init(&c);
    fill(&a, "address seen_at now_at", now);
    fill(&b, "address seen_at now_at", later);
    fill(&c, "address", plain);
    assert_false(ceph_lb_table_equal(&a, &b));
    ceph_lb_table_leave_out_unseen(&a);
    ceph_lb_table_leave_out_unseen(&b);
    assert_true(ceph_lb_table_equal(&a, &b));
    assert_true(ceph_lb_table_equal(&a, &c));
    ceph_lb_table_free(&a);
    ceph_lb_table_free(&b);
    ceph_lb_table_free(&c);
}

static void test_full_tables(void **state)
{
    static const struct {
        const char *columns, *rows[3];
        int full;
    } cases[] = {
        {"version", {"7"}, 1}, {"version", {"7", "8"}, 1}, {"a b", {"7 ''"}, 1}, {"version", {NULL}, 0},
        {"version", {"-"}, 0}, {"version", {"7", "-"}, 0}, {"a b", {"7 -"}, 0},
    };
    size_t i;
    ceph_lb_table_t t;

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ceph_lb_table_init(&t);
        assert_false(ceph_lb_table_is_full(&t));
        fill(&t, cases[i].columns, cases[i].rows);
        assert_int_equal(ceph_lb_table_is_full(&t), cases[i].full);
        ceph_lb_table_free(&t);
    }
}

static void test_swapped_tables(void **state)
{
    static const char *const seven[] = {"7", NULL};
    ceph_lb_table_t a, b, c;

    (void)state;
    ceph_lb_table_init(&a);
    ceph_lb_table_init(&b);
    ceph_lb_table_init(&c);
    fill(&a, "version", seven);
    fill(&c, "version", seven);

    ceph_lb_table_swap(&a, &b);
    assert_true(ceph_lb_table_equal(&b, &c));
    assert_int_equal(a.rows, 0);
    ceph_lb_table_free(&a);
    ceph_lb_table_free(&b);
    ceph_lb_table_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_tables),
        cmocka_unit_test(test_swapped_tables),
        cmocka_unit_test(test_unseen_rows),
        cmocka_unit_test(test_heartbeats_are_no_change),
        cmocka_unit_test(test_all_columns),
        cmocka_unit_test(test_original_table),
        cmocka_unit_test(test_bad_rows_are_skipped_and_named),
        cmocka_unit_test(test_those_without_requests),
        cmocka_unit_test(test_row_states),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_find_among_many),
        cmocka_unit_test(test_zones),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_no_address_column),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_tables_are_compared_whole),
        cmocka_unit_test(test_list_outlives_its_table),
        cmocka_unit_test(test_limits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
