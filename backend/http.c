/*
 * The HTTP server over libh2o 2.2. What is peculiar about that library and shaped this file:
 *
 * - A handler runs when the whole body is there. Larger ones lie in mapped files (http_spool.h), for which a look is
 * taken at each connection after what it read: a function of ours stands between the event loop and the library.
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
#include "http_spool.h"
#include "log.h"
#include "xalloc.h"

#define LISTEN_BACKLOG 1024
#define ACCEPTS_A_TURN 16

/* Larger bodies go to a file. */
#define SPOOL_FROM_SIZE (512 * 1024)
/* Room for a body whose length is not known: more than what arrives between two looks at it. */
#define SPOOL_ROOM_LEAST (8 * 1024 * 1024)
/* So much of a body that arrives stays in memory before its pages are given back. */
#define RELEASE_STEP (1024 * 1024)
/* From which size on a body may be worked on while it arrives; and how much of all of them that still has to be worked on
 * stays in a loop's memory. The pages of what is beyond that are given back, too, and come from the file again. */
#define ARRIVAL_FROM_SIZE (8 * 1024 * 1024)
#define KEPT_MOST         (32 * 1024 * 1024)
#define NOT_KNOWN         SIZE_MAX

/* After a refusal what the client still sends is thrown away for so long, since a connection that is closed
 * with bytes unread is reset, and the answer may be lost with it. */
#define LINGER_MS                5000
#define REFUSAL_RETRY_AFTER_TEXT "5"

struct http_loop {
    struct executor executor;
    struct http_server *server;

    h2o_context_t context;
    h2o_accept_ctx_t accept_context;
    h2o_timeout_t send_timeout;
    h2o_timeout_t linger_timeout;
    h2o_linklist_t unwatched; /* connections: see watch_connections */
    size_t kept;              /* of bodies that are worked on while they arrive: see KEPT_MOST */
    h2o_socket_t *listener;   /* NULL once closed */
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
    http_arrival_handler *arrival_handler;
    void *handler_context;
    struct http_counters counters;
    h2o_globalconf_t config;
    h2o_mimemap_t *media_types;
    struct http_loop *loops;
    struct executor **executors;
    atomic_bool draining;
};

/* What we keep of a connection, beside the library's own. */
struct connection {
    struct http_loop *loop;
    h2o_socket_t *socket;
    h2o_linklist_t unwatched;     /* linked: the library's own function gets what is read */
    h2o_socket_cb read;           /* that function */
    struct http_request *request; /* being answered, or NULL */
    bool *closed;                 /* set when it is closed; NULL: nobody wants to know */

    /* Of the request that arrives. */
    bool head_seen;
    size_t size;     /* of head and body, or NOT_KNOWN: it comes in chunks */
    size_t released; /* so much of it need not be in memory */
    struct spool spool;
    struct http_arrival *arrival; /* who works on its body meanwhile, or NULL */
    struct slice body;            /* where that lies, of this size in the end */
    size_t kept;                  /* in memory of what still has to be worked on */
    bool refused;                 /* its body cannot be kept; what still comes is thrown away */
    h2o_timeout_entry_t linger_timer;
};

struct http_request {
    h2o_generator_t generator; /* first: h2o gives it back to us */
    h2o_req_t *req;
    struct http_loop *loop;
    struct connection *connection;
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

static void unwatch(struct connection *connection);
static void end_arrival(struct connection *connection);
static void forget_kept(struct connection *connection, size_t bytes);
static void respond_refused(struct http_request *request);
static void release_body(struct connection *connection, size_t step);

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
    forget_kept(request->connection, request->connection->kept);
    request->connection->request = NULL;
    unwatch(request->connection); /* the library is about to read the next request, by itself */
    atomic_fetch_sub_explicit(&request->loop->server->counters.requests_active, 1, memory_order_relaxed);
    if (request->streaming)
        request->callbacks.ended(request->context);
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    struct http_loop *loop = loop_of_context(req->conn->ctx);
    struct http_request *request = h2o_mem_alloc_shared(&req->pool, sizeof(*request), on_dispose);
    struct connection *connection = req->conn->callbacks->get_socket(req->conn)->on_close.data;

    (void)handler;
    memset(request, 0, sizeof(*request));
    request->generator.proceed = on_proceed;
    request->req = req;
    request->loop = loop;
    request->connection = connection;
    request->send_timer.cb = on_send_timeout;
    connection->request = request;
    atomic_fetch_add_explicit(&loop->server->counters.requests_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&loop->server->counters.bytes_received, req->entity.len, memory_order_relaxed);
    if (connection->refused) {
        respond_refused(request);
        return 0;
    }
    /* The library moves it when a client sends a great deal behind its request. */
    if (connection->arrival != NULL && req->entity.base != connection->body.base)
        end_arrival(connection);
    if (connection->arrival == NULL)
        release_body(connection, 1);
    loop->server->handler(request, loop->server->handler_context);
    end_arrival(connection);
    return 0;
}

