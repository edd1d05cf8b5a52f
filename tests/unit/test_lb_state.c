/* What is known of backends, by address, in memory of a fixed size that processes share. */

#include "balancer.h"

enum { PIDS_MAX = 16 };

/* Processes that are no more. */
static pid_t dead[PIDS_MAX];

static int is_alive(pid_t pid)
{
    for (size_t i = 0; i < PIDS_MAX; i++) {
        if (dead[i] == pid)
            return 0;
    }
    return 1;
}

static int all_live(pid_t pid)
{
    assert_true(pid > 0);
    return 1;
}

/* A list of backends of weight 1, bound or refused as `expected` says. */
static ceph_lb_list_t *bind_expecting(int expected, ceph_lb_states_t *states, uint64_t now,
                                      const unsigned *addresses, size_t n)
{
    struct member members[MEMBERS_MAX];

    for (size_t i = 0; i < n; i++)
        members[i] = (struct member){.address = addresses[i], .weight = 1};
    ceph_lb_list_t *list = list_of(members, n);
    assert_int_equal(ceph_lb_states_bind(states, list, now), expected);
    assert_ptr_equal(list->states, expected == 0 ? states : NULL);
    return list;
}

#define BIND(states, now, ...)                                                                               \
    bind_expecting(0, states, now, (const unsigned[]){__VA_ARGS__},                                          \
                   sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned))
#define REFUSE(states, now, ...)                                                                             \
    ceph_lb_list_free(bind_expecting(-1, states, now, (const unsigned[]){__VA_ARGS__},                       \
                                     sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned)))

static const uint32_t slot_counts[] = {1, 2, 3, 16, 17, 64, 1000, CEPH_LB_SLOTS_MAX};

static void test_sizes_and_capacities_agree(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT_OF(slot_counts); s++) {
        uint32_t slots = slot_counts[s];

        for (size_t size = 0; size < 300 * 1000; size = size * 9 / 8 + 1) {
            uint32_t capacity = ceph_lb_states_capacity(slots, size);

            assert_true(capacity == 0 || ceph_lb_states_size(slots, capacity) <= size);
            assert_true(ceph_lb_states_size(slots, capacity + 1) > size);
        }
        for (uint32_t capacity = 0; capacity < 100 * 1000; capacity = capacity * 3 / 2 + 1)
            assert_int_equal(ceph_lb_states_capacity(slots, ceph_lb_states_size(slots, capacity)), capacity);
    }
}

/* As many entries as there is room for, wherever the memory begins, and nothing beyond it is written. */
static void test_all_of_it_fits(void **state)
{
    enum { CAPACITY = 50, FENCE = 128 };

    (void)state;
    for (size_t s = 0; s < COUNT_OF(slot_counts); s++) {
        for (size_t shift = 0; shift < 64; shift += 8) {
            size_t size = ceph_lb_states_size(slot_counts[s], CAPACITY);
            char *memory = xcalloc(1, shift + size + FENCE);
            ceph_lb_states_t *states = (ceph_lb_states_t *)(void *)(memory + shift);
            unsigned addresses[CAPACITY];

            memset(memory + shift + size, 0x5a, FENCE);
            ceph_lb_states_init(states, slot_counts[s], CAPACITY);
            for (unsigned i = 0; i < CAPACITY; i++)
                addresses[i] = i + 1;
            ceph_lb_list_t *list = bind_expecting(0, states, BEGINNING, addresses, CAPACITY);

            for (size_t i = 0; i < CAPACITY; i++) {
                for (uint32_t slot = 0; slot < slot_counts[s]; slot++)
                    ceph_lb_connect(list->backends[i].state, (int)slot);
            }
            for (size_t i = 0; i < CAPACITY; i++) {
                assert_int_equal(ceph_lb_connections(states, list->backends[i].state), slot_counts[s]);
                assert_ptr_equal(ceph_lb_state_of(&list->backends[i]), list->backends[i].state);
            }
            for (size_t i = 0; i < FENCE; i++)
                assert_int_equal(memory[shift + size + i], 0x5a);
            ceph_lb_list_free(list);
            free(memory);
        }
    }
}

