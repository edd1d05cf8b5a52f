#include "ceph_lb_list.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* In a table, the length of an SQL NULL. */
#define NULL_LENGTH UINT32_MAX

enum {
    VALUE_MAX =
        CEPH_LB_ZONE_MAX, /* longer values of the columns below mean nothing */
};

typedef struct {
    const unsigned char *data; /* NULL: an SQL NULL */
    uint32_t             len;
} value_t;

/* The columns that are looked at, wherever they stand in the answer. */
enum {
    COLUMN_ADDRESS,
    COLUMN_PORT,
    COLUMN_WEIGHT,
    COLUMN_STATE,
    COLUMN_BACKUP,
    COLUMN_MAX_CONNS,
    COLUMN_ZONE,
    COLUMNS,
};

static const char *const column_names[COLUMNS] = {
    "address", "port", "weight", "state", "backup", "max_conns", "zone",
};

/* One row: the text of each column, NULL where the table has no such column. */
typedef struct {
    char        text[COLUMNS][VALUE_MAX];
    const char *column[COLUMNS];
} row_t;

/* Where a table tells when its backends were seen, and what it tells of one. */
typedef struct {
    size_t seen_column, now_column; /* SIZE_MAX: there is none */
    double seen, now;               /* seconds */
} sight_t;

static double
newest_sight(const ceph_lb_table_t *t, const unsigned char *p, sight_t *sight);
static void
look_at(const ceph_lb_table_t *t, const unsigned char **p, sight_t *sight);
static unsigned char *keep_values(
    const ceph_lb_table_t *t,
    const unsigned char  **p,
    const sight_t         *sight,
    unsigned char         *to);
static double  seconds_of(const value_t *value);
static int     is_named(const value_t *value, const char *name);
static int     append(ceph_lb_table_t *t, const void *data, uint32_t len);
static int     reserve(ceph_lb_table_t *t, size_t size);
static value_t next_value(const unsigned char **p);
static int
find_columns(const ceph_lb_table_t *t, int *which, const unsigned char **p);
static const char *read_row(
    const ceph_lb_table_t *t,
    const int             *which,
    const unsigned char  **p,
    row_t                 *row);
static const char *parse_row(const row_t *row, ceph_lb_backend_t *b);
static const char *parse_state(const char *text, ceph_lb_row_state_e *state);
static const char            *
parse_address(const char *text, uint32_t port, ceph_lb_backend_t *b);
static int parse_number(const char *text, uint32_t *number);
static int remember_address(ceph_lb_list_t *list, size_t n);
static ceph_lb_list_t *allocate(const ceph_lb_table_t *t);
static void            put_usable_first(ceph_lb_list_t *list);
static int             is_usable(const ceph_lb_backend_t *b);

void
ceph_lb_table_init(ceph_lb_table_t *t)
{
    memset(t, 0, sizeof(*t));
}

void
ceph_lb_table_free(ceph_lb_table_t *t)
{
    free(t->data);
    ceph_lb_table_init(t);
}

int
ceph_lb_table_begin(
    ceph_lb_table_t   *t,
    size_t             columns,
    const char *const *names,
    const size_t      *lengths)
{
    size_t i;

    t->size = 0;
    t->columns = columns;
    t->rows = 0;
    t->skipped = 0;

    for (i = 0; i < columns; i++) {
        if (append(t, names[i], (uint32_t) lengths[i]) != 0) {
            return -1;
        }
    }

    return 0;
}

int
ceph_lb_table_add(
    ceph_lb_table_t *t, const char *const *values, const unsigned long *lengths)
{
    size_t i, size = 0;

    for (i = 0; i < t->columns; i++) {
        size += sizeof(uint32_t) + (values[i] != NULL ? lengths[i] : 0);
    }

    if (t->skipped > 0 || t->rows == CEPH_LB_ROWS_MAX
        || size > CEPH_LB_BYTES_MAX - t->size)
    {
        t->skipped++;
        return 0;
    }

    for (i = 0; i < t->columns; i++) {
        if (append(
                t, values[i],
                values[i] != NULL ? (uint32_t) lengths[i] : NULL_LENGTH)
            != 0)
        {
            return -1;
        }
    }

    t->rows++;

    return 0;
}

