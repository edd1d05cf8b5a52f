/* The method "hash": who has which key, what moves when the list changes, and how much a key may ask of one. */

#include <math.h>

#include "balancer.h"

enum { KEYS = 100 * 1000, BACKENDS = 10 };

static void make_members(struct member *members, size_t n)
{
    for (size_t i = 0; i < n; i++)
        members[i] = (struct member){.address = (unsigned)i + 1, .weight = 1};
}

/* As the load balancer makes keys: 32 bits that look like chance. */
static uint32_t key_of(size_t i)
{
    struct random random = random_seeded(i);

    return (uint32_t)random_next(&random);
}

static unsigned address_for(struct balancer *b, uint32_t key)
{
    ceph_lb_pick_t pick;
    unsigned address;

    balancer_forget_tries(b);
    assert_true(balancer_choose_for(b, key, &pick));
    address = ntohl(b->list->backends[pick.index].address.in.sin_addr.s_addr) & 0xffffff;
    balancer_done(b, &pick, CEPH_LB_ANSWERED);
    return address;
}

static unsigned *owners_of_keys(struct balancer *b)
{
    unsigned *owners = xcalloc(KEYS, sizeof(*owners));

    for (size_t i = 0; i < KEYS; i++)
        owners[i] = address_for(b, key_of(i));
    return owners;
}

static void assert_near(size_t got, double expected, double keys)
{
    double share = expected / keys;

    if (fabs((double)got - expected) > 5 * sqrt(keys * share * (1 - share)) + 1)
        fail_msg("%zu keys and not %.0f", got, expected);
}

static void test_a_key_stays(void **state)
{
    struct balancer b;
    struct member members[BACKENDS], turned[BACKENDS];

    (void)state;
    make_members(members, BACKENDS);
    for (size_t i = 0; i < BACKENDS; i++)
        turned[i] = members[BACKENDS - 1 - i];
    balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
    unsigned *owners = owners_of_keys(&b);

    /* Also in a list of another order, and with other backends that get no requests. */
    balancer_take(&b, turned, BACKENDS);
    b.now += 1000;
    for (size_t i = 0; i < KEYS; i += 7)
        assert_int_equal(address_for(&b, key_of(i)), owners[i]);
    free(owners);
    balancer_close(&b);
}

