/*
 * Whom the load balancer chooses from a list (rows of the registry, their values cut at NULs), while requests begin
 * and end, the clock goes on, and lists and processes come and go.
 */
#include "fuzz.h"

#include "ceph_lb_balance.h"

enum { COLUMNS = 7, CAPACITY = 48, SLOTS = 2, HELD_MAX = 64 };

static void on_problem(void *data, size_t row, const char *address, const char *problem)
{
    (void)data;
    (void)row;
    (void)address;
    must(problem[0] != '\0');
}

static ceph_lb_list_t *list_of(struct slice bytes)
{
    static const char *const names[COLUMNS] = {"address", "port",      "weight", "state",
                                               "backup",  "max_conns", "zone"};
    static const size_t lengths[COLUMNS] = {7, 4, 6, 5, 6, 9, 4};
    ceph_lb_table_t table;
    const char *error = NULL;

    ceph_lb_table_init(&table);
    must(ceph_lb_table_begin(&table, COLUMNS, names, lengths) == 0);
    while (bytes.len != 0) {
        const char *values[COLUMNS];
        unsigned long lens[COLUMNS];

        for (size_t i = 0; i < COLUMNS; i++) {
            struct slice value = fuzz_cut(&bytes);
            values[i] = slice_is(value, "NULL") ? NULL : value.base;
            lens[i] = value.len;
        }
        must(ceph_lb_table_add(&table, values, lens) == 0);
    }
    ceph_lb_list_t *list = ceph_lb_list_create(&table, on_problem, NULL, &error);
    must(list != NULL && error == NULL);
    ceph_lb_table_free(&table);
    return list;
}

static void check_list(const ceph_lb_list_t *list)
{
    must(list->count <= list->total && list->total <= list->table.rows);
    for (size_t i = 0; i < list->total; i++) {
        const ceph_lb_backend_t *b = &list->backends[i];

        must(b->socklen != 0 && b->name_len == strlen(b->name) && strlen(b->zone) < CEPH_LB_ZONE_MAX);
        must((b->row_state == CEPH_LB_UP && b->weight >= 1) == (i < list->count));
        must(ceph_lb_list_find(list, b) == (i < list->count ? (long)i : -1));
    }
}

static void check_plan(const ceph_lb_list_t *list)
{
    size_t members = 0;

    for (size_t t = 0; t < list->plan->ntiers; t++) {
        const ceph_lb_tier_t *tier = &list->plan->tiers[t];
        uint64_t weight = 0;

        must(tier->count > 0 && tier->length >= tier->count);
        must(tier->length <= CEPH_LB_PLACES_MAX + tier->count);
        for (size_t i = 0; i < tier->count; i++)
            weight += list->backends[tier->members[i]].weight;
        for (size_t i = 0; i < tier->length; i++)
            must(tier->order[i] < list->count);
        must(tier->weight == weight);
        members += tier->count;
    }
    must(members == list->count);
}

struct held {
    ceph_lb_pick_t pick;
    int slot;
};

/* Requests of two processes to the backends of one list after another. */
struct world {
    struct slice rows;
    ceph_lb_policy_t policy;
    ceph_lb_states_t *states;
    ceph_lb_list_t *list;
    uintptr_t tried[(CAPACITY + CEPH_LB_WORD_BITS - 1) / CEPH_LB_WORD_BITS];
    struct held held[HELD_MAX];
    size_t nheld;
    uint64_t chance, now;
};

static void drop_list(ceph_lb_list_t *list)
{
    ceph_lb_plan_free(list->plan);
    ceph_lb_list_free(list);
}

/* A list of the rows from one of them on. One for which there is no room is left alone. */
static void take_list(struct world *w, size_t row)
{
    struct slice rest = w->rows;

    for (size_t i = 0; i < row * COLUMNS && rest.len != 0; i++)
        (void)fuzz_cut(&rest);
    ceph_lb_list_t *list = list_of(rest);

    list->plan = ceph_lb_plan_create(list, "a");
    must(list->plan != NULL);
    check_list(list);
    check_plan(list);
    if (list->total > CAPACITY || ceph_lb_states_bind(w->states, list, w->now) != 0) {
        must(list->states == NULL);
        drop_list(list);
        return;
    }
    if (w->list != NULL)
        drop_list(w->list);
    w->list = list;
    memset(w->tried, 0, sizeof(w->tried));
}

static uint32_t held_by(const struct world *w, const ceph_lb_state_t *state)
{
    uint32_t n = 0;

    for (size_t i = 0; i < w->nheld; i++)
        n += w->held[i].pick.state == state;
    return n;
}

static void check_connections(const struct world *w)
{
    for (size_t i = 0; i < w->list->total; i++) {
        const ceph_lb_state_t *s = ceph_lb_state_of(&w->list->backends[i]);

        must(s == NULL || ceph_lb_connections(w->states, s) == held_by(w, s));
    }
}

static bool has_room(const struct world *w, size_t i)
{
    const ceph_lb_backend_t *b = &w->list->backends[i];
    const ceph_lb_state_t *s = ceph_lb_state_of(b);

    return s != NULL && (b->max_conns == 0 || ceph_lb_connections(w->states, s) < b->max_conns);
}

