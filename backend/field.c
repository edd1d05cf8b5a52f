#include "field.h"

#include "little_endian.h"

#define NUMBER_SIZE 8
#define HEADER_SIZE 5

void field_append_header(struct buffer *to, int id, size_t length)
{
    char byte = (char)id;

    buffer_append(to, &byte, 1);
    little_endian_append(to, length, 4);
}

void field_append(struct buffer *to, int id, struct slice value)
{
    field_append_header(to, id, value.len);
    buffer_append_slice(to, value);
}

void field_append_number(struct buffer *to, int id, uint64_t number)
{
    field_append_header(to, id, NUMBER_SIZE);
    little_endian_append(to, number, NUMBER_SIZE);
}

bool field_next(struct slice *rest, struct field *field)
{
    size_t len;

    if (rest->len < HEADER_SIZE)
        return false;
    len = (size_t)little_endian_read(rest->base + 1, 4);
    if (len > rest->len - HEADER_SIZE)
        return false;
    field->id = (unsigned char)rest->base[0];
    field->value = (struct slice){rest->base + HEADER_SIZE, len};
    rest->base += HEADER_SIZE + len;
    rest->len -= HEADER_SIZE + len;
    return true;
}

bool field_number(struct slice value, uint64_t *number)
{
    if (value.len != NUMBER_SIZE)
        return false;
    *number = little_endian_read(value.base, NUMBER_SIZE);
    return true;
}
