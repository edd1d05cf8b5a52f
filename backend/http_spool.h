#ifndef CEPH_LB_HTTP_SPOOL_H
#define CEPH_LB_HTTP_SPOOL_H

/*
 * A connection's input buffer in a mapped, unlinked file. libh2o can do that by itself, but it doubles the file
 * whenever it is full, cannot tell why it failed, and then loses the descriptor. So the file is made here, in
 * the very form that libh2o gives such a buffer: it goes on using it, and frees it in the end.
 *
 * On the loop of the connection only.
 */

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>

#include "slice.h"

/* From which size on, and under which names (a template of mkstemp), libh2o itself makes a file. */
void spool_configure(const char *dir);

/*
 * Sees to it that *buffer lies in a file and holds `capacity` bytes, counted from its first byte in use. The
 * room on the disk is taken at once. False with errno when there is none; *buffer is then as it was.
 */
bool spool_reserve(h2o_buffer_t **buffer, size_t capacity);

/*
 * Takes the pages of a part out of the process' memory if it is one of a file. Nothing is lost: they stay in the
 * file and come back when they are touched.
 */
void spool_release(const h2o_buffer_t *buffer, struct slice part);

#endif
