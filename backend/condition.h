#ifndef CEPH_LB_CONDITION_H
#define CEPH_LB_CONDITION_H

/* Conditional requests (RFC 9110, 13): what the client says must hold, against what is there. */

#include <stdint.h>

#include "slice.h"

struct conditions {
    /* The fields as they came (absent: base NULL). They belong to the request. */
    struct slice if_match;
    struct slice if_none_match;
    struct slice if_modified_since;
    struct slice if_unmodified_since;
    struct slice if_range;
};

struct validators {
    bool exists;
    const char *etag;         /* with its quotes, always a strong one; unused unless exists */
    int64_t modified_seconds; /* since 1970 */
};

enum condition_result {
    CONDITION_HOLDS,
    CONDITION_NOT_MODIFIED, /* 304: only for GET and HEAD */
    CONDITION_FAILED,       /* 412 */
};

/* NULL when If-Match and If-None-Match are well formed, else a sentence that names the field. */
const char *conditions_problem(const struct conditions *conditions);

/* The order of evaluation is that of RFC 9110, 13.2.2. `reading` is true for GET and HEAD. */
enum condition_result conditions_evaluate(const struct conditions *conditions,
                                          const struct validators *validators, bool reading);

/*
 * True when there is no If-Range, or it names what is there, so that Range may be used. A date is only a strong validator
 * when the second that it names was over before now (RFC 9110, 8.8.2.2): the file could have changed once more within it.
 */
bool condition_if_range(const struct conditions *conditions, const struct validators *validators,
                        int64_t now_seconds);

#endif
