#ifndef CEPH_LB_HTTP_H
#define CEPH_LB_HTTP_H

/*
 * The HTTP server. Behind this interface stands libh2o; no other file but http_spool includes h2o.h.
 *
 * Each event loop is a thread with a listening socket of its own. A request belongs to one loop and is
 * touched there only. A handler is called when the whole request has been read. It answers at once or later,
 * by http_respond or by a stream; until it has answered, the request stays valid, whatever the client does.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "executor.h"
#include "slice.h"

struct http_server;
struct http_request;

struct http_counters {
    atomic_uint_fast64_t connections_accepted;
    atomic_uint_fast64_t connections_open;
    atomic_uint_fast64_t requests_active;
    atomic_uint_fast64_t requests[6];  /* GET, HEAD, PUT, POST, DELETE, others */
    atomic_uint_fast64_t responses[6]; /* by the first digit of the status */
    atomic_uint_fast64_t bytes_sent;
    atomic_uint_fast64_t bytes_received; /* in request bodies */
};

struct http_options {
    struct address listen;
    unsigned loops;
    size_t body_size_max;
    const char *spool_dir; /* where larger bodies are kept in (unlinked, mapped) files while they arrive */
    const char *server_name;
    const char *backend_name; /* the value of X-Backend in every response */
    unsigned connections_max;
    unsigned request_timeout_seconds; /* for reading one request, and how long an idle connection is kept */
    unsigned send_timeout_seconds;    /* how long a client may take none of what is sent to it */
    bool access_log;
};

/* The handler; on the request's loop. */
typedef void http_handler(struct http_request *request, void *context);

/* A large body that is being worked on while it arrives. */
struct http_arrival {
    /* So many bytes of it are there. */
    void (*more)(struct http_arrival *arrival, uint64_t bytes);
    /* Its memory is about to go, since the client has left: it must not be touched any more, and nothing comes after this. */
    void (*gone)(struct http_arrival *arrival);

    struct connection *connection; /* the server's */
};

/* As http_request_body_used; from when the handler has given it, until the request has been answered. On the loop. */
void http_arrival_used(struct http_arrival *arrival, struct slice part);

/*
 * Asked, on the loop, when the head of a request is there and a large body follows, whose length is known and which will
 * lie in `body`. The accessors can be used, but not http_request_body, and it cannot be answered yet. NULL: the body is
 * waited for. Else what it gives comes back by http_request_arrival, or is told that it is gone.
 */
typedef struct http_arrival *http_arrival_handler(struct http_request *request, struct slice body,
                                                  void *context);

/*
 * Fills in the body of an error that the server itself answers, before a handler could (413, 400; 507 when
 * there is no room for the body in spool_dir): a problem in the form of the others. Returns text in static
 * storage.
 */
typedef struct slice http_error_body(int status, bool as_text);

/* Listens and makes the loops, which do not run yet; NULL after an error line in the log. Options must live
 * as long. */
struct http_server *http_server_new(const struct http_options *options, http_error_body *error_body);

/* The loops, numbered by their index; options->loops of them. */
struct executor *const *http_server_loops(struct http_server *server);
struct http_counters *http_server_counters(struct http_server *server);

/* Starts the threads. `arrival_handler` may be NULL. */
void http_server_start(struct http_server *server, http_handler *handler,
                       http_arrival_handler *arrival_handler, void *context);

/* How many requests have begun to arrive and are not answered to the end. Blocks until every loop has counted
 * its own. */
unsigned http_server_count_requests(struct http_server *server);

/* From now on each response closes its connection. New connections are still taken. */
void http_server_drain(struct http_server *server);
/* No new connections any more. */
void http_server_stop_listening(struct http_server *server);
/* Ends the loops: no task and no handler runs any more. What they hold stays until the process ends. */
void http_server_stop(struct http_server *server);

/* ---- a request ---- */

struct slice http_request_method(const struct http_request *request);
/* As it was sent: neither decoded nor normalised; without the query. */
struct slice http_request_path(const struct http_request *request);
struct slice http_request_query(
    const struct http_request *request); /* without "?"; absent when there is none */
struct slice http_request_body(const struct http_request *request);
/* A part of the body has been read and is not needed for a while: it need not stay in memory. It can be read
 * again all the same. These two on any thread, as long as the request has not been answered. */
void http_request_body_used(struct http_request *request, struct slice part);
/* What the arrival handler gave for its body, and then it is the caller's; NULL: nothing. */
struct http_arrival *http_request_arrival(struct http_request *request);
/* The first field of that name (in lower case), absent when there is none. */
struct slice http_request_field(const struct http_request *request, const char *name);
/* Likewise, but a list that was sent in several fields is put together (RFC 9110, 5.3). */
struct slice http_request_list_field(const struct http_request *request, const char *name);
/* Calls `each` for every field whose name (in lower case) begins with prefix. */
void http_request_fields(const struct http_request *request, const char *prefix,
                         void (*each)(struct slice name, struct slice value, void *context), void *context);
/*
 * A sentence when the message is framed in a way that two readers could understand differently (RFC
 * 9112, 6.3): two Content-Length fields, or one beside Transfer-Encoding. NULL when all is well.
 */
const char *http_request_framing_problem(const struct http_request *request);
/*
 * Whether a proxy passed the request on and has closed its connection since: it has given the request up, and may have
 * asked another server, whose answer its client has long since. (A client of our own may close its side of the connection
 * and wait for the answer.) On the loop.
 */
bool http_request_is_given_up(const struct http_request *request);
/* True when the Accept field prefers text/plain to JSON. */
bool http_request_wants_text(const struct http_request *request);
struct executor *http_request_loop(const struct http_request *request);

/* ---- its response ---- */

/* Adds a field to the response; both are copied. */
void http_add_field(struct http_request *request, const char *name, struct slice value);
void http_add_field_text(struct http_request *request, const char *name, const char *value);

/* The whole response; `body` is copied. For HEAD it is left out, with its length kept. */
void http_respond(struct http_request *request, int status, struct slice body);
/* Likewise without a body, and with the Content-Length that is given; SIZE_MAX leaves it out (304, 204). */
void http_respond_empty(struct http_request *request, int status, size_t content_length);
/* The connection is closed after the response. */
void http_close_after_response(struct http_request *request);

struct http_stream_callbacks {
    /* A piece, not the last one, has left: its buffer is free, and the next may come. */
    void (*sent)(void *context);
    /* The request is over: all was sent, or the client has gone. All buffers are free, and the request must
     * not be touched any more. Exactly once. */
    void (*ended)(void *context);
};

/* Begins a response of content_length bytes, to be sent by http_stream_send. */
void http_stream_start(struct http_request *request, int status, size_t content_length,
                       const struct http_stream_callbacks *callbacks, void *context);
/* Sends a piece, not empty; one at a time. It must stay until `sent` or `ended`, for the last one until
 * `ended`. */
void http_stream_send(struct http_request *request, struct slice bytes, bool last);
/* Ends it before all was sent: the connection is closed, so that the client knows. */
void http_stream_abort(struct http_request *request);

/* The media type for a file's name, by its ending; "application/octet-stream" when that says nothing. Any
 * thread. */
const char *http_media_type_of_name(struct http_server *server, struct slice name);

#endif
