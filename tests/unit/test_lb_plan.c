/* The plan of the balancer: tiers, and in each the order in which its members get requests. */

#include <math.h>

#include "balancer.h"

enum { WEIGHTS_MAX = 200 };

static ceph_lb_plan_t *plan_of(const uint32_t *weights, size_t n, ceph_lb_list_t **list)
{
    struct member *members = xcalloc(n + 1, sizeof(*members));

    for (size_t i = 0; i < n; i++)
        members[i] = (struct member){.address = (unsigned)i + 1, .weight = weights[i]};
    *list = list_of(members, n);
    (*list)->plan = ceph_lb_plan_create(*list, "");
    assert_non_null((*list)->plan);
    free(members);
    return (*list)->plan;
}

static size_t places_of(const ceph_lb_tier_t *tier, size_t member)
{
    size_t n = 0;

    for (size_t i = 0; i < tier->length; i++)
        n += tier->order[i] == member;
    return n;
}

/* From one place of a member to its next one, and from the last to the first of the next round. */
static size_t longest_gap(const ceph_lb_tier_t *tier, size_t member)
{
    size_t gap = 0, longest = 0;

    for (size_t i = 0; i < 2 * tier->length; i++) {
        gap++;
        if (tier->order[i % tier->length] != member)
            continue;
        if (gap > longest && i >= tier->length)
            longest = gap;
        gap = 0;
    }
    return longest;
}

static size_t different(const uint32_t *weights, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        size_t before = 0;

        while (before < i && weights[before] != weights[i])
            before++;
        count += before == i;
    }
    return count;
}

/*
 * Between two places of a member the others come as often as their weights say, and one of each weight may
 * come once more, since places are whole.
 */
static void assert_smooth(const ceph_lb_tier_t *tier, const uint32_t *weights, size_t n)
{
    size_t kinds = different(weights, n), slack = kinds > 2 ? kinds - 1 : 1;

    for (size_t i = 0; i < n; i++) {
        size_t places = places_of(tier, i), even = (tier->length + places - 1) / places;

        if (longest_gap(tier, i) > even + slack)
            fail_msg("weight %" PRIu32 " of %zu, %zu places of %zu: a gap of %zu", weights[i], n, places,
                     tier->length, longest_gap(tier, i));
    }
}

static void test_tiers(void **state)
{
    static const struct {
        const char *zone;
        struct member members[6];
        size_t n;
        const char *tiers; /* the last numbers of the addresses */
    } cases[] = {
        {"a", {{.address = 1, .weight = 1}}, 0, ""},
        {"", {{.address = 1, .weight = 1}}, 1, "1"},
        {"", {{.address = 1, .weight = 1, .backup = 1}}, 1, "1"},
        {"", {{.address = 1, .weight = 1, .zone = "a"}, {.address = 2, .weight = 1, .zone = "b"}}, 2, "1 2"},
        {"", {{.address = 1, .weight = 1, .zone = "a"}, {.address = 2, .weight = 1}}, 2, "1 2"},
        {"a",
         {{.address = 1, .weight = 1, .backup = 1, .zone = "b"},
          {.address = 2, .weight = 1, .backup = 1, .zone = "a"},
          {.address = 3, .weight = 1, .zone = "b"},
          {.address = 4, .weight = 1, .zone = "a"},
          {.address = 5, .weight = 1},
          {.address = 6, .weight = 1, .zone = "a"}},
         6,
         "4 6|3 5|2|1"},
        {"", {{.address = 1, .weight = 1, .backup = 1, .zone = "b"}, {.address = 2, .weight = 1}}, 2, "2|1"},
        {"a",
         {{.address = 1, .weight = 1, .backup = 1, .zone = "a"},
          {.address = 2, .weight = 1, .backup = 1, .zone = "b"}},
         2,
         "1|2"},
        {"a",
         {{.address = 1, .weight = 1, .zone = "A"}, {.address = 2, .weight = 1, .zone = "ab"}},
         2,
         "1 2"},
        {"a",
         {{.address = 1, .weight = 0, .zone = "a"},
          {.address = 2, .weight = 1, .zone = "a", .row_state = "drain"},
          {.address = 3, .weight = 1, .zone = "b"},
          {.address = 4, .weight = 1, .zone = "a", .row_state = "down"}},
         4,
         "3"},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        char text[64] = "";
        ceph_lb_list_t *list = list_of(cases[c].members, cases[c].n);

        list->plan = ceph_lb_plan_create(list, cases[c].zone);
        assert_non_null(list->plan);
        for (size_t t = 0; t < list->plan->ntiers; t++) {
            const ceph_lb_tier_t *tier = &list->plan->tiers[t];

            assert_int_equal(tier->weight, tier->count);
            for (size_t i = 0; i < tier->count; i++) {
                size_t len = strlen(text);
                uint32_t address = ntohl(list->backends[tier->members[i]].address.in.sin_addr.s_addr);

                (void)snprintf(text + len, sizeof(text) - len, "%s%u",
                               i > 0   ? " "
                               : t > 0 ? "|"
                                       : "",
                               (unsigned)(address & 255));
            }
        }
        if (strcmp(text, cases[c].tiers) != 0)
            fail_msg("case %zu: \"%s\" and not \"%s\"", c, text, cases[c].tiers);
        list_free(list);
    }
}

