/*
 * The shared memory of an upstream: what is known of its backends, common to
 * all workers, and kept when the configuration is read anew.
 */

#ifndef NGX_HTTP_CEPH_LB_ZONE_H
#define NGX_HTTP_CEPH_LB_ZONE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ceph_lb_state.h"

/* Enough for a thousand addresses with up to four workers. */
#define NGX_HTTP_CEPH_LB_ZONE_SIZE (512 * 1024)

/* Part of the configuration; what is below "slot" is the worker's own. */
typedef struct {
    ngx_cycle_t      *cycle;
    ngx_shm_zone_t   *shm_zone; /* NULL: not set yet */
    ceph_lb_states_t *states;   /* in it */

    int               slot;
    ceph_lb_states_t *own;      /* used instead when the zone has no room */
    ngx_uint_t        short_of; /* unsigned  short_of:1; it has been logged */
} ngx_http_ceph_lb_zone_t;

/*
 * Asks nginx for the memory; it is there when the configuration has been read.
 * Logs what is wrong.
 */
ngx_int_t ngx_http_ceph_lb_zone_add(
    ngx_conf_t              *cf,
    ngx_http_ceph_lb_zone_t *zone,
    ngx_str_t               *name,
    size_t                   size);

/* For the beginning and the end of a worker. */
void ngx_http_ceph_lb_zone_enter(ngx_http_ceph_lb_zone_t *zone, ngx_log_t *log);
void ngx_http_ceph_lb_zone_leave(ngx_http_ceph_lb_zone_t *zone);

/*
 * Binds a new list.  When the zone has no room it is bound to memory of the
 * worker's own, which is logged once.  NGX_ERROR: there is none either.
 */
ngx_int_t ngx_http_ceph_lb_zone_bind(
    ngx_http_ceph_lb_zone_t *zone, ceph_lb_list_t *list, ngx_log_t *log);

/* In which slot this worker counts for a list that it has bound. */
int ngx_http_ceph_lb_zone_slot(
    const ngx_http_ceph_lb_zone_t *zone, const ceph_lb_list_t *list);

/* Now and then: takes away what dead workers counted.  Never waits. */
void ngx_http_ceph_lb_zone_sweep(ngx_http_ceph_lb_zone_t *zone);

/* The counters of the upstream. */
ceph_lb_counters_t *
ngx_http_ceph_lb_zone_counters(ngx_http_ceph_lb_zone_t *zone);

#endif /* NGX_HTTP_CEPH_LB_ZONE_H */
