/*
 * The lists of one upstream in one worker: who waits for which query, the
 * connections that the queries use, and what happens when the registry is
 * away.
 */

#ifndef NGX_HTTP_CEPH_LB_LOOKUP_H
#define NGX_HTTP_CEPH_LB_LOOKUP_H

/* First: nginx's headers choose what the system's headers declare. */
#include "ngx_http_ceph_lb_conf.h"

#include "ceph_lb_flight.h"
#include "ceph_lb_list.h"

typedef struct ngx_http_ceph_lb_waiter_s ngx_http_ceph_lb_waiter_t;

typedef void (*ngx_http_ceph_lb_waiter_handler_pt)(
    ngx_http_ceph_lb_waiter_t *w);

/*
 * One who wants a list.  Belongs to the caller, who sets handler and data, and
 * zeroes the rest.
 */
struct ngx_http_ceph_lb_waiter_s {
    ceph_lb_waiter_t waiter; /* must be first */
    ngx_queue_t      queue;  /* of all who wait, in the order of arrival */
    ngx_msec_t       arrived;
    ngx_uint_t       nlanded; /* queries that had been answered by then */

    ngx_http_ceph_lb_waiter_handler_pt handler;
    void                              *data;

    /* The answer. */
    ceph_lb_list_t *list; /* a reference, to be released; NULL: no list */
    ngx_msec_t      wait_time;
    ngx_msec_t      list_age;
    unsigned        waiting : 1; /* no answer yet */
    unsigned        stale : 1;
};

/*
 * Starts the lookups of an upstream, if that has not been done: opens the
 * first connection.  NULL: out of memory.
 */
ngx_http_ceph_lb_lookup_t *
ngx_http_ceph_lb_lookup_start(ngx_http_ceph_lb_srv_conf_t *conf);

/* For the end of the worker. */
void ngx_http_ceph_lb_lookup_stop(ngx_http_ceph_lb_lookup_t *l);

/*
 * Asks for a list.  NGX_OK: the answer is in *w.  NGX_AGAIN: it will be there
 * when the handler is called, which is at the end of the time-out at the
 * latest, unless the waiter leaves before.
 */
ngx_int_t ngx_http_ceph_lb_lookup_join(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w);

/* Does nothing to one who does not wait. */
void ngx_http_ceph_lb_lookup_leave(
    ngx_http_ceph_lb_lookup_t *l, ngx_http_ceph_lb_waiter_t *w);

ceph_lb_list_t *ngx_http_ceph_lb_lookup_hold(ceph_lb_list_t *list);
void            ngx_http_ceph_lb_lookup_release(ceph_lb_list_t *list);

/* The newest list of this worker, or NULL; and how old it is. */
ceph_lb_list_t *ngx_http_ceph_lb_lookup_newest(ngx_http_ceph_lb_lookup_t *l);
ngx_msec_t      ngx_http_ceph_lb_lookup_age(ngx_http_ceph_lb_lookup_t *l);

/* Whether it serves while no fresh list is to be had. */
ngx_uint_t ngx_http_ceph_lb_lookup_last_is_usable(ngx_http_ceph_lb_lookup_t *l);

/*
 * Why no fresh list is to be had, or NULL; then also what the registry, or the
 * client library, said last about it, and for how long it has been so.
 */
const char *ngx_http_ceph_lb_lookup_why(ngx_http_ceph_lb_lookup_t *l);
const char *ngx_http_ceph_lb_lookup_error(ngx_http_ceph_lb_lookup_t *l);
ngx_msec_t  ngx_http_ceph_lb_lookup_trouble_age(ngx_http_ceph_lb_lookup_t *l);

#endif /* NGX_HTTP_CEPH_LB_LOOKUP_H */