/* Sums within the limit: each member has exactly its part, in lowest terms. */
static void test_exact_orders(void **state)
{
    static const struct {
        const char *name;
        uint32_t weights[8];
        size_t n, length;
        uint32_t divisor;
    } cases[] = {
        {"one", {1}, 1, 1, 1},
        {"one, heavy", {4294967295}, 1, 1, 4294967295},
        {"equal", {7, 7, 7}, 3, 3, 7},
        {"equal, heaviest", {4294967295, 4294967295}, 2, 2, 4294967295},
        {"5 to 1 to 1", {5, 1, 1}, 3, 7, 1},
        {"lowest terms", {300, 100, 200}, 3, 6, 100},
        {"lowest terms of huge ones", {3000000000, 1000000000, 2000000000}, 3, 6, 1000000000},
        {"a divisor without an exact inverse", {49, 98}, 2, 3, 49},
        {"coprime", {6, 10, 15}, 3, 31, 1},
        {"at the limit", {4095, 1}, 2, 4096, 1},
        {"many of the lightest", {9, 1, 1, 1, 1, 1, 1, 1}, 8, 16, 1},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        ceph_lb_list_t *list;
        const ceph_lb_plan_t *plan = plan_of(cases[c].weights, cases[c].n, &list);
        const ceph_lb_tier_t *tier = &plan->tiers[0];

        assert_row(plan->ntiers == 1, cases[c].name);
        assert_row(tier->length == cases[c].length, cases[c].name);
        for (size_t i = 0; i < cases[c].n; i++)
            assert_row(places_of(tier, i) == cases[c].weights[i] / cases[c].divisor, cases[c].name);
        assert_smooth(tier, cases[c].weights, cases[c].n);
        list_free(list);
    }
}

/* Backends of one weight take turns in the order of the table. */
static void test_equal_weights_go_round(void **state)
{
    uint32_t weights[WEIGHTS_MAX];
    ceph_lb_list_t *list;

    (void)state;
    for (size_t i = 0; i < WEIGHTS_MAX; i++)
        weights[i] = 3;
    const ceph_lb_tier_t *tier = &plan_of(weights, WEIGHTS_MAX, &list)->tiers[0];
    assert_int_equal(tier->length, WEIGHTS_MAX);
    for (size_t i = 0; i < WEIGHTS_MAX; i++)
        assert_int_equal(tier->order[i], i);
    list_free(list);
}

/* Many light ones do not stand together: half of the requests go on to the heavy one at any time. */
static void test_light_ones_are_spread(void **state)
{
    uint32_t weights[101];
    ceph_lb_list_t *list;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(weights); i++)
        weights[i] = i == 0 ? 100 : 1;
    const ceph_lb_tier_t *tier = &plan_of(weights, COUNT_OF(weights), &list)->tiers[0];
    assert_int_equal(tier->length, 200);
    assert_in_range(longest_gap(tier, 0), 2, 3);
    list_free(list);
}

