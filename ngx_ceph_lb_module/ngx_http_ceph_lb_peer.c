#include "ngx_http_ceph_lb_peer.h"

/* A backend that asks for more rest than this is tried nevertheless. */
#define NGX_HTTP_CEPH_LB_REST_MAX 60

static void      ngx_http_ceph_lb_leave(void *data);
static void      ngx_http_ceph_lb_release(void *data);
static ngx_int_t ngx_http_ceph_lb_init_peer(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);
static ngx_http_ceph_lb_ctx_t *ngx_http_ceph_lb_inherit_ctx(
    ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us);
static ngx_int_t
ngx_http_ceph_lb_get_peer(ngx_peer_connection_t *pc, void *data);
static ngx_int_t
ngx_http_ceph_lb_choose(ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc);
static ngx_int_t ngx_http_ceph_lb_key(
    ngx_http_ceph_lb_ctx_t      *ctx,
    ngx_http_ceph_lb_srv_conf_t *conf,
    uint32_t                    *key);
static ngx_int_t ngx_http_ceph_lb_set_peer(
    ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc);
static void ngx_http_ceph_lb_free_peer(
    ngx_peer_connection_t *pc, void *data, ngx_uint_t state);
static ceph_lb_outcome_e ngx_http_ceph_lb_outcome(
    ngx_http_ceph_lb_ctx_t *ctx,
    ngx_peer_connection_t  *pc,
    ngx_uint_t              state,
    ngx_uint_t             *rest);
static ngx_uint_t ngx_http_ceph_lb_is_dead_keepalive(
    ngx_http_request_t *r, ngx_peer_connection_t *pc);
static ngx_uint_t ngx_http_ceph_lb_broke_off(ngx_http_request_t *r);
static ngx_uint_t ngx_http_ceph_lb_asks_for_rest(ngx_http_request_t *r);
static void       ngx_http_ceph_lb_measure(ngx_http_ceph_lb_ctx_t *ctx);
static void       ngx_http_ceph_lb_may_try_again(
          ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc);
static ngx_int_t ngx_http_ceph_lb_take_newest(ngx_http_ceph_lb_ctx_t *ctx);
static ngx_int_t
ngx_http_ceph_lb_make_tried(ngx_http_ceph_lb_ctx_t *ctx, ceph_lb_list_t *list);
static ngx_http_ceph_lb_srv_conf_t                   *
ngx_http_ceph_lb_conf_of(ngx_http_ceph_lb_ctx_t *ctx);
static void       ngx_http_ceph_lb_start_deadline(ngx_http_ceph_lb_ctx_t *ctx);
static ngx_uint_t ngx_http_ceph_lb_is_late(ngx_http_ceph_lb_ctx_t *ctx);
static void       ngx_http_ceph_lb_deadline_handler(ngx_event_t *ev);

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

    if (ctx->deadline.timer_set) {
        ngx_del_timer(&ctx->deadline);
    }
}

