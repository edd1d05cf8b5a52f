#include "ngx_http_ceph_lb_lookup.h"

#include "ngx_http_ceph_lb_idle.h"
#include "ngx_http_ceph_lb_mysql.h"

/*
 * While a query runs that began less than this many milliseconds ago, whoever
 * arrives waits for its end, even if another connection is idle: one query
 * that serves many is cheaper than many that serve one.  When queries take
 * longer, several run at a time.
 */
#define NGX_HTTP_CEPH_LB_PATIENCE 2

/*
 * For at most so many turns of the event loop a flight waits for those who come
 * with the next turn, as long as each turn brings somebody.  They would have to
 * wait for the flight after it otherwise.
 */
#define NGX_HTTP_CEPH_LB_TURNS 3

/*
 * With a version_query, the list itself is read again after so many
 * milliseconds even if its version is the same: which backends have not been
 * seen for too long is no matter of versions.
 */
#define NGX_HTTP_CEPH_LB_REREAD 1000

/*
 * Pauses between attempts to reach the registry, in milliseconds; each is cut
 * at random to between the half and the whole.
 */
#define NGX_HTTP_CEPH_LB_PAUSE_MIN 50
#define NGX_HTTP_CEPH_LB_PAUSE_MAX 1000

/* How often the shared memory is told that this worker is still here. */
#define NGX_HTTP_CEPH_LB_SWEEP 1000

/* How many different problems with rows are remembered as logged. */
#define NGX_HTTP_CEPH_LB_PROBLEMS 256

/* How much is kept of what the registry said last, with its end. */
#define NGX_HTTP_CEPH_LB_ERROR 256

/* One connection, and the flight that uses it. */
typedef struct {
    ngx_http_ceph_lb_mysql_t  *mysql;
    ngx_http_ceph_lb_lookup_t *lookup;
    ceph_lb_flight_t           flight;
    ngx_uint_t                 number;  /* of the flight, in order of launch */
    ngx_uint_t                 nlanded; /* of the lookup, at its launch */
    ngx_msec_t                 launched;
    uint64_t                   launched_us;
    ngx_msec_t                 opened;
    ceph_lb_table_t            version; /* what the version query returned */
    unsigned asking_version : 1;        /* the query under way is that one */
    unsigned proven : 1;                /* has answered a query */
    unsigned useful : 1;                /* and with a table */
    unsigned lasting : 1;               /* and is not new any more */
} ngx_http_ceph_lb_line_t;

struct ngx_http_ceph_lb_lookup_s {
    ngx_http_ceph_lb_srv_conf_t *conf;
    ngx_log_t                   *log;

    ceph_lb_terminal_t       terminal;
    ngx_queue_t              waiters; /* all, in the order of their deadlines */
    ngx_http_ceph_lb_line_t *lines;   /* conf->connections of them */

    ngx_event_t launch; /* posted to the end of this turn of the loop */
    ngx_event_t hurry;  /* those who wait have been patient for long enough */
    ngx_event_t expire; /* the deadline of the first of the waiters */
    ngx_event_t retry;  /* the end of the pause after a failure */
    ngx_event_t sweep;  /* every second */

    ngx_uint_t narrived;  /* those who had to wait */
    ngx_uint_t nboarding; /* narrived in the last turn of the loop */
    ngx_uint_t nturns;    /* for which a flight has waited */

    ngx_uint_t nlaunched;
    ngx_msec_t launched; /* the last flight */
    ngx_uint_t nlanded;  /* flights that brought an answer */
    ngx_uint_t failures; /* since then */
    ngx_uint_t misses;   /* openings in a row that made no lasting connection */

    ngx_uint_t host;   /* of the URL, with which the next opening begins */
    ngx_uint_t served; /* the host that the log knows of */

    ceph_lb_counters_t *counters; /* shared */

    ceph_lb_list_t *last; /* the newest list, or NULL */
    ngx_uint_t      last_number;
    ngx_msec_t      last_launched;
    ceph_lb_table_t version; /* that it had before it was read; or nothing */
    ngx_msec_t      read;    /* since when it is known by its rows */

    ngx_msec_t  trouble_since;
    const char *trouble; /* why no fresh list is to be had, or NULL; static */
    u_char      error[NGX_HTTP_CEPH_LB_ERROR]; /* said last about it */
    unsigned    expired : 1; /* that the last list is too old is logged */
    unsigned    away : 1;    /* nobody waits, only the retry timer tries */

    uint32_t   problems[NGX_HTTP_CEPH_LB_PROBLEMS];
    ngx_uint_t nproblems;
};