void
ceph_lb_table_leave_out_unseen(ceph_lb_table_t *t)
{
    double               newest;
    size_t               i, row;
    value_t              value;
    sight_t              sight = {SIZE_MAX, SIZE_MAX, 0, 0};
    unsigned char       *to;
    const unsigned char *p = t->data, *begin;

    for (i = 0; i < t->columns; i++) {
        value = next_value(&p);

        if (is_named(&value, "seen_at")) {
            sight.seen_column = i;
        }

        if (is_named(&value, "now_at")) {
            sight.now_column = i;
        }
    }

    if (sight.seen_column == SIZE_MAX) {
        return;
    }

    newest = newest_sight(t, p, &sight);

    /* What is kept moves to the front: it never grows. */

    p = t->data;
    to = keep_values(t, &p, &sight, t->data);

    for (row = 0, i = 0; i < t->rows; i++) {
        begin = p;
        look_at(t, &p, &sight);

        if (sight.seen >= 0
            && (sight.seen < newest - CEPH_LB_UNSEEN_S
                || sight.seen <= sight.now - CEPH_LB_AWAY_S))
        {
            continue;
        }

        to = keep_values(t, &begin, &sight, to);
        row++;
    }

    t->columns -= sight.now_column != SIZE_MAX ? 2 : 1;
    t->rows = row;
    t->size = (size_t) (to - t->data);
}

/* The newest time of all rows. */
static double
newest_sight(const ceph_lb_table_t *t, const unsigned char *p, sight_t *sight)
{
    size_t i;
    double newest = 0;

    for (i = 0; i < t->rows; i++) {
        look_at(t, &p, sight);

        if (sight->seen > newest) {
            newest = sight->seen;
        }
    }

    return newest;
}

/* Moves *p behind the row.  A backend that does not say so is seen at -1. */
static void
look_at(const ceph_lb_table_t *t, const unsigned char **p, sight_t *sight)
{
    size_t  i;
    value_t value;

    sight->seen = -1;
    sight->now = 0;

    for (i = 0; i < t->columns; i++) {
        value = next_value(p);

        if (i == sight->seen_column && value.data != NULL) {
            sight->seen = seconds_of(&value);
        }

        if (i == sight->now_column && value.data != NULL) {
            sight->now = seconds_of(&value);
        }
    }
}

/* Moves *p behind a row, and copies it without the columns of the sight. */
static unsigned char *
keep_values(
    const ceph_lb_table_t *t,
    const unsigned char  **p,
    const sight_t         *sight,
    unsigned char         *to)
{
    size_t               i;
    const unsigned char *begin;

    for (i = 0; i < t->columns; i++) {
        begin = *p;
        (void) next_value(p);

        if (i != sight->seen_column && i != sight->now_column) {
            memmove(to, begin, (size_t) (*p - begin));
            to += *p - begin;
        }
    }

    return to;
}

static double
seconds_of(const value_t *value)
{
    char   text[VALUE_MAX];
    size_t len = value->len < VALUE_MAX - 1 ? value->len : VALUE_MAX - 1;

    memcpy(text, value->data, len);
    text[len] = '\0';

    return strtod(text, NULL);
}

static int
is_named(const value_t *value, const char *name)
{
    return value->data != NULL && value->len == strlen(name)
        && strncasecmp((const char *) value->data, name, value->len) == 0;
}

int
ceph_lb_table_equal(const ceph_lb_table_t *a, const ceph_lb_table_t *b)
{
    return a->size == b->size && a->columns == b->columns && a->rows == b->rows
        && a->skipped == b->skipped && memcmp(a->data, b->data, a->size) == 0;
}

int
ceph_lb_table_is_full(const ceph_lb_table_t *t)
{
    size_t               i;
    const unsigned char *p = t->data;

    for (i = 0; i < t->columns * (t->rows + 1); i++) {
        if (next_value(&p).data == NULL) {
            return 0;
        }
    }

    return t->rows > 0;
}

