#include "ngx_http_ceph_lb_mysql.h"

#include <poll.h>
#include <time.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <errmsg.h>

#include <openssl/err.h>

/*
 * The library runs its non-blocking calls on a stack of its own, whose default
 * size of 60 KiB has no guard page behind it.
 */
#define NGX_HTTP_CEPH_LB_STACK (256 * 1024)

#define NGX_HTTP_CEPH_LB_COLUMNS_MAX 64

/*
 * Rows beyond the limits of a table are counted and thrown away, but not for
 * ever: an answer of more than these is given up.
 */
#define NGX_HTTP_CEPH_LB_ROWS_GIVE_UP  (10 * CEPH_LB_ROWS_MAX)
#define NGX_HTTP_CEPH_LB_BYTES_GIVE_UP (4 * CEPH_LB_BYTES_MAX)

/* Room for why each of several hosts cannot be reached. */
#define NGX_HTTP_CEPH_LB_ERROR_MAX 1536

/* How often a thread that opens a connection looks whether the worker exits. */
#define NGX_HTTP_CEPH_LB_TICK 100

/*
 * What the library calls a lost connection like any other, but notes in its
 * structure: a packet was announced that is longer than allowed.
 */
#define NGX_HTTP_CEPH_LB_TOO_LONG 1

/* MySQL 8 says this to a connection that it closes for being idle. */
#define NGX_HTTP_CEPH_LB_ER_IDLE 4031

/*
 * The name of ER_UNKNOWN_COM_ERROR is misleading: a node of a Galera cluster
 * says this to every query while it is cut off from the others.
 */
#define NGX_HTTP_CEPH_LB_ER_NOT_READY 1047

/*
 * The steps of a query.  Each begins with a _start call of the library; a call
 * that cannot go on is suspended, and continued by _cont after an event.
 */
typedef enum {
    NGX_HTTP_CEPH_LB_SEND,
    NGX_HTTP_CEPH_LB_RECEIVE,
    NGX_HTTP_CEPH_LB_FETCH,
} ngx_http_ceph_lb_step_e;

struct ngx_http_ceph_lb_mysql_s {
    ngx_http_ceph_lb_srv_conf_t      *conf;
    ngx_http_ceph_lb_mysql_handler_pt handler;
    void                             *data;
    ngx_http_ceph_lb_mysql_state_e    state;

    /* While the connection is opening, these belong to the thread. */
    MYSQL            *mysql;
    ngx_thread_task_t task;
    ngx_uint_t        host;
    int64_t           end;    /* of this host's share of the time */
    ngx_uint_t        late;   /* unsigned  late:1; that was waited for */
    ngx_uint_t        opened; /* unsigned  opened:1; */
    char              error[NGX_HTTP_CEPH_LB_ERROR_MAX];

    ngx_connection_t *connection;
    ngx_event_t       timer;
    ngx_msec_t        started; /* the query */
    const ngx_str_t  *statement;

    ngx_http_ceph_lb_step_e step;
    int                     suspended; /* what the call waits for, or 0 */
    MYSQL_RES              *result;
    MYSQL_ROW               row;
    size_t                  size; /* of the rows */
    ceph_lb_table_t         table;
};

static void
ngx_http_ceph_lb_mysql_clear_tls_errors(ngx_http_ceph_lb_mysql_t *m);
static void ngx_http_ceph_lb_mysql_thread(void *data, ngx_log_t *log);
static int64_t
ngx_http_ceph_lb_mysql_try_host(ngx_http_ceph_lb_mysql_t *m, int64_t share);
static void
ngx_http_ceph_lb_mysql_add_error(ngx_http_ceph_lb_mysql_t *m, int64_t share);
static int64_t ngx_http_ceph_lb_mysql_now(void);
static int ngx_http_ceph_lb_mysql_wait(ngx_http_ceph_lb_mysql_t *m, int waits);
static void
ngx_http_ceph_lb_mysql_set_options(ngx_http_ceph_lb_mysql_t *m, int64_t share);
static ngx_int_t
ngx_http_ceph_lb_mysql_set_session(ngx_http_ceph_lb_mysql_t *m);
static ngx_int_t
ngx_http_ceph_lb_mysql_run(ngx_http_ceph_lb_mysql_t *m, const char *statement);
static void      ngx_http_ceph_lb_mysql_opened(ngx_event_t *ev);
static ngx_int_t ngx_http_ceph_lb_mysql_watch(ngx_http_ceph_lb_mysql_t *m);
static void      ngx_http_ceph_lb_mysql_unwatch(ngx_http_ceph_lb_mysql_t *m);
static void      ngx_http_ceph_lb_mysql_read_handler(ngx_event_t *rev);
static void      ngx_http_ceph_lb_mysql_write_handler(ngx_event_t *wev);
static void      ngx_http_ceph_lb_mysql_timer_handler(ngx_event_t *ev);
static void      ngx_http_ceph_lb_mysql_check_idle(ngx_http_ceph_lb_mysql_t *m);
static void
ngx_http_ceph_lb_mysql_go_on(ngx_http_ceph_lb_mysql_t *m, int ready);
static ngx_int_t
ngx_http_ceph_lb_mysql_step(ngx_http_ceph_lb_mysql_t *m, int ready);
static ngx_int_t
ngx_http_ceph_lb_mysql_send(ngx_http_ceph_lb_mysql_t *m, int ready);
static ngx_int_t
ngx_http_ceph_lb_mysql_receive(ngx_http_ceph_lb_mysql_t *m, int ready);
static ngx_int_t
ngx_http_ceph_lb_mysql_fetch(ngx_http_ceph_lb_mysql_t *m, int ready);
static ngx_int_t ngx_http_ceph_lb_mysql_add_row(ngx_http_ceph_lb_mysql_t *m);
static ngx_int_t
            ngx_http_ceph_lb_mysql_begin_table(ngx_http_ceph_lb_mysql_t *m);