struct http_arrival *http_request_arrival(struct http_request *request)
{
    struct http_arrival *arrival = request->connection->arrival;

    request->connection->arrival = NULL;
    return arrival;
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

void http_request_body_used(struct http_request *request, struct slice part)
{
    spool_release(&request->connection->spool, request->connection->socket->input, part);
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

/* How a message says where its body ends. */
struct framing {
    size_t head_size;            /* 0: the head is not complete */
    unsigned lengths, encodings; /* how many Content-Length and Transfer-Encoding fields */
    struct slice length;         /* the value of the first Content-Length */
};

static struct framing framing_of_input(const h2o_buffer_t *input)
{
    struct slice rest = {input->bytes, input->size}, line;
    struct framing framing = {.length = SLICE_ABSENT};
    bool in_head = false;

    while (next_line(&rest, &line)) {
        const char *colon;
        struct slice name;

        /* Empty lines before the request line are allowed, the one behind the head ends it. */
        if (line.len == 0 && in_head) {
            framing.head_size = (size_t)(rest.base - input->bytes);
            break;
        }
        in_head = in_head || line.len != 0;
        colon = line.len != 0 ? memchr(line.base, ':', line.len) : NULL;
        if (colon == NULL)
            continue;
        name = (struct slice){line.base, (size_t)(colon - line.base)};
        if (slice_is_ignoring_case(name, "content-length") && framing.lengths++ == 0)
            framing.length = slice_trim((struct slice){colon + 1, line.len - name.len - 1});
        framing.encodings += slice_is_ignoring_case(name, "transfer-encoding");
    }
    return framing;
}

const char *http_request_framing_problem(const struct http_request *request)
{
    struct framing framing = framing_of_input(request->connection->socket->input);

    if (framing.lengths != 0 && framing.encodings != 0)
        return "The request has both Content-Length and Transfer-Encoding.";
    if (framing.lengths > 1)
        return "The request has more than one Content-Length.";
    if (framing.encodings > 1)
        return "The request has more than one Transfer-Encoding.";
    return NULL;
}

bool http_request_is_given_up(const struct http_request *request)
{
    h2o_conn_t *connection = request->req->conn;
    char byte;
    ssize_t received;

    if (http_request_field(request, "x-forwarded-for").base == NULL &&
        http_request_field(request, "forwarded").base == NULL &&
        http_request_field(request, "via").base == NULL)
        return false;
    received = recv(h2o_socket_get_fd(connection->callbacks->get_socket(connection)), &byte, 1,
                    MSG_PEEK | MSG_DONTWAIT);
    return received == 0 || (received < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
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

/* ---- bodies that arrive ---- */

static h2o_iovec_t refusal_body(struct http_request *request, bool as_text)
{
    struct slice body = request->loop->server->error_body(507, as_text);

    return h2o_strdup(&request->req->pool, body.base, body.len);
}

static void on_refusal_sent(void *context)
{
    struct connection *connection = context;

    shutdown(h2o_socket_get_fd(connection->socket), SHUT_WR); /* the client need not wait for the end */
    h2o_timeout_link(connection->loop->context.loop, &connection->loop->linger_timeout,
                     &connection->linger_timer);
}

static void on_refusal_ended(void *context)
{
    (void)context;
}

/* The answer of a refused request, all but its end, which follows when the client had time to take it. */
static void respond_refused(struct http_request *request)
{
    static const struct http_stream_callbacks callbacks = {on_refusal_sent, on_refusal_ended};
    bool as_text = http_request_wants_text(request);
    h2o_iovec_t body = refusal_body(request, as_text);

    http_add_field_text(request, "Content-Type",
                        as_text ? "text/plain; charset=utf-8" : "application/problem+json");
    http_add_field_text(request, "Retry-After", REFUSAL_RETRY_AFTER_TEXT);
    http_close_after_response(request);
    http_stream_start(request, 507, body.len, &callbacks, request->connection);
    send_timer_start(request);
    h2o_send(request->req, &body, is_head(request) ? 0 : 1, H2O_SEND_STATE_IN_PROGRESS);
}

/* The client had its time: this closes the connection. */
static void on_lingered(h2o_timeout_entry_t *entry)
{
    struct connection *connection =
        (struct connection *)((char *)entry - offsetof(struct connection, linger_timer));

    h2o_send(connection->request->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

struct request_search {
    void *of;
    h2o_req_t *found;
};

static int find_request_of(h2o_req_t *req, void *context)
{
    struct request_search *search = context;

    if ((void *)req->conn != search->of)
        return 0;
    search->found = req;
    return 1;
}

/* The body of the request that arrives cannot be kept; errno tells why. The request, whose head the library has
 * copied, is answered now. */
static void refuse(struct connection *connection)
{
    struct http_loop *loop = connection->loop;
    struct request_search search = {connection->socket->data, NULL};

    log_warn("a body cannot be kept in --spool-dir: %s", strerror(errno));
    end_arrival(connection);
    connection->refused = true;
    h2o_buffer_consume(&connection->socket->input, connection->socket->input->size);
    loop->server->config.http1.callbacks.foreach_request(&loop->context, find_request_of, &search);
    h2o_process_request(search.found);
}

/* Gives the pages of what has arrived back, if that is `step` bytes or more. */
static void release_body(struct connection *connection, size_t step)
{
    const h2o_buffer_t *input = connection->socket->input;

    if (input->size < connection->released + step)
        return;
    spool_release(&connection->spool, input,
                  (struct slice){input->bytes + connection->released, input->size - connection->released});
    connection->released = input->size;
}

/* Takes the room that the body needs, if it is a larger one. */
static bool make_room(struct connection *connection)
{
    h2o_buffer_t **input = &connection->socket->input;
    size_t used = (*input)->size;

    if (connection->size != NOT_KNOWN)
        return connection->size < SPOOL_FROM_SIZE || spool_whole(&connection->spool, input, connection->size);
    if (used < SPOOL_FROM_SIZE / 2)
        return true;
    if (connection->spool.kind == SPOOL_GROWING &&
        (*input)->capacity - (size_t)((*input)->bytes - (*input)->_buf) - used >= SPOOL_ROOM_LEAST)
        return true;
    return spool_grow(&connection->spool, input, used + used / 2 + 2 * SPOOL_ROOM_LEAST);
}

/* ---- a body that is worked on while it arrives ---- */

static void begin_arrival(struct connection *connection, size_t head_size, size_t body_size)
{
    struct http_loop *loop = connection->loop;
    struct http_request request = {.loop = loop, .connection = connection};
    struct request_search search = {connection->socket->data, NULL};

    if (loop->server->arrival_handler == NULL || body_size < ARRIVAL_FROM_SIZE)
        return;
    loop->server->config.http1.callbacks.foreach_request(&loop->context, find_request_of, &search);
    if (search.found == NULL)
        return;
    request.req = search.found;
    connection->body = (struct slice){connection->socket->input->bytes + head_size, body_size};
    connection->released = head_size;
    connection->arrival =
        loop->server->arrival_handler(&request, connection->body, loop->server->handler_context);
    if (connection->arrival != NULL)
        connection->arrival->connection = connection;
}

static void forget_kept(struct connection *connection, size_t bytes)
{
    if (bytes > connection->kept)
        bytes = connection->kept;
    connection->kept -= bytes;
    connection->loop->kept -= bytes;
}

/* Also when the body lies elsewhere all at once. */
static void end_arrival(struct connection *connection)
{
    struct http_arrival *arrival = connection->arrival;

    if (arrival == NULL)
        return;
    forget_kept(connection, connection->kept);
    connection->arrival = NULL;
    arrival->gone(arrival);
}

void http_arrival_used(struct http_arrival *arrival, struct slice part)
{
    forget_kept(arrival->connection, part.len);
    spool_release(&arrival->connection->spool, arrival->connection->socket->input, part);
}

static void go_on_with_arrival(struct connection *connection)
{
    struct http_loop *loop = connection->loop;
    const h2o_buffer_t *input = connection->socket->input;
    size_t head_size = connection->size - connection->body.len, more = input->size - connection->released;

    if (loop->kept + more > KEPT_MOST) {
        release_body(connection, RELEASE_STEP);
    } else {
        connection->kept += more;
        loop->kept += more;
        connection->released = input->size;
    }
    more = input->size - head_size;
    connection->arrival->more(connection->arrival, more < connection->body.len ? more : connection->body.len);
}

/* Between two reads, while a request arrives. */
static void look_at_body(struct connection *connection)
{
    const h2o_buffer_t *input = connection->socket->input;

    if (!connection->head_seen) {
        struct framing framing;
        size_t length;

        if (input->size == 0)
            return;
        framing = framing_of_input(input);
        if (framing.head_size == 0)
            return;
        /* The library has read this head too, and answered what it does not like. */
        length = framing.lengths != 0 ? h2o_strtosize(framing.length.base, framing.length.len) : 0;
        connection->head_seen = true;
        connection->size = framing.encodings != 0 ? NOT_KNOWN : framing.head_size + length;
        if (!make_room(connection)) {
            refuse(connection);
            return;
        }
        begin_arrival(connection, framing.head_size, length);
    }
    if (!make_room(connection))
        refuse(connection);
    else if (connection->arrival != NULL)
        go_on_with_arrival(connection);
    else
        release_body(connection, RELEASE_STEP);
}

/* Something was read, or could not be; stands before the library's own function. */
static void on_read(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    bool closed = false;

    if (error == h2o_socket_error_out_of_memory) {
        /* Whether what was lacking was for the body, or for what a client sends behind it. */
        bool complete = connection->head_seen && socket->input->size >= connection->size;

        errno = ENOSPC; /* the likely cause; the library keeps it to itself */
        if (!connection->refused && !complete) {
            refuse(connection);
            return;
        }
        error = NULL;
    }
    if (connection->refused && error == NULL) {
        h2o_buffer_consume(&socket->input, socket->input->size);
        return;
    }
    connection->closed = &closed;
    connection->read(socket, error);
    if (closed)
        return;
    connection->closed = NULL;
    if (socket->_cb.read == on_read)
        look_at_body(connection);
    else if (connection->request == NULL)
        unwatch(connection); /* it is asked to go on with its body (100), and will read again */
}

static void unwatch(struct connection *connection)
{
    if (!h2o_linklist_is_linked(&connection->unwatched))
        h2o_linklist_insert(&connection->loop->unwatched, &connection->unwatched);
}

/*
 * Puts on_read before the library's own function, which the library sets anew for each request. After each turn
 * of the loop, so before anything else is read.
 */
static void watch_connections(struct http_loop *loop)
{
    h2o_linklist_t *node, *next;

    for (node = loop->unwatched.next; node != &loop->unwatched; node = next) {
        struct connection *connection =
            (struct connection *)((char *)node - offsetof(struct connection, unwatched));
        h2o_socket_t *socket = connection->socket;

        next = node->next;
        if (!h2o_socket_is_reading(socket) && connection->request == NULL)
            continue;
        h2o_linklist_unlink(node);
        if (!h2o_socket_is_reading(socket))
            continue;
        connection->read = socket->_cb.read;
        socket->_cb.read = on_read;
        connection->head_seen = false;
        connection->released = 0;
        connection->spool = (struct spool){0};
        look_at_body(connection);
    }
}

/* ---- connections ---- */

static void on_accept(h2o_socket_t *listener, const char *error);

static void on_connection_closed(void *context)
{
    struct connection *connection = context;
    struct http_loop *loop = connection->loop;

    end_arrival(connection);
    forget_kept(connection, connection->kept);
    h2o_timeout_unlink(&connection->linger_timer);
    if (h2o_linklist_is_linked(&connection->unwatched))
        h2o_linklist_unlink(&connection->unwatched);
    if (connection->closed != NULL)
        *connection->closed = true;
    free(connection);
    loop->connections--;
    atomic_fetch_sub_explicit(&loop->server->counters.connections_open, 1, memory_order_relaxed);
    if (loop->listener != NULL && !h2o_socket_is_reading(loop->listener))
        h2o_socket_read_start(loop->listener, on_accept);
}

static struct connection *connection_new(struct http_loop *loop, h2o_socket_t *socket)
{
    struct connection *connection = xcalloc(1, sizeof(*connection));

    connection->loop = loop;
    connection->socket = socket;
    connection->linger_timer.cb = on_lingered;
    socket->on_close.cb = on_connection_closed;
    socket->on_close.data = connection;
    return connection;
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
        unwatch(connection_new(loop, socket));
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
    spool_configure(options->spool_dir);
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
    h2o_timeout_init(loop->context.loop, &loop->linger_timeout, LINGER_MS);
    h2o_linklist_init_anchor(&loop->unwatched);
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
    while (!loop->stop) {
        h2o_evloop_run(loop->context.loop, INT32_MAX);
        watch_connections(loop);
    }
    sem_post(&loop->ended);
    /* The thread stays until the process ends: h2o keeps memory for reuse in thread-local pools that nobody
     * can free. */
    for (;;)
        pause();
    return NULL;
}

void http_server_start(struct http_server *server, http_handler *handler,
                       http_arrival_handler *arrival_handler, void *context)
{
    pthread_t thread;
    unsigned i;

    server->handler = handler;
    server->arrival_handler = arrival_handler;
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
