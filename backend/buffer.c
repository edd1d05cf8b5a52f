#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xalloc.h"

#define FIRST_CAPACITY 256

static void reserve(struct buffer *buffer, size_t more)
{
    size_t needed = buffer->len + more + 1;
    size_t capacity = buffer->capacity != 0 ? buffer->capacity : FIRST_CAPACITY;
    if (needed <= buffer->capacity)
        return;
    while (capacity < needed)
        capacity *= 2;
    buffer->base = xrealloc(buffer->base, capacity);
    buffer->capacity = capacity;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    reserve(buffer, len);
    if (len != 0)
        memcpy(buffer->base + buffer->len, bytes, len);
    buffer->len += len;
    buffer->base[buffer->len] = '\0';
}

void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.base, slice.len);
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;

    reserve(buffer, (size_t)len);
    va_start(arguments, format);
    vsnprintf(buffer->base + buffer->len, (size_t)len + 1, format, arguments);
    va_end(arguments);
    buffer->len += (size_t)len;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->base);
    *buffer = (struct buffer){NULL, 0, 0};
}