static void ngx_http_ceph_lb_mysql_land(ngx_http_ceph_lb_mysql_t *m);
static void ngx_http_ceph_lb_mysql_fail(ngx_http_ceph_lb_mysql_t *m);
static void ngx_http_ceph_lb_mysql_end(
    ngx_http_ceph_lb_mysql_t *m, ngx_http_ceph_lb_mysql_event_e event);
static int  ngx_http_ceph_lb_mysql_abandon(ngx_http_ceph_lb_mysql_t *m);
static void ngx_http_ceph_lb_mysql_save_error(ngx_http_ceph_lb_mysql_t *m);
static u_char *
ngx_http_ceph_lb_mysql_print_error(MYSQL *mysql, u_char *p, u_char *last);
static void ngx_http_ceph_lb_mysql_set_error(
    ngx_http_ceph_lb_mysql_t *m, const char *error);
static u_char *
ngx_http_ceph_lb_mysql_print_host(ngx_http_ceph_lb_mysql_t *m, u_char *p);
static ngx_uint_t ngx_http_ceph_lb_mysql_makes_no_sense(MYSQL *mysql);
static ngx_uint_t ngx_http_ceph_lb_mysql_is_lost(unsigned code);

ngx_int_t
ngx_http_ceph_lb_mysql_init(ngx_log_t *log)
{
    if (mysql_library_init(0, NULL, NULL) != 0) {
        ngx_log_error(
            NGX_LOG_EMERG, log, 0,
            "ceph_lb: the MySQL client library does not start");
        return NGX_ERROR;
    }

    return NGX_OK;
}

void
ngx_http_ceph_lb_mysql_done(void)
{
    mysql_library_end();
}

ngx_http_ceph_lb_mysql_t *
ngx_http_ceph_lb_mysql_create(
    ngx_pool_t                       *pool,
    ngx_http_ceph_lb_srv_conf_t      *conf,
    ngx_http_ceph_lb_mysql_handler_pt handler,
    void                             *data)
{
    ngx_http_ceph_lb_mysql_t *m;

    m = ngx_pcalloc(pool, sizeof(ngx_http_ceph_lb_mysql_t));
    if (m == NULL) {
        return NULL;
    }

    m->conf = conf;
    m->handler = handler;
    m->data = data;
    m->state = NGX_HTTP_CEPH_LB_MYSQL_CLOSED;

    m->task.handler = ngx_http_ceph_lb_mysql_thread;
    m->task.ctx = m;
    m->task.event.handler = ngx_http_ceph_lb_mysql_opened;
    m->task.event.data = m;
    m->task.event.log = ngx_cycle->log;

    /* Whoever waits for the query keeps an exiting worker alive, not this. */
    m->timer.handler = ngx_http_ceph_lb_mysql_timer_handler;
    m->timer.data = m;
    m->timer.log = ngx_cycle->log;
    m->timer.cancelable = 1;

    ceph_lb_table_init(&m->table);

    return m;
}

ngx_http_ceph_lb_mysql_state_e
ngx_http_ceph_lb_mysql_state(const ngx_http_ceph_lb_mysql_t *m)
{
    return m->state;
}

const char *
ngx_http_ceph_lb_mysql_error(const ngx_http_ceph_lb_mysql_t *m)
{
    return m->error;
}

ngx_uint_t
ngx_http_ceph_lb_mysql_host(const ngx_http_ceph_lb_mysql_t *m)
{
    return m->host;
}

ceph_lb_table_t *
ngx_http_ceph_lb_mysql_table(ngx_http_ceph_lb_mysql_t *m)
{
    return &m->table;
}

