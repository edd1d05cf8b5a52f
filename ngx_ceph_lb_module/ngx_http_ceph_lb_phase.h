/*
 * Before the content phase: a request that will be passed to one of our
 * upstreams is held until it has its list.
 */

#ifndef NGX_HTTP_CEPH_LB_PHASE_H
#define NGX_HTTP_CEPH_LB_PHASE_H

#include "ngx_http_ceph_lb_peer.h"

/*
 * Puts the handler into its phase; for postconfiguration, and only if there is
 * an upstream with "ceph_lb".
 */
ngx_int_t ngx_http_ceph_lb_phase_init(ngx_conf_t *cf);

#endif /* NGX_HTTP_CEPH_LB_PHASE_H */