void
ceph_lb_table_swap(ceph_lb_table_t *a, ceph_lb_table_t *b)
{
    ceph_lb_table_t t = *a;

    *a = *b;
    *b = t;
}

ceph_lb_list_t *
ceph_lb_list_create(
    const ceph_lb_table_t *t,
    ceph_lb_problem_pt     report,
    void                  *data,
    const char           **error)
{
    int                  which[COLUMNS];
    row_t                row;
    size_t               i;
    const char          *problem;
    ceph_lb_list_t      *list;
    const unsigned char *p = t->data;

    if (t->columns == 0 || !find_columns(t, which, &p)) {
        *error = "the answer has no column \"address\"";
        return NULL;
    }

    list = allocate(t);
    if (list == NULL) {
        *error = "out of memory";
        return NULL;
    }

    /*
     * Every address is parsed, also of backends that get no requests: of two
     * rows with the same address the first counts, whatever it says.
     */

    for (i = 1; i <= t->rows; i++) {
        problem = read_row(t, which, &p, &row);

        if (problem == NULL) {
            problem = parse_row(&row, &list->backends[list->total]);
        }

        if (problem == NULL && !remember_address(list, list->total)) {
            problem = "a row with the same address and port came before";
        }

        if (problem != NULL) {
            report(data, i, row.column[COLUMN_ADDRESS], problem);
            continue;
        }

        list->total++;
    }

    put_usable_first(list);

    if (t->skipped > 0) {
        report(data, 0, NULL, "rows beyond the limit are not looked at");
    }

    return list;
}

/* One block: the list, its backends, its buckets, its copy of the table. */
static ceph_lb_list_t *
allocate(const ceph_lb_table_t *t)
{
    size_t          mask, size;
    ceph_lb_list_t *list;

    for (mask = 15; mask < 2 * t->rows; mask = mask * 2 + 1) {
        /* void */
    }

    size = sizeof(ceph_lb_list_t) + t->rows * sizeof(ceph_lb_backend_t);

    list = calloc(1, size + (mask + 1) * sizeof(size_t) + t->size);
    if (list == NULL) {
        return NULL;
    }

    list->refs = 1;
    list->mask = mask;
    list->buckets = (size_t *) &list->backends[t->rows];
    list->table = *t;
    list->table.data = (unsigned char *) &list->buckets[mask + 1];
    list->table.capacity = t->size;
    memcpy(list->table.data, t->data, t->size);

    return list;
}

/* Both kinds stay in the order of the table among themselves. */
static void
put_usable_first(ceph_lb_list_t *list)
{
    size_t             i, rest = 0;
    ceph_lb_backend_t *others;

    for (i = 0; i < list->total && is_usable(&list->backends[i]); i++) {
        /* void */
    }

    list->count = i;

    if (i == list->total) {
        return;
    }

    others = malloc((list->total - i) * sizeof(*others));

    /* Without memory for the others they are left out: they get no requests. */

    for (; i < list->total; i++) {
        if (is_usable(&list->backends[i])) {
            list->backends[list->count++] = list->backends[i];

        } else if (others != NULL) {
            others[rest++] = list->backends[i];
        }
    }

    if (rest > 0) {
        memcpy(&list->backends[list->count], others, rest * sizeof(*others));
    }

    free(others);
    list->total = list->count + rest;

    memset(list->buckets, 0, (list->mask + 1) * sizeof(size_t));

    for (i = 0; i < list->total; i++) {
        (void) remember_address(list, i);
    }
}

static int
is_usable(const ceph_lb_backend_t *b)
{
    return b->row_state == CEPH_LB_UP && b->weight > 0;
}

void
ceph_lb_list_free(ceph_lb_list_t *list)
{
    free(list);
}

long
ceph_lb_list_find(const ceph_lb_list_t *list, const ceph_lb_backend_t *b)
{
    size_t i, found;

    for (i = ceph_lb_address_hash(b) & list->mask; list->buckets[i] != 0;
         i = (i + 1) & list->mask)
    {
        found = list->buckets[i] - 1;

        if (ceph_lb_address_equal(&list->backends[found], b)) {
            return found < list->count ? (long) found : -1;
        }
    }

    return -1;
}

