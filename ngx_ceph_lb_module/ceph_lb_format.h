/*
 * In which format somebody wants to see the status page.
 *
 * Plain C.
 */

#ifndef CEPH_LB_FORMAT_H
#define CEPH_LB_FORMAT_H

#include <stddef.h>

typedef enum {
    CEPH_LB_HTML,
    CEPH_LB_JSON,
    CEPH_LB_PROMETHEUS, /* its text format, version 0.0.4 */
} ceph_lb_format_e;

/* By the name "html", "json" or "prometheus".  0: there is no such format. */
int
ceph_lb_format_by_name(const char *name, size_t len, ceph_lb_format_e *format);

/*
 * By an Accept field (RFC 9110, 12.5.1), which may be empty: HTML, or JSON if
 * that has a larger weight, or if it has the same and is named, while HTML is
 * meant by a wildcard only.
 */
ceph_lb_format_e ceph_lb_format_by_accept(const char *field, size_t len);

#endif /* CEPH_LB_FORMAT_H */
