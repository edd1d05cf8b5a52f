/*
 * One connection to the registry.  Its .c file is the only one that knows the
 * client library.
 *
 * A connection is opened in a thread, because resolving a name and the TLS
 * handshake block, and queried on the event loop.  All functions are called,
 * and all handlers run, on the loop; a handler is never called from inside of
 * a function of this header.
 *
 * Of several hosts each is tried in turn until one is open.  An opening takes
 * at most nine tenths of the time-out, so that whoever waits for it learns why
 * it failed.  Each host has an equal share of that; what one leaves of its
 * share goes to those after it.
 */

#ifndef NGX_HTTP_CEPH_LB_MYSQL_H
#define NGX_HTTP_CEPH_LB_MYSQL_H

/* First: nginx's headers choose what the system's headers declare. */
#include "ngx_http_ceph_lb_conf.h"

#include "ceph_lb_list.h"

typedef struct ngx_http_ceph_lb_mysql_s ngx_http_ceph_lb_mysql_t;

typedef enum {
    NGX_HTTP_CEPH_LB_MYSQL_CLOSED,
    NGX_HTTP_CEPH_LB_MYSQL_OPENING,
    NGX_HTTP_CEPH_LB_MYSQL_IDLE,
    NGX_HTTP_CEPH_LB_MYSQL_BUSY,
} ngx_http_ceph_lb_mysql_state_e;

typedef enum {
    NGX_HTTP_CEPH_LB_OPENED,     /* now idle */
    NGX_HTTP_CEPH_LB_NOT_OPENED, /* now closed */
    NGX_HTTP_CEPH_LB_ANSWERED,   /* now idle; there is a table */
    NGX_HTTP_CEPH_LB_REFUSED,    /* now idle; the query is at fault */
    NGX_HTTP_CEPH_LB_UNFIT,      /* now closed; the answer is of no use */
    NGX_HTTP_CEPH_LB_LOST,       /* now closed; a query, if any, with it */
    NGX_HTTP_CEPH_LB_HUNG,       /* now closed, the query took too long */
} ngx_http_ceph_lb_mysql_event_e;

/*
 * After an event that is a failure, ngx_http_ceph_lb_mysql_error says why;
 * after OPENED, why the hosts that were tried before are not used, or nothing.
 */
typedef void (*ngx_http_ceph_lb_mysql_handler_pt)(
    void *data, ngx_http_ceph_lb_mysql_event_e event);

/* The connection lives as long as the pool, closed at first. */
ngx_http_ceph_lb_mysql_t *ngx_http_ceph_lb_mysql_create(
    ngx_pool_t                       *pool,
    ngx_http_ceph_lb_srv_conf_t      *conf,
    ngx_http_ceph_lb_mysql_handler_pt handler,
    void                             *data);

ngx_http_ceph_lb_mysql_state_e
ngx_http_ceph_lb_mysql_state(const ngx_http_ceph_lb_mysql_t *m);

/* Zero-terminated. */
const char *ngx_http_ceph_lb_mysql_error(const ngx_http_ceph_lb_mysql_t *m);

/* The index in the URL of the host that was tried last; 0 for a unix socket. */
ngx_uint_t ngx_http_ceph_lb_mysql_host(const ngx_http_ceph_lb_mysql_t *m);

/*
 * What the last query returned; valid until the next query.  The caller may
 * swap it for another table, whose memory is used for the next answer then.
 */
ceph_lb_table_t *ngx_http_ceph_lb_mysql_table(ngx_http_ceph_lb_mysql_t *m);

/*
 * Of a closed one; begins with the host of that index.  NGX_ERROR: there will
 * be no event.
 */
ngx_int_t
ngx_http_ceph_lb_mysql_open(ngx_http_ceph_lb_mysql_t *m, ngx_uint_t host);

/*
 * Of an idle one; the statement is used until the event.  NGX_ERROR: it is
 * closed, and there will be no event.
 */
ngx_int_t ngx_http_ceph_lb_mysql_query(
    ngx_http_ceph_lb_mysql_t *m, const ngx_str_t *statement);

/* Of one that is not opening.  Never blocks. */
void ngx_http_ceph_lb_mysql_close(ngx_http_ceph_lb_mysql_t *m);

/*
 * For the end of the worker, when its threads are gone: closes the connection,
 * whatever its state, and frees what it holds outside of the pool.
 */
void ngx_http_ceph_lb_mysql_destroy(ngx_http_ceph_lb_mysql_t *m);

/* Once in a process, before its first connection, and after its last. */
ngx_int_t ngx_http_ceph_lb_mysql_init(ngx_log_t *log);
void      ngx_http_ceph_lb_mysql_done(void);

#endif /* NGX_HTTP_CEPH_LB_MYSQL_H */
