#include "ngx_http_ceph_lb_peer.h"

static void      ngx_http_ceph_lb_leave(void *data);
static void      ngx_http_ceph_lb_release(void *data);
static ngx_int_t ngx_http_ceph_lb_init_peer(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);
static ngx_http_ceph_lb_ctx_t *ngx_http_ceph_lb_inherit_ctx(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);
static ngx_int_t
            ngx_http_ceph_lb_get_peer(ngx_peer_connection_t *pc, void *data);
static void ngx_http_ceph_lb_free_peer(
    ngx_peer_connection_t *pc, void *data, ngx_uint_t state);
static ngx_uint_t ngx_http_ceph_lb_is_dead_keepalive(
    ngx_http_request_t *r, ngx_peer_connection_t *pc);

#if (NGX_HTTP_SSL || NGX_COMPAT)
static ngx_int_t
ngx_http_ceph_lb_set_session(ngx_peer_connection_t *pc, void *data);
static void
ngx_http_ceph_lb_save_session(ngx_peer_connection_t *pc, void *data);
#endif

ngx_http_ceph_lb_ctx_t *
ngx_http_ceph_lb_create_ctx(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_pool_cleanup_t          *pool_cleanup;
    ngx_http_cleanup_t          *cleanup;
    ngx_http_ceph_lb_ctx_t      *ctx;
    ngx_http_ceph_lb_srv_conf_t *conf;

    conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_ceph_lb_module);

    pool_cleanup =
        ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_ceph_lb_ctx_t));
    if (pool_cleanup == NULL) {
        return NULL;
    }

    ctx = pool_cleanup->data;
    ngx_memzero(ctx, sizeof(ngx_http_ceph_lb_ctx_t));

    ctx->request = r;
    ctx->upstream = us;
    ctx->current = -1;

    ctx->lookup = ngx_http_ceph_lb_lookup_start(conf);
    if (ctx->lookup == NULL) {
        return NULL;
    }

    cleanup = ngx_http_cleanup_add(r, 0);
    if (cleanup == NULL) {
        return NULL;
    }

    /*
     * A request stops waiting as soon as it is terminated, but its list must
     * last until its pool goes: the access log names backends by it.
     */

    cleanup->handler = ngx_http_ceph_lb_leave;
    cleanup->data = ctx;
    pool_cleanup->handler = ngx_http_ceph_lb_release;

    ngx_http_set_ctx(r, ctx, ngx_http_ceph_lb_module);

    return ctx;
}

static void
ngx_http_ceph_lb_leave(void *data)
{
    ngx_http_ceph_lb_ctx_t *ctx = data;

    ngx_http_ceph_lb_lookup_leave(ctx->lookup, &ctx->waiter);
}

static void
ngx_http_ceph_lb_release(void *data)
{
    ngx_http_ceph_lb_ctx_t *ctx = data;

    if (ctx->waiter.list != NULL) {
        ngx_http_ceph_lb_lookup_release(ctx->lookup, ctx->waiter.list);
        ctx->waiter.list = NULL;
    }
}

ngx_http_ceph_lb_ctx_t *
ngx_http_ceph_lb_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t     *cleanup;
    ngx_http_ceph_lb_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_ceph_lb_module);

    if (ctx != NULL) {
        return ctx;
    }

    /* Subrequests share the pool. */

    for (cleanup = r->pool->cleanup; cleanup; cleanup = cleanup->next) {
        ctx = cleanup->data;

        if (cleanup->handler == ngx_http_ceph_lb_release && ctx->request == r) {
            return ctx;
        }
    }

    return NULL;
}

ngx_int_t
ngx_http_ceph_lb_init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_ceph_lb_srv_conf_t *conf;

    conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_ceph_lb_module);

    conf->initialized = 1;
    us->peer.init = ngx_http_ceph_lb_init_peer;

    return NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_init_peer(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    size_t                  words;
    ngx_http_upstream_t    *u = r->upstream;
    ngx_http_ceph_lb_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_ceph_lb_module);

    if (ctx == NULL) {
        ctx = ngx_http_ceph_lb_inherit_ctx(r, us);
    }

    if (ctx == NULL || ctx->upstream != us || ctx->waiter.list == NULL) {
        ngx_log_error(
            NGX_LOG_ERR, r->connection->log, 0,
            "ceph_lb: no list of upstream \"%V\" was read for this "
            "request: its name must be written out in the directive "
            "that passes the request to it, such as "
            "\"proxy_pass http://%V;\", without variables",
            &us->host, &us->host);
        return NGX_ERROR;
    }

    words = ceph_lb_tried_words(ctx->waiter.list);

    ctx->tried = ngx_pcalloc(r->pool, words * sizeof(uintptr_t));
    if (ctx->tried == NULL) {
        return NGX_ERROR;
    }

    u->peer.data = ctx;
    u->peer.get = ngx_http_ceph_lb_get_peer;
    u->peer.free = ngx_http_ceph_lb_free_peer;
    u->peer.tries = ctx->waiter.list->count;

