#include "ceph_lb_text.h"

#include <stdint.h>
#include <string.h>

static size_t character(const unsigned char *p, size_t left);

static const char replacement[] = "\xef\xbf\xbd";

int
ceph_lb_is_clean(const unsigned char *text, size_t len)
{
    size_t i, n;

    for (i = 0; i < len; i += n) {
        n = character(text + i, len - i);

        if (n == 0) {
            return 0;
        }
    }

    return 1;
}

size_t
ceph_lb_clean(unsigned char *to, const unsigned char *text, size_t len)
{
    size_t         i, n;
    unsigned char *p = to;

    for (i = 0; i < len; i += n) {
        n = character(text + i, len - i);

        if (n == 0) {
            memcpy(p, replacement, sizeof(replacement) - 1);
            p += sizeof(replacement) - 1;
            n = 1;
            continue;
        }

        memcpy(p, text + i, n);
        p += n;
    }

    return (size_t) (p - to);
}

/*
 * The bytes of the character that begins here; 0 when none does, by RFC 3629,
 * or when it is one of the control characters C0, DEL or C1.
 */
static size_t
character(const unsigned char *p, size_t left)
{
    size_t   i, n;
    uint32_t code;

    static const uint32_t least[] = {[2] = 0xa0, [3] = 0x800, [4] = 0x10000};

    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] != 0x7f;
    }

    n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    if (p[0] < 0xc0 || p[0] > 0xf4 || n > left) {
        return 0;
    }

    code = p[0] & (0x7fU >> n);

    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }

        code = code << 6 | (p[i] & 0x3fU);
    }

    if (code < least[n] || code > 0x10ffff
        || (code >= 0xd800 && code <= 0xdfff)) {
        return 0;
    }

    return n;
}
