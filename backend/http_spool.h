#ifndef CEPH_LB_HTTP_SPOOL_H
#define CEPH_LB_HTTP_SPOOL_H

/*
 * A connection's input buffer whose content goes to an unlinked file. libh2o can do that by itself, but it doubles the
 * file whenever it is full, cannot tell why it failed, and then loses the descriptor. So the buffer is made here, in the
 * very form that libh2o gives such a buffer: it goes on using it, and frees it in the end.
 *
 * What arrives lies in memory of the process. When it is released it is written to the file, and the file is mapped in
 * its place: it can be read again, and lies where it lay. That takes half the time of receiving into a mapped file,
 * where each page is a fault that the file system has a part in.
 */

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>

#include "slice.h"

/* Of one request. All zeroes: its body is in no file. */
struct spool {
    enum { SPOOL_NONE, SPOOL_WHOLE, SPOOL_GROWING } kind;
    size_t filed; /* from the beginning of the buffer on, so much is mapped from the file; whole pages */
    size_t end;   /* of what may go to the file */
};

/* From which size on, and under which names (a template of mkstemp), libh2o itself makes a file. */
void spool_configure(const char *dir);

/*
 * Makes *buffer a spooled one that holds a request of `size` bytes, which is known, from its first byte in use; and what
 * a client may send behind it. The room on the disk is taken at once. False with errno when there is none; *buffer is
 * then as it was. On the loop of the connection; so is spool_grow.
 */
bool spool_whole(struct spool *spool, h2o_buffer_t **buffer, size_t size);

/* The same for one whose size is not known: it holds `capacity` bytes afterwards. All of it is mapped from the file. */
bool spool_grow(struct spool *spool, h2o_buffer_t **buffer, size_t capacity);

/*
 * Takes a part out of the process' memory, if it is spooled. Nothing is lost. On any thread, but on one at a time for a
 * request.
 */
void spool_release(struct spool *spool, const h2o_buffer_t *buffer, struct slice part);

#endif
