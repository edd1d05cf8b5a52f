#include "ngx_http_ceph_lb_phase.h"

/*
 * The location configuration of each of these modules begins with nginx's
 * ngx_http_upstream_conf_t.  They are found by their names, so that none of
 * them needs to be there.
 */
static const char *ngx_http_ceph_lb_passing_modules[] = {
    "ngx_http_proxy_module",   "ngx_http_grpc_module",
    "ngx_http_fastcgi_module", "ngx_http_uwsgi_module",
    "ngx_http_scgi_module",    "ngx_http_memcached_module",
    "ngx_http_tunnel_module",
};

#define NGX_HTTP_CEPH_LB_PASSING_MODULES                                       \
    (sizeof(ngx_http_ceph_lb_passing_modules) / sizeof(char *))

/* Indexes of those that are there, the same in every cycle of a process. */
static ngx_uint_t ngx_http_ceph_lb_passing[NGX_HTTP_CEPH_LB_PASSING_MODULES];
static ngx_uint_t ngx_http_ceph_lb_npassing;

static void      ngx_http_ceph_lb_find_passing_modules(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_ceph_lb_handler(ngx_http_request_t *r);
static ngx_http_upstream_conf_t                   *
ngx_http_ceph_lb_find_pass(ngx_http_request_t *r);
static ngx_uint_t ngx_http_ceph_lb_has_body(ngx_http_request_t *r);
static void       ngx_http_ceph_lb_body_handler(ngx_http_request_t *r);
static ngx_int_t  ngx_http_ceph_lb_ask(
     ngx_http_request_t       *r,
     ngx_http_ceph_lb_ctx_t   *ctx,
     ngx_http_upstream_conf_t *pass);
static void ngx_http_ceph_lb_resume(ngx_http_ceph_lb_waiter_t *w);
static ngx_int_t
ngx_http_ceph_lb_result(ngx_http_request_t *r, ngx_http_ceph_lb_ctx_t *ctx);
static ngx_int_t ngx_http_ceph_lb_retry_after(ngx_http_request_t *r);

/*
 * nginx runs the handlers of a phase from the last registered to the first.
 * This one takes the place of the first: it runs after "try_files", which may
 * send the request elsewhere, and after "mirror".
 */
ngx_int_t
ngx_http_ceph_lb_phase_init(ngx_conf_t *cf)
{
    ngx_array_t               *handlers;
    ngx_http_handler_pt       *h;
    ngx_http_core_main_conf_t *cmcf;

    ngx_http_ceph_lb_find_passing_modules(cf->cycle);

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    handlers = &cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;
    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(*h));
    *h = ngx_http_ceph_lb_handler;

    return NGX_OK;
}

static void
ngx_http_ceph_lb_find_passing_modules(ngx_cycle_t *cycle)
{
    ngx_uint_t i, n;

    ngx_http_ceph_lb_npassing = 0;

    for (i = 0; cycle->modules[i]; i++) {
        for (n = 0; n < NGX_HTTP_CEPH_LB_PASSING_MODULES; n++) {
            if (ngx_strcmp(
                    cycle->modules[i]->name,
                    ngx_http_ceph_lb_passing_modules[n])
                == 0)
            {
                ngx_http_ceph_lb_passing[ngx_http_ceph_lb_npassing++] =
                    cycle->modules[i]->ctx_index;
            }
        }
    }
}

/*
 * The first time this starts what is to be done; it is called again, maybe
 * more than once, until that has been done.
 */
static ngx_int_t
ngx_http_ceph_lb_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_ceph_lb_ctx_t   *ctx;
    ngx_http_upstream_conf_t *pass;

    ctx = ngx_http_get_module_ctx(r, ngx_http_ceph_lb_module);

    if (ctx != NULL) {
        if (ctx->reading || ctx->waiter.waiting) {
            return NGX_AGAIN;
        }

        if (ctx->waiter.handler != NULL) {
            return ngx_http_ceph_lb_result(r, ctx);
        }
    }

    pass = ngx_http_ceph_lb_find_pass(r);

    if (pass == NULL) {
        return NGX_DECLINED;
    }

    if (ctx != NULL) {
        return ngx_http_ceph_lb_ask(r, ctx, pass);
    }

    ctx = ngx_http_ceph_lb_create_ctx(r, pass->upstream);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* The list is not to age while a slow client sends the body. */

    if (!pass->request_buffering || !ngx_http_ceph_lb_has_body(r)) {
        return ngx_http_ceph_lb_ask(r, ctx, pass);
    }

    ctx->reading = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_ceph_lb_body_handler);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}

