#ifndef CEPH_LB_XALLOC_H
#define CEPH_LB_XALLOC_H

/*
 * Allocation that does not fail: a backend without memory for its small records cannot do anything useful,
 * so it stops with a message and its supervisor starts it anew. What is large is bounded by the memory budget
 * (memory_budget.h), not by malloc.
 */

#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xmemdup0(const void *bytes, size_t len); /* with a NUL behind the copy */
char *xstrdup(const char *text);

#endif
