#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "ceph_lb_format.h"

static void test_by_name(void **state)
{
    size_t i;
    ceph_lb_format_e format;

    static const char *const wrong[] = {"", "htm", "html5", "xml", "js on", "prometheus "};

    (void)state;

    assert_true(ceph_lb_format_by_name("html", 4, &format) && format == CEPH_LB_HTML);
    assert_true(ceph_lb_format_by_name("JSON", 4, &format) && format == CEPH_LB_JSON);
    assert_true(ceph_lb_format_by_name("prometheus&", 10, &format) && format == CEPH_LB_PROMETHEUS);

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(ceph_lb_format_by_name(wrong[i], strlen(wrong[i]), &format));
    }
}

static void test_by_accept(void **state)
{
    size_t i;

    static const struct {
        const char *field;
        ceph_lb_format_e format;
    } cases[] = {
        {"", CEPH_LB_HTML},
        {"*/*", CEPH_LB_HTML},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", CEPH_LB_HTML},
        {"application/json", CEPH_LB_JSON},
        {"APPLICATION/JSON", CEPH_LB_JSON},
        {" \t application/json\t ", CEPH_LB_JSON},
        {"application/json,text/html", CEPH_LB_HTML},
        {"application/json, text/html;q=0.9", CEPH_LB_JSON},
        {"application/json;q=0.9, text/html", CEPH_LB_HTML},
        {"application/json;q=0.5,text/html;q=0.499", CEPH_LB_JSON},
        {"application/json;q=0.5,text/html;q=0.501", CEPH_LB_HTML},
        {"application/json ; charset=utf-8 ; Q=0.1", CEPH_LB_JSON},
        {"application/json;q=0", CEPH_LB_HTML},
        {"application/json;q=0, */*", CEPH_LB_HTML},
        {"text/html;q=0, */*", CEPH_LB_JSON},
        {"application/*", CEPH_LB_JSON},
        {"application/*, text/*;q=0.1", CEPH_LB_JSON},
        /* as many libraries ask: JSON by its name, anything else by a wildcard */
        {"application/json, text/plain, */*", CEPH_LB_JSON},
        {"application/json, */*;q=0.8", CEPH_LB_JSON},
        {"application/*, */*", CEPH_LB_HTML},
        {"application/json, text/*", CEPH_LB_HTML},
        /* the range that names a type best decides, wherever it stands */
        {"*/*, application/json;q=0.1", CEPH_LB_HTML},
        {"application/json;q=0.1, application/*;q=0.9, text/html;q=0.5", CEPH_LB_HTML},
        /* what is no weight counts as 1, what is no range as nothing */
        {"application/json;q=high, text/html;q=0.9", CEPH_LB_JSON},
        {"application/json;q=, text/html;q=0.9", CEPH_LB_JSON},
        {"application/json;q=0.x, text/html;q=0.9", CEPH_LB_HTML},
        {",,;,;q=1,", CEPH_LB_HTML},
        {"json", CEPH_LB_HTML},
        {"application/jsonx", CEPH_LB_HTML},
        {"text/plain;version=0.0.4", CEPH_LB_HTML},
    };

    (void)state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (ceph_lb_format_by_accept(cases[i].field, strlen(cases[i].field)) != cases[i].format) {
            fail_msg("%s", cases[i].field);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_by_accept),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
