/* Connections that nginx keeps open to backends, and that nobody uses. */

#ifndef NGX_HTTP_CEPH_LB_IDLE_H
#define NGX_HTTP_CEPH_LB_IDLE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ceph_lb_list.h"

/*
 * Closes, in this worker, the idle connections to backends that might get
 * requests by the old list and may not by the new one.
 */
void ngx_http_ceph_lb_idle_close(
    const ceph_lb_list_t *old, const ceph_lb_list_t *list, ngx_log_t *log);

#endif /* NGX_HTTP_CEPH_LB_IDLE_H */