static void test_a_table_is_known_by_its_head(void **state)
{
    size_t size = ceph_lb_states_size(4, 10);
    ceph_lb_states_t *states = states_for(4, 10);

    (void)state;
    assert_true(ceph_lb_states_are_there(states, size));
    assert_true(ceph_lb_states_are_there(states, size + 4096));
    assert_false(ceph_lb_states_are_there(states, size - 1));
    assert_false(ceph_lb_states_are_there(states, sizeof(*states) - 1));
    states->slots = CEPH_LB_SLOTS_MAX + 1;
    assert_false(ceph_lb_states_are_there(states, SIZE_MAX));
    states->slots = 4;
    states->magic ^= 1;
    assert_false(ceph_lb_states_are_there(states, size));
    memset(states, 0, size);
    assert_false(ceph_lb_states_are_there(states, size));
    free(states);
}

static void test_an_address_has_one_entry(void **state)
{
    ceph_lb_states_t *states = states_for(1, 8);
    ceph_lb_list_t *a = BIND(states, BEGINNING, 1, 2, 3), *b = BIND(states, BEGINNING, 3, 4, 1);

    (void)state;
    assert_ptr_equal(a->backends[0].state, b->backends[2].state);
    assert_ptr_equal(a->backends[2].state, b->backends[0].state);
    assert_ptr_not_equal(a->backends[1].state, b->backends[1].state);
    assert_int_equal(states->used, 4);
    ceph_lb_list_free(a);
    ceph_lb_list_free(b);
    free(states);
}

/* The port and the family belong to it; weight, zone and state of the row do not. */
static void test_what_an_address_is(void **state)
{
    static const char *const names[] = {"address", "port", "weight", "state"};
    static const size_t lengths[] = {7, 4, 6, 5};
    static const char *const rows[][4] = {
        {"10.0.0.1", "80", "1", "up"},        {"10.0.0.1", "81", "1", "up"},    {"::1", "80", "1", "up"},
        {"::ffff:10.0.0.1", "80", "1", "up"}, {"10.0.0.1", "82", "0", "drain"}, {"::1", "81", "3", "down"},
    };
    const char *error;
    ceph_lb_table_t table;
    ceph_lb_list_t *lists[2];
    ceph_lb_states_t *states = states_for(1, 8);

    (void)state;
    for (size_t l = 0; l < 2; l++) {
        ceph_lb_table_init(&table);
        assert_int_equal(ceph_lb_table_begin(&table, 4, names, lengths), 0);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            const char *values[4];
            unsigned long lens[4];

            memcpy(values, rows[i], sizeof(values));
            if (l == 1)
                values[2] = "7";
            for (size_t c = 0; c < 4; c++)
                lens[c] = strlen(values[c]);
            assert_int_equal(ceph_lb_table_add(&table, values, lens), 0);
        }
        lists[l] = ceph_lb_list_create(&table, no_problem, NULL, &error);
        assert_non_null(lists[l]);
        ceph_lb_table_free(&table);
        assert_int_equal(ceph_lb_states_bind(states, lists[l], BEGINNING), 0);
        assert_int_equal(states->used, COUNT_OF(rows));
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t j = 0; j < COUNT_OF(rows); j++)
            assert_int_equal(lists[0]->backends[i].state == lists[1]->backends[j].state,
                             strcmp(lists[0]->backends[i].name, lists[1]->backends[j].name) == 0);
    }
    ceph_lb_list_free(lists[0]);
    ceph_lb_list_free(lists[1]);
    free(states);
}