ngx_int_t
ngx_http_ceph_lb_mysql_open(ngx_http_ceph_lb_mysql_t *m, ngx_uint_t host)
{
    m->host = host;
    m->opened = 0;
    m->error[0] = '\0';

    if (ngx_thread_task_post(m->conf->thread_pool, &m->task) != NGX_OK) {
        ngx_http_ceph_lb_mysql_set_error(m, "the thread pool takes no task");
        return NGX_ERROR;
    }

    m->state = NGX_HTTP_CEPH_LB_MYSQL_OPENING;

    return NGX_OK;
}

/*
 * OpenSSL keeps the errors of a thread in a queue, and takes one that another
 * connection has left there for its own.  The library does not empty the
 * queue, and nginx calls what it finds there an alert.
 */
static void
ngx_http_ceph_lb_mysql_clear_tls_errors(ngx_http_ceph_lb_mysql_t *m)
{
    if (m->conf->ssl_ca.len != 0) {
        ERR_clear_error();
    }
}

/* In a thread: touches only what the structure says, and the configuration. */
static void
ngx_http_ceph_lb_mysql_thread(void *data, ngx_log_t *log)
{
    int64_t                   left, least, tries;
    ngx_http_ceph_lb_mysql_t *m = data;

    tries = (int64_t) ngx_max(m->conf->url.nhosts, 1);
    left = (int64_t) m->conf->timeout * 9 / 10;
    least = ngx_max(left / tries, 1);

    for (;;) {
        left -=
            ngx_http_ceph_lb_mysql_try_host(m, ngx_max(left / tries, least));

        if (m->opened || --tries == 0 || ngx_terminate) {
            return;
        }

        m->host = (m->host + 1) % m->conf->url.nhosts;
    }
}

/*
 * Returns how long it took, in milliseconds.  Resolving the host's name does
 * not count: that takes as long as the system's resolver needs.
 */
static int64_t
ngx_http_ceph_lb_mysql_try_host(ngx_http_ceph_lb_mysql_t *m, int64_t share)
{
    int                  waits;
    MYSQL               *connected = NULL;
    int64_t              begun;
    const ceph_lb_url_t *url = &m->conf->url;

    ngx_http_ceph_lb_mysql_clear_tls_errors(m);

    m->late = 0;
    m->mysql = mysql_init(NULL);
    if (m->mysql == NULL) {
        ngx_http_ceph_lb_mysql_set_error(m, "out of memory");
        return 0;
    }

    ngx_http_ceph_lb_mysql_set_options(m, share);

    waits = mysql_real_connect_start(
        &connected, m->mysql, url->nhosts > 0 ? url->hosts[m->host].host : NULL,
        url->user, (char *) m->conf->password.data, url->database,
        url->hosts[m->host].port, url->nhosts > 0 ? NULL : url->path, 0);

    begun = ngx_http_ceph_lb_mysql_now();
    m->end = begun + share;

    while (waits != 0) {
        waits = mysql_real_connect_cont(
            &connected, m->mysql, ngx_http_ceph_lb_mysql_wait(m, waits));
    }

    if (connected != NULL && ngx_http_ceph_lb_mysql_set_session(m) == NGX_OK) {
        m->opened = 1;

    } else {
        ngx_http_ceph_lb_mysql_add_error(m, share);
        mysql_close(m->mysql);
        m->mysql = NULL;
        ngx_http_ceph_lb_mysql_clear_tls_errors(m);
    }

    return ngx_http_ceph_lb_mysql_now() - begun;
}

/* Behind the errors of the hosts that were tried before. */
static void
ngx_http_ceph_lb_mysql_add_error(ngx_http_ceph_lb_mysql_t *m, int64_t share)
{
    u_char *p, *first = (u_char *) m->error;
    u_char *last = first + sizeof(m->error) - 1;

    p = first + ngx_strlen(m->error);

    if (p != first) {
        p = ngx_slprintf(p, last, "; ");
    }

    p = ngx_http_ceph_lb_mysql_print_host(m, p);
    p = ngx_http_ceph_lb_mysql_print_error(m->mysql, p, last);

    if (m->late) {
        p = ngx_slprintf(p, last, " (no answer within %Lms)", share);
    }

    *p = '\0';
}