static void choose(struct world *w, int slot, uint32_t key)
{
    uintptr_t before[sizeof(w->tried) / sizeof(w->tried[0])];
    ceph_lb_pick_t pick;
    ceph_lb_choice_t choice = {.policy = &w->policy,
                               .list = w->list,
                               .tried = w->tried,
                               .slot = slot,
                               .key = key,
                               .chance = &w->chance,
                               .now = w->now};

    memcpy(before, w->tried, sizeof(before));
    if (w->nheld == HELD_MAX)
        return;
    if (ceph_lb_choose(&choice, &pick) != 0) {
        must(memcmp(before, w->tried, sizeof(before)) == 0);
        for (size_t i = 0; i < w->list->count; i++)
            must(ceph_lb_is_tried(before, i) || !has_room(w, i));
        return;
    }
    must(pick.index < w->list->count && pick.state == ceph_lb_state_of(&w->list->backends[pick.index]));
    must(!ceph_lb_is_tried(before, pick.index) && ceph_lb_is_tried(w->tried, pick.index));
    ceph_lb_set_tried(before, pick.index);
    must(memcmp(before, w->tried, sizeof(before)) == 0);
    must(has_room(w, pick.index) ||
         ceph_lb_connections(w->states, pick.state) == w->list->backends[pick.index].max_conns);
    w->held[w->nheld++] = (struct held){pick, slot};
}

static void end(struct world *w, size_t i, ceph_lb_outcome_e outcome)
{
    if (w->nheld == 0)
        return;
    struct held *held = &w->held[i % w->nheld];

    ceph_lb_measure(held->pick.state, (uint32_t)(i << 12), w->now);
    ceph_lb_done(&w->policy, &held->pick, held->slot, outcome, i * 100, w->now);
    must(held->pick.state == NULL);
    *held = w->held[--w->nheld];
}

/* The process with this slot is gone, and what it had under way. */
static void lose_process(struct world *w, int slot)
{
    ceph_lb_states_give_slot_back(w->states, slot);
    for (size_t i = 0; i < w->nheld;) {
        if (w->held[i].slot == slot)
            w->held[i] = w->held[--w->nheld];
        else
            i++;
    }
}

static void check_conditions(const struct world *w)
{
    for (size_t i = 0; i < w->list->count; i++) {
        const ceph_lb_backend_t *b = &w->list->backends[i];
        const ceph_lb_state_t *s = ceph_lb_state_of(b);

        if (s == NULL)
            continue;
        double warmth = ceph_lb_warmth(&w->policy, s, w->now);

        must(warmth > 0 && warmth <= 1);
        must((ceph_lb_condition(&w->policy, w->states, b, w->now) == CEPH_LB_FULL) == !has_room(w, i));
    }
}

static void step(struct world *w, unsigned what, unsigned n)
{
    switch (what) {
    case 0:
        memset(w->tried, 0, sizeof(w->tried));
        choose(w, (int)(n % SLOTS), n * 2654435761U);
        break;
    case 1:
        choose(w, (int)(n % SLOTS), n * 2654435761U);
        break;
    case 2:
    case 3:
        end(w, n, (ceph_lb_outcome_e)(what == 2 ? n % 4 : CEPH_LB_FAILED));
        break;
    case 4:
        w->now += UINT64_C(1) << n;
        break;
    case 5:
        w->now -= n < w->now ? n : 0;
        break;
    case 6:
        take_list(w, n);
        break;
    default:
        if (n % 8 == 0)
            lose_process(w, (int)(n / 8 % SLOTS));
        else
            ceph_lb_states_touch(w->list, w->now);
    }
    check_connections(w);
    check_conditions(w);
}

/* Two bytes of a policy, rows up to a byte that is no text, and then what happens, a byte each. */
static void fuzz_choices(struct slice bytes)
{
    struct world w = {.now = 100 * 1000, .chance = 1};

    if (bytes.len < 2)
        return;
    uint8_t first = (uint8_t)bytes.base[0], second = (uint8_t)bytes.base[1];
    bytes = (struct slice){bytes.base + 2, bytes.len - 2};
    w.rows = slice_cut(&bytes, '\xff');
    w.policy = (ceph_lb_policy_t){.method = (ceph_lb_method_e)(first % 5),
                                  .max_fails = second % 4,
                                  .fail_timeout_ms = 1 + second / 4 * UINT64_C(100),
                                  .slow_start_ms = first / 5 % 4 * 300};
    w.states = calloc(1, ceph_lb_states_size(SLOTS, CAPACITY));
    must(w.states != NULL);
    ceph_lb_states_init(w.states, SLOTS, CAPACITY);
    must(ceph_lb_states_are_there(w.states, ceph_lb_states_size(SLOTS, CAPACITY)));
    take_list(&w, 0);
    for (size_t i = 0; w.list != NULL && i < bytes.len; i++)
        step(&w, (uint8_t)bytes.base[i] % 8, (uint8_t)bytes.base[i] / 8);
    while (w.nheld > 0)
        end(&w, 0, CEPH_LB_UNKNOWN);
    if (w.list != NULL) {
        check_connections(&w);
        drop_list(w.list);
    }
    free(w.states);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_choices(fuzz_slice(data, size));
    return 0;
}
