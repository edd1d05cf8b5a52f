/*
 * All that the status page shows, as it is at one moment, in plain numbers and
 * clean text: whoever renders it asks nobody else.
 */

#ifndef NGX_HTTP_CEPH_LB_STATUS_SNAPSHOT_H
#define NGX_HTTP_CEPH_LB_STATUS_SNAPSHOT_H

/* First: nginx's headers choose what the system's headers declare. */
#include "ngx_http_ceph_lb_conf.h"

#include "ceph_lb_report.h"

typedef enum {
    NGX_HTTP_CEPH_LB_LIST_FRESH, /* the next request gets one read for it */
    NGX_HTTP_CEPH_LB_LIST_STALE, /* the next request gets this one */
    NGX_HTTP_CEPH_LB_LIST_NONE,  /* the next request gets none, as it seems */
} ngx_http_ceph_lb_list_state_e;

/* All text is well-formed UTF-8 without control characters. */
typedef struct {
    ngx_str_t        address; /* and port */
    ngx_str_t        zone;    /* or empty */
    ngx_str_t        row_state;
    ngx_str_t        condition;
    ceph_lb_report_t report;
} ngx_http_ceph_lb_status_backend_t;

typedef struct {
    ngx_str_t name;
    ngx_str_t registry; /* its URL, in which there is no password */
    ngx_str_t method;
    ngx_str_t key;         /* of "hash", or empty */
    ngx_str_t zone;        /* the shared memory */
    ngx_str_t prefer_zone; /* or empty */
    uint64_t  degraded;    /* 0 or 1: this worker counts by itself */
    uint64_t  max_fails;
    uint64_t  fail_timeout_ms;
    uint64_t  slow_start_ms; /* 0: none */
    uint64_t  stale_ms;      /* 0: off */

    /* The newest list of this worker. */
    ngx_http_ceph_lb_list_state_e list_state;
    uint64_t                      age_ms; /* CEPH_LB_NONE: there is no list */
    uint64_t                      usable; /* that may get requests */
    uint64_t                      total;
    uint64_t                      conditions[CEPH_LB_CONDITIONS];
    uint64_t                      troubled; /* 0 or 1 */
    ngx_str_t trouble; /* "is unreachable", or empty when there is none */
    ngx_str_t error;   /* what was said last, or empty */
    uint64_t  trouble_ms;

    /* Of all workers. */
    uint64_t flights;
    uint64_t passengers;
    uint64_t passengers_per_flight; /* in thousandths, or CEPH_LB_NONE */
    uint64_t query_us;
    uint64_t query_us_mean; /* or CEPH_LB_NONE */
    uint64_t query_us_max;
    uint64_t errors;
    uint64_t stale;
    uint64_t without;
    uint64_t changes;
    uint64_t unavailable;

    ngx_http_ceph_lb_status_backend_t *backends; /* total of them */
} ngx_http_ceph_lb_status_upstream_t;

typedef struct {
    ngx_str_t generated; /* as RFC 3339 has it */
    uint64_t  generated_ms;
    uint64_t  pid;            /* of this worker */
    ngx_str_t server_version; /* of nginx */
    ngx_str_t module_version;

    ngx_uint_t                          count;
    ngx_http_ceph_lb_status_upstream_t *upstreams;
} ngx_http_ceph_lb_status_t;

/* In the pool of the request; NULL: no memory. */
ngx_http_ceph_lb_status_t *
ngx_http_ceph_lb_status_collect(ngx_http_request_t *r);

/* "fresh", "stale" or "none". */
const ngx_str_t *
ngx_http_ceph_lb_list_state_word(ngx_http_ceph_lb_list_state_e state);

#endif /* NGX_HTTP_CEPH_LB_STATUS_SNAPSHOT_H */