int
ceph_lb_address_equal(const ceph_lb_backend_t *a, const ceph_lb_backend_t *b)
{
    return a->socklen == b->socklen
        && memcmp(&a->address, &b->address, a->socklen) == 0;
}

uint32_t
ceph_lb_address_hash(const ceph_lb_backend_t *b)
{
    size_t               i;
    uint32_t             hash = 2166136261U; /* FNV-1a */
    const unsigned char *p = (const unsigned char *) &b->address;

    for (i = 0; i < b->socklen; i++) {
        hash = (hash ^ p[i]) * 16777619U;
    }

    return hash;
}

static int
append(ceph_lb_table_t *t, const void *data, uint32_t len)
{
    size_t bytes = len == NULL_LENGTH ? 0 : len;

    if (reserve(t, sizeof(len) + bytes) != 0) {
        return -1;
    }

    memcpy(t->data + t->size, &len, sizeof(len));
    t->size += sizeof(len);

    if (bytes > 0) {
        memcpy(t->data + t->size, data, bytes);
        t->size += bytes;
    }

    return 0;
}

static int
reserve(ceph_lb_table_t *t, size_t size)
{
    size_t         capacity;
    unsigned char *data;

    if (t->capacity - t->size >= size) {
        return 0;
    }

    for (capacity = t->capacity > 0 ? t->capacity : 1024;
         capacity - t->size < size; capacity *= 2)
    {
        /* void */
    }

    data = realloc(t->data, capacity);
    if (data == NULL) {
        return -1;
    }

    t->data = data;
    t->capacity = capacity;

    return 0;
}

static value_t
next_value(const unsigned char **p)
{
    value_t v;

    memcpy(&v.len, *p, sizeof(v.len));
    *p += sizeof(v.len);

    if (v.len == NULL_LENGTH) {
        v.data = NULL;
        v.len = 0;
        return v;
    }

    v.data = *p;
    *p += v.len;

    return v;
}

/* Leaves *p at the first row; 0 when there is no column for the address. */
static int
find_columns(const ceph_lb_table_t *t, int *which, const unsigned char **p)
{
    int     c;
    size_t  i;
    value_t name;

    for (c = 0; c < COLUMNS; c++) {
        which[c] = -1;
    }

    for (i = 0; i < t->columns; i++) {
        name = next_value(p);

        for (c = 0; c < COLUMNS; c++) {
            if (which[c] == -1 && is_named(&name, column_names[c])) {
                which[c] = (int) i;
            }
        }
    }

    return which[COLUMN_ADDRESS] != -1;
}

/* Moves *p behind the row also when there is a problem with it. */
static const char *
read_row(
    const ceph_lb_table_t *t,
    const int             *which,
    const unsigned char  **p,
    row_t                 *row)
{
    int         c;
    size_t      i;
    value_t     value;
    const char *problem = NULL;

    memset(row->column, 0, sizeof(row->column));

    for (i = 0; i < t->columns; i++) {
        value = next_value(p);

        for (c = 0; c < COLUMNS; c++) {
            if (which[c] != (int) i) {
                continue;
            }

            if (value.data == NULL && c == COLUMN_ZONE) {
                continue;
            }

            if (value.data == NULL) {
                problem = "a column is NULL";
                continue;
            }

            if (value.len >= VALUE_MAX
                || memchr(value.data, '\0', value.len) != NULL) {
                problem = "a value is too long or holds a zero byte";
                value.len = 0;
            }

            memcpy(row->text[c], value.data, value.len);
            row->text[c][value.len] = '\0';
            row->column[c] = row->text[c];
        }
    }

    return problem;
}

