#ifndef CEPH_LB_ACCEPT_H
#define CEPH_LB_ACCEPT_H

/* The Accept field of a request (RFC 9110, 12.5.1), as far as this service needs it: JSON or plain text. */

#include "slice.h"

/* JSON unless the client ranks text/plain higher: by a larger weight, or by the same weight but naming it
 * while JSON is meant only by a wildcard. */
bool accept_prefers_text(struct slice field);

#endif