static ngx_int_t
            ngx_http_ceph_lb_lookup_init_lines(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_init_event(
    ngx_http_ceph_lb_lookup_t *l,
    ngx_event_t               *ev,
    ngx_event_handler_pt       handler);
static void ngx_http_ceph_lb_lookup_launch_handler(ngx_event_t *ev);
static ngx_uint_t
ngx_http_ceph_lb_lookup_be_patient(ngx_http_ceph_lb_lookup_t *l);
static ngx_uint_t
            ngx_http_ceph_lb_lookup_others_come(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_launch(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_query(
    ngx_http_ceph_lb_line_t *line, const ngx_str_t *statement);
static void ngx_http_ceph_lb_lookup_open(ngx_http_ceph_lb_lookup_t *l);
static ngx_http_ceph_lb_line_t *ngx_http_ceph_lb_lookup_find(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_mysql_state_e state);
static ngx_uint_t
            ngx_http_ceph_lb_lookup_is_connected(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_mysql_handler(
    void *data, ngx_http_ceph_lb_mysql_event_e event);
static void ngx_http_ceph_lb_lookup_opened(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_not_opened(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_answered(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_version(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_list(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_landed(
    ngx_http_ceph_lb_line_t *line, ceph_lb_list_t *list);
static void ngx_http_ceph_lb_lookup_replace(
    ngx_http_ceph_lb_lookup_t *l, ceph_lb_list_t *list);
static void ngx_http_ceph_lb_lookup_count_flight(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_line_t *line);
static uint64_t ngx_http_ceph_lb_lookup_clock(void);
static void     ngx_http_ceph_lb_lookup_served(ngx_http_ceph_lb_line_t *line);
static void
ngx_http_ceph_lb_lookup_refused(ngx_http_ceph_lb_line_t *line, const char *why);
static void
ngx_http_ceph_lb_lookup_lost(ngx_http_ceph_lb_line_t *line, const char *what);
static ngx_uint_t
            ngx_http_ceph_lb_lookup_was_short(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_hung(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_distrust(ngx_http_ceph_lb_line_t *line);
static void ngx_http_ceph_lb_lookup_disembark(
    ngx_http_ceph_lb_lookup_t *l,
    ceph_lb_flight_t          *flight,
    ceph_lb_list_t            *list,
    ngx_msec_t                 launched);
static void ngx_http_ceph_lb_lookup_answer(
    ngx_http_ceph_lb_lookup_t *l,
    ngx_http_ceph_lb_waiter_t *w,
    ceph_lb_list_t            *list,
    ngx_msec_t                 launched);
static void ngx_http_ceph_lb_lookup_answer_without(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w);
static void ngx_http_ceph_lb_lookup_trouble(
    ngx_http_ceph_lb_lookup_t *l, const char *what, const char *why);
static void ngx_http_ceph_lb_lookup_recover(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_go_away(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_pause(ngx_http_ceph_lb_lookup_t *l);
static void ngx_http_ceph_lb_lookup_hurry_handler(ngx_event_t *ev);
static void ngx_http_ceph_lb_lookup_retry_handler(ngx_event_t *ev);
static void ngx_http_ceph_lb_lookup_sweep_handler(ngx_event_t *ev);
static void ngx_http_ceph_lb_lookup_expire_handler(ngx_event_t *ev);
static ceph_lb_list_t *ngx_http_ceph_lb_lookup_make_list(
    ngx_http_ceph_lb_lookup_t *l,
    const ceph_lb_table_t     *table,
    const char               **error);
static void ngx_http_ceph_lb_lookup_problem(
    void *data, size_t row, const char *address, const char *problem);

static const char ngx_http_ceph_lb_gone[] = "is unreachable";
static const char ngx_http_ceph_lb_no_list[] = "gives no list";

ngx_http_ceph_lb_lookup_t *
ngx_http_ceph_lb_lookup_start(ngx_http_ceph_lb_srv_conf_t *conf)
{
    ngx_http_ceph_lb_lookup_t *l;

    if (conf->lookup != NULL) {
        return conf->lookup;
    }

    l = ngx_pcalloc(ngx_cycle->pool, sizeof(ngx_http_ceph_lb_lookup_t));
    if (l == NULL) {
        return NULL;
    }

    l->conf = conf;
    l->log = ngx_cycle->log;

    ceph_lb_terminal_init(&l->terminal);
    ngx_queue_init(&l->waiters);

    if (ngx_http_ceph_lb_lookup_init_lines(l) != NGX_OK) {
        return NULL;
    }

    ngx_http_ceph_lb_lookup_init_event(
        l, &l->launch, ngx_http_ceph_lb_lookup_launch_handler);
    ngx_http_ceph_lb_lookup_init_event(
        l, &l->hurry, ngx_http_ceph_lb_lookup_hurry_handler);
    ngx_http_ceph_lb_lookup_init_event(
        l, &l->retry, ngx_http_ceph_lb_lookup_retry_handler);
    ngx_http_ceph_lb_lookup_init_event(
        l, &l->expire, ngx_http_ceph_lb_lookup_expire_handler);

    ngx_http_ceph_lb_lookup_init_event(
        l, &l->sweep, ngx_http_ceph_lb_lookup_sweep_handler);

    ngx_http_ceph_lb_zone_enter(&conf->zone, l->log);
    l->counters = ngx_http_ceph_lb_zone_counters(&conf->zone);
    ngx_add_timer(&l->sweep, NGX_HTTP_CEPH_LB_SWEEP);

    conf->lookup = l;

    ngx_http_ceph_lb_lookup_open(l);

    return l;
}

static ngx_int_t
ngx_http_ceph_lb_lookup_init_lines(ngx_http_ceph_lb_lookup_t *l)
{
    ngx_uint_t               i;
    ngx_http_ceph_lb_line_t *line;

    l->lines = ngx_pcalloc(
        ngx_cycle->pool,
        l->conf->connections * sizeof(ngx_http_ceph_lb_line_t));
    if (l->lines == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < l->conf->connections; i++) {
        line = &l->lines[i];
        line->lookup = l;
        ceph_lb_flight_init(&line->flight);

        line->mysql = ngx_http_ceph_lb_mysql_create(
            ngx_cycle->pool, l->conf, ngx_http_ceph_lb_lookup_mysql_handler,
            line);
        if (line->mysql == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}

static void
ngx_http_ceph_lb_lookup_init_event(
    ngx_http_ceph_lb_lookup_t *l, ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = l;
    ev->log = l->log;
    ev->cancelable = 1;
}

void
ngx_http_ceph_lb_lookup_stop(ngx_http_ceph_lb_lookup_t *l)
{
    ngx_uint_t i;

    for (i = 0; i < l->conf->connections; i++) {
        ngx_http_ceph_lb_mysql_destroy(l->lines[i].mysql);
        ceph_lb_table_free(&l->lines[i].version);
    }

    ceph_lb_table_free(&l->version);

    if (l->launch.posted) {
        ngx_delete_posted_event(&l->launch);
    }

    if (l->hurry.timer_set) {
        ngx_del_timer(&l->hurry);
    }

    if (l->retry.timer_set) {
        ngx_del_timer(&l->retry);
    }

    if (l->expire.timer_set) {
        ngx_del_timer(&l->expire);
    }

    if (l->sweep.timer_set) {
        ngx_del_timer(&l->sweep);
    }

    if (l->last != NULL) {
        ngx_http_ceph_lb_lookup_release(l->last);
        l->last = NULL;
    }

    ngx_http_ceph_lb_zone_leave(&l->conf->zone);

    l->conf->lookup = NULL;
}

ngx_int_t
ngx_http_ceph_lb_lookup_join(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w)
{
    w->arrived = ngx_current_msec;
    w->nlanded = l->nlanded;

    if (l->away) {
        ngx_http_ceph_lb_lookup_answer_without(l, w);
        return NGX_OK;
    }

    w->waiting = 1;
    l->narrived++;
    ceph_lb_arrive(&l->terminal, &w->waiter);
    ngx_queue_insert_tail(&l->waiters, &w->queue);

    /*
     * The timer outlives those it was set for, and is set anew when it fires:
     * that is cheaper than to set it for each.  It keeps an exiting worker
     * alive only while somebody waits.
     */

    l->expire.cancelable = 0;

    if (!l->expire.timer_set) {
        ngx_add_timer(&l->expire, l->conf->timeout);
    }

    ngx_post_event(&l->launch, &ngx_posted_events);

    return NGX_AGAIN;
}

void
ngx_http_ceph_lb_lookup_leave(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w)
{
    if (!w->waiting) {
        return;
    }

    w->waiting = 0;
    w->wait_time = ngx_current_msec - w->arrived;
    ceph_lb_leave(&w->waiter);
    ngx_queue_remove(&w->queue);

    l->expire.cancelable = ngx_queue_empty(&l->waiters);
}

ceph_lb_list_t *
ngx_http_ceph_lb_lookup_hold(ceph_lb_list_t *list)
{
    list->refs++;

    return list;
}

void
ngx_http_ceph_lb_lookup_release(ceph_lb_list_t *list)
{
    if (--list->refs == 0) {
        ceph_lb_plan_free(list->plan);
        ceph_lb_list_free(list);
    }
}

ceph_lb_list_t *
ngx_http_ceph_lb_lookup_newest(ngx_http_ceph_lb_lookup_t *l)
{
    return l->last;
}

ngx_msec_t
ngx_http_ceph_lb_lookup_age(ngx_http_ceph_lb_lookup_t *l)
{
    return ngx_current_msec - l->last_launched;
}

const char *
ngx_http_ceph_lb_lookup_why(ngx_http_ceph_lb_lookup_t *l)
{
    return l->trouble;
}

const char *
ngx_http_ceph_lb_lookup_error(ngx_http_ceph_lb_lookup_t *l)
{
    return (char *) l->error;
}

ngx_msec_t
ngx_http_ceph_lb_lookup_trouble_age(ngx_http_ceph_lb_lookup_t *l)
{
    return ngx_current_msec - l->trouble_since;
}

/* Whoever arrived in this turn of the event loop is waiting by now. */
static void
ngx_http_ceph_lb_lookup_launch_handler(ngx_event_t *ev)
{
    ngx_http_ceph_lb_line_t   *line;
    ngx_http_ceph_lb_lookup_t *l = ev->data;

    line = ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_IDLE);

    if (line != NULL && !line->proven) {
        ngx_http_ceph_lb_lookup_launch(l, line);
        return;
    }

    if (!ceph_lb_is_waited_for(&l->terminal)
        || ngx_http_ceph_lb_lookup_be_patient(l)
        || ngx_http_ceph_lb_lookup_others_come(l))
    {
        return;
    }

    if (line != NULL) {
        ngx_http_ceph_lb_lookup_launch(l, line);
        return;
    }

    /* Who waits does not wait for the end of a pause as well. */

    if (l->retry.timer_set && !l->away
        && !ngx_http_ceph_lb_lookup_is_connected(l)) {
        ngx_del_timer(&l->retry);
    }

    ngx_http_ceph_lb_lookup_open(l);
}

/* Sees to it that the launch is tried again when it is not for now. */
static ngx_uint_t
ngx_http_ceph_lb_lookup_be_patient(ngx_http_ceph_lb_lookup_t *l)
{
    if (ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_BUSY) == NULL
        || ngx_current_msec - l->launched >= NGX_HTTP_CEPH_LB_PATIENCE)
    {
        return 0;
    }

    if (!l->hurry.timer_set) {
        ngx_add_timer(&l->hurry, NGX_HTTP_CEPH_LB_PATIENCE);
    }

    return 1;
}

/* Then the launch is tried again at the end of the next turn. */
static ngx_uint_t
ngx_http_ceph_lb_lookup_others_come(ngx_http_ceph_lb_lookup_t *l)
{
    if (l->nboarding == l->narrived || l->nturns == NGX_HTTP_CEPH_LB_TURNS) {
        l->nturns = 0;
        return 0;
    }

    l->nboarding = l->narrived;
    l->nturns++;
    ngx_post_event(&l->launch, &ngx_posted_next_events);

    return 1;
}

static void
ngx_http_ceph_lb_lookup_launch(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_line_t *line)
{
    line->number = ++l->nlaunched;
    line->nlanded = l->nlanded;
    line->launched = ngx_current_msec;
    line->launched_us = ngx_http_ceph_lb_lookup_clock();
    l->launched = ngx_current_msec;

    ceph_lb_launch(&l->terminal, &line->flight);

    line->asking_version = l->conf->version_query.len != 0;

    ngx_http_ceph_lb_lookup_query(
        line, line->asking_version ? &l->conf->version_query : &l->conf->query);
}

static void
ngx_http_ceph_lb_lookup_query(
    ngx_http_ceph_lb_line_t *line, const ngx_str_t *statement)
{
    if (ngx_http_ceph_lb_mysql_query(line->mysql, statement) != NGX_OK) {
        ngx_http_ceph_lb_lookup_lost(line, ngx_http_ceph_lb_gone);
    }
}

/* Opens one connection more, but never two at a time. */
static void
ngx_http_ceph_lb_lookup_open(ngx_http_ceph_lb_lookup_t *l)
{
    ngx_http_ceph_lb_line_t *line;

    if (l->retry.timer_set
        || ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_OPENING)
               != NULL)
    {
        return;
    }

    line = ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_CLOSED);
    if (line == NULL) {
        return;
    }

    line->proven = 0;
    line->useful = 0;
    line->lasting = 0;

    if (ngx_http_ceph_lb_mysql_open(line->mysql, l->host) != NGX_OK) {
        ngx_http_ceph_lb_lookup_not_opened(line);
    }
}

static ngx_http_ceph_lb_line_t *
ngx_http_ceph_lb_lookup_find(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_mysql_state_e state)
{
    ngx_uint_t i;

    for (i = 0; i < l->conf->connections; i++) {
        if (ngx_http_ceph_lb_mysql_state(l->lines[i].mysql) == state) {
            return &l->lines[i];
        }
    }

    return NULL;
}

static ngx_uint_t
ngx_http_ceph_lb_lookup_is_connected(ngx_http_ceph_lb_lookup_t *l)
{
    return ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_IDLE) != NULL
        || ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_BUSY) != NULL;
}

static void
ngx_http_ceph_lb_lookup_mysql_handler(
    void *data, ngx_http_ceph_lb_mysql_event_e event)
{
    ngx_http_ceph_lb_line_t *line = data;

    switch (event) {

    case NGX_HTTP_CEPH_LB_OPENED:
        ngx_http_ceph_lb_lookup_opened(line);
        break;

    case NGX_HTTP_CEPH_LB_NOT_OPENED:
        ngx_http_ceph_lb_lookup_not_opened(line);
        break;

    case NGX_HTTP_CEPH_LB_ANSWERED:
        ngx_http_ceph_lb_lookup_answered(line);
        break;

    case NGX_HTTP_CEPH_LB_REFUSED:
        ngx_http_ceph_lb_lookup_refused(
            line, ngx_http_ceph_lb_mysql_error(line->mysql));
        break;

    case NGX_HTTP_CEPH_LB_UNFIT:
        ngx_http_ceph_lb_lookup_distrust(line);
        ngx_http_ceph_lb_lookup_lost(line, ngx_http_ceph_lb_no_list);
        break;

    case NGX_HTTP_CEPH_LB_LOST:
        ngx_http_ceph_lb_lookup_lost(line, ngx_http_ceph_lb_gone);
        break;

    case NGX_HTTP_CEPH_LB_HUNG:
        ngx_http_ceph_lb_lookup_hung(line);
        break;
    }
}

static void
ngx_http_ceph_lb_lookup_opened(ngx_http_ceph_lb_line_t *line)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    line->opened = ngx_current_msec;
    l->host = ngx_http_ceph_lb_mysql_host(line->mysql);

    /* It may lead to another server, whose versions say nothing of this one. */

    l->read = ngx_current_msec - NGX_HTTP_CEPH_LB_REREAD;

    ngx_post_event(&l->launch, &ngx_posted_events);
}

static void
ngx_http_ceph_lb_lookup_not_opened(ngx_http_ceph_lb_line_t *line)
{
    const char                *why;
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    why = ngx_http_ceph_lb_mysql_error(line->mysql);
    ceph_lb_count(&l->counters->errors, 1);
    l->misses++;

    if (ngx_http_ceph_lb_lookup_is_connected(l)) {
        ngx_http_ceph_lb_lookup_problem(l, 0, NULL, why);
        ngx_http_ceph_lb_lookup_pause(l);
        return;
    }

    l->failures++;
    ngx_http_ceph_lb_lookup_trouble(l, ngx_http_ceph_lb_gone, why);
    ngx_http_ceph_lb_lookup_go_away(l);
}

static void
ngx_http_ceph_lb_lookup_answered(ngx_http_ceph_lb_line_t *line)
{
    ngx_http_ceph_lb_lookup_served(line);

    if (line->asking_version) {
        ngx_http_ceph_lb_lookup_version(line);
    } else {
        ngx_http_ceph_lb_lookup_list(line);
    }
}

/*
 * The list of the same version is as good as if it had been read now.  It was
 * read after its version was: whatever was changed between the two, or since,
 * has changed the version.
 */
static void
ngx_http_ceph_lb_lookup_version(ngx_http_ceph_lb_line_t *line)
{
    ceph_lb_table_t           *version;
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    version = ngx_http_ceph_lb_mysql_table(line->mysql);

    if (l->last != NULL && ngx_current_msec - l->read < NGX_HTTP_CEPH_LB_REREAD
        && ceph_lb_table_equal(&l->version, version)
        && ceph_lb_table_is_full(version))
    {
        ngx_http_ceph_lb_lookup_landed(
            line, ngx_http_ceph_lb_lookup_hold(l->last));
        return;
    }

    ceph_lb_table_swap(&line->version, version);
    line->asking_version = 0;

    ngx_http_ceph_lb_lookup_query(line, &l->conf->query);
}

static void
ngx_http_ceph_lb_lookup_list(ngx_http_ceph_lb_line_t *line)
{
    const char                *error;
    ceph_lb_list_t            *list;
    const ceph_lb_table_t     *table;
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    table = ngx_http_ceph_lb_mysql_table(line->mysql);

    if (l->last != NULL && ceph_lb_table_equal(&l->last->table, table)) {
        list = ngx_http_ceph_lb_lookup_hold(l->last);

    } else {
        list = ngx_http_ceph_lb_lookup_make_list(l, table, &error);

        if (list == NULL) {
            ngx_http_ceph_lb_lookup_refused(line, error);
            return;
        }
    }

    if (l->last == NULL || line->number > l->last_number) {
        ceph_lb_table_swap(&l->version, &line->version);
        l->read = line->launched;
    }

    ngx_http_ceph_lb_lookup_landed(line, list);
}

/* Takes over the caller's reference. */
static void
ngx_http_ceph_lb_lookup_landed(
    ngx_http_ceph_lb_line_t *line, ceph_lb_list_t *list)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    /* Flights may overtake each other. */

    if (l->last == NULL || line->number > l->last_number) {
        ngx_http_ceph_lb_lookup_replace(l, list);
        l->last_number = line->number;
        l->last_launched = line->launched;
    }

    ngx_http_ceph_lb_lookup_count_flight(l, line);

    l->nlanded++;
    ngx_http_ceph_lb_lookup_recover(l);

    if (ceph_lb_is_waited_for(&l->terminal)) {
        ngx_post_event(&l->launch, &ngx_posted_events);
    }

    ceph_lb_land(&line->flight);
    ngx_http_ceph_lb_lookup_disembark(l, &line->flight, list, line->launched);
    ngx_http_ceph_lb_lookup_release(list);
}

/* Connections that are idle to backends that have left are closed with it. */
static void
ngx_http_ceph_lb_lookup_replace(
    ngx_http_ceph_lb_lookup_t *l, ceph_lb_list_t *list)
{
    ceph_lb_list_t *old = l->last;

    l->last = ngx_http_ceph_lb_lookup_hold(list);

    if (old == NULL) {
        return;
    }

    if (old != list) {
        ceph_lb_count(&l->counters->changes, 1);
        ngx_http_ceph_lb_idle_close(old, list, l->log);
    }

    ngx_http_ceph_lb_lookup_release(old);
}

static void
ngx_http_ceph_lb_lookup_count_flight(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_line_t *line)
{
    uint64_t us = ngx_http_ceph_lb_lookup_clock() - line->launched_us;

    ceph_lb_count(&l->counters->flights, 1);
    ceph_lb_count(&l->counters->query_us, us);
    ceph_lb_raise(&l->counters->query_us_max, us);
}

/* Microseconds of a clock that is never set. */
static uint64_t
ngx_http_ceph_lb_lookup_clock(void)
{
    struct timespec now;

    (void) clock_gettime(CLOCK_MONOTONIC, &now);

    return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* Keeps account of what the connection is worth, and of the host it leads to. */
static void
ngx_http_ceph_lb_lookup_served(ngx_http_ceph_lb_line_t *line)
{
    ngx_uint_t                 host, first = !line->proven;
    const char                *why;
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    line->proven = 1;

    if (!line->lasting
        && ngx_current_msec - line->opened >= NGX_HTTP_CEPH_LB_PAUSE_MAX)
    {
        line->lasting = 1;
        l->misses = 0;
    }

    if (line->useful) {
        return;
    }

    line->useful = 1;
    host = ngx_http_ceph_lb_mysql_host(line->mysql);

    if (host == l->served) {
        return;
    }

    l->served = host;
    why = first ? ngx_http_ceph_lb_mysql_error(line->mysql) : "";

    ngx_log_error(
        NGX_LOG_NOTICE, l->log, 0, "ceph_lb: registry %V is served by %s%s%s",
        &l->conf->name, l->conf->url.hosts[host].name, *why ? "; " : "", why);
}

/* The registry is there, but the query is wrong, or its answer. */
static void
ngx_http_ceph_lb_lookup_refused(ngx_http_ceph_lb_line_t *line, const char *why)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    ceph_lb_count(&l->counters->errors, 1);

    line->proven = 1;
    l->nlanded++;
    l->away = 0;
    l->failures = 0;

    ngx_http_ceph_lb_lookup_trouble(l, ngx_http_ceph_lb_no_list, why);

    if (ceph_lb_is_waited_for(&l->terminal)) {
        ngx_post_event(&l->launch, &ngx_posted_events);
    }

    ceph_lb_land(&line->flight);
    ngx_http_ceph_lb_lookup_disembark(l, &line->flight, NULL, 0);
}

/*
 * A connection ended.  The others to the same server have probably ended too:
 * those that are idle are closed, so that whoever lost a query is not sent to
 * the next dead connection.
 */
static void
ngx_http_ceph_lb_lookup_lost(ngx_http_ceph_lb_line_t *line, const char *what)
{
    ngx_uint_t                 was_short, chances;
    ngx_uint_t                 flying = line->flight.flying;
    ngx_http_ceph_lb_line_t   *idle;
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    /*
     * The connections to a server that goes end one after another, and in
     * between some still answer.  But what is of no use is asked for again only
     * once.
     */

    chances = what == ngx_http_ceph_lb_gone ? l->conf->connections : 1;

    /*
     * A connection that never answered was one to a server that was going when
     * it was opened: that must not cost those aboard a chance.
     */

    if (flying) {
        if (line->proven) {
            ceph_lb_divert(&l->terminal, &line->flight, chances);
        } else {
            ceph_lb_call_back(&l->terminal, &line->flight);
        }

        while ((idle = ngx_http_ceph_lb_lookup_find(
                    l, NGX_HTTP_CEPH_LB_MYSQL_IDLE))
               != NULL)
        {
            ngx_http_ceph_lb_mysql_close(idle->mysql);
        }
    }

    /* All that a server had opened before it went count as one failure. */

    if (!line->proven) {
        l->failures++;
        ceph_lb_count(&l->counters->errors, 1);
        ngx_http_ceph_lb_lookup_distrust(line);

    } else if (flying) {
        ceph_lb_count(&l->counters->errors, 1);
        l->failures = ngx_max(l->failures, 1);
    }

    was_short = ngx_http_ceph_lb_lookup_was_short(line);

    if (l->failures > 1 && !ngx_http_ceph_lb_lookup_is_connected(l)) {
        ngx_http_ceph_lb_lookup_trouble(
            l, what, ngx_http_ceph_lb_mysql_error(line->mysql));
        ngx_http_ceph_lb_lookup_go_away(l);

    } else if (
        !ngx_http_ceph_lb_lookup_is_connected(l)
        && !(ngx_exiting && ngx_queue_empty(&l->waiters)))
    {
        if (l->retry.timer_set && !l->away) {
            ngx_del_timer(&l->retry);
        }

        if (was_short && !ceph_lb_is_waited_for(&l->terminal)) {
            ngx_http_ceph_lb_lookup_pause(l);
        }

        ngx_http_ceph_lb_lookup_open(l);

    } else if (ceph_lb_is_waited_for(&l->terminal)) {
        ngx_post_event(&l->launch, &ngx_posted_events);
    }

    if (flying) {
        ngx_http_ceph_lb_lookup_disembark(l, &line->flight, NULL, 0);
    }
}

/*
 * Whether this connection, like the one before it, did not last.  A server that
 * answers and hangs up is not connected to again and again without a pause.
 */
static ngx_uint_t
ngx_http_ceph_lb_lookup_was_short(ngx_http_ceph_lb_line_t *line)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    if (ngx_current_msec - line->opened >= NGX_HTTP_CEPH_LB_PAUSE_MAX) {
        l->misses = 0;
        return 0;
    }

    return ++l->misses > 1;
}

/* If others have been answered meanwhile, it was only this connection. */
static void
ngx_http_ceph_lb_lookup_hung(ngx_http_ceph_lb_line_t *line)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    l->failures++;
    ceph_lb_count(&l->counters->errors, 1);

    if (l->nlanded == line->nlanded) {
        ngx_http_ceph_lb_lookup_trouble(
            l, ngx_http_ceph_lb_gone,
            ngx_http_ceph_lb_mysql_error(line->mysql));
        ngx_http_ceph_lb_lookup_distrust(line);
        ngx_http_ceph_lb_lookup_go_away(l);

    } else if (!ngx_http_ceph_lb_lookup_is_connected(l)) {
        ngx_http_ceph_lb_lookup_open(l);

    } else if (ceph_lb_is_waited_for(&l->terminal)) {
        ngx_post_event(&l->launch, &ngx_posted_events);
    }

    ceph_lb_land(&line->flight);
    ngx_http_ceph_lb_lookup_disembark(l, &line->flight, NULL, 0);
}

/* The host let somebody in and was of no use then: others come first now. */
static void
ngx_http_ceph_lb_lookup_distrust(ngx_http_ceph_lb_line_t *line)
{
    ngx_http_ceph_lb_lookup_t *l = line->lookup;

    if (l->conf->url.nhosts > 1
        && l->host == ngx_http_ceph_lb_mysql_host(line->mysql))
    {
        l->host = (l->host + 1) % l->conf->url.nhosts;
    }
}

/*
 * Answers everybody aboard, with the list that was read by a query that began
 * at launched, or without a fresh one.  Each answer runs a request, during
 * which others may arrive or leave.
 */
static void
ngx_http_ceph_lb_lookup_disembark(
    ngx_http_ceph_lb_lookup_t *l,
    ceph_lb_flight_t          *flight,
    ceph_lb_list_t            *list,
    ngx_msec_t                 launched)
{
    ngx_http_ceph_lb_waiter_t *w;

    while ((w = (ngx_http_ceph_lb_waiter_t *) ceph_lb_disembark(flight))
           != NULL) {
        ngx_http_ceph_lb_lookup_leave(l, w);

        if (list != NULL) {
            ceph_lb_count(&l->counters->passengers, 1);
            ngx_http_ceph_lb_lookup_answer(l, w, list, launched);
        } else {
            ngx_http_ceph_lb_lookup_answer_without(l, w);
        }

        w->handler(w);
    }
}

static void
ngx_http_ceph_lb_lookup_answer(
    ngx_http_ceph_lb_lookup_t *l,
    ngx_http_ceph_lb_waiter_t *w,
    ceph_lb_list_t            *list,
    ngx_msec_t                 launched)
{
    w->list = ngx_http_ceph_lb_lookup_hold(list);
    w->list_age = ngx_current_msec - launched;
}

static void
ngx_http_ceph_lb_lookup_answer_without(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w)
{
    if (ngx_http_ceph_lb_lookup_last_is_usable(l)) {
        ngx_http_ceph_lb_lookup_answer(l, w, l->last, l->last_launched);
        w->stale = 1;
        ceph_lb_count(&l->counters->stale, 1);
        return;
    }

    ceph_lb_count(&l->counters->without, 1);

    if (l->last != NULL && l->conf->stale != 0 && !l->expired) {
        l->expired = 1;
        ngx_log_error(
            NGX_LOG_ERR, l->log, 0,
            "ceph_lb: registry %V: the last list is older than "
            "%Ms; answering 503",
            &l->conf->name, l->conf->stale / 1000);
    }
}

ngx_uint_t
ngx_http_ceph_lb_lookup_last_is_usable(ngx_http_ceph_lb_lookup_t *l)
{
    return l->last != NULL && l->last->count > 0
        && ngx_current_msec - l->last_launched < l->conf->stale;
}

/* Logs a change to the worse, and which answer requests get from now on. */
static void
ngx_http_ceph_lb_lookup_trouble(
    ngx_http_ceph_lb_lookup_t *l, const char *what, const char *why)
{
    (void) ngx_cpystrn(l->error, (u_char *) why, sizeof(l->error));

    if (l->trouble == what) {
        return;
    }

    if (l->trouble == NULL) {
        l->trouble_since = ngx_current_msec;
    }

    l->trouble = what;
    l->expired = 0;

    if (ngx_http_ceph_lb_lookup_last_is_usable(l)) {
        ngx_log_error(
            NGX_LOG_ERR, l->log, 0,
            "ceph_lb: registry %V %s: %s; serving the "
            "last list (%uz backends) for %Ms",
            &l->conf->name, what, why, l->last->count, l->conf->stale / 1000);
        return;
    }

    ngx_log_error(
        NGX_LOG_ERR, l->log, 0,
        "ceph_lb: registry %V %s: %s; there is no list, answering 503",
        &l->conf->name, what, why);
}

static void
ngx_http_ceph_lb_lookup_recover(ngx_http_ceph_lb_lookup_t *l)
{
    ngx_msec_t gone;

    l->away = 0;
    l->failures = 0;

    if (l->trouble == NULL) {
        return;
    }

    l->trouble = NULL;
    gone = ngx_current_msec - l->trouble_since;

    if (l->retry.timer_set) {
        ngx_del_timer(&l->retry);
    }

    ngx_log_error(
        NGX_LOG_NOTICE, l->log, 0, "ceph_lb: registry %V is back after %M.%Ms",
        &l->conf->name, gone / 1000, gone % 1000 / 100);
}

/* From now on nobody waits; those who do are answered without a fresh list. */
static void
ngx_http_ceph_lb_lookup_go_away(ngx_http_ceph_lb_lookup_t *l)
{
    ceph_lb_flight_t cancelled;

    l->away = 1;
    ngx_http_ceph_lb_lookup_pause(l);

    ceph_lb_flight_init(&cancelled);
    ceph_lb_launch(&l->terminal, &cancelled);
    ceph_lb_land(&cancelled);
    ngx_http_ceph_lb_lookup_disembark(l, &cancelled, NULL, 0);
}

/* Each longer than the one before, and each worker's different. */
static void
ngx_http_ceph_lb_lookup_pause(ngx_http_ceph_lb_lookup_t *l)
{
    ngx_uint_t i, n = ngx_max(l->failures, l->misses);
    ngx_msec_t pause = NGX_HTTP_CEPH_LB_PAUSE_MIN;

    if (l->retry.timer_set) {
        return;
    }

    for (i = 1; i < n && pause < NGX_HTTP_CEPH_LB_PAUSE_MAX; i++) {
        pause *= 2;
    }

    pause = ngx_min(pause, NGX_HTTP_CEPH_LB_PAUSE_MAX);
    pause = pause / 2 + (ngx_msec_t) ngx_random() % (pause / 2 + 1);

    ngx_add_timer(&l->retry, pause);
}

static void
ngx_http_ceph_lb_lookup_hurry_handler(ngx_event_t *ev)
{
    ngx_http_ceph_lb_lookup_t *l = ev->data;

    if (ceph_lb_is_waited_for(&l->terminal)) {
        ngx_post_event(&l->launch, &ngx_posted_events);
    }
}

/* Tries a query that nobody waits for, or has a connection ready for one. */
static void
ngx_http_ceph_lb_lookup_retry_handler(ngx_event_t *ev)
{
    ngx_http_ceph_lb_line_t   *line;
    ngx_http_ceph_lb_lookup_t *l = ev->data;

    if (ngx_exiting && ngx_queue_empty(&l->waiters)) {
        return;
    }

    line = ngx_http_ceph_lb_lookup_find(l, NGX_HTTP_CEPH_LB_MYSQL_IDLE);

    if (l->away && line != NULL) {
        ngx_http_ceph_lb_lookup_launch(l, line);

    } else if (
        l->away || ceph_lb_is_waited_for(&l->terminal)
        || !ngx_http_ceph_lb_lookup_is_connected(l))
    {
        ngx_http_ceph_lb_lookup_open(l);
    }
}

static void
ngx_http_ceph_lb_lookup_sweep_handler(ngx_event_t *ev)
{
    ngx_http_ceph_lb_lookup_t *l = ev->data;

    if (l->last != NULL) {
        ceph_lb_states_touch(l->last, ngx_current_msec);
    }

    ngx_http_ceph_lb_zone_sweep(&l->conf->zone);

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_HTTP_CEPH_LB_SWEEP);
    }
}

static void
ngx_http_ceph_lb_lookup_expire_handler(ngx_event_t *ev)
{
    u_char       why[NGX_INT64_LEN + sizeof("no connection within ms")];
    ngx_msec_t   waited;
    ngx_queue_t *q;
    ngx_http_ceph_lb_waiter_t *w;
    ngx_http_ceph_lb_lookup_t *l = ev->data;

    while (!ngx_queue_empty(&l->waiters)) {
        q = ngx_queue_head(&l->waiters);
        w = ngx_queue_data(q, ngx_http_ceph_lb_waiter_t, queue);

        waited = ngx_current_msec - w->arrived;

        if (waited < l->conf->timeout) {

            /* Somebody who came meanwhile may have set it, for later. */

            if (ev->timer_set) {
                ngx_del_timer(ev);
            }

            ngx_add_timer(ev, l->conf->timeout - waited);
            return;
        }

        /*
         * Nothing has come since it arrived.  Those who leave the terminal now
         * may take others with them, this one too: look again who is first.
         */

        if (!l->away && l->nlanded == w->nlanded) {
            (void) ngx_sprintf(
                why, "no %s within %Mms%Z",
                ngx_http_ceph_lb_lookup_is_connected(l) ? "answer"
                                                        : "connection",
                l->conf->timeout);
            ngx_http_ceph_lb_lookup_trouble(
                l, ngx_http_ceph_lb_gone, (char *) why);
            ngx_http_ceph_lb_lookup_go_away(l);
            continue;
        }

        ngx_http_ceph_lb_lookup_leave(l, w);
        ngx_http_ceph_lb_lookup_answer_without(l, w);
        w->handler(w);
    }
}

static ceph_lb_list_t *
ngx_http_ceph_lb_lookup_make_list(
    ngx_http_ceph_lb_lookup_t *l,
    const ceph_lb_table_t     *table,
    const char               **error)
{
    ceph_lb_list_t *list;

    list =
        ceph_lb_list_create(table, ngx_http_ceph_lb_lookup_problem, l, error);
    if (list == NULL) {
        return NULL;
    }

    list->plan = ceph_lb_plan_create(list, (char *) l->conf->prefer_zone.data);

    if (list->plan == NULL
        || ngx_http_ceph_lb_zone_bind(&l->conf->zone, list, l->log) != NGX_OK)
    {
        ngx_http_ceph_lb_lookup_release(list);
        *error = "out of memory";
        return NULL;
    }

    if (list->count == 0) {
        ngx_log_error(
            NGX_LOG_ERR, l->log, 0,
            "ceph_lb: registry %V lists no backend that may get "
            "requests; answering 503",
            &l->conf->name);
    }

    return list;
}

/*
 * The same problem is logged once, whichever row it is in; which problems have
 * been logged is remembered for the last few of them, by their hash.
 */
static void
ngx_http_ceph_lb_lookup_problem(
    void *data, size_t row, const char *address, const char *problem)
{
    uint32_t                   hash;
    ngx_uint_t                 i;
    ngx_http_ceph_lb_lookup_t *l = data;

    ngx_crc32_init(hash);
    ngx_crc32_update(&hash, (u_char *) problem, ngx_strlen(problem));

    if (address != NULL) {
        ngx_crc32_update(&hash, (u_char *) address, ngx_strlen(address));
    }

    ngx_crc32_final(hash);

    for (i = 0; i < ngx_min(l->nproblems, NGX_HTTP_CEPH_LB_PROBLEMS); i++) {
        if (l->problems[i] == hash) {
            return;
        }
    }

    l->problems[l->nproblems++ % NGX_HTTP_CEPH_LB_PROBLEMS] = hash;

    if (row == 0) {
        ngx_log_error(
            NGX_LOG_WARN, l->log, 0, "ceph_lb: registry %V: %s", &l->conf->name,
            problem);
        return;
    }

    ngx_log_error(
        NGX_LOG_WARN, l->log, 0,
        "ceph_lb: row %uz (address \"%s\"): %s; skipped", row,
        address != NULL ? address : "NULL", problem);
}