#if (NGX_HTTP_SSL || NGX_COMPAT)
    u->peer.set_session = ngx_http_ceph_lb_set_session;
    u->peer.save_session = ngx_http_ceph_lb_save_session;
#endif

    return NGX_OK;
}

/*
 * A cloned subrequest (a slice of a file, an update of a cached file in the
 * background) goes straight to the content handler.  It belongs to the same
 * request of the client as its parent, and shares the parent's list.
 */
static ngx_http_ceph_lb_ctx_t *
ngx_http_ceph_lb_inherit_ctx(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_request_t     *pr;
    ngx_http_ceph_lb_ctx_t *ctx, *parent;

    for (pr = r->parent; pr != NULL; pr = pr->parent) {
        parent = ngx_http_get_module_ctx(pr, ngx_http_ceph_lb_module);

        if (parent == NULL || parent->upstream != us
            || parent->waiter.list == NULL) {
            continue;
        }

        ctx = ngx_http_ceph_lb_create_ctx(r, us);
        if (ctx == NULL) {
            return NULL;
        }

        ctx->waiter.list = ngx_http_ceph_lb_lookup_hold(parent->waiter.list);
        ctx->waiter.list_age = parent->waiter.list_age;
        ctx->waiter.stale = parent->waiter.stale;

        return ctx;
    }

    return NULL;
}

static ngx_int_t
ngx_http_ceph_lb_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_str_t              *name;
    ceph_lb_list_t         *list;
    ceph_lb_backend_t      *b;
    ngx_http_ceph_lb_ctx_t *ctx = data;

    list = ctx->waiter.list;

    pc->cached = 0;
    pc->connection = NULL;

    /* nginx keeps the pointer for $upstream_addr, one for each attempt. */

    name = ngx_palloc(ctx->request->pool, sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_ERROR;
    }

    ctx->current = ceph_lb_choose(list, ctx->tried, ngx_time());

    if (ctx->current == -1) {
        pc->name = &ctx->upstream->host;
        return NGX_BUSY;
    }

    b = &list->backends[ctx->current];

    name->data = (u_char *) b->name;
    name->len = b->name_len;

    pc->name = name;
    pc->sockaddr = &b->address.any;
    pc->socklen = b->socklen;

    ngx_log_debug2(
        NGX_LOG_DEBUG_HTTP, pc->log, 0, "ceph_lb: backend %V, tries left: %ui",
        pc->name, pc->tries);

    return NGX_OK;
}

static void
ngx_http_ceph_lb_free_peer(
    ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_http_ceph_lb_ctx_t *ctx = data;

    if (ctx->current != -1) {
        if ((state & NGX_PEER_FAILED)
            && ngx_http_ceph_lb_is_dead_keepalive(ctx->request, pc))
        {
            ceph_lb_undo(ctx->waiter.list, ctx->tried, (size_t) ctx->current);

        } else {
            ceph_lb_done(
                ctx->waiter.list, (size_t) ctx->current,
                (state & NGX_PEER_FAILED) != 0, ngx_time());
        }

        ctx->current = -1;
    }

    if (pc->tries) {
        pc->tries--;
    }
}

/*
 * A kept connection that turns out to be closed says nothing about its
 * backend, which may close an idle connection at any time.  nginx then gives
 * the request one try more: at another backend, or at the same one, anew, if
 * it is the only one left.
 */
static ngx_uint_t
ngx_http_ceph_lb_is_dead_keepalive(
    ngx_http_request_t *r, ngx_peer_connection_t *pc)
{
    ngx_connection_t *c = pc->connection;

    return pc->cached && c != NULL && r->upstream->headers_in.status_n == 0
        && !c->read->timedout && !c->write->timedout
        && (c->read->eof || c->read->error || c->write->error);
}

#if (NGX_HTTP_SSL || NGX_COMPAT)

/* TLS sessions to backends are not kept: "keepalive" saves the handshakes. */

static ngx_int_t
ngx_http_ceph_lb_set_session(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}

static void
ngx_http_ceph_lb_save_session(ngx_peer_connection_t *pc, void *data)
{
}

#endif