/* Milliseconds; nginx's own clock is for the event loop's thread. */
static int64_t
ngx_http_ceph_lb_mysql_now(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/*
 * In the thread: waits for what the library waits for, and returns what has
 * come; MYSQL_WAIT_TIMEOUT also when the worker is to exit at once, since that
 * joins the thread, and the master kills a worker that takes its time.
 */
static int
ngx_http_ceph_lb_mysql_wait(ngx_http_ceph_lb_mysql_t *m, int waits)
{
    int           n, ready = 0;
    int64_t       left;
    struct pollfd pfd;

    pfd.fd = mysql_get_socket(m->mysql);
    pfd.events =
        (short) ((waits & MYSQL_WAIT_READ ? POLLIN : 0) | (waits & MYSQL_WAIT_WRITE ? POLLOUT : 0) | (waits & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));

    do {
        left = m->end - ngx_http_ceph_lb_mysql_now();

        if (left <= 0 || ngx_terminate) {
            m->late = left <= 0;
            return MYSQL_WAIT_TIMEOUT;
        }

        pfd.revents = 0;
        n = poll(&pfd, 1, (int) ngx_min(left, NGX_HTTP_CEPH_LB_TICK));

    } while (n == 0 || (n == -1 && errno == EINTR));

    if (pfd.revents & (POLLIN | POLLHUP | POLLERR)) {
        ready |= MYSQL_WAIT_READ;
    }

    if (pfd.revents & (POLLOUT | POLLHUP | POLLERR)) {
        ready |= MYSQL_WAIT_WRITE;
    }

    if (pfd.revents & POLLPRI) {
        ready |= MYSQL_WAIT_EXCEPT;
    }

    return n == -1 || (ready & waits) == 0 ? MYSQL_WAIT_TIMEOUT : ready & waits;
}

/* The library's own time-outs are whole seconds; they bound a TLS handshake. */
static void
ngx_http_ceph_lb_mysql_set_options(ngx_http_ceph_lb_mysql_t *m, int64_t share)
{
    MYSQL        *mysql = m->mysql;
    size_t        stack = NGX_HTTP_CEPH_LB_STACK;
    my_bool       yes = 1, no = 0;
    unsigned      seconds, protocol, infile = 0;
    unsigned long packet_max = CEPH_LB_BYTES_MAX;

    seconds = (unsigned) ((share + 999) / 1000);

    /* Without this, the library takes "localhost" for a unix socket. */
    protocol = m->conf->url.path[0] != '\0' ? MYSQL_PROTOCOL_SOCKET
                                            : MYSQL_PROTOCOL_TCP;

    (void) mysql_options(mysql, MYSQL_OPT_NONBLOCK, &stack);
    (void) mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol);
    (void) mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    (void) mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
    (void) mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    (void) mysql_options(mysql, MYSQL_OPT_RECONNECT, &no);
    (void) mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &infile);
    (void) mysql_options(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max);
    (void) mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");

    if (m->conf->ssl_ca.len != 0) {
        (void) mysql_options(mysql, MYSQL_OPT_SSL_CA, m->conf->ssl_ca.data);
        (void) mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
        (void) mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    }
}

/*
 * With an open transaction the rows would be those of its begin.  A node of a
 * Galera cluster may lag behind the others unless it is told to catch up
 * before each query; other servers may not know that variable.
 */
static ngx_int_t
ngx_http_ceph_lb_mysql_set_session(ngx_http_ceph_lb_mysql_t *m)
{
    if (ngx_http_ceph_lb_mysql_run(m, "SET SESSION autocommit = 1") != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_ceph_lb_mysql_run(m, "SET SESSION wsrep_sync_wait = 1")
            != NGX_OK
        && mysql_errno(m->mysql) != ER_UNKNOWN_SYSTEM_VARIABLE)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}

/* In the thread; a statement that returns no rows. */
static ngx_int_t
ngx_http_ceph_lb_mysql_run(ngx_http_ceph_lb_mysql_t *m, const char *statement)
{
    int rc = 0, waits;

    waits =
        mysql_real_query_start(&rc, m->mysql, statement, ngx_strlen(statement));

    while (waits != 0) {
        waits = mysql_real_query_cont(
            &rc, m->mysql, ngx_http_ceph_lb_mysql_wait(m, waits));
    }

    return rc == 0 ? NGX_OK : NGX_ERROR;
}

static void
ngx_http_ceph_lb_mysql_opened(ngx_event_t *ev)
{
    ngx_http_ceph_lb_mysql_t *m = ev->data;

    ev->complete = 0;

    if (m->opened && ngx_http_ceph_lb_mysql_watch(m) == NGX_OK) {
        m->opened = 0;
        m->state = NGX_HTTP_CEPH_LB_MYSQL_IDLE;
        m->handler(m->data, NGX_HTTP_CEPH_LB_OPENED);
        return;
    }

    if (m->mysql != NULL) {
        mysql_close(m->mysql);
        m->mysql = NULL;
    }

    m->opened = 0;
    m->state = NGX_HTTP_CEPH_LB_MYSQL_CLOSED;
    m->handler(m->data, NGX_HTTP_CEPH_LB_NOT_OPENED);
}

/*
 * The descriptor is the library's; nginx only watches it.  Reading stays
 * registered, edge-triggered, so that a query costs no call to the kernel but
 * its own; writing is registered when the library asks for it.
 */
