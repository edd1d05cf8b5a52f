#ifndef CEPH_LB_DOUBTS_H
#define CEPH_LB_DOUBTS_H

/*
 * Names for which the index may not say what the head does, since an operation on one of them had no clear outcome. The
 * indexer looks at each of them, and once more after a while: what timed out may still be applied. In memory only: after a crash
 * the walk over all names finds the same.
 *
 * Any thread.
 */

#include <stdint.h>

#include "buffer.h"

#define DOUBTS_MOST          512 /* what comes on top is left to the walk */
#define DOUBTS_AGAIN_SECONDS 60

struct doubts;

struct doubts *doubts_new(void);

/* A name that is there already is not added again. */
void doubts_add(struct doubts *doubts, struct slice name);

/*
 * Puts the next name that is due at `now_ms` (on clock_monotonic_ms) into *name; false when there is none. It has to be given
 * back by doubts_settle, or by doubts_keep when it could not be looked at.
 */
bool doubts_take(struct doubts *doubts, int64_t now_ms, struct buffer *name);
void doubts_settle(struct doubts *doubts, struct slice name, int64_t now_ms);
void doubts_keep(struct doubts *doubts, struct slice name, int64_t now_ms);

void doubts_free(struct doubts *doubts);

#endif