static const char *
parse_row(const row_t *row, ceph_lb_backend_t *b)
{
    uint32_t    port = CEPH_LB_DEFAULT_PORT, backup = 0;
    const char *problem, *zone = row->column[COLUMN_ZONE];

    memset(b, 0, sizeof(*b));
    b->weight = 1;

    if (row->column[COLUMN_PORT] != NULL
        && (!parse_number(row->column[COLUMN_PORT], &port) || port == 0
            || port > UINT16_MAX))
    {
        return "the port is not a number from 1 to 65535";
    }

    if (row->column[COLUMN_WEIGHT] != NULL
        && !parse_number(row->column[COLUMN_WEIGHT], &b->weight))
    {
        return "the weight is not a number from 0 to 4294967295";
    }

    if (row->column[COLUMN_BACKUP] != NULL
        && !parse_number(row->column[COLUMN_BACKUP], &backup))
    {
        return "the column \"backup\" is not a number";
    }

    if (row->column[COLUMN_MAX_CONNS] != NULL
        && !parse_number(row->column[COLUMN_MAX_CONNS], &b->max_conns))
    {
        return "the column \"max_conns\" is not a number";
    }

    problem = parse_state(row->column[COLUMN_STATE], &b->row_state);
    if (problem != NULL) {
        return problem;
    }

    b->backup = backup != 0;
    (void) snprintf(b->zone, sizeof(b->zone), "%s", zone != NULL ? zone : "");

    return parse_address(row->column[COLUMN_ADDRESS], port, b);
}

static const char *
parse_state(const char *text, ceph_lb_row_state_e *state)
{
    if (text == NULL || strcasecmp(text, "up") == 0) {
        *state = CEPH_LB_UP;

    } else if (strcasecmp(text, "drain") == 0) {
        *state = CEPH_LB_DRAIN;

    } else if (strcasecmp(text, "down") == 0) {
        *state = CEPH_LB_DOWN;

    } else {
        return "the state is not one of up, drain, down";
    }

    return NULL;
}

static const char *
parse_address(const char *text, uint32_t port, ceph_lb_backend_t *b)
{
    int  n;
    char plain[INET6_ADDRSTRLEN];

    if (inet_pton(AF_INET, text, &b->address.in.sin_addr) == 1) {
        b->address.in.sin_family = AF_INET;
        b->address.in.sin_port = htons((uint16_t) port);
        b->socklen = sizeof(b->address.in);

        if (b->address.in.sin_addr.s_addr == htonl(INADDR_ANY)
            || b->address.in.sin_addr.s_addr == htonl(INADDR_BROADCAST)
            || IN_MULTICAST(ntohl(b->address.in.sin_addr.s_addr)))
        {
            return "not the address of one host";
        }

        n = snprintf(b->name, sizeof(b->name), "%s:%u", text, (unsigned) port);

    } else if (inet_pton(AF_INET6, text, &b->address.in6.sin6_addr) == 1) {
        b->address.in6.sin6_family = AF_INET6;
        b->address.in6.sin6_port = htons((uint16_t) port);
        b->socklen = sizeof(b->address.in6);

        if (IN6_IS_ADDR_UNSPECIFIED(&b->address.in6.sin6_addr)
            || IN6_IS_ADDR_MULTICAST(&b->address.in6.sin6_addr))
        {
            return "not the address of one host";
        }

        (void) inet_ntop(
            AF_INET6, &b->address.in6.sin6_addr, plain, sizeof(plain));
        n = snprintf(
            b->name, sizeof(b->name), "[%s]:%u", plain, (unsigned) port);

    } else {
        return "not an IP address";
    }

    b->name_len = (size_t) n;

    return NULL;
}

static int
parse_number(const char *text, uint32_t *number)
{
    uint64_t n = 0;

    if (*text == '\0') {
        return 0;
    }

    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return 0;
        }

        n = n * 10 + (uint64_t) (*text - '0');

        if (n > UINT32_MAX) {
            return 0;
        }
    }

    *number = (uint32_t) n;

    return 1;
}

/*
 * Puts backend n into the hash table of the addresses seen before it; 0 when
 * the address is there already.  A bucket holds an index plus one.
 */
static int
remember_address(ceph_lb_list_t *list, size_t n)
{
    size_t             i;
    ceph_lb_backend_t *seen = list->backends;

    for (i = ceph_lb_address_hash(&seen[n]) & list->mask; list->buckets[i] != 0;
         i = (i + 1) & list->mask)
    {
        if (ceph_lb_address_equal(&seen[list->buckets[i] - 1], &seen[n])) {
            return 0;
        }
    }

    list->buckets[i] = n + 1;

    return 1;
}