static ngx_int_t
ngx_http_ceph_lb_mysql_watch(ngx_http_ceph_lb_mysql_t *m)
{
    ngx_socket_t      fd;
    ngx_connection_t *c;

    fd = mysql_get_socket(m->mysql);

    if (ngx_nonblocking(fd) == -1) {
        ngx_http_ceph_lb_mysql_set_error(m, "the socket stays blocking");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, ngx_cycle->log);
    if (c == NULL) {
        ngx_http_ceph_lb_mysql_set_error(
            m, "all worker_connections are in use");
        return NGX_ERROR;
    }

    c->data = m;
    c->log = ngx_cycle->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_http_ceph_lb_mysql_read_handler;
    c->write->handler = ngx_http_ceph_lb_mysql_write_handler;
    m->connection = c;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_http_ceph_lb_mysql_unwatch(m);
        ngx_http_ceph_lb_mysql_set_error(m, "the socket cannot be watched");
        return NGX_ERROR;
    }

    return NGX_OK;
}

/*
 * ngx_close_connection without closing the descriptor: the library does that,
 * or has done it already, so that the number may belong to another socket.
 */
static void
ngx_http_ceph_lb_mysql_unwatch(ngx_http_ceph_lb_mysql_t *m)
{
    ngx_connection_t *c = m->connection;

    m->connection = NULL;

    if (c->read->active) {
        (void) ngx_del_event(c->read, NGX_READ_EVENT, NGX_CLOSE_EVENT);
    }

    if (c->write->active) {
        (void) ngx_del_event(c->write, NGX_WRITE_EVENT, NGX_CLOSE_EVENT);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    c->read->closed = 1;
    c->write->closed = 1;

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}

ngx_int_t
ngx_http_ceph_lb_mysql_query(
    ngx_http_ceph_lb_mysql_t *m, const ngx_str_t *statement)
{
    ngx_int_t rc;

    m->statement = statement;
    m->state = NGX_HTTP_CEPH_LB_MYSQL_BUSY;
    m->step = NGX_HTTP_CEPH_LB_SEND;
    m->started = ngx_current_msec;

    /* A timer still set from an earlier query is set anew when it fires. */

    if (!m->timer.timer_set) {
        ngx_add_timer(&m->timer, m->conf->timeout);
    }

    ngx_http_ceph_lb_mysql_clear_tls_errors(m);

    /*
     * Sends the query.  The answer is waited for without asking for it: it is
     * never there yet, and the library would only call recv in vain.
     */

    rc = ngx_http_ceph_lb_mysql_send(m, 0);

    if (rc == NGX_AGAIN) {
        return NGX_OK;
    }

    if (rc == NGX_ERROR) {
        ngx_http_ceph_lb_mysql_save_error(m);
    }

    ngx_http_ceph_lb_mysql_close(m);

    return NGX_ERROR;
}

static void
ngx_http_ceph_lb_mysql_read_handler(ngx_event_t *rev)
{
    ngx_connection_t         *c = rev->data;
    ngx_http_ceph_lb_mysql_t *m = c->data;

    rev->ready = 0;

    if (m->state == NGX_HTTP_CEPH_LB_MYSQL_IDLE) {
        ngx_http_ceph_lb_mysql_check_idle(m);
        return;
    }

    if (m->suspended == 0 || (m->suspended & MYSQL_WAIT_READ)) {
        ngx_http_ceph_lb_mysql_go_on(m, MYSQL_WAIT_READ);
    }
}

static void
ngx_http_ceph_lb_mysql_write_handler(ngx_event_t *wev)
{
    ngx_connection_t         *c = wev->data;
    ngx_http_ceph_lb_mysql_t *m = c->data;

    wev->ready = 0;

    if (m->suspended & MYSQL_WAIT_WRITE) {
        ngx_http_ceph_lb_mysql_go_on(m, MYSQL_WAIT_WRITE);
    }
}

static void
ngx_http_ceph_lb_mysql_timer_handler(ngx_event_t *ev)
{
    u_char     why[NGX_INT64_LEN + sizeof("no answer within ms")];
    ngx_msec_t elapsed;
    ngx_http_ceph_lb_mysql_t *m = ev->data;

    if (m->state != NGX_HTTP_CEPH_LB_MYSQL_BUSY) {
        return;
    }

    elapsed = ngx_current_msec - m->started;

    if (elapsed < m->conf->timeout) {
        ngx_add_timer(ev, m->conf->timeout - elapsed);
        return;
    }

    (void) ngx_sprintf(why, "no answer within %Mms%Z", m->conf->timeout);
    ngx_http_ceph_lb_mysql_set_error(m, (char *) why);
    ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_HUNG);
}

