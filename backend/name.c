#include "name.h"

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

bool percent_decode(struct slice encoded, enum percent_plus plus, struct buffer *to)
{
    size_t i;

    for (i = 0; i < encoded.len; i++) {
        char byte = encoded.base[i];
        if (byte == '%') {
            int high = i + 2 < encoded.len ? hex_value(encoded.base[i + 1]) : -1;
            int low = i + 2 < encoded.len ? hex_value(encoded.base[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            byte = (char)(high * 16 + low);
            i += 2;
        } else if (byte == '+' && plus == PERCENT_PLUS_IS_SPACE) {
            byte = ' ';
        }
        buffer_append(to, &byte, 1);
    }
    return true;
}

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

void percent_encode(struct slice bytes, bool keep_slash, struct buffer *to)
{
    size_t i;

    for (i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.base[i];
        if (is_unreserved(byte) || (byte == '/' && keep_slash))
            buffer_append(to, &bytes.base[i], 1);
        else
            buffer_printf(to, "%%%02X", byte);
    }
}

void name_append_line(struct slice name, struct buffer *to)
{
    size_t i;

    for (i = 0; i < name.len; i++) {
        if (name.base[i] == '\n' || name.base[i] == '\r')
            buffer_printf(to, "%%%02X", name.base[i]);
        else
            buffer_append(to, &name.base[i], 1);
    }
    buffer_append_text(to, "\n");
}

const char *name_problem(struct slice name)
{
    if (name.len == 0)
        return "The name is empty; a name has 1 to 1024 bytes.";
    if (name.len > NAME_SIZE_MAX)
        return "The name is too long; a name has 1 to 1024 bytes after percent-decoding.";
    if (memchr(name.base, '\0', name.len) != NULL)
        return "The name holds a NUL byte (%00); every other byte is allowed.";
    return NULL;
}

/* Length of the well-formed sequence at the start of `bytes`, 0 when there is none. */
static size_t utf8_sequence(struct slice bytes)
{
    const unsigned char *s = (const unsigned char *)bytes.base;
    unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t len, i;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        len = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        len = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        len = 4;
    else
        return 0;

    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;

    if (bytes.len < len || s[1] < low || s[1] > high)
        return 0;
    for (i = 2; i < len; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return len;
}

bool utf8_is_valid(struct slice bytes)
{
    while (bytes.len != 0) {
        size_t len = utf8_sequence(bytes);
        if (len == 0)
            return false;
        bytes.base += len;
        bytes.len -= len;
    }
    return true;
}

void utf8_repair(struct slice bytes, struct buffer *to)
{
    while (bytes.len != 0) {
        size_t len = utf8_sequence(bytes);
        if (len != 0)
            buffer_append(to, bytes.base, len);
        else
            buffer_append_text(to, "\xef\xbf\xbd");
        len = len != 0 ? len : 1;
        bytes.base += len;
        bytes.len -= len;
    }
}