static void test_random_orders_are_exact_and_smooth(void **state)
{
    static const uint32_t heaviest[] = {2, 3, 9, 20};

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct random random = random_seeded(seed);
        size_t n = 1 + random_below(&random, 40);
        uint32_t weights[40], most = heaviest[seed % COUNT_OF(heaviest)], sum = 0;
        ceph_lb_list_t *list;

        for (size_t i = 0; i < n; i++)
            sum += weights[i] = 1 + (uint32_t)random_below(&random, most);
        const ceph_lb_tier_t *tier = &plan_of(weights, n, &list)->tiers[0];

        assert_seeded(tier->count == n && tier->weight == sum && sum % tier->length == 0, seed);
        for (size_t i = 0; i < n; i++)
            assert_seeded(places_of(tier, i) * (sum / tier->length) == weights[i], seed);
        assert_smooth(tier, weights, n);
        list_free(list);
    }
}

/* Over the limit weights are rounded to the nearest number of places; who has a weight has a place. */
static void test_huge_and_unequal_weights(void **state)
{
    static const struct {
        const char *name;
        uint32_t weights[4];
        size_t n;
    } cases[] = {
        {"10^9 and 1", {1000000000, 1}, 2},
        {"1 and 10^9", {1, 1000000000}, 2},
        {"the heaviest and the lightest", {4294967295, 1}, 2},
        {"four of the heaviest but one", {4294967295, 4294967294, 4294967293, 4294967291}, 4},
        {"one over the limit", {4096, 1}, 2},
        {"all sizes", {1, 1000, 1000000, 1000000000}, 4},
        {"lowest terms are still too many", {4294967040, 256}, 2},
        {"primes", {999999937, 999999929, 2, 3}, 4},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        double sum = 0;
        ceph_lb_list_t *list;
        const ceph_lb_tier_t *tier = &plan_of(cases[c].weights, cases[c].n, &list)->tiers[0];

        assert_row(tier->length <= CEPH_LB_PLACES_MAX + cases[c].n, cases[c].name);
        for (size_t i = 0; i < cases[c].n; i++)
            sum += cases[c].weights[i];
        assert_row((double)tier->weight == sum, cases[c].name);
        for (size_t i = 0; i < cases[c].n; i++) {
            double share = cases[c].weights[i] / sum * CEPH_LB_PLACES_MAX;
            double places = (double)places_of(tier, i);

            assert_row(fabs(places - share) <= 0.5 || (places == 1 && share < 1), cases[c].name);
        }
        assert_smooth(tier, cases[c].weights, cases[c].n);
        list_free(list);
    }
}

static void test_as_many_rows_as_there_may_be(void **state)
{
    static const uint32_t heaviest[] = {1, 2, 4294967295};

    (void)state;
    for (size_t c = 0; c < COUNT_OF(heaviest); c++) {
        struct random random = random_seeded(c + 1);
        uint32_t *weights = xcalloc(CEPH_LB_ROWS_MAX, sizeof(*weights));
        char *seen = xcalloc(CEPH_LB_ROWS_MAX, 1);
        size_t n = 0;
        ceph_lb_list_t *list;

        for (size_t i = 0; i < CEPH_LB_ROWS_MAX; i++)
            weights[i] = 1 + (uint32_t)random_below(&random, heaviest[c]);
        const ceph_lb_tier_t *tier = &plan_of(weights, CEPH_LB_ROWS_MAX, &list)->tiers[0];
        assert_int_equal(tier->count, CEPH_LB_ROWS_MAX);
        assert_in_range(tier->length, CEPH_LB_ROWS_MAX, CEPH_LB_ROWS_MAX + CEPH_LB_PLACES_MAX);
        for (size_t i = 0; i < tier->length; i++) {
            n += !seen[tier->order[i]];
            seen[tier->order[i]] = 1;
        }
        assert_int_equal(n, CEPH_LB_ROWS_MAX);
        list_free(list);
        free(seen);
        free(weights);
    }
}

static void test_empty(void **state)
{
    ceph_lb_list_t *list;

    (void)state;
    assert_int_equal(plan_of(NULL, 0, &list)->ntiers, 0);
    list_free(list);
    ceph_lb_plan_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_exact_orders),
        cmocka_unit_test(test_equal_weights_go_round),
        cmocka_unit_test(test_light_ones_are_spread),
        cmocka_unit_test(test_random_orders_are_exact_and_smooth),
        cmocka_unit_test(test_huge_and_unequal_weights),
        cmocka_unit_test(test_as_many_rows_as_there_may_be),
        cmocka_unit_test(test_empty),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