/* The server says nothing to an idle connection except that it is closed. */
static void
ngx_http_ceph_lb_mysql_check_idle(ngx_http_ceph_lb_mysql_t *m)
{
    char    buf[1];
    ssize_t n;

    n = recv(m->connection->fd, buf, 1, MSG_PEEK);

    if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
        return;
    }

    ngx_http_ceph_lb_mysql_set_error(m, "the server closed the connection");
    ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_LOST);
}

/*
 * One driver for all steps: NGX_OK goes on to the next, NGX_AGAIN waits,
 * NGX_DONE is the end of the answer, NGX_DECLINED one that is of no use.
 */
static void
ngx_http_ceph_lb_mysql_go_on(ngx_http_ceph_lb_mysql_t *m, int ready)
{
    ngx_int_t rc;

    ngx_http_ceph_lb_mysql_clear_tls_errors(m);

    do {
        rc = ngx_http_ceph_lb_mysql_step(m, ready);
    } while (rc == NGX_OK);

    switch (rc) {

    case NGX_DONE:
        ngx_http_ceph_lb_mysql_land(m);
        break;

    case NGX_DECLINED:
        ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_UNFIT);
        break;

    case NGX_ERROR:
        ngx_http_ceph_lb_mysql_fail(m);
    }
}

static ngx_int_t
ngx_http_ceph_lb_mysql_step(ngx_http_ceph_lb_mysql_t *m, int ready)
{
    switch (m->step) {

    case NGX_HTTP_CEPH_LB_SEND:
        return ngx_http_ceph_lb_mysql_send(m, ready);

    case NGX_HTTP_CEPH_LB_RECEIVE:
        return ngx_http_ceph_lb_mysql_receive(m, ready);

    default: /* NGX_HTTP_CEPH_LB_FETCH */
        return ngx_http_ceph_lb_mysql_fetch(m, ready);
    }
}

/*
 * When a step is suspended for writing, the event is registered anew: it is
 * edge-triggered, and is to fire if the socket has become writable already.
 */
static ngx_int_t
ngx_http_ceph_lb_mysql_send(ngx_http_ceph_lb_mysql_t *m, int ready)
{
    int          rc = 0;
    ngx_event_t *wev = m->connection->write;

    if (m->suspended) {
        m->suspended = mysql_send_query_cont(&rc, m->mysql, ready);
    } else {
        m->suspended = mysql_send_query_start(
            &rc, m->mysql, (char *) m->statement->data, m->statement->len);
    }

    if (m->suspended & MYSQL_WAIT_WRITE) {
        wev->ready = 0;
        wev->active = 0;

        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_ceph_lb_mysql_set_error(m, "the socket cannot be watched");
            return NGX_DECLINED;
        }
    }

    if (m->suspended) {
        return NGX_AGAIN;
    }

    if (rc != 0) {
        return NGX_ERROR;
    }

    m->step = NGX_HTTP_CEPH_LB_RECEIVE;

    return NGX_AGAIN;
}

static ngx_int_t
ngx_http_ceph_lb_mysql_receive(ngx_http_ceph_lb_mysql_t *m, int ready)
{
    my_bool rc = 0;

    if (m->suspended) {
        m->suspended = mysql_read_query_result_cont(&rc, m->mysql, ready);
    } else {
        m->suspended = mysql_read_query_result_start(&rc, m->mysql);
    }

    if (m->suspended) {
        return NGX_AGAIN;
    }

    if (rc != 0) {
        return NGX_ERROR;
    }

    m->result = mysql_use_result(m->mysql);
    if (m->result == NULL) {
        ngx_http_ceph_lb_mysql_set_error(m, "the query returns no table");
        return NGX_DECLINED;
    }

    m->step = NGX_HTTP_CEPH_LB_FETCH;

    return ngx_http_ceph_lb_mysql_begin_table(m);
}

static ngx_int_t
ngx_http_ceph_lb_mysql_fetch(ngx_http_ceph_lb_mysql_t *m, int ready)
{
    if (m->suspended) {
        m->suspended = mysql_fetch_row_cont(&m->row, m->result, ready);
    } else {
        m->suspended = mysql_fetch_row_start(&m->row, m->result);
    }

    if (m->suspended) {
        return NGX_AGAIN;
    }

    if (m->row == NULL) {
        return mysql_errno(m->mysql) == 0 ? NGX_DONE : NGX_ERROR;
    }

    return ngx_http_ceph_lb_mysql_add_row(m);
}