static void test_forgotten_when_long_gone(void **state)
{
    uint64_t now = BEGINNING;
    ceph_lb_states_t *states = states_for(2, 2);
    ceph_lb_list_t *old = BIND(states, now, 1, 2);
    ceph_lb_state_t *s = old->backends[0].state;

    (void)state;
    ceph_lb_count(&s->requests, 7);
    ceph_lb_count(&s->failures, 3);
    ceph_lb_measure(s, 1000, now);
    s->failed = s->counting = s->checked = s->resting = s->risen = now;
    s->fails = 3;

    REFUSE(states, now + CEPH_LB_FORGET_MS, 3);
    assert_ptr_equal(ceph_lb_state_of(&old->backends[0]), s);
    assert_int_equal(s->requests, 7);

    ceph_lb_list_t *list = BIND(states, now + CEPH_LB_FORGET_MS + 1, 3, 4);

    for (size_t i = 0; i < 2; i++) {
        assert_null(ceph_lb_state_of(&old->backends[i]));
        s = ceph_lb_state_of(&list->backends[i]);
        assert_non_null(s);
        assert_int_equal(s->requests + s->failures + s->failed + s->counting + s->fails + s->checked +
                             s->resting + s->latency_us + s->measured,
                         0);
        assert_int_equal(s->listed, now + CEPH_LB_FORGET_MS + 1);
    }

    /* Back again: they have to look for a place like anybody else. */
    REFUSE(states, now + CEPH_LB_FORGET_MS + 2, 1, 2);
    ceph_lb_list_free(list);
    list = BIND(states, now + 2 * CEPH_LB_FORGET_MS + 2, 1, 2);
    assert_null(ceph_lb_state_of(&old->backends[0]));
    assert_non_null(ceph_lb_state_of(&list->backends[0]));
    ceph_lb_list_free(list);
    ceph_lb_list_free(old);
    free(states);
}

static void test_not_forgotten_with_requests_under_way(void **state)
{
    uint64_t later = BEGINNING + CEPH_LB_FORGET_MS + 1;
    ceph_lb_states_t *states = states_for(2, 2);
    ceph_lb_list_t *old = BIND(states, BEGINNING, 1, 2);
    ceph_lb_state_t *s = old->backends[1].state;

    (void)state;
    ceph_lb_connect(s, 1);
    REFUSE(states, later, 3, 4);
    assert_ptr_equal(ceph_lb_state_of(&old->backends[1]), s);
    ceph_lb_disconnect(s, 1);

    ceph_lb_list_t *list = BIND(states, later + CEPH_LB_FORGET_MS + 1, 3, 4);
    assert_null(ceph_lb_state_of(&old->backends[1]));
    ceph_lb_list_free(list);
    ceph_lb_list_free(old);
    free(states);
}

static void test_no_room(void **state)
{
    ceph_lb_states_t *none = states_for(1, 0), *states = states_for(1, 2);
    ceph_lb_list_t *list;

    (void)state;
    REFUSE(none, BEGINNING, 1);
    REFUSE(states, BEGINNING, 1, 2, 3);

    /* What was refused was no first list, after which backends would be new. */
    assert_int_equal(states->lists, 0);
    list = BIND(states, BEGINNING + CEPH_LB_FORGET_MS + 1, 4, 5);
    assert_int_equal(list->backends[0].state->risen, 0);
    ceph_lb_list_free(list);
    free(none);
    free(states);
}

/* What stands in a list takes room, whether it may get requests or not. */
static void test_those_without_requests_have_entries(void **state)
{
    struct member members[] = {{.address = 1, .weight = 1, .row_state = "down"},
                               {.address = 2, .weight = 1},
                               {.address = 3, .weight = 0}};
    ceph_lb_states_t *states = states_for(1, 3);
    ceph_lb_list_t *list = list_of(members, COUNT_OF(members));

    (void)state;
    assert_int_equal(ceph_lb_states_bind(states, list, BEGINNING), 0);
    assert_int_equal(states->used, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(list->backends[i].state->listed, BEGINNING);
        assert_int_equal(list->backends[i].state->usable, i == 0 ? BEGINNING : 0);
    }
    ceph_lb_list_free(list);
    free(states);
}

