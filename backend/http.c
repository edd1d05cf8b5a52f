/*
 * The HTTP server over libh2o 2.2. What is peculiar about that library and shaped this file:
 *
 * - A handler runs when the whole body is there; larger bodies are kept by the library in mapped files.
 * - Content-Length and Transfer-Encoding are not kept among the request's fields; the raw head still stands
 * at the start of the connection's input buffer while the request is being answered.
 * - There is no time-out for sending, so each request has a timer of ours, which cuts the connection.
 * - What is sent must stay until `proceed`, or until the request's pool is cleared; the latter is how the end
 * of a request, whatever its reason, is noticed.
 */
#define _GNU_SOURCE
#include "http.h"

#include <errno.h>
#include <h2o.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accept.h"
#include "log.h"
#include "xalloc.h"

#define SPOOL_FROM_SIZE (512 * 1024) /* larger bodies go to a file */
#define LISTEN_BACKLOG  1024
#define ACCEPTS_A_TURN  16
#define SPOOL_FILE_NAME "/ceph-lb-body.XXXXXX"

struct http_loop {
    struct executor executor;
    struct http_server *server;

    h2o_context_t context;
    h2o_accept_ctx_t accept_context;
    h2o_timeout_t send_timeout;
    h2o_socket_t *listener; /* NULL once closed */
    int listen_fd;
    unsigned connections, connections_max;
    bool stop;
    sem_t begun; /* tasks are taken */
    sem_t ended; /* nothing happens on the loop any more */

    /* Tasks from other threads: a list of ours, and a message of h2o's that says there is something in it. */
    h2o_multithread_receiver_t receiver;
    h2o_multithread_message_t wake;
    pthread_mutex_t mutex; /* over the list */
    struct task *first_task, *last_task;
};

struct http_server {
    struct http_options options;
    http_error_body *error_body;
    http_handler *handler;
    void *handler_context;
    struct http_counters counters;
    h2o_globalconf_t config;
    h2o_mimemap_t *media_types;
    struct http_loop *loops;
    struct executor **executors;
    atomic_bool draining;
};

struct http_request {
    h2o_generator_t generator; /* first: h2o gives it back to us */
    h2o_req_t *req;
    struct http_loop *loop;
    struct http_stream_callbacks callbacks;
    void *context;
    bool streaming;
    h2o_timeout_entry_t send_timer;
};

static struct http_loop *loop_of_context(h2o_context_t *context)
{
    return (struct http_loop *)((char *)context - offsetof(struct http_loop, context));
}

/* ---- tasks: from any thread to a loop ---- */

static void loop_submit(struct executor *executor, struct task *task)
{
    struct http_loop *loop = (struct http_loop *)executor;
    bool was_empty;

    task->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    was_empty = loop->first_task == NULL;
    if (was_empty)
        loop->first_task = task;
    else
        loop->last_task->next = task;
    loop->last_task = task;
    pthread_mutex_unlock(&loop->mutex);

    /* The list was empty, so the loop has taken the message of the time before. */
    if (was_empty)
        h2o_multithread_send_message(&loop->receiver, &loop->wake);
}

static void run_tasks(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    struct http_loop *loop = (struct http_loop *)((char *)receiver - offsetof(struct http_loop, receiver));
    struct task *task, *next;

    while (!h2o_linklist_is_empty(messages))
        h2o_linklist_unlink(messages->next);

    pthread_mutex_lock(&loop->mutex);
    task = loop->first_task;
    loop->first_task = loop->last_task = NULL;
    pthread_mutex_unlock(&loop->mutex);

    for (; task != NULL; task = next) {
        next = task->next;
        task->run(task);
    }
}

/* ---- a request ---- */

static struct slice slice_of_iovec(h2o_iovec_t iovec)
{
    return (struct slice){iovec.base, iovec.len};
}

static void on_send_timeout(h2o_timeout_entry_t *entry)
{
    struct http_request *request =
        (struct http_request *)((char *)entry - offsetof(struct http_request, send_timer));
    h2o_socket_t *socket = request->req->conn->callbacks->get_socket(request->req->conn);

    log_info("a client took nothing for %u seconds; its connection is cut",
             request->loop->server->options.send_timeout_seconds);
    /* The write under way then fails, and h2o closes the connection. */
    shutdown(h2o_socket_get_fd(socket), SHUT_RDWR);
}

