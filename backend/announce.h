#ifndef CEPH_LB_ANNOUNCE_H
#define CEPH_LB_ANNOUNCE_H

/*
 * Our row in the registry, kept by a thread of its own: inserted or updated at the start, its `seen` renewed
 * every second, set to `drain` when we are being stopped, removed at the end.
 *
 * A row that an operator removes stays removed, and a state that an operator sets stays set, until the
 * backend is started anew. A registry that is away is tried again for as long as it takes.
 */

#include <stdbool.h>

#include "address.h"

struct announcer;

struct announce_options {
    const char *url;
    struct address address;    /* what stands in the row */
    const char *password_file; /* NULL: no password */
    const char *ssl_ca;        /* NULL: no TLS */
};

/* Starts the thread, which waits for announce_up; NULL after an error line when an option is wrong. */
struct announcer *announce_start(const struct announce_options *options);

/* These say how the row shall be from now on; at once, any thread. */
void announce_up(struct announcer *announcer);
void announce_drain(struct announcer *announcer);

/* Waits until the last order has been carried out, at most so long. */
bool announce_wait(struct announcer *announcer, unsigned seconds);

/* Removes the row, waiting for that a few seconds at most, ends the thread, frees. */
void announce_stop(struct announcer *announcer);

#endif