static ngx_int_t
ngx_http_ceph_lb_mysql_add_row(ngx_http_ceph_lb_mysql_t *m)
{
    size_t               i;
    const unsigned long *lengths = mysql_fetch_lengths(m->result);

    for (i = 0; i < m->table.columns; i++) {
        m->size += lengths[i];
    }

    if (m->size > NGX_HTTP_CEPH_LB_BYTES_GIVE_UP) {
        ngx_http_ceph_lb_mysql_set_error(m, "more than 16 MiB");
        return NGX_DECLINED;
    }

    if (m->table.rows + m->table.skipped >= NGX_HTTP_CEPH_LB_ROWS_GIVE_UP) {
        ngx_http_ceph_lb_mysql_set_error(m, "more than 100000 rows");
        return NGX_DECLINED;
    }

    if (ceph_lb_table_add(&m->table, (const char *const *) m->row, lengths)
        != 0) {
        ngx_http_ceph_lb_mysql_set_error(m, "out of memory");
        return NGX_DECLINED;
    }

    return NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_mysql_begin_table(ngx_http_ceph_lb_mysql_t *m)
{
    size_t       lengths[NGX_HTTP_CEPH_LB_COLUMNS_MAX];
    unsigned     i, n;
    const char  *names[NGX_HTTP_CEPH_LB_COLUMNS_MAX];
    MYSQL_FIELD *fields;

    m->size = 0;
    n = mysql_num_fields(m->result);
    fields = mysql_fetch_fields(m->result);

    if (n > NGX_HTTP_CEPH_LB_COLUMNS_MAX) {
        ngx_http_ceph_lb_mysql_set_error(m, "more than 64 columns");
        return NGX_DECLINED;
    }

    for (i = 0; i < n; i++) {
        names[i] = fields[i].name;
        lengths[i] = fields[i].name_length;
    }

    if (ceph_lb_table_begin(&m->table, n, names, lengths) != 0) {
        ngx_http_ceph_lb_mysql_set_error(m, "out of memory");
        return NGX_DECLINED;
    }

    return NGX_OK;
}

static void
ngx_http_ceph_lb_mysql_land(ngx_http_ceph_lb_mysql_t *m)
{
    ngx_connection_t *c = m->connection;

    mysql_free_result(m->result);
    m->result = NULL;
    m->state = NGX_HTTP_CEPH_LB_MYSQL_IDLE;

    /*
     * The end of the connection may have been reported together with the
     * answer, and would not be reported again.
     */

    if (c->read->pending_eof) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    ceph_lb_table_leave_out_unseen(&m->table);

    m->handler(m->data, NGX_HTTP_CEPH_LB_ANSWERED);
}

/* After an error packet, wherever it comes, the server waits for a query. */
static void
ngx_http_ceph_lb_mysql_fail(ngx_http_ceph_lb_mysql_t *m)
{
    unsigned code = mysql_errno(m->mysql);

    ngx_http_ceph_lb_mysql_save_error(m);

    if (m->step == NGX_HTTP_CEPH_LB_SEND) {
        ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_LOST);

    } else if (
        ngx_http_ceph_lb_mysql_makes_no_sense(m->mysql)
        || code == NGX_HTTP_CEPH_LB_ER_NOT_READY)
    {
        ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_UNFIT);

    } else if (ngx_http_ceph_lb_mysql_is_lost(code)) {
        ngx_http_ceph_lb_mysql_end(m, NGX_HTTP_CEPH_LB_LOST);

    } else {
        mysql_free_result(m->result);
        m->result = NULL;
        m->state = NGX_HTTP_CEPH_LB_MYSQL_IDLE;
        m->handler(m->data, NGX_HTTP_CEPH_LB_REFUSED);
    }
}

static void
ngx_http_ceph_lb_mysql_end(
    ngx_http_ceph_lb_mysql_t *m, ngx_http_ceph_lb_mysql_event_e event)
{
    ngx_http_ceph_lb_mysql_close(m);
    m->handler(m->data, event);
}

void
ngx_http_ceph_lb_mysql_close(ngx_http_ceph_lb_mysql_t *m)
{
    int          i;
    ngx_socket_t fd;

    if (m->state == NGX_HTTP_CEPH_LB_MYSQL_CLOSED) {
        return;
    }

    ngx_http_ceph_lb_mysql_unwatch(m);

    if (m->state == NGX_HTTP_CEPH_LB_MYSQL_BUSY) {

        /*
         * From here on the library meets the end of the stream wherever it
         * reads or writes, so that nothing blocks.  A suspended call is
         * brought to its end, for it holds memory that only itself can free.
         */

        fd = mysql_get_socket(m->mysql);

        if (fd != (ngx_socket_t) -1) {
            (void) shutdown(fd, SHUT_RDWR);
        }

        for (i = 0; m->suspended && i < CEPH_LB_BYTES_MAX; i++) {
            m->suspended = ngx_http_ceph_lb_mysql_abandon(m);
        }

        if (m->result != NULL) {
            mysql_free_result(m->result);
            m->result = NULL;
        }
    }

    mysql_close(m->mysql);

    m->mysql = NULL;
    m->suspended = 0;
    m->state = NGX_HTTP_CEPH_LB_MYSQL_CLOSED;

    ngx_http_ceph_lb_mysql_clear_tls_errors(m);
}

