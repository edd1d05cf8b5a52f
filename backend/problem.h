#ifndef CEPH_LB_PROBLEM_H
#define CEPH_LB_PROBLEM_H

/*
 * Everything that can go wrong for a client, as problem details (RFC 9457): one line each, from which come
 * the status, the stable `type` ("urn:ceph-lb:problem:" + slug) and the title. docs/openapi.yaml lists the
 * same.
 */

#include "http.h"
#include "json.h"
#include "store.h"

#define PROBLEMS(X)                                                                                          \
    X(PROBLEM_BAD_REQUEST, 400, "bad-request", "The request is malformed")                                   \
    X(PROBLEM_BAD_NAME, 400, "bad-name", "The name of the file cannot be used")                              \
    X(PROBLEM_BAD_QUERY, 400, "bad-query", "The query cannot be used")                                       \
    X(PROBLEM_BAD_FORM, 400, "bad-form", "The form is malformed")                                            \
    X(PROBLEM_BAD_METADATA, 400, "bad-metadata", "The metadata cannot be kept")                              \
    X(PROBLEM_BAD_DIGEST, 400, "bad-digest", "A digest field is malformed")                                  \
    X(PROBLEM_DIGEST_MISMATCH, 400, "digest-mismatch", "The content is not what its digest says")            \
    X(PROBLEM_NOT_FOUND, 404, "not-found", "There is no such file")                                          \
    X(PROBLEM_NO_SUCH_RESOURCE, 404, "no-such-resource", "There is nothing under this path")                 \
    X(PROBLEM_NO_SUCH_UPLOAD, 404, "no-such-upload", "There is no such upload, or it has been given up")     \
    X(PROBLEM_METHOD, 405, "method-not-allowed", "This method cannot be used here")                          \
    X(PROBLEM_BAD_PART, 400, "bad-part", "The part does not belong to this upload")                          \
    X(PROBLEM_PART_CONFLICT, 409, "part-conflict", "The part cannot be changed")                             \
    X(PROBLEM_PARTS_MISSING, 409, "parts-missing", "The parts do not make up the file")                      \
    X(PROBLEM_PRECONDITION, 412, "precondition-failed", "A condition of the request does not hold")          \
    X(PROBLEM_TOO_LARGE, 413, "too-large", "The file is too large")                                          \
    X(PROBLEM_RANGE, 416, "range-not-satisfiable", "The file has no bytes in this range")                    \
    X(PROBLEM_EXPECTATION, 417, "expectation-failed", "The expectation cannot be met")                       \
    X(PROBLEM_DAMAGED, 500, "damaged", "The file is damaged")                                                \
    X(PROBLEM_GIVEN_UP, 503, "upload-given-up", "The upload took too long and was given up")                 \
    X(PROBLEM_FAILED, 500, "failed", "The operation failed")                                                 \
    X(PROBLEM_UNAVAILABLE, 503, "unavailable", "Ceph cannot be reached at the moment")                       \
    X(PROBLEM_CONTENDED, 503, "contended", "Too many clients change this file at the moment")                \
    X(PROBLEM_OVERLOADED, 503, "overloaded", "Too much is waiting already")                                  \
    X(PROBLEM_DRAINING, 503, "draining", "This backend is being stopped")                                    \
    X(PROBLEM_FULL, 507, "full", "The cluster or the pool is full")                                          \
    X(PROBLEM_SPOOL_FULL, 507, "spool-full", "The server has no room for the body at the moment")

enum problem {
#define X(id, status, slug, title) id,
    PROBLEMS(X)
#undef X
};

/* Answers the request with the problem. `detail` says what is wrong in this case; NULL leaves it out. */
void problem_respond(struct http_request *request, enum problem problem, const char *detail);

/* Likewise; `extend` adds members of its own to the problem details (RFC 9457, 3.2). */
void problem_respond_extended(struct http_request *request, enum problem problem, const char *detail,
                              void (*extend)(yajl_gen gen, const void *context), const void *context);

/* The problem that a result other than STORE_OK means for a client. */
enum problem problem_of_store_result(enum store_result result);

/* Its HTTP status, and its type, which is appended. */
int problem_status(enum problem problem);
void problem_type(enum problem problem, struct buffer *to);

/* Appends the body of a problem: problem details, or one line of text. */
void problem_render(enum problem problem, const char *detail, bool as_text, struct buffer *to);

/* For the server's own errors; see http.h. */
struct slice problem_http_error_body(int status, bool as_text);

#endif
