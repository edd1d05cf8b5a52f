/*
 * What an "upstream" block with "ceph_lb" says.  Made while the configuration
 * is read, in the pool of its cycle, and not changed afterwards; only lookup
 * is a worker's own.
 */

#ifndef NGX_HTTP_CEPH_LB_CONF_H
#define NGX_HTTP_CEPH_LB_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <ngx_thread_pool.h>

#include "ceph_lb_balance.h"
#include "ceph_lb_url.h"
#include "ngx_http_ceph_lb_zone.h"

/* Statuses that may count as failures; one bit for each from 0 on. */
#define NGX_HTTP_CEPH_LB_STATUSES 600

typedef struct ngx_http_ceph_lb_lookup_s ngx_http_ceph_lb_lookup_t;

typedef struct {
    ngx_str_t          name; /* the URL; empty without "ceph_lb" */
    ceph_lb_url_t      url;
    ngx_str_t          password; /* zero-terminated */
    ngx_str_t          query;
    ngx_str_t          version_query; /* empty: there is none */
    ngx_str_t          ssl_ca;        /* a file, zero-terminated; or empty */
    ngx_uint_t         connections;
    ngx_msec_t         timeout;
    ngx_msec_t         stale; /* NGX_CONF_UNSET_MSEC: not set; 0: off */
    ngx_thread_pool_t *thread_pool;

    ngx_http_ceph_lb_zone_t   zone;
    ceph_lb_policy_t          policy;
    ngx_uint_t                method_set;  /* unsigned  method_set:1; */
    ngx_http_complex_value_t *key;         /* for "hash" */
    ngx_str_t                 prefer_zone; /* zero-terminated; empty: none */
    u_char                    fail_on[NGX_HTTP_CEPH_LB_STATUSES / 8];
    ngx_uint_t                fail_on_set;   /* unsigned  fail_on_set:1; */
    ngx_msec_t                total_timeout; /* over all tries; 0: none */

    ngx_uint_t                 initialized; /* unsigned  initialized:1; */
    ngx_http_ceph_lb_lookup_t *lookup;      /* NULL until it is started */
} ngx_http_ceph_lb_srv_conf_t;

extern ngx_module_t ngx_http_ceph_lb_module;

/* Whether requests to this upstream, which may be NULL, go by a registry. */
static ngx_inline ngx_uint_t
ngx_http_ceph_lb_is_ours(ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_ceph_lb_srv_conf_t *conf;

    if (us == NULL || us->srv_conf == NULL) {
        return 0;
    }

    conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_ceph_lb_module);

    return conf->name.len != 0;
}

#endif /* NGX_HTTP_CEPH_LB_CONF_H */