static void send_timer_start(struct http_request *request)
{
    h2o_timeout_unlink(&request->send_timer);
    h2o_timeout_link(request->loop->context.loop, &request->loop->send_timeout, &request->send_timer);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct http_request *request = (struct http_request *)generator;

    (void)req;
    h2o_timeout_unlink(&request->send_timer);
    request->callbacks.sent(request->context);
}

/* The request's memory is being freed: it is over. */
static void on_dispose(void *memory)
{
    struct http_request *request = memory;

    h2o_timeout_unlink(&request->send_timer);
    atomic_fetch_sub_explicit(&request->loop->server->counters.requests_active, 1, memory_order_relaxed);
    if (request->streaming)
        request->callbacks.ended(request->context);
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    struct http_loop *loop = loop_of_context(req->conn->ctx);
    struct http_request *request = h2o_mem_alloc_shared(&req->pool, sizeof(*request), on_dispose);

    (void)handler;
    memset(request, 0, sizeof(*request));
    request->generator.proceed = on_proceed;
    request->req = req;
    request->loop = loop;
    request->send_timer.cb = on_send_timeout;
    atomic_fetch_add_explicit(&loop->server->counters.requests_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&loop->server->counters.bytes_received, req->entity.len, memory_order_relaxed);
    loop->server->handler(request, loop->server->handler_context);
    return 0;
}

struct slice http_request_method(const struct http_request *request)
{
    return slice_of_iovec(request->req->input.method);
}

/* The target without scheme and authority, which a client may put there (RFC 9112, 3.2.2). */
static struct slice request_target(const struct http_request *request)
{
    struct slice target = slice_of_iovec(request->req->input.path);
    const char *slash;

    if (!slice_starts_with(target, "http://") && !slice_starts_with(target, "https://"))
        return target;
    slash = memmem(target.base, target.len, "//", 2);
    slash = memchr(slash + 2, '/', target.len - (size_t)(slash + 2 - target.base));
    if (slash == NULL)
        return SLICE_LITERAL("/");
    return (struct slice){slash, target.len - (size_t)(slash - target.base)};
}

struct slice http_request_path(const struct http_request *request)
{
    struct slice target = request_target(request);
    const char *mark = memchr(target.base, '?', target.len);

    return (struct slice){target.base, mark != NULL ? (size_t)(mark - target.base) : target.len};
}

struct slice http_request_query(const struct http_request *request)
{
    struct slice target = request_target(request);
    const char *mark = memchr(target.base, '?', target.len);

    if (mark == NULL)
        return SLICE_ABSENT;
    return (struct slice){mark + 1, target.len - (size_t)(mark + 1 - target.base)};
}

struct slice http_request_body(const struct http_request *request)
{
    struct slice body = slice_of_iovec(request->req->entity);
    return body.base != NULL ? body : SLICE_LITERAL("");
}

struct slice http_request_field(const struct http_request *request, const char *name)
{
    const h2o_headers_t *headers = &request->req->headers;
    ssize_t i = h2o_find_header_by_str(headers, name, strlen(name), -1);

    if (i == -1) {
        const h2o_token_t *token = h2o_lookup_token(name, strlen(name));
        i = token != NULL ? h2o_find_header(headers, token, -1) : -1;
    }
    return i != -1 ? slice_of_iovec(headers->entries[i].value) : SLICE_ABSENT;
}

struct list_taking {
    const char *name;
    h2o_mem_pool_t *pool;
    h2o_iovec_t list;
};

static void take_member(struct slice name, struct slice value, void *context)
{
    struct list_taking *taking = context;
    h2o_iovec_t more = h2o_iovec_init(value.base, value.len);

    if (!slice_is(name, taking->name))
        return;
    taking->list = taking->list.base == NULL
                       ? more
                       : h2o_concat(taking->pool, taking->list, h2o_iovec_init(H2O_STRLIT(", ")), more);
}

struct slice http_request_list_field(const struct http_request *request, const char *name)
{
    struct list_taking taking = {name, &request->req->pool, {NULL, 0}};

    http_request_fields(request, name, take_member, &taking);
    return slice_of_iovec(taking.list);
}

