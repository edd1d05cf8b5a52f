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
        const char *text, *user, *host, *name, *path, *database;
        unsigned port;
    } cases[] = {
        {"mysql://lb@db/d", "lb", "db", "db:3306", "", "d", 3306},
        {"mysql://lb@127.0.0.1:13306/ipaddresses", "lb", "127.0.0.1", "127.0.0.1:13306", "", "ipaddresses",
         13306},
        {"mysql://lb@[::1]/d", "lb", "::1", "[::1]:3306", "", "d", 3306},
        {"mysql://lb@[2001:db8::7]:65535/d", "lb", "2001:db8::7", "[2001:db8::7]:65535", "", "d", 65535},
        {"mysql://lb@unix:/run/mysqld/mysqld.sock:/d", "lb", "", "", "/run/mysqld/mysqld.sock", "d", 0},
        {"mysql://lb@unix:/run/a,b:/d", "lb", "", "", "/run/a,b", "d", 0},
        {"mysql://a.b-c_d@h-1.example.org:1/d-1_x", "a.b-c_d", "h-1.example.org", "h-1.example.org:1", "",
         "d-1_x", 1},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(parse(&url, cases[i].text));
        assert_string_equal(url.user, cases[i].user);
        assert_int_equal(url.nhosts, cases[i].path[0] == '\0');
        assert_string_equal(url.hosts[0].host, cases[i].host);
        assert_string_equal(url.hosts[0].name, cases[i].name);
        assert_int_equal(url.hosts[0].port, cases[i].port);
        assert_string_equal(url.path, cases[i].path);
        assert_string_equal(url.database, cases[i].database);
    }
}

static void test_several_hosts(void **state)
{
    size_t i;
    ceph_lb_url_t url;

    static const struct {
        const char *host, *name;
        unsigned port;
    } expected[] = {
        {"a", "a:3306", 3306},
        {"b.example.org", "b.example.org:3307", 3307},
        {"2001:db8::7", "[2001:db8::7]:3306", 3306},
        {"10.0.0.1", "10.0.0.1:1", 1},
        {"::1", "[::1]:65535", 65535},
        {"a", "a:3306", 3306},
        {"unix", "unix:3306", 3306},
        {"h", "h:8", 8},
    };

    (void)state;
    assert_null(
        parse(&url, "mysql://lb@a,b.example.org:3307,[2001:db8::7],10.0.0.1:1,[::1]:65535,a,unix,h:8/d"));
    assert_int_equal(url.nhosts, CEPH_LB_URL_HOSTS_MAX);
    assert_string_equal(url.path, "");
    assert_string_equal(url.database, "d");

    for (i = 0; i < url.nhosts; i++) {
        assert_string_equal(url.hosts[i].host, expected[i].host);
        assert_string_equal(url.hosts[i].name, expected[i].name);
        assert_int_equal(url.hosts[i].port, expected[i].port);
    }

    assert_null(parse(&url, "mysql://lb@a,b:2/d"));
    assert_int_equal(url.nhosts, 2);
    assert_string_equal(url.hosts[1].name, "b:2");
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
        {"mysql://lb@,h/d", "no host after \"@\""},
        {"mysql://lb@h,/d", "no host after \",\""},
        {"mysql://lb@h,,i/d", "no host after \",\""},
        {"mysql://lb@h:1,:2/d", "no host after \",\""},
        {"mysql://lb@h,", "no host after \",\""},
        {"mysql://lb@h, i/d", "character in the host"},
        {"mysql://lb@h;i/d", "character in the host"},
        {"mysql://lb@h:1,i:0/d", "port"},
        {"mysql://lb@h:65536,i/d", "port"},
        {"mysql://lb@h:,i/d", "port"},
        {"mysql://lb@h,[::1/d", "\"]\""},
        {"mysql://lb@h,[i]/d", "IPv6"},
        {"mysql://lb@h,[::1]i/d", "database"},
        {"mysql://lb@h,i", "database"},
        {"mysql://lb@a,b,c,d,e,f,g,h,i/d", "more than 8 hosts"},
        {"mysql://lb@a,b,c,d,e,f,g,h,/d", "more than 8 hosts"},
        {"mysql://lb@unix:/run.sock:,h/d", "beside a unix socket"},
        {"mysql://lb@h,unix:/run.sock:/d", "beside a unix socket"},
        {"mysql://lb@h:1,unix:1/d", "beside a unix socket"},
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
        {"mysql://lb@%.*s:65535/d", CEPH_LB_URL_HOST_MAX},
        {"mysql://lb@h,%.*s/d", CEPH_LB_URL_HOST_MAX},
        {"mysql://lb@unix:/%.*s:/d", CEPH_LB_URL_PATH_MAX - 1},
        {"mysql://lb@h/%.*s", CEPH_LB_URL_DATABASE_MAX},
    };

    (void)state;
    memset(a, 'a', sizeof(a));

    for (i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
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
    const char *text = "mysql://lb@h:3306,[::1]:1,i/database";

    (void)state;

    for (len = 0; len <= strlen("mysql://lb@h:3306,[::1]:1,i/"); len++) {
        assert_non_null(ceph_lb_url_parse(&url, text, len));
    }

    assert_null(ceph_lb_url_parse(&url, text, len));
    assert_string_equal(url.database, "d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_several_hosts),
        cmocka_unit_test(test_errors_name_the_part),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_text_is_not_read_past_its_end),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