static void test_touch_keeps_a_list(void **state)
{
    uint64_t touched = BEGINNING + CEPH_LB_FORGET_MS / 2;
    ceph_lb_states_t *states = states_for(1, 2);
    ceph_lb_list_t *list = BIND(states, BEGINNING, 1, 2), *other;

    (void)state;
    ceph_lb_states_touch(list, touched);
    REFUSE(states, BEGINNING + CEPH_LB_FORGET_MS + 1, 3);
    REFUSE(states, touched + CEPH_LB_FORGET_MS, 3);
    other = BIND(states, touched + CEPH_LB_FORGET_MS + 1, 3, 4);

    /* What is another one's now is not touched by a list of old. */
    ceph_lb_states_touch(list, touched + 9 * CEPH_LB_FORGET_MS);
    assert_int_equal(other->backends[0].state->listed, touched + CEPH_LB_FORGET_MS + 1);
    assert_int_equal(other->backends[1].state->listed, touched + CEPH_LB_FORGET_MS + 1);
    ceph_lb_list_free(list);
    ceph_lb_list_free(other);
    free(states);
}

static void test_who_rises(void **state)
{
    static const struct {
        const char *name;
        bool first;             /* no list comes before */
        const char *row_before; /* of the backend; NULL: it is not in the list before */
        uint64_t touched;       /* after so many ms; 0: not */
        uint64_t gone;          /* the list comes after so many ms */
        const char *row;
        bool rises;
    } cases[] = {
        {"the first list's", true, NULL, 0, 0, "up", false},
        {"a new one", false, NULL, 0, 1, "up", true},
        {"one that stayed", false, "up", 0, CEPH_LB_ABSENCE_MS, "up", false},
        {"one that is back", false, "up", 0, CEPH_LB_ABSENCE_MS + 1, "up", true},
        {"one of a list that was touched", false, "up", 5000, 5000 + CEPH_LB_ABSENCE_MS, "up", false},
        {"one of a list that was touched, back", false, "up", 5000, 5001 + CEPH_LB_ABSENCE_MS, "up", true},
        {"up at last", false, "down", 0, 1, "up", true},
        {"up at last, touched when down", false, "drain", 5000, 5001, "up", true},
        {"down and new", false, NULL, 0, 1, "down", false},
        {"drained after long", false, "up", 0, 99 * 1000, "drain", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t now = BEGINNING, when = now + cases[i].gone;
        ceph_lb_states_t *states = states_for(1, 4);
        ceph_lb_list_t *before = NULL;

        if (!cases[i].first) {
            struct member members[] = {{.address = 1, .weight = 1},
                                       {.address = 2, .weight = 1, .row_state = cases[i].row_before}};

            before = list_of(members, cases[i].row_before != NULL ? 2 : 1);
            assert_int_equal(ceph_lb_states_bind(states, before, now), 0);
            if (cases[i].touched != 0)
                ceph_lb_states_touch(before, now + cases[i].touched);
        }
        struct member member = {.address = 2, .weight = 1, .row_state = cases[i].row};
        ceph_lb_list_t *list = list_of(&member, 1);

        assert_int_equal(ceph_lb_states_bind(states, list, when), 0);
        assert_row(list->backends[0].state->risen == (cases[i].rises ? when : 0), cases[i].name);
        ceph_lb_list_free(list);
        if (before != NULL)
            ceph_lb_list_free(before);
        free(states);
    }
}

static void test_slots(void **state)
{
    ceph_lb_states_t *states = states_for(3, 4);

    (void)state;
    assert_int_equal(ceph_lb_states_take_slot(states, 101, all_live), 0);
    assert_int_equal(ceph_lb_states_take_slot(states, 102, all_live), 1);
    assert_int_equal(ceph_lb_states_take_slot(states, 103, all_live), 2);
    assert_int_equal(ceph_lb_states_take_slot(states, 104, all_live), CEPH_LB_NO_SLOT);

    ceph_lb_states_give_slot_back(states, 1);
    assert_int_equal(ceph_lb_states_take_slot(states, 104, all_live), 1);
    assert_int_equal(ceph_lb_states_take_slot(states, 105, all_live), CEPH_LB_NO_SLOT);
    free(states);
}

static void test_what_a_dead_process_counted_goes(void **state)
{
    ceph_lb_states_t *states = states_for(3, 4);
    ceph_lb_list_t *list = BIND(states, BEGINNING, 1, 2);
    ceph_lb_state_t *a = list->backends[0].state, *b = list->backends[1].state;

    (void)state;
    memset(dead, 0, sizeof(dead));
    for (pid_t pid = 101; pid <= 103; pid++) {
        int slot = ceph_lb_states_take_slot(states, pid, is_alive);

        for (pid_t n = 100; n < pid; n++) {
            ceph_lb_connect(a, slot);
            ceph_lb_connect(b, slot);
        }
        ceph_lb_disconnect(b, slot);
    }
    ceph_lb_count(&a->requests, 6);
    assert_int_equal(ceph_lb_connections(states, a), 1 + 2 + 3);
    assert_int_equal(ceph_lb_connections(states, b), 0 + 1 + 2);

    ceph_lb_states_sweep(states, is_alive);
    assert_int_equal(ceph_lb_connections(states, a), 1 + 2 + 3);

    dead[0] = 102;
    ceph_lb_states_sweep(states, is_alive);
    assert_int_equal(ceph_lb_connections(states, a), 1 + 3);
    assert_int_equal(ceph_lb_connections(states, b), 0 + 2);
    assert_int_equal(a->requests, 6);

    /* Whoever comes next sweeps by itself, and begins with nothing. */
    dead[0] = 0;
    dead[1] = 101;
    assert_int_equal(ceph_lb_states_take_slot(states, 201, is_alive), 0);
    assert_int_equal(ceph_lb_connections(states, a), 3);
    assert_int_equal(ceph_lb_states_take_slot(states, 202, is_alive), 1);
    assert_int_equal(ceph_lb_states_take_slot(states, 203, is_alive), CEPH_LB_NO_SLOT);
    ceph_lb_list_free(list);
    free(states);
}

/* A process with the number of one that died unnoticed is not that one. */
static void test_the_same_number_again(void **state)
{
    ceph_lb_states_t *states = states_for(2, 4);
    ceph_lb_list_t *list = BIND(states, BEGINNING, 1);
    ceph_lb_state_t *s = list->backends[0].state;
    int slot = ceph_lb_states_take_slot(states, 101, all_live), again;

    (void)state;
    ceph_lb_connect(s, slot);
    again = ceph_lb_states_take_slot(states, 101, all_live);
    assert_int_not_equal(again, CEPH_LB_NO_SLOT);
    assert_int_equal(ceph_lb_connections(states, s), 0);

    /* It has one slot, not two. */
    assert_int_not_equal(ceph_lb_states_take_slot(states, 102, all_live), CEPH_LB_NO_SLOT);
    assert_int_equal(ceph_lb_states_take_slot(states, 103, all_live), CEPH_LB_NO_SLOT);
    ceph_lb_list_free(list);
    free(states);
}

static void test_average_of_latencies(void **state)
{
    ceph_lb_state_t *s = xcalloc(1, sizeof(*s) + sizeof(uint32_t));

    (void)state;
    ceph_lb_measure(s, 8000, 5);
    assert_int_equal(s->latency_us, 8000);
    assert_int_equal(s->measured, 5);
    ceph_lb_measure(s, 16000, 6);
    assert_int_equal(s->latency_us, 9000);
    assert_int_equal(s->measured, 6);
    ceph_lb_measure(s, 1000, 7);
    assert_int_equal(s->latency_us, 8000);

    for (size_t i = 0; i < 200; i++)
        ceph_lb_measure(s, 100 * 1000, 8);
    assert_in_range(s->latency_us, 99 * 1000, 100 * 1000);

    /* Known is never 0, and the longest fits. */
    for (size_t i = 0; i < 200; i++)
        ceph_lb_measure(s, 0, 9);
    assert_in_range(s->latency_us, 1, 10);
    for (size_t i = 0; i < 400; i++)
        ceph_lb_measure(s, UINT32_MAX, 9);
    assert_in_range(s->latency_us, UINT32_MAX - 10, UINT32_MAX);
    s->latency_us = 0;
    ceph_lb_measure(s, 0, 10);
    assert_int_equal(s->latency_us, 1);
    free(s);
}

static void test_counters(void **state)
{
    _Atomic uint64_t counter = 0, most = 0;

    (void)state;
    ceph_lb_count(&counter, 3);
    ceph_lb_count(&counter, UINT32_MAX);
    assert_int_equal(counter, UINT64_C(3) + UINT32_MAX);
    ceph_lb_raise(&most, 7);
    ceph_lb_raise(&most, 5);
    assert_int_equal(most, 7);
    ceph_lb_raise(&most, 8);
    assert_int_equal(most, 8);
}

/*
 * Any lists at any times: an address that is bound keeps its entry and what was counted in it for as long as
 * it may not be forgotten, and no two addresses ever have one entry.
 */
static void test_random_lists(void **state)
{
    enum { ADDRESSES = 40, CAPACITY = 24, LIST_MAX = 16, STEPS = 300 };

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random random = random_seeded(seed);
        ceph_lb_states_t *states = states_for(2, CAPACITY);
        uint64_t now = BEGINNING, listed[ADDRESSES] = {0}, counted[ADDRESSES] = {0};
        uint32_t connections[ADDRESSES] = {0};
        ceph_lb_state_t *entry[ADDRESSES] = {0};
        size_t refused = 0, reused = 0;

        for (size_t step = 0; step < STEPS; step++) {
            unsigned addresses[LIST_MAX] = {0};
            struct member members[LIST_MAX];
            size_t n = 0, wanted = 1 + random_below(&random, LIST_MAX);

            now += random_below(&random, CEPH_LB_FORGET_MS);
            for (unsigned a = (unsigned)random_below(&random, ADDRESSES); n < wanted;
                 a = (a + 1 + (unsigned)random_below(&random, 2)) % ADDRESSES) {
                size_t i = 0;

                while (i < n && addresses[i] != a)
                    i++;
                if (i < n)
                    break;
                members[n] = (struct member){.address = a + 1, .weight = 1};
                addresses[n++] = a;
            }
            ceph_lb_list_t *list = list_of(members, n);
            bool bound = ceph_lb_states_bind(states, list, now) == 0;

            refused += !bound;
            for (size_t i = 0; i < list->total; i++) {
                unsigned a = addresses[i];
                ceph_lb_state_t *s = list->backends[i].state;
                bool kept = listed[a] != 0 && (listed[a] + CEPH_LB_FORGET_MS >= now || connections[a] != 0);

                if (s == NULL)
                    break;
                assert_seeded(!kept || entry[a] == s, seed);
                assert_seeded(s->requests == counted[a] || (!kept && s->requests == 0), seed);
                assert_seeded(ceph_lb_connections(states, s) == connections[a], seed);
                for (unsigned other = 0; other < ADDRESSES; other++) {
                    if (other != a && entry[other] == s) {
                        assert_seeded(listed[other] + CEPH_LB_FORGET_MS < now && connections[other] == 0,
                                      seed);
                        entry[other] = NULL;
                        listed[other] = counted[other] = 0;
                        reused++;
                    }
                }
                counted[a] = s->requests + 1;
                ceph_lb_count(&s->requests, 1);
                entry[a] = s;
                listed[a] = now;
                if (connections[a] == 0 && random_below(&random, 8) == 0) {
                    ceph_lb_connect(s, (int)(a % 2));
                    connections[a]++;
                } else if (connections[a] > 0 && random_below(&random, 2) == 0) {
                    ceph_lb_disconnect(s, (int)(a % 2));
                    connections[a]--;
                }
            }
            ceph_lb_list_free(list);
        }
        assert_seeded(refused > 0 && refused < STEPS && reused > 0, seed);
        free(states);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_capacities_agree),
        cmocka_unit_test(test_all_of_it_fits),
        cmocka_unit_test(test_a_table_is_known_by_its_head),
        cmocka_unit_test(test_an_address_has_one_entry),
        cmocka_unit_test(test_what_an_address_is),
        cmocka_unit_test(test_forgotten_when_long_gone),
        cmocka_unit_test(test_not_forgotten_with_requests_under_way),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_those_without_requests_have_entries),
        cmocka_unit_test(test_touch_keeps_a_list),
        cmocka_unit_test(test_who_rises),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_what_a_dead_process_counted_goes),
        cmocka_unit_test(test_the_same_number_again),
        cmocka_unit_test(test_average_of_latencies),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_random_lists),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