void http_request_fields(const struct http_request *request, const char *prefix,
                         void (*each)(struct slice name, struct slice value, void *context), void *context)
{
    const h2o_headers_t *headers = &request->req->headers;
    size_t i;

    for (i = 0; i < headers->size; i++) {
        struct slice name = slice_of_iovec(*headers->entries[i].name);
        if (slice_starts_with(name, prefix))
            each(name, slice_of_iovec(headers->entries[i].value), context);
    }
}

/* One line off the front of *text, without its line break. False when none is complete. */
static bool next_line(struct slice *text, struct slice *line)
{
    const char *end = text->len != 0 ? memchr(text->base, '\n', text->len) : NULL;

    if (end == NULL)
        return false;
    *line = (struct slice){text->base, (size_t)(end - text->base)};
    text->base += line->len + 1;
    text->len -= line->len + 1;
    if (line->len != 0 && line->base[line->len - 1] == '\r')
        line->len--;
    return true;
}

const char *http_request_framing_problem(const struct http_request *request)
{
    const h2o_buffer_t *input = request->req->conn->callbacks->get_socket(request->req->conn)->input;
    struct slice rest = {input->bytes, input->size}, line;
    unsigned lengths = 0, encodings = 0;
    bool in_head = false;

    while (next_line(&rest, &line)) {
        const char *colon;
        struct slice name;

        /* Empty lines before the request line are allowed, the one behind the head ends it. */
        if (line.len == 0 && in_head)
            break;
        in_head = in_head || line.len != 0;
        colon = line.len != 0 ? memchr(line.base, ':', line.len) : NULL;
        if (colon == NULL)
            continue;
        name = (struct slice){line.base, (size_t)(colon - line.base)};
        lengths += slice_is_ignoring_case(name, "content-length");
        encodings += slice_is_ignoring_case(name, "transfer-encoding");
    }

    if (lengths != 0 && encodings != 0)
        return "The request has both Content-Length and Transfer-Encoding.";
    if (lengths > 1)
        return "The request has more than one Content-Length.";
    if (encodings > 1)
        return "The request has more than one Transfer-Encoding.";
    return NULL;
}

bool http_request_wants_text(const struct http_request *request)
{
    return accept_prefers_text(http_request_list_field(request, "accept"));
}

struct executor *http_request_loop(const struct http_request *request)
{
    return &request->loop->executor;
}

/* ---- its response ---- */

static void add_field(h2o_req_t *req, const char *name, struct slice value)
{
    size_t len = strlen(name);
    h2o_iovec_t as_written = h2o_strdup(&req->pool, name, len);
    h2o_iovec_t lower = h2o_strdup(&req->pool, name, len);
    h2o_iovec_t copy = h2o_strdup(&req->pool, value.base, value.len);

    h2o_strtolower(lower.base, len);
    h2o_add_header_by_str(&req->pool, &req->res.headers, lower.base, len, 1, as_written.base, copy.base,
                          copy.len);
}

void http_add_field(struct http_request *request, const char *name, struct slice value)
{
    add_field(request->req, name, value);
}

void http_add_field_text(struct http_request *request, const char *name, const char *value)
{
    add_field(request->req, name, slice_of(value));
}

static const char *reason_of_status(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 416:
        return "Range Not Satisfiable";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    }
    return "Unknown";
}

static void start_response(struct http_request *request, int status, size_t content_length)
{
    h2o_req_t *req = request->req;

    if (atomic_load_explicit(&request->loop->server->draining, memory_order_relaxed))
        req->http1_is_persistent = 0;
    req->res.status = status;
    req->res.reason = reason_of_status(status);
    req->res.content_length = content_length;
    h2o_start_response(req, &request->generator);
}

static bool is_head(const struct http_request *request)
{
    return slice_is(http_request_method(request), "HEAD");
}