/* The smallest keys and the largest are keys like others. */
static void test_keys_at_the_ends(void **state)
{
    static const uint32_t keys[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    struct balancer b;
    struct member members[BACKENDS];

    (void)state;
    make_members(members, BACKENDS);
    balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        assert_int_equal(address_for(&b, keys[i]), address_for(&b, keys[i]));
    balancer_close(&b);
}

static void test_keys_in_a_row_are_spread(void **state)
{
    struct balancer b;
    struct member members[BACKENDS];
    size_t got[BACKENDS + 1] = {0};

    (void)state;
    make_members(members, BACKENDS);
    balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
    for (uint32_t key = 0; key < KEYS; key++)
        got[address_for(&b, key)]++;
    for (size_t i = 1; i <= BACKENDS; i++)
        assert_near(got[i], KEYS / (double)BACKENDS, KEYS);
    balancer_close(&b);
}

/* Each that leaves takes only its keys with it, and the others share them. */
static void test_removing_one_moves_its_keys_only(void **state)
{
    (void)state;
    for (unsigned gone = 1; gone <= BACKENDS; gone += 4) {
        struct balancer b;
        struct member members[BACKENDS];
        size_t moved = 0, to[BACKENDS + 1] = {0};

        make_members(members, BACKENDS);
        balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
        unsigned *owners = owners_of_keys(&b);

        memmove(&members[gone - 1], &members[gone], (BACKENDS - gone) * sizeof(members[0]));
        balancer_take(&b, members, BACKENDS - 1);
        for (size_t i = 0; i < KEYS; i++) {
            unsigned owner = address_for(&b, key_of(i));

            if (owners[i] != gone) {
                assert_int_equal(owner, owners[i]);
                continue;
            }
            moved++;
            to[owner]++;
        }
        assert_near(moved, KEYS / (double)BACKENDS, KEYS);
        for (unsigned i = 1; i <= BACKENDS; i++) {
            if (i != gone)
                assert_near(to[i], (double)moved / (BACKENDS - 1), (double)moved);
        }
        free(owners);
        balancer_close(&b);
    }
}

static void test_adding_one_moves_keys_to_it_only(void **state)
{
    struct balancer b;
    struct member members[BACKENDS + 1];
    size_t moved = 0;

    (void)state;
    make_members(members, BACKENDS + 1);
    balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
    unsigned *owners = owners_of_keys(&b);

    balancer_take(&b, members, BACKENDS + 1);
    for (size_t i = 0; i < KEYS; i++) {
        unsigned owner = address_for(&b, key_of(i));

        assert_true(owner == owners[i] || owner == BACKENDS + 1);
        moved += owner != owners[i];
    }
    assert_near(moved, KEYS / (double)(BACKENDS + 1), KEYS);
    free(owners);
    balancer_close(&b);
}

/* One that has failed counts as one that is gone, until it is back. */
static void test_keys_come_back(void **state)
{
    struct balancer b;
    struct member members[BACKENDS];

    (void)state;
    make_members(members, BACKENDS);
    balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
    unsigned *owners = owners_of_keys(&b);

    balancer_fail(&b, 3);
    for (size_t i = 0; i < KEYS; i += 5) {
        unsigned owner = address_for(&b, key_of(i));

        assert_true(owners[i] == 4 ? owner != 4 : owner == owners[i]);
    }
    b.now += b.policy.fail_timeout_ms + 1;
    balancer_request_at(&b, 3, CEPH_LB_ANSWERED, 0);
    for (size_t i = 0; i < KEYS; i += 5)
        assert_int_equal(address_for(&b, key_of(i)), owners[i]);
    free(owners);
    balancer_close(&b);
}

/* More weight takes keys from the others, and changes nothing between them. */
static void test_weights(void **state)
{
    static const uint32_t weights[] = {1, 3, 96, 1000000000, 4294967295};

    (void)state;
    for (size_t w = 0; w < COUNT_OF(weights); w++) {
        struct balancer b;
        struct member members[BACKENDS];
        size_t got = 0;
        double share = weights[w] / (weights[w] + BACKENDS - 1.0);

        make_members(members, BACKENDS);
        balancer_open(&b, CEPH_LB_HASH, members, BACKENDS);
        unsigned *owners = owners_of_keys(&b);

        members[5].weight = weights[w];
        balancer_take(&b, members, BACKENDS);
        for (size_t i = 0; i < KEYS; i++) {
            unsigned owner = address_for(&b, key_of(i));

            assert_true(owner == owners[i] || owner == 6);
            got += owner == 6;
        }
        assert_near(got, KEYS * share, KEYS);
        free(owners);
        balancer_close(&b);
    }
}

/* How many a backend may have before the next one: of all that can be used, and with this request. */
static double bound(const struct balancer *b, const bool *out, size_t i)
{
    double sum = 1, weight = 0;

    for (size_t j = 0; j < b->list->count; j++) {
        if (out[j])
            continue;
        sum += balancer_connections(b, j);
        weight += b->list->backends[j].weight;
    }
    double most = ceil(1.25 * sum * b->list->backends[i].weight / weight);
    return most < CEPH_LB_HASH_LEAST ? CEPH_LB_HASH_LEAST : most;
}

/* One key in two is the same one; and still nobody is asked for much more than its share. */
static void test_load_is_bounded(void **state)
{
    static const struct {
        const char *name;
        size_t n, failed;
        uint32_t weights[6];
    } cases[] = {
        {"two", 2, 0, {1, 1}},
        {"six", 6, 0, {1, 1, 1, 1, 1, 1}},
        {"six, weighted", 6, 0, {1, 2, 3, 4, 5, 6}},
        {"six, half of them failed", 6, 3, {1, 1, 1, 1, 1, 1}},
        {"six, weighted, the heaviest failed", 6, 2, {9, 9, 3, 1, 2, 3}},
    };

    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        for (size_t under_way = 1; under_way <= 1000; under_way *= 10) {
            struct balancer b;
            struct random random = random_seeded(under_way);
            struct under_way *u = xcalloc(1, sizeof(*u));
            struct member members[6];
            bool out[6] = {0};
            size_t at_home = 0;

            for (size_t i = 0; i < cases[c].n; i++)
                members[i] = (struct member){.address = (unsigned)i + 1, .weight = cases[c].weights[i]};
            balancer_open(&b, CEPH_LB_HASH, members, cases[c].n);
            for (size_t i = 0; i < cases[c].failed; i++) {
                balancer_fail(&b, i);
                out[i] = true;
            }
            unsigned home = address_for(&b, 7);
            for (size_t step = 0; step < 5000; step++) {
                uint32_t key = step % 2 == 0 ? 7 : (uint32_t)random_next(&random);
                ceph_lb_pick_t pick;
                double before[6] = {0};

                for (size_t i = 0; i < cases[c].n; i++)
                    before[i] = bound(&b, out, i) - balancer_connections(&b, i);
                balancer_forget_tries(&b);
                assert_true(balancer_choose_for(&b, key, &pick));
                assert_row(before[pick.index] > 0 && !out[pick.index], cases[c].name);
                /* Its own backend has it, as long as that one may have more. */
                assert_row(key != 7 || before[home - 1] <= 0 || pick.index == home - 1, cases[c].name);
                at_home += key == 7 && pick.index == home - 1;

                u->picks[(u->first + u->count++) % UNDER_WAY_MAX] = pick;
                if (u->count > under_way)
                    under_way_end_first(u, &b);
            }
            assert_row(at_home > 0, cases[c].name);
            under_way_end_all(u, &b);
            balancer_close(&b);
            free(u);
        }
    }
}

/* When all others are full, a backend gets what it may have, however much that is. */
static void test_the_bound_yields_to_limits(void **state)
{
    static const struct member members[] = {{.address = 1, .weight = 1, .max_conns = 1},
                                            {.address = 2, .weight = 1}};
    struct balancer b;
    ceph_lb_pick_t picks[50];

    (void)state;
    balancer_open(&b, CEPH_LB_HASH, members, 2);
    for (size_t i = 0; i < COUNT_OF(picks); i++)
        picks[i] = balancer_begin(&b);
    assert_int_equal(balancer_connections(&b, 0), 1);
    assert_int_equal(balancer_connections(&b, 1), COUNT_OF(picks) - 1);
    for (size_t i = 0; i < COUNT_OF(picks); i++)
        balancer_done(&b, &picks[i], CEPH_LB_ANSWERED);
    balancer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_stays),
        cmocka_unit_test(test_keys_at_the_ends),
        cmocka_unit_test(test_keys_in_a_row_are_spread),
        cmocka_unit_test(test_removing_one_moves_its_keys_only),
        cmocka_unit_test(test_adding_one_moves_keys_to_it_only),
        cmocka_unit_test(test_keys_come_back),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_load_is_bounded),
        cmocka_unit_test(test_the_bound_yields_to_limits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
