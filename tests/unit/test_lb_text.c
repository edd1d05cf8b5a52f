#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "ceph_lb_text.h"

#define R "\xef\xbf\xbd"

static void test_what_is_replaced(void **state)
{
    size_t i, len;
    unsigned char to[100];

    static const struct {
        const char *text, *clean;
    } cases[] = {
        {"", ""},
        {"plain <\"&'>\\", "plain <\"&'>\\"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x99", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x99"},
        {"a\tb\nc\x7f", "a" R "b" R "c" R},
        /* C1 controls; the first character behind them */
        {"\xc2\x80\xc2\x9f\xc2\xa0", R R R R "\xc2\xa0"},
        /* alone, cut off, begun anew */
        {"\x80", R},
        {"\xff\xfe", R R},
        {"\xc3", R},
        {"\xe2\x82", R R},
        {"\xf0\x9f\x90", R R R},
        {"\xc3\xc3\xa4", R "\xc3\xa4"},
        {"\xe2\x28\xa1", R "(" R},
        /* longer than needed */
        {"\xc0\xaf", R R},
        {"\xc1\xbf", R R},
        {"\xe0\x9f\xbf", R R R},
        {"\xf0\x8f\xbf\xbf", R R R R},
        /* the ends of the ranges */
        {"\xe0\xa0\x80\xf0\x90\x80\x80", "\xe0\xa0\x80\xf0\x90\x80\x80"},
        {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        /* surrogates, beyond the last */
        {"\xed\xa0\x80", R R R},
        {"\xed\xbf\xbf", R R R},
        {"\xf4\x90\x80\x80", R R R R},
        {"\xf5\x80\x80\x80", R R R R},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const unsigned char *text = (const unsigned char *)cases[i].text;

        len = ceph_lb_clean(to, text, strlen(cases[i].text));
        assert_int_equal(len, strlen(cases[i].clean));
        assert_memory_equal(to, cases[i].clean, len);
        assert_int_equal(ceph_lb_is_clean(text, strlen(cases[i].text)),
                         strcmp(cases[i].text, cases[i].clean) == 0);
        assert_true(ceph_lb_is_clean(to, len));
    }
}

/* Whatever the bytes are, it stays within three times as many, and what comes out is clean. */
static void test_every_pair_of_bytes(void **state)
{
    unsigned n;
    size_t len;
    unsigned char text[2], to[6];

    (void)state;

    for (n = 0; n <= 0xffff; n++) {
        text[0] = (unsigned char)(n >> 8);
        text[1] = (unsigned char)n;
        len = ceph_lb_clean(to, text, sizeof(text));
        assert_in_range(len, 2, sizeof(to));
        assert_true(ceph_lb_is_clean(to, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_replaced),
        cmocka_unit_test(test_every_pair_of_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