void http_respond_empty(struct http_request *request, int status, size_t content_length)
{
    start_response(request, status, content_length);
    send_timer_start(request);
    h2o_send(request->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

void http_respond(struct http_request *request, int status, struct slice body)
{
    h2o_iovec_t copy;

    if (is_head(request) || body.len == 0) {
        http_respond_empty(request, status, body.len);
        return;
    }
    copy = h2o_strdup(&request->req->pool, body.base, body.len);
    start_response(request, status, body.len);
    send_timer_start(request);
    h2o_send(request->req, &copy, 1, H2O_SEND_STATE_FINAL);
}

void http_close_after_response(struct http_request *request)
{
    request->req->http1_is_persistent = 0;
}

void http_stream_start(struct http_request *request, int status, size_t content_length,
                       const struct http_stream_callbacks *callbacks, void *context)
{
    request->callbacks = *callbacks;
    request->context = context;
    request->streaming = true;
    start_response(request, status, content_length);
}

void http_stream_send(struct http_request *request, struct slice bytes, bool last)
{
    h2o_iovec_t piece = h2o_iovec_init(bytes.base, bytes.len);

    send_timer_start(request);
    h2o_send(request->req, &piece, 1, last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

void http_stream_abort(struct http_request *request)
{
    h2o_send(request->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

/* ---- what every response goes through ---- */

struct error_stream {
    h2o_ostream_t super;
    struct slice body;
};

static void send_error_body(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t count,
                            h2o_send_state_t state)
{
    struct error_stream *stream = (struct error_stream *)self;
    h2o_iovec_t body = h2o_iovec_init(stream->body.base, stream->body.len);

    (void)bufs;
    (void)count;
    if (h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD")))
        h2o_ostream_send_next(self, req, NULL, 0, state);
    else
        h2o_ostream_send_next(self, req, &body, 1, state);
}

/* Names the backend in each response, and gives an error that is h2o's own the form that all errors have. */
static void on_response(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    struct http_server *server = loop_of_context(req->conn->ctx)->server;

    (void)filter;
    if (req->_generator == NULL || req->_generator->proceed != on_proceed) {
        ssize_t accept = h2o_find_header(&req->headers, H2O_TOKEN_ACCEPT, -1);
        bool as_text =
            accept != -1 && accept_prefers_text(slice_of_iovec(req->headers.entries[accept].value));
        struct error_stream *stream = (void *)h2o_add_ostream(req, sizeof(*stream), slot);

        slot = &stream->super.next;
        stream->super.do_send = send_error_body;
        stream->body = server->error_body(req->res.status, as_text);
        req->res.content_length = stream->body.len;
        req->res.headers = (h2o_headers_t){NULL, 0, 0};
        add_field(req, "Content-Type",
                  as_text ? SLICE_LITERAL("text/plain; charset=utf-8")
                          : SLICE_LITERAL("application/problem+json"));
    }
    add_field(req, "X-Backend", slice_of(server->options.backend_name));
    h2o_setup_next_ostream(req, slot);
}

static unsigned method_number(h2o_iovec_t method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "POST", "DELETE"};
    unsigned i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_is(slice_of_iovec(method), names[i]))
            break;
    return i;
}

static void on_request_over(h2o_logger_t *logger, h2o_req_t *req)
{
    struct http_server *server = loop_of_context(req->conn->ctx)->server;
    struct http_counters *counters = &server->counters;
    unsigned class = (unsigned)req->res.status / 100;

    (void)logger;
    atomic_fetch_add_explicit(&counters->requests[method_number(req->input.method)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->responses[class < 6 ? class : 0], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->bytes_sent, req->bytes_sent, memory_order_relaxed);

    if (server->options.access_log) {
        struct timeval begin = req->timestamps.request_begin_at, now;
        gettimeofday(&now, NULL);
        log_info("access \"%.*s %.*s\" %d received=%zu sent=%zu seconds=%.3f", (int)req->input.method.len,
                 req->input.method.base, (int)req->input.path.len, req->input.path.base, req->res.status,
                 req->entity.len, (size_t)req->bytes_sent,
                 (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_usec - begin.tv_usec) / 1e6);
    }
}

/* ---- connections ---- */

static void on_accept(h2o_socket_t *listener, const char *error);

static void on_connection_closed(void *context)
{
    struct http_loop *loop = context;

    loop->connections--;
    atomic_fetch_sub_explicit(&loop->server->counters.connections_open, 1, memory_order_relaxed);
    if (loop->listener != NULL && !h2o_socket_is_reading(loop->listener))
        h2o_socket_read_start(loop->listener, on_accept);
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct http_loop *loop = listener->data;
    unsigned i;

    if (error != NULL)
        return;
    for (i = 0; i < ACCEPTS_A_TURN; i++) {
        h2o_socket_t *socket;

        if (loop->connections == loop->connections_max) {
            h2o_socket_read_stop(listener);
            log_warn("%u connections are open, which is the most; new ones wait", loop->connections);
            return;
        }
        socket = h2o_evloop_socket_accept(listener);
        if (socket == NULL)
            return;
        loop->connections++;
        atomic_fetch_add_explicit(&loop->server->counters.connections_accepted, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&loop->server->counters.connections_open, 1, memory_order_relaxed);
        socket->on_close.cb = on_connection_closed;
        socket->on_close.data = loop;
        h2o_accept(&loop->accept_context, socket);
    }
}

/* ---- set-up ---- */

static int open_listener(const struct address *address, bool shared)
{
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) ||
        bind(fd, (const struct sockaddr *)&address->socket, address->socket_len) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* One socket for each loop; the kernel spreads the connections. */
static bool listen_for_all(struct http_server *server)
{
    const struct address *address = &server->options.listen;
    unsigned i;
    int trial;

    /* SO_REUSEPORT would let a second backend share the port in silence, so first one without it. */
    trial = open_listener(address, false);
    if (trial != -1)
        close(trial);
    for (i = 0; trial != -1 && i < server->options.loops; i++) {
        server->loops[i].listen_fd = open_listener(address, true);
        if (server->loops[i].listen_fd == -1)
            trial = -1;
    }
    if (trial == -1)
        log_error("cannot listen on %s: %s", address->text, strerror(errno));
    return trial != -1;
}

static void set_spool_dir(const char *dir)
{
    size_t room = sizeof(h2o_socket_buffer_mmap_settings.fn_template);

    h2o_socket_buffer_mmap_settings.threshold = SPOOL_FROM_SIZE;
    snprintf(h2o_socket_buffer_mmap_settings.fn_template, room, "%s" SPOOL_FILE_NAME, dir);
}

static void configure(struct http_server *server)
{
    h2o_globalconf_t *config = &server->config;
    h2o_hostconf_t *host;

    h2o_config_init(config);
    config->server_name = h2o_iovec_init(server->options.server_name, strlen(server->options.server_name));
    config->max_request_entity_size = server->options.body_size_max;
    config->http1.req_timeout = server->options.request_timeout_seconds * UINT64_C(1000);
    config->http1.upgrade_to_http2 = 0;

    /* One host and no paths: its fallback gets every request, whatever its target looks like. */
    host = h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_create_handler(&host->fallback_path, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream = on_response;
    h2o_create_logger(&host->fallback_path, sizeof(h2o_logger_t))->log_access = on_request_over;
    server->media_types = host->mimemap;
}

static void loop_init(struct http_server *server, struct http_loop *loop, unsigned index)
{
    loop->executor = (struct executor){loop_submit, index};
    loop->server = server;
    loop->connections_max = server->options.connections_max / server->options.loops;
    if (loop->connections_max == 0)
        loop->connections_max = 1;
    pthread_mutex_init(&loop->mutex, NULL);
    sem_init(&loop->begun, 0, 0);
    sem_init(&loop->ended, 0, 0);
    server->executors[index] = &loop->executor;
}

struct http_server *http_server_new(const struct http_options *options, http_error_body *error_body)
{
    struct http_server *server = xcalloc(1, sizeof(*server));
    unsigned i;

    server->options = *options;
    server->error_body = error_body;
    server->loops = xcalloc(options->loops, sizeof(*server->loops));
    server->executors = xcalloc(options->loops, sizeof(*server->executors));
    if (!listen_for_all(server)) {
        free(server->loops);
        free(server->executors);
        free(server);
        return NULL;
    }
    set_spool_dir(options->spool_dir);
    configure(server);
    for (i = 0; i < options->loops; i++)
        loop_init(server, &server->loops[i], i);
    return server;
}

struct executor *const *http_server_loops(struct http_server *server)
{
    return server->executors;
}

struct http_counters *http_server_counters(struct http_server *server)
{
    return &server->counters;
}

/*
 * All sockets of a loop, that of its wake-up pipe included, have to be made on the loop's own thread: their
 * buffers go back to a pool of the thread that made them, without a lock.
 */
static void loop_begin(struct http_loop *loop)
{
    struct http_server *server = loop->server;

    h2o_context_init(&loop->context, h2o_evloop_create(), &server->config);
    h2o_timeout_init(loop->context.loop, &loop->send_timeout,
                     server->options.send_timeout_seconds * UINT64_C(1000));
    h2o_multithread_register_receiver(loop->context.queue, &loop->receiver, run_tasks);
    loop->accept_context = (h2o_accept_ctx_t){.ctx = &loop->context, .hosts = server->config.hosts};
    loop->listener = h2o_evloop_socket_create(loop->context.loop, loop->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
    loop->listener->data = loop;
    h2o_socket_read_start(loop->listener, on_accept);
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        ;
}

static void *run_loop(void *argument)
{
    struct http_loop *loop = argument;

    loop_begin(loop);
    sem_post(&loop->begun);
    while (!loop->stop)
        h2o_evloop_run(loop->context.loop, INT32_MAX);
    sem_post(&loop->ended);
    /* The thread stays until the process ends: h2o keeps memory for reuse in thread-local pools that nobody
     * can free. */
    for (;;)
        pause();
    return NULL;
}

void http_server_start(struct http_server *server, http_handler *handler, void *context)
{
    pthread_t thread;
    unsigned i;

    server->handler = handler;
    server->handler_context = context;
    for (i = 0; i < server->options.loops; i++) {
        if (pthread_create(&thread, NULL, run_loop, &server->loops[i]) != 0) {
            log_error("cannot start a thread for an event loop");
            abort();
        }
        wait_for(&server->loops[i].begun);
    }
}

void http_server_drain(struct http_server *server)
{
    atomic_store(&server->draining, true);
}

/* ---- orders to the loops ---- */

struct order {
    struct task task; /* first */
    struct http_loop *loop;
    void (*obey)(struct http_loop *loop, unsigned *count);
    unsigned count;
    sem_t obeyed;
};

static void run_order(struct task *task)
{
    struct order *order = (struct order *)task;

    order->obey(order->loop, &order->count);
    sem_post(&order->obeyed);
}

/* Has every loop do something, and waits for it; returns the sum of what they counted. */
static unsigned give_order(struct http_server *server, void (*obey)(struct http_loop *loop, unsigned *count))
{
    unsigned i, sum = 0;

    for (i = 0; i < server->options.loops; i++) {
        struct order order = {.task = {.run = run_order}, .loop = &server->loops[i], .obey = obey};

        sem_init(&order.obeyed, 0, 0);
        executor_submit(&server->loops[i].executor, &order.task);
        wait_for(&order.obeyed);
        sem_destroy(&order.obeyed);
        sum += order.count;
    }
    return sum;
}

static void close_listener(struct http_loop *loop, unsigned *count)
{
    (void)count;
    if (loop->listener != NULL)
        h2o_socket_close(loop->listener);
    loop->listener = NULL;
}

static void end_loop(struct http_loop *loop, unsigned *count)
{
    (void)count;
    loop->stop = true;
}

static int count_if_begun(h2o_req_t *req, void *count)
{
    if (req->timestamps.request_begin_at.tv_sec != 0)
        ++*(unsigned *)count;
    return 0;
}

static void count_requests(struct http_loop *loop, unsigned *count)
{
    loop->server->config.http1.callbacks.foreach_request(&loop->context, count_if_begun, count);
}

unsigned http_server_count_requests(struct http_server *server)
{
    return give_order(server, count_requests);
}

void http_server_stop_listening(struct http_server *server)
{
    give_order(server, close_listener);
}

void http_server_stop(struct http_server *server)
{
    unsigned i;

    give_order(server, end_loop);
    for (i = 0; i < server->options.loops; i++)
        wait_for(&server->loops[i].ended);
}

const char *http_media_type_of_name(struct http_server *server, struct slice name)
{
    const char *dot = memrchr(name.base, '.', name.len);
    struct slice ending;

    if (dot == NULL)
        return "application/octet-stream";
    ending = (struct slice){dot + 1, name.len - (size_t)(dot + 1 - name.base)};
    if (memchr(ending.base, '/', ending.len) != NULL)
        return "application/octet-stream";
    return h2o_mimemap_get_type_by_extension(server->media_types, h2o_iovec_init(ending.base, ending.len))
        ->data.mimetype.base;
}