/* Continues the suspended call, but whatever it returns is thrown away. */
static int
ngx_http_ceph_lb_mysql_abandon(ngx_http_ceph_lb_mysql_t *m)
{
    int     rc;
    my_bool failed;

    switch (m->step) {

    case NGX_HTTP_CEPH_LB_SEND:
        return mysql_send_query_cont(&rc, m->mysql, m->suspended);

    case NGX_HTTP_CEPH_LB_RECEIVE:
        return mysql_read_query_result_cont(&failed, m->mysql, m->suspended);

    default: /* NGX_HTTP_CEPH_LB_FETCH */
        return mysql_fetch_row_cont(&m->row, m->result, m->suspended);
    }
}

void
ngx_http_ceph_lb_mysql_destroy(ngx_http_ceph_lb_mysql_t *m)
{
    if (m->state == NGX_HTTP_CEPH_LB_MYSQL_OPENING) {
        if (m->mysql != NULL) {
            mysql_close(m->mysql);
            m->mysql = NULL;
        }

        m->state = NGX_HTTP_CEPH_LB_MYSQL_CLOSED;
    }

    ngx_http_ceph_lb_mysql_close(m);

    if (m->timer.timer_set) {
        ngx_del_timer(&m->timer);
    }

    ceph_lb_table_free(&m->table);
}

static void
ngx_http_ceph_lb_mysql_save_error(ngx_http_ceph_lb_mysql_t *m)
{
    u_char *p, *last = (u_char *) m->error + sizeof(m->error) - 1;

    p = ngx_http_ceph_lb_mysql_print_host(m, (u_char *) m->error);
    p = ngx_http_ceph_lb_mysql_print_error(m->mysql, p, last);
    *p = '\0';
}

/* In one line, also when the server quotes a query that has several. */
static u_char *
ngx_http_ceph_lb_mysql_print_error(MYSQL *mysql, u_char *p, u_char *last)
{
    u_char     *first = p;
    const char *error = mysql_error(mysql);

    if (mysql->net.error == NGX_HTTP_CEPH_LB_TOO_LONG) {
        return ngx_slprintf(p, last, "a packet of more than 4 MiB");
    }

    if (!ngx_http_ceph_lb_mysql_makes_no_sense(mysql)) {
        p = ngx_slprintf(p, last, "%s", error);

    } else if (*error == '\0') {
        p = ngx_slprintf(p, last, "what the server says makes no sense");

    } else {
        p = ngx_slprintf(
            p, last, "what the server says makes no sense (%s)", error);
    }

    for (; first < p; first++) {
        if (*first < 0x20 || *first == 0x7f) {
            *first = ' ';
        }
    }

    return p;
}

static void
ngx_http_ceph_lb_mysql_set_error(ngx_http_ceph_lb_mysql_t *m, const char *error)
{
    u_char *p, *last = (u_char *) m->error + sizeof(m->error);

    p = ngx_http_ceph_lb_mysql_print_host(m, (u_char *) m->error);
    (void) ngx_cpystrn(p, (u_char *) error, last - p);
}

/* Where there is only one host, the URL tells. */
static u_char *
ngx_http_ceph_lb_mysql_print_host(ngx_http_ceph_lb_mysql_t *m, u_char *p)
{
    u_char              *last = (u_char *) m->error + sizeof(m->error) - 1;
    const ceph_lb_url_t *url = &m->conf->url;

    if (url->nhosts < 2) {
        return p;
    }

    return ngx_slprintf(p, last, "%s: ", url->hosts[m->host].name);
}

/*
 * Whether the last call failed because of what the server sent, by no fault of
 * the query.  The library may leave its error unset then.
 */
static ngx_uint_t
ngx_http_ceph_lb_mysql_makes_no_sense(MYSQL *mysql)
{
    switch (mysql_errno(mysql)) {

    case 0:
    case CR_UNKNOWN_ERROR:
    case CR_MALFORMED_PACKET:
    case CR_NET_PACKET_TOO_LARGE:
        return 1;

    default:
        return mysql->net.error == NGX_HTTP_CEPH_LB_TOO_LONG;
    }
}

/* Whether an error of this code leaves the connection without use. */
static ngx_uint_t
ngx_http_ceph_lb_mysql_is_lost(unsigned code)
{
    return (code >= CR_MIN_ERROR && code <= CR_MAX_ERROR)
        || (code >= CER_MIN_ERROR && code <= CER_MAX_ERROR)
        || code == ER_SERVER_SHUTDOWN || code == ER_QUERY_INTERRUPTED
        || code == ER_CONNECTION_KILLED || code == ER_NORMAL_SHUTDOWN
        || code == NGX_HTTP_CEPH_LB_ER_IDLE;
}
