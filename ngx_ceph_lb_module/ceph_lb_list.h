/*
 * The list of backends: from the rows of the registry to an immutable snapshot.
 *
 * A table is what the query returned, in one flat buffer that is filled again
 * and again.  A list is made from a table, keeps a copy of it (so that a later
 * table can be compared with it: byte for byte the same means the same list),
 * and is never changed afterwards, except for the owner's reference counter
 * and what binds it to the shared state and the plan of the balancer
 * (ceph_lb_state.h, ceph_lb_plan.h).
 *
 * Plain C, no thread safety, no logging: problems go to the caller's function.
 */

#ifndef CEPH_LB_LIST_H
#define CEPH_LB_LIST_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CEPH_LB_ROWS_MAX = 10000,
    CEPH_LB_BYTES_MAX = 4 * 1024 * 1024,
    CEPH_LB_DEFAULT_PORT = 8080, /* for a table without a column "port" */
    CEPH_LB_NAME_MAX = 64,
    CEPH_LB_UNSEEN_S = 5,
    CEPH_LB_AWAY_S = 60,
    CEPH_LB_ZONE_MAX = 65, /* bytes of the name of a zone, with its end */
};

typedef struct {
    unsigned char *data; /* length and bytes of each value, one by one */
    size_t         size; /* bytes used */
    size_t         capacity;
    size_t         columns;
    size_t         rows;
    size_t         skipped; /* rows beyond one of the limits */
} ceph_lb_table_t;

typedef struct ceph_lb_state_s           ceph_lb_state_t;
typedef struct ceph_lb_table_of_states_s ceph_lb_states_t;
typedef struct ceph_lb_plan_s            ceph_lb_plan_t;

typedef enum {
    CEPH_LB_UP,
    CEPH_LB_DRAIN, /* finishes what it has */
    CEPH_LB_DOWN,
} ceph_lb_row_state_e;

typedef struct {
    union {
        struct sockaddr     any;
        struct sockaddr_in  in;
        struct sockaddr_in6 in6;
    } address;
    socklen_t           socklen;
    size_t              name_len;
    char                name[CEPH_LB_NAME_MAX]; /* "10.0.0.1:80", "[::1]:80" */
    char                zone[CEPH_LB_ZONE_MAX]; /* where it stands, or "" */
    ceph_lb_row_state_e row_state;
    uint32_t            weight;    /* 0 means drained, too */
    uint32_t            max_conns; /* 0: no limit */
    int                 backup;
    ceph_lb_state_t    *state;      /* shared; NULL until the list is bound */
    uint32_t            generation; /* of *state when it was bound */
} ceph_lb_backend_t;

typedef struct {
    size_t            refs; /* the owner's, 1 at first */
    ceph_lb_table_t   table;
    size_t            count;  /* those that may get requests: the first ones */
    size_t            total;  /* those that stand in the table */
    ceph_lb_states_t *states; /* the owner's; NULL until bound */
    ceph_lb_plan_t   *plan;   /* the owner's; NULL until there is one */
    size_t            mask;
    size_t           *buckets; /* of the addresses; mask + 1 of them */
    ceph_lb_backend_t backends[];
} ceph_lb_list_t;

/*
 * Told of each row that cannot be used and why.  row counts from 1, or is 0
 * for what concerns the whole table; address is what stands in the row, or
 * NULL.  The texts live only during the call.
 */
typedef void (*ceph_lb_problem_pt)(
    void *data, size_t row, const char *address, const char *problem);

void ceph_lb_table_init(ceph_lb_table_t *t);
void ceph_lb_table_free(ceph_lb_table_t *t);

/*
 * Begins a table with these column names (of the lengths given).  Returns 0,
 * or -1 when there is no memory.
 */
int ceph_lb_table_begin(
    ceph_lb_table_t   *t,
    size_t             columns,
    const char *const *names,
    const size_t      *lengths);

/*
 * Adds a row; a NULL in values is an SQL NULL.  A row beyond a limit is only
 * counted.  Returns 0, or -1 when there is no memory.
 */
int ceph_lb_table_add(
    ceph_lb_table_t     *t,
    const char *const   *values,
    const unsigned long *lengths);

/*
 * Leaves out the rows of backends that have not been seen for too long, and the
 * columns that tell of it: "seen_at", when the backend was seen (NULL: it is not
 * one that says so, and stays), and "now_at", what time it is, both in seconds
 * by the clock of the registry.  After the last row.
 *
 * Not seen for CEPH_LB_UNSEEN_S longer than the one seen last: it is dead.  If
 * none has been seen for a while it was the registry that was away: those seen
 * last stay, for CEPH_LB_AWAY_S.
 */
void ceph_lb_table_leave_out_unseen(ceph_lb_table_t *t);

int ceph_lb_table_equal(const ceph_lb_table_t *a, const ceph_lb_table_t *b);

/* Whether there is a row in it, and a value in each column of each row. */
int ceph_lb_table_is_full(const ceph_lb_table_t *t);

void ceph_lb_table_swap(ceph_lb_table_t *a, ceph_lb_table_t *b);

/*
 * Makes a list of the table; the caller owns it and frees it with
 * ceph_lb_list_free.  Rows that cannot be used are reported and left out.
 * Returns NULL when nothing can be made of the table: *error then is a static
 * text that says why.
 */
ceph_lb_list_t *ceph_lb_list_create(
    const ceph_lb_table_t *t,
    ceph_lb_problem_pt     report,
    void                  *data,
    const char           **error);
void ceph_lb_list_free(ceph_lb_list_t *list);

/* Its index among those that may get requests, or -1. */
long ceph_lb_list_find(const ceph_lb_list_t *list, const ceph_lb_backend_t *b);

int
ceph_lb_address_equal(const ceph_lb_backend_t *a, const ceph_lb_backend_t *b);
uint32_t ceph_lb_address_hash(const ceph_lb_backend_t *b);

#endif /* CEPH_LB_LIST_H */
