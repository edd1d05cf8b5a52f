/*
 * The side that faces nginx's upstream module: it asks for a backend, and gets
 * one out of the list that the request already has.
 */

#ifndef NGX_HTTP_CEPH_LB_PEER_H
#define NGX_HTTP_CEPH_LB_PEER_H

#include "ngx_http_ceph_lb_lookup.h"

/*
 * What the module knows of a request, from when it asked for a list to when
 * its pool is destroyed.  In the request's pool.
 */
typedef struct {
    ngx_http_request_t           *request;
    ngx_http_upstream_srv_conf_t *upstream;
    ngx_http_ceph_lb_lookup_t    *lookup;
    ngx_http_ceph_lb_waiter_t     waiter; /* and in it the list */

    ngx_uint_t reading; /* unsigned  reading:1; the body is not in yet */

    uintptr_t     *tried;
    ceph_lb_pick_t pick;     /* what it is being passed to */
    int            slot;     /* in which that is counted */
    ngx_str_t      zone;     /* of the backend that was chosen last */
    ngx_uint_t     tries;    /* that have begun */
    uint64_t       begun;    /* when the first try began */
    ngx_event_t    deadline; /* of all tries */
} ngx_http_ceph_lb_ctx_t;

/*
 * Makes the context of a request and puts it in its place.  What it holds is
 * given back when the request ends, or its main request.  NULL: no memory.
 */
ngx_http_ceph_lb_ctx_t *ngx_http_ceph_lb_create_ctx(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);

/*
 * The context of a request, also after an internal redirect, which takes it out
 * of its place.  NULL: the request never asked for a list.
 */
ngx_http_ceph_lb_ctx_t *ngx_http_ceph_lb_find_ctx(ngx_http_request_t *r);

/* For peer.init_upstream. */
ngx_int_t ngx_http_ceph_lb_init_upstream(
    ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us);

#endif /* NGX_HTTP_CEPH_LB_PEER_H */
