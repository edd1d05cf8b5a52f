#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ceph_lb_url.h"

static const char *parse(ceph_lb_url_t *url, const char *text)
{
    return ceph_lb_url_parse(url, text, strlen(text));
}

static void test_forms(void **state)
{
    size_t i;
    ceph_lb_url_t url;

    static const struct {
        const char *text, *user, *host, *path, *database;
        unsigned port;
    } cases[] = {
        {"mysql://lb@db/d", "lb", "db", "", "d", 3306},
        {"mysql://lb@127.0.0.1:13306/ipaddresses", "lb", "127.0.0.1", "", "ipaddresses", 13306},
        {"mysql://lb@[::1]/d", "lb", "::1", "", "d", 3306},
        {"mysql://lb@[2001:db8::7]:65535/d", "lb", "2001:db8::7", "", "d", 65535},
        {"mysql://lb@unix:/run/mysqld/mysqld.sock:/d", "lb", "", "/run/mysqld/mysqld.sock", "d", 0},
        {"mysql://a.b-c_d@h-1.example.org:1/d-1_x", "a.b-c_d", "h-1.example.org", "", "d-1_x", 1},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(parse(&url, cases[i].text));
        assert_string_equal(url.user, cases[i].user);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.path, cases[i].path);
        assert_string_equal(url.database, cases[i].database);
        assert_int_equal(url.port, cases[i].port);
    }
}

static void test_errors_name_the_part(void **state)
{
    size_t i;
    const char *error;
    ceph_lb_url_t url;

    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "mysql://"},
        {"http://lb@h/d", "mysql://"},
        {"mysql:/lb@h/d", "mysql://"},
        {"mysql://h/d", "USER@"},
        {"mysql://", "USER@"},
        {"mysql://@h/d", "no user"},
        {"mysql://lb:secret@h/d", "password"},
        {"mysql://lb@/d", "no host"},
        {"mysql://lb@:3306/d", "no host"},
        {"mysql://lb@h h/d", "character in the host"},
        {"mysql://lb@h:0/d", "port"},
        {"mysql://lb@h:65536/d", "port"},
        {"mysql://lb@h:99999999999999999999/d", "port"},
        {"mysql://lb@h:/d", "port"},
        {"mysql://lb@h:-1/d", "port"},
        {"mysql://lb@h:33x/d", "port"},
        {"mysql://lb@[::1/d", "\"]\""},
        {"mysql://lb@[127.0.0.1]/d", "IPv6"},
        {"mysql://lb@[]/d", "IPv6"},
        {"mysql://lb@[::1]x/d", "database"},
        {"mysql://lb@h", "database"},
        {"mysql://lb@h/", "database"},
        {"mysql://lb@h:3306", "database"},
        {"mysql://lb@h/d/e", "more than a database"},
        {"mysql://lb@h/d?x=y", "more than a database"},
        {"mysql://lb@unix:run.sock:/d", "socket path"},
        {"mysql://lb@unix:/run.sock/d", "\":\""},
        {"mysql://lb@unix:/run.sock:", "database"},
        {"mysql://lb@unix:", "socket path"},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        error = parse(&url, cases[i].text);

        if (error == NULL || strstr(error, cases[i].word) == NULL) {
            fail_msg("\"%s\": %s", cases[i].text, error ? error : "accepted");
        }
    }
}

/* Every part at its longest fits, and one byte more does not. */
static void test_lengths(void **state)
{
    int i, longer;
    char text[512];
    char a[512];
    ceph_lb_url_t url;

    static const struct {
        const char *format;
        int max;
    } cases[] = {
        {"mysql://%.*s@h/d", CEPH_LB_URL_USER_MAX},
        {"mysql://lb@%.*s/d", CEPH_LB_URL_HOST_MAX},
        {"mysql://lb@unix:/%.*s:/d", CEPH_LB_URL_PATH_MAX - 1},
        {"mysql://lb@h/%.*s", CEPH_LB_URL_DATABASE_MAX},
    };

    (void)state;
    memset(a, 'a', sizeof(a));

    for (i = 0; i < 4; i++) {
        for (longer = 0; longer < 2; longer++) {
            (void)snprintf(text, sizeof(text), cases[i].format, cases[i].max + longer, a);
            assert_int_equal(parse(&url, text) != NULL, longer);
        }
    }
}

static void test_text_is_not_read_past_its_end(void **state)
{
    size_t len;
    ceph_lb_url_t url;
    const char *text = "mysql://lb@h:3306/database";

    (void)state;

    for (len = 0; len <= strlen("mysql://lb@h:3306/"); len++) {
        assert_non_null(ceph_lb_url_parse(&url, text, len));
    }

    assert_null(ceph_lb_url_parse(&url, text, len));
    assert_string_equal(url.database, "d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_errors_name_the_part),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_text_is_not_read_past_its_end),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