/* What passes this request to one of our upstreams, or NULL. */
static ngx_http_upstream_conf_t *
ngx_http_ceph_lb_find_pass(ngx_http_request_t *r)
{
    ngx_uint_t                i;
    ngx_http_upstream_conf_t *pass;

    if (r->content_handler == NULL) {
        return NULL;
    }

    for (i = 0; i < ngx_http_ceph_lb_npassing; i++) {
        pass = r->loc_conf[ngx_http_ceph_lb_passing[i]];

        if (ngx_http_ceph_lb_is_ours(pass->upstream)) {
            return pass;
        }
    }

    return NULL;
}

static ngx_uint_t
ngx_http_ceph_lb_has_body(ngx_http_request_t *r)
{
    return r == r->main && r->request_body == NULL && !r->discard_body
        && (r->headers_in.content_length_n > 0 || r->headers_in.chunked);
}

static void
ngx_http_ceph_lb_body_handler(ngx_http_request_t *r)
{
    ngx_http_ceph_lb_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_ceph_lb_module);

    /*
     * If the body was refused, "error_page" has led the request elsewhere; the
     * rest of the body may be read there all the same.
     */

    if (ctx == NULL || !ctx->reading) {
        return;
    }

    ctx->reading = 0;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

static ngx_int_t
ngx_http_ceph_lb_ask(
    ngx_http_request_t       *r,
    ngx_http_ceph_lb_ctx_t   *ctx,
    ngx_http_upstream_conf_t *pass)
{
    ngx_connection_t *c = r->connection;

    ctx->waiter.handler = ngx_http_ceph_lb_resume;
    ctx->waiter.data = r;

    if (ngx_http_ceph_lb_lookup_join(ctx->lookup, &ctx->waiter) == NGX_OK) {
        return ngx_http_ceph_lb_result(r, ctx);
    }

    ngx_log_debug1(
        NGX_LOG_DEBUG_HTTP, c->log, 0, "ceph_lb: waiting for a list of \"%V\"",
        &ctx->upstream->host);

    if (pass->ignore_client_abort || r->post_action) {
        return NGX_AGAIN;
    }

    /* A client that goes away is noticed while its request waits. */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    return NGX_AGAIN;
}

static void
ngx_http_ceph_lb_resume(ngx_http_ceph_lb_waiter_t *w)
{
    ngx_http_request_t     *r = w->data;
    ngx_connection_t       *c = r->connection;
    ngx_http_ceph_lb_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_ceph_lb_module);

    /* The client has left, and "post_action" led the request elsewhere. */

    if (ctx == NULL || w != &ctx->waiter) {
        return;
    }

    ngx_http_set_log_request(c->log, r);

    r->read_event_handler = ngx_http_block_reading;
    ngx_http_core_run_phases(r);

    ngx_http_run_posted_requests(c);
}

static ngx_int_t
ngx_http_ceph_lb_result(ngx_http_request_t *r, ngx_http_ceph_lb_ctx_t *ctx)
{
    if (ctx->waiter.list != NULL && ctx->waiter.list->count > 0) {
        return NGX_DECLINED;
    }

    if (ngx_http_ceph_lb_retry_after(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}

/* Once in a response, however many locations an "error_page" leads through. */
static ngx_int_t
ngx_http_ceph_lb_retry_after(ngx_http_request_t *r)
{
    ngx_uint_t       i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash != 0 && h[i].key.len == sizeof("Retry-After") - 1
                && ngx_strncasecmp(
                       h[i].key.data, (u_char *) "Retry-After",
                       sizeof("Retry-After") - 1)
                       == 0)
            {
                return NGX_OK;
            }
        }
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Retry-After");
    ngx_str_set(&h->value, "1");

    return NGX_OK;
}