static void
ngx_http_ceph_lb_release(void *data)
{
    ngx_http_ceph_lb_ctx_t *ctx = data;

    if (ctx->waiter.list != NULL) {
        ngx_http_ceph_lb_lookup_release(ctx->waiter.list);
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

    if (ngx_http_ceph_lb_make_tried(ctx, ctx->waiter.list) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->begun = ngx_current_msec;

    u->peer.data = ctx;
    u->peer.get = ngx_http_ceph_lb_get_peer;
    u->peer.free = ngx_http_ceph_lb_free_peer;

    /* A list that comes later may be longer: the end is told after each try. */

    u->peer.tries = CEPH_LB_ROWS_MAX;

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
    ngx_int_t                    rc;
    ngx_http_ceph_lb_ctx_t      *ctx = data;
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    pc->cached = 0;
    pc->connection = NULL;

    rc = ngx_http_ceph_lb_choose(ctx, pc);

    if (rc == NGX_BUSY) {
        ceph_lb_count(
            &ngx_http_ceph_lb_zone_counters(&conf->zone)->unavailable, 1);
        pc->name = &ctx->upstream->host;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_ceph_lb_start_deadline(ctx);

    ngx_log_debug2(
        NGX_LOG_DEBUG_HTTP, pc->log, 0, "ceph_lb: backend %V, tries left: %ui",
        pc->name, pc->tries);

    return NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_choose(ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc)
{
    static uint64_t chance;

    ceph_lb_choice_t             choice;
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    if (chance == 0) {
        chance = (uint64_t) ngx_random() << 32 | (uint64_t) ngx_pid | 1;
    }

    choice.policy = &conf->policy;
    choice.list = ctx->waiter.list;
    choice.tried = ctx->tried;
    choice.slot = ngx_http_ceph_lb_zone_slot(&conf->zone, ctx->waiter.list);
    choice.chance = &chance;
    choice.now = ngx_current_msec;
    choice.again = ctx->tries++ > 0;

    if (ngx_http_ceph_lb_key(ctx, conf, &choice.key) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ceph_lb_choose(&choice, &ctx->pick) != 0) {
        return NGX_BUSY;
    }

    ctx->slot = choice.slot;

    if (ngx_http_ceph_lb_set_peer(ctx, pc) != NGX_OK) {
        ceph_lb_done(
            &conf->policy, &ctx->pick, ctx->slot, CEPH_LB_UNKNOWN, 0,
            ngx_current_msec);
        return NGX_ERROR;
    }

    return NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_key(
    ngx_http_ceph_lb_ctx_t      *ctx,
    ngx_http_ceph_lb_srv_conf_t *conf,
    uint32_t                    *key)
{
    ngx_str_t value;

    *key = 0;

    if (conf->key == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(ctx->request, conf->key, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    *key = ngx_crc32_long(value.data, value.len);

    return NGX_OK;
}

/* Names are copied: the access log wants them when the list may have gone. */
static ngx_int_t
ngx_http_ceph_lb_set_peer(
    ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc)
{
    u_char            *p;
    size_t             zone_len;
    ngx_str_t         *name;
    ceph_lb_backend_t *b = &ctx->waiter.list->backends[ctx->pick.index];

    zone_len = ngx_strlen(b->zone);

    name = ngx_palloc(
        ctx->request->pool, sizeof(ngx_str_t) + b->name_len + zone_len);
    if (name == NULL) {
        return NGX_ERROR;
    }

    name->data = (u_char *) (name + 1);
    name->len = b->name_len;
    p = ngx_cpymem(name->data, b->name, b->name_len);

    ctx->zone.data = p;
    ctx->zone.len = zone_len;
    ngx_memcpy(p, b->zone, zone_len);

    pc->name = name;
    pc->sockaddr = &b->address.any;
    pc->socklen = b->socklen;

    return NGX_OK;
}

static void
ngx_http_ceph_lb_free_peer(
    ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    long                         found;
    ngx_uint_t                   rest = 0;
    ceph_lb_backend_t            b;
    ceph_lb_outcome_e            outcome;
    ngx_http_ceph_lb_ctx_t      *ctx = data;
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    if (pc->tries) {
        pc->tries--;
    }

    if (ctx->pick.state == NULL) {
        return;
    }

    b = ctx->waiter.list->backends[ctx->pick.index];
    outcome = ngx_http_ceph_lb_outcome(ctx, pc, state, &rest);

    if (outcome == CEPH_LB_ANSWERED) {
        ngx_http_ceph_lb_measure(ctx);
    }

    ceph_lb_done(
        &conf->policy, &ctx->pick, ctx->slot, outcome, rest * 1000,
        ngx_current_msec);

    if (!(state & (NGX_PEER_FAILED | NGX_PEER_NEXT))) {
        return;
    }

    ngx_http_ceph_lb_may_try_again(ctx, pc);

    /* If there is no other, it is tried anew: nginx gives one try more. */

    if (outcome == CEPH_LB_UNKNOWN && pc->tries == 0) {
        found = ceph_lb_list_find(ctx->waiter.list, &b);

        if (found != -1) {
            ceph_lb_set_untried(ctx->tried, (size_t) found);
        }
    }
}

static ceph_lb_outcome_e
ngx_http_ceph_lb_outcome(
    ngx_http_ceph_lb_ctx_t *ctx,
    ngx_peer_connection_t  *pc,
    ngx_uint_t              state,
    ngx_uint_t             *rest)
{
    ngx_uint_t                   status;
    ngx_http_request_t          *r = ctx->request;
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    status = r->upstream->headers_in.status_n;

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        *rest = ngx_http_ceph_lb_asks_for_rest(r);

        if (*rest > 0) {
            return CEPH_LB_RESTING;
        }
    }

    if (state & NGX_PEER_FAILED) {
        return ngx_http_ceph_lb_is_dead_keepalive(r, pc) ? CEPH_LB_UNKNOWN
                                                         : CEPH_LB_FAILED;
    }

    if (status < NGX_HTTP_CEPH_LB_STATUSES
        && (conf->fail_on[status / 8] & (1 << status % 8)))
    {
        return CEPH_LB_FAILED;
    }

    if (ngx_http_ceph_lb_broke_off(r)) {
        return CEPH_LB_FAILED;
    }

    /* Without a status its answer never began: the client has left. */

    return status == 0 && !(state & NGX_PEER_NEXT) ? CEPH_LB_UNKNOWN
                                                   : CEPH_LB_ANSWERED;
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

/* Whether the connection ended, or time ran out, in the middle of the answer. */
static ngx_uint_t
ngx_http_ceph_lb_broke_off(ngx_http_request_t *r)
{
    ngx_connection_t    *c;
    ngx_event_pipe_t    *p;
    ngx_http_upstream_t *u = r->upstream;

    if (!u->header_sent || u->upgrade || r->connection->error) {
        return 0;
    }

    if (u->buffering) {
        p = u->pipe;

        return p != NULL && !p->upstream_done && !p->downstream_error
            && (p->upstream_error || (p->upstream_eof && p->length > 0));
    }

    c = u->peer.connection;

    return c != NULL && u->length > 0
        && (c->read->eof || c->read->error || c->read->timedout);
}

/* Seconds from a "Retry-After"; a date is not looked at. */
static ngx_uint_t
ngx_http_ceph_lb_asks_for_rest(ngx_http_request_t *r)
{
    ngx_int_t        seconds;
    ngx_uint_t       i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    for (part = &r->upstream->headers_in.headers.part; part; part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len != sizeof("Retry-After") - 1
                || ngx_strncasecmp(
                       h[i].key.data, (u_char *) "Retry-After",
                       sizeof("Retry-After") - 1)
                       != 0)
            {
                continue;
            }

            seconds = ngx_atoi(h[i].value.data, h[i].value.len);

            return seconds > 0
                     ? (ngx_uint_t) ngx_min(seconds, NGX_HTTP_CEPH_LB_REST_MAX)
                     : 0;
        }
    }

    return 0;
}

/* The time to the header: what comes after it depends on the client, too. */
static void
ngx_http_ceph_lb_measure(ngx_http_ceph_lb_ctx_t *ctx)
{
    ngx_http_upstream_state_t *state = ctx->request->upstream->state;

    if (state == NULL || state->header_time == (ngx_msec_t) -1) {
        return;
    }

    ceph_lb_measure(
        ctx->pick.state,
        (uint32_t) ngx_min(state->header_time, UINT32_MAX / 1000) * 1000,
        ngx_current_msec);
}

/*
 * Another try goes by the newest list that there is: it was read later than
 * the request's own, so whoever has left meanwhile is not tried, and who has
 * come is.
 */
static void
ngx_http_ceph_lb_may_try_again(
    ngx_http_ceph_lb_ctx_t *ctx, ngx_peer_connection_t *pc)
{
    if (ngx_http_ceph_lb_take_newest(ctx) != NGX_OK
        || ngx_http_ceph_lb_is_late(ctx)
        || ceph_lb_untried(ctx->waiter.list, ctx->tried) == 0)
    {
        pc->tries = 0;
    }
}

static ngx_int_t
ngx_http_ceph_lb_take_newest(ngx_http_ceph_lb_ctx_t *ctx)
{
    size_t          i;
    long            found;
    uintptr_t      *tried = ctx->tried;
    ceph_lb_list_t *old = ctx->waiter.list, *list;

    list = ngx_http_ceph_lb_lookup_newest(ctx->lookup);

    if (list == NULL || list == old) {
        return NGX_OK;
    }

    if (ngx_http_ceph_lb_make_tried(ctx, list) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < old->count; i++) {
        if (!ceph_lb_is_tried(tried, i)) {
            continue;
        }

        found = ceph_lb_list_find(list, &old->backends[i]);

        if (found != -1) {
            ceph_lb_set_tried(ctx->tried, (size_t) found);
        }
    }

    ctx->waiter.list = ngx_http_ceph_lb_lookup_hold(list);
    ngx_http_ceph_lb_lookup_release(old);

    return NGX_OK;
}

/* One word even for an empty list. */
static ngx_int_t
ngx_http_ceph_lb_make_tried(ngx_http_ceph_lb_ctx_t *ctx, ceph_lb_list_t *list)
{
    size_t words = ceph_lb_tried_words(list) + 1;

    ctx->tried = ngx_pcalloc(ctx->request->pool, words * sizeof(uintptr_t));

    return ctx->tried != NULL ? NGX_OK : NGX_ERROR;
}

static ngx_http_ceph_lb_srv_conf_t *
ngx_http_ceph_lb_conf_of(ngx_http_ceph_lb_ctx_t *ctx)
{
    return ngx_http_conf_upstream_srv_conf(
        ctx->upstream, ngx_http_ceph_lb_module);
}

static void
ngx_http_ceph_lb_start_deadline(ngx_http_ceph_lb_ctx_t *ctx)
{
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    if (conf->total_timeout == 0 || ctx->deadline.timer_set) {
        return;
    }

    ctx->deadline.handler = ngx_http_ceph_lb_deadline_handler;
    ctx->deadline.data = ctx;
    ctx->deadline.log = ctx->request->connection->log;

    ngx_add_timer(&ctx->deadline, conf->total_timeout);
}

static ngx_uint_t
ngx_http_ceph_lb_is_late(ngx_http_ceph_lb_ctx_t *ctx)
{
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_conf_of(ctx);

    return conf->total_timeout != 0
        && ngx_current_msec - ctx->begun >= conf->total_timeout;
}

/*
 * Ends the try that is under way as if its own time-out had come, unless its
 * answer has begun.
 */
static void
ngx_http_ceph_lb_deadline_handler(ngx_event_t *ev)
{
    ngx_connection_t       *c;
    ngx_http_ceph_lb_ctx_t *ctx = ev->data;
    ngx_http_upstream_t    *u = ctx->request->upstream;

    if (ctx->pick.state == NULL || u == NULL || u->peer.connection == NULL
        || u->state == NULL || u->state->header_time != (ngx_msec_t) -1)
    {
        return;
    }

    c = u->peer.connection;
    c->read->timedout = 1;
    c->read->handler(c->read);
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
