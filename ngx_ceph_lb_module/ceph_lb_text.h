/*
 * Text that others have written (a table, a configuration, a server's message)
 * made fit for a page: well-formed UTF-8 without control characters.
 *
 * Plain C.
 */

#ifndef CEPH_LB_TEXT_H
#define CEPH_LB_TEXT_H

#include <stddef.h>

/* Whether it is so already. */
int ceph_lb_is_clean(const unsigned char *text, size_t len);

/*
 * Copies text, with U+FFFD in the place of each byte that is not part of a
 * character and of each control character.  There must be room for three times
 * as much.  Returns how many bytes it has written.
 */
size_t ceph_lb_clean(unsigned char *to, const unsigned char *text, size_t len);

#endif /* CEPH_LB_TEXT_H */
