#include "xalloc.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

static void *checked(void *memory, size_t size)
{
    if (memory == NULL && size != 0) {
        log_error("out of memory: %zu bytes refused", size);
        abort();
    }
    return memory;
}

void *xmalloc(size_t size)
{
    return checked(malloc(size), size);
}

void *xcalloc(size_t count, size_t size)
{
    return checked(calloc(count, size), count * size);
}

void *xrealloc(void *old, size_t size)
{
    return checked(realloc(old, size), size);
}

char *xmemdup0(const void *bytes, size_t len)
{
    char *copy = xmalloc(len + 1);
    if (len != 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

char *xstrdup(const char *text)
{
    return xmemdup0(text, strlen(text));
}
