#ifndef CEPH_LB_API_H
#define CEPH_LB_API_H

/*
 * The HTTP API: what each path and method means. docs/openapi.yaml describes the same for those who use it.
 *
 * A handler gets a complete request on its event loop and has to see to it that exactly one response is
 * given.
 */

#include <stdatomic.h>

#include "collector.h"
#include "condition.h"
#include "http.h"
#include "indexer.h"
#include "json.h"
#include "problem.h"
#include "store.h"
#include "workers.h"

struct api {
    struct http_server *server;
    struct cluster *cluster;
    struct store *store;
    struct workers *workers;
    struct collector_counters collector;
    struct indexer_counters indexer;
    const char *backend_name;
    uint64_t file_size_max;
    int64_t started_ms; /* on clock_monotonic_ms */
    atomic_bool draining;
};

/* The http_handler; its context is the struct api. */
void api_handle(struct http_request *request, void *api);

/* The arrival handler of the HTTP server; api_arrival.c. */
struct http_arrival *api_arrival(struct http_request *request, struct slice body, void *api);

/* What it has begun for the body of this request, or NULL. The caller frees it when the request is answered; its stripes
 * can be taken out once, to be given to store_put. */
struct api_arriving;
struct api_arriving *api_take_arriving(struct http_request *request);
struct store_early *api_arriving_early(struct api_arriving *arriving);
void api_arriving_free(struct api_arriving *arriving);

/* ---- the handlers, by file ---- */

/* api_list.c: GET /objects */
void api_list(struct api *api, struct http_request *request);

/* api_get.c: GET and HEAD /objects/NAME. `name` is only valid during the call, here and below. */
void api_get(struct api *api, struct http_request *request, struct slice name);

/* api_put.c: PUT /objects/NAME, POST /objects */
void api_put(struct api *api, struct http_request *request, struct slice name);
void api_post(struct api *api, struct http_request *request);

/* api_copy.c: PUT /objects/NAME with X-Copy-From, POST /objects/NAME?rename= */
bool api_is_copy(const struct http_request *request);
void api_copy(struct api *api, struct http_request *request, struct slice name);
void api_rename(struct api *api, struct http_request *request, struct slice name);

/* api_delete.c: DELETE /objects/NAME */
void api_delete(struct api *api, struct http_request *request, struct slice name);

/* api_uploads.c: /uploads, /uploads/ID, /uploads/ID/N; `rest` is what follows /uploads */
void api_uploads(struct api *api, struct http_request *request, struct slice rest);

/* api_bulk.c: POST /objects?delete */
void api_bulk_delete(struct api *api, struct http_request *request);

/* api_status.c: GET /status */
void api_status(struct api *api, struct http_request *request);

/* api_metrics.c: GET /metrics, GET /healthz */
void api_metrics(struct api *api, struct http_request *request);
void api_health(struct api *api, struct http_request *request);

/* ---- shared by them ---- */

enum { METHOD_GET = 1, METHOD_HEAD = 2, METHOD_PUT = 4, METHOD_POST = 8, METHOD_DELETE = 16 };

/* The method's bit if it is one of `allowed`; else 0, and the request is answered. */
int api_check_method(struct http_request *request, int allowed);

/* The request's conditional fields. Answers 400 and returns false when one is malformed. */
bool api_take_conditions(struct http_request *request, struct conditions *conditions);

/*
 * What the request says about the file that it makes: media type (absent when it says none), X-Meta-*, and by X-Expires-In
 * or X-Expires-At when it expires; the rest of the manifest stays as it is. The slices are the request's. Answers 400 and
 * returns false when something of it cannot be kept.
 */
bool api_take_description(struct http_request *request, struct manifest *manifest);

/*
 * Digests that the request claims of its body (Repr-Digest, Content-Digest, Content-MD5), in *digests. Answers 400 and
 * returns false when a field is malformed, or they contradict each other.
 */
bool api_take_digests(struct http_request *request, struct digests *digests);

/* Digests that a worker computes; the asker's memory until `done`. */
struct api_computation {
    struct ask ask; /* first */
    /* Set by the asker. */
    unsigned algorithms; /* bits, as in digest.h */
    /* On a worker, where it may block: gives all bytes to the context. 0 or a negative errno. */
    int (*feed)(struct api_computation *computation, struct digest_context *context);
    void (*done)(struct api_computation *computation); /* on the loop, exactly once */

    bool ran;  /* false: too much is waiting already */
    int error; /* that of `feed` */
    struct digests digests;
};

void api_compute_digests(struct api *api, struct executor *home, struct api_computation *computation);

/*
 * Compares the request's body with what was claimed, on a worker when it is a large one; api_digest.c. `done` comes on
 * the loop, at once or later; when it was not `right`, the request has been answered.
 */
void api_verify_body(struct api *api, struct http_request *request, const struct digests *claimed,
                     void (*done)(void *context, bool right), void *context);

/* "/objects/NAME", appended. */
void api_append_path(struct slice name, struct buffer *to);

/* The fields that tell of a file: ETag, Last-Modified, Repr-Digest, X-Expires-At, X-Meta-*; and Content-Type, that of the
 * file when content_type is absent. */
void api_add_file_fields(struct api *api, struct http_request *request, struct slice name, const char *etag,
                         const struct manifest *manifest, struct slice content_type);

/* X-Expires-At, unless it is 0: never. */
void api_add_expiry_field(struct http_request *request, int64_t expires_ns);

/*
 * A change is withdrawn when a proxy has given the request up (http_request_is_given_up). This process may have been
 * stopped for a while: what it finds then in its sockets has been done elsewhere, and what came after that as well.
 */
struct store_wish api_wish(struct http_request *request);

/* The media type to tell for a file: what is kept with it, else what its name's ending says. */
struct slice api_media_type(struct api *api, struct slice name, struct slice kept);

/* The members that describe a file, into an object that is open: name, size, modified, expires (unless it is
 * 0: never), etag, type. */
void api_json_file(struct api *api, yajl_gen gen, struct slice name, uint64_t size, int64_t modified_ns,
                   int64_t expires_ns, const char *etag, struct slice media_type);

/* The JSON that tells what was stored: begun, each file added, ended; then json_finish is due. */
yajl_gen api_stored_begin(void);
void api_stored_add(struct api *api, yajl_gen gen, struct slice name, uint64_t size, int64_t modified_ns,
                    int64_t expires_ns, const char *etag, struct slice media_type, bool created);
void api_stored_end(yajl_gen gen);

/* 200 and a body that a worker has made, or the problem that kept it from doing so. */
struct rendered {
    struct answer answer; /* first */
    enum store_result result;
    bool as_text;
    struct buffer body;
    struct buffer link; /* the value of a Link field; empty for none */
};

struct rendered *rendered_new(bool as_text);

/* Has the job done by a worker and answers the request with what it rendered. */
void api_respond_from_worker(struct api *api, struct http_request *request, struct job *job);

#endif
