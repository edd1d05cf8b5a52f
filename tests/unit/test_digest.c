#include "support.h"

#include "digest.h"

/* The sample of RFC 9530, appendix D, and its values there. */
#define SAMPLE        "{\"hello\": \"world\"}"
#define SAMPLE_CRC32C "Q3lHIA=="
#define SAMPLE_SHA256 "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="
#define SAMPLE_SHA512                                                                                        \
    "WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew=="
#define SAMPLE_MD5 "Sd/dVLAcvNLSq16eXua5uQ=="

#define EMPTY_SHA256 "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define EMPTY_MD5    "1B2M2Y8AsgTpgAmY7PhCfg=="

#define CRC32C DIGEST_BIT(DIGEST_CRC32C)
#define SHA256 DIGEST_BIT(DIGEST_SHA_256)
#define MD5    DIGEST_BIT(DIGEST_MD5)
#define ALL    (CRC32C | SHA256 | MD5)

static struct digests digests_of(struct slice bytes)
{
    struct digest_context *context = digest_begin(ALL);
    struct digests digests;

    digest_update(context, bytes.base, bytes.len);
    digest_finish(context, &digests);
    return digests;
}

/* The field as a copy that ends where it ends, so that a read beyond it is seen. */
static const char *take(const char *field, struct digests *digests)
{
    char *copy = copy_exactly(slice_of(field));
    const char *problem = digests_take_field((struct slice){copy, strlen(field)}, "Repr-Digest", digests);

    free(copy);
    return problem;
}

static const char *take_preferences(const char *field, struct digest_preferences *preferences)
{
    char *copy = copy_exactly(slice_of(field));
    const char *problem =
        digest_preferences_take((struct slice){copy, strlen(field)}, "Want-Repr-Digest", preferences);

    free(copy);
    return problem;
}

static void assert_formats_as(const struct digests *digests, const struct digest_preferences *preferences,
                              const char *expected)
{
    struct buffer value = {NULL, 0, 0};

    digests_format(digests, preferences, &value);
    assert_slice_equals(buffer_slice(&value), slice_of(expected));
    buffer_free(&value);
}

static void test_names_and_sizes(void **state)
{
    (void)state;
    assert_string_equal(digest_name(DIGEST_CRC32C), "crc32c");
    assert_string_equal(digest_name(DIGEST_SHA_256), "sha-256");
    assert_string_equal(digest_name(DIGEST_MD5), "md5");
    assert_int_equal(digest_size(DIGEST_CRC32C), 4);
    assert_int_equal(digest_size(DIGEST_SHA_256), 32);
    assert_int_equal(digest_size(DIGEST_MD5), 16);
}

static void test_field_is_taken(void **state)
{
    static const struct {
        const char *field;
        unsigned known;
    } rows[] = {
        {"", 0},
        {"  \t ", 0},
        {"sha-256=:" SAMPLE_SHA256 ":", SHA256},
        {"crc32c=:" SAMPLE_CRC32C ":", CRC32C},
        {"md5=:" SAMPLE_MD5 ":", MD5},
        {"sha-512=:" SAMPLE_SHA512 ":", 0},
        {"sha-256=:" SAMPLE_SHA256 ":,sha-512=:" SAMPLE_SHA512 ":", SHA256},
        {"sha-512=:" SAMPLE_SHA512 ":, sha-256=:" SAMPLE_SHA256 ":", SHA256},
        {" crc32c=:" SAMPLE_CRC32C ": \t,\t md5=:" SAMPLE_MD5 ": , sha-256=:" SAMPLE_SHA256 ": ", ALL},
        /* Names that look like ours, and one of each character that a name may have. */
        {"sha-25=:AAAA:, sha-2567=:AAAA:, sha256=:AAAA:, md5.*_-0=:AAAA:, *=:AAAA:", 0},
        {"unknown=::, sha-256=:" SAMPLE_SHA256 ":", SHA256},
        {"unknown=:AA==:, another=:AAA=:", 0},
        /* The same twice is no contradiction. */
        {"md5=:" SAMPLE_MD5 ":, md5=:" SAMPLE_MD5 ":", MD5},
        /* Parameters of every type. */
        {"md5=:" SAMPLE_MD5 ":;a;b=1;c=-2.5;d=?0;e=tok/en:x;f=\"s,;=:\\\"\\\\ \";g=:AA==:;h=::;*i=*", MD5},
        {"md5=:" SAMPLE_MD5 ":; a=1;  b=2, crc32c=:" SAMPLE_CRC32C ":;c", MD5 | CRC32C},
        {"unknown=:AAAA:;a=\",\", md5=:" SAMPLE_MD5 ":;a=@1659578233", MD5},
    };
    struct digests expected = digests_of(SLICE_LITERAL(SAMPLE));
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digests digests = {0};
        const char *problem = take(rows[i].field, &digests);

        if (problem != NULL)
            fail_msg("\"%s\" is refused: %s", rows[i].field, problem);
        assert_row(digests.known == rows[i].known, rows[i].field);
        assert_row(digests_compare(&digests, &expected) == -1, rows[i].field);
    }
}

static void test_several_fields(void **state)
{
    struct digests digests = {0}, expected = digests_of(SLICE_LITERAL(SAMPLE));

    (void)state;
    assert_null(take("sha-256=:" SAMPLE_SHA256 ":", &digests));
    assert_null(digests_take_field(SLICE_LITERAL("crc32c=:" SAMPLE_CRC32C ":"), "Content-Digest", &digests));
    assert_null(digests_take_content_md5(SLICE_LITERAL(SAMPLE_MD5), &digests));
    assert_int_equal(digests.known, ALL);
    assert_memory_equal(digests.value, expected.value, sizeof(expected.value));

    /* They agree about md5, and then not. */
    assert_null(take("md5=:" SAMPLE_MD5 ":", &digests));
    assert_string_equal(digests_take_content_md5(SLICE_LITERAL(EMPTY_MD5), &digests),
                        "Content-MD5 gives a value of md5 that contradicts one given before.");
    assert_string_equal(
        digests_take_field(SLICE_LITERAL("sha-256=:" EMPTY_SHA256 ":"), "Content-Digest", &digests),
        "Content-Digest gives a value of sha-256 that contradicts one given before.");
}

#define SYNTAX "Repr-Digest is not a list of digests such as sha-256=:BASE64:, with names in small letters."
#define VALUE  "Repr-Digest gives a value of "

static void test_field_is_refused(void **state)
{
    static const struct {
        const char *field, *problem;
    } rows[] = {
        {"=:AAAA:", SYNTAX},
        {"sha-256", SYNTAX},
        {"sha-256;a=1", SYNTAX},
        {"sha-256 =:" SAMPLE_SHA256 ":", SYNTAX},
        {"SHA-256=:" SAMPLE_SHA256 ":", SYNTAX},
        {"Sha-256=:" SAMPLE_SHA256 ":", SYNTAX},
        {"sHa-256=:" SAMPLE_SHA256 ":", SYNTAX},
        {"256=:AAAA:", SYNTAX},
        {"-a=:AAAA:", SYNTAX},
        {"_a=:AAAA:", SYNTAX},
        {",md5=:" SAMPLE_MD5 ":", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":,", SYNTAX},
        {"md5=:" SAMPLE_MD5 ": , ", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":,,crc32c=:" SAMPLE_CRC32C ":", SYNTAX},
        {"md5=:" SAMPLE_MD5 ": crc32c=:" SAMPLE_CRC32C ":", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":crc32c=:" SAMPLE_CRC32C ":", SYNTAX},
        {"md5=:" SAMPLE_MD5 "::", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":x", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;=1", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;A=1", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a= 1", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=1;", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;\ta=1", SYNTAX},
        {"md5=:" SAMPLE_MD5 ": ;a=1", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=(1 2)", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"open", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"open\\", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"open\\\"", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"b\\c\"", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"b\tc\"", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=\"b\303\251c\"", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=b\303\251c", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=:AAAA", SYNTAX},
        {"md5=:" SAMPLE_MD5 ":;a=:A:", SYNTAX},

        {"md5=", VALUE "md5 that does not stand between two colons."},
        {"md5=" SAMPLE_MD5, VALUE "md5 that does not stand between two colons."},
        {"md5=:" SAMPLE_MD5, VALUE "md5 that does not stand between two colons."},
        {"md5=:", VALUE "md5 that does not stand between two colons."},
        {"md5= :" SAMPLE_MD5 ":", VALUE "md5 that does not stand between two colons."},
        {"md5=\"" SAMPLE_MD5 "\"", VALUE "md5 that does not stand between two colons."},
        {"md5=(:" SAMPLE_MD5 ":)", VALUE "md5 that does not stand between two colons."},
        {"md5=10", VALUE "md5 that does not stand between two colons."},
        {"unknown=1", VALUE "unknown that does not stand between two colons."},

        /* White space anywhere; "=" too early, too many, too few; the other alphabet; another character. */
        {"crc32c=: Q3lHIA==:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHIA== :", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lH IA==:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHIA==\t\t\t\t:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHIA:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHIA=:", VALUE "crc32c that is not base64."},
        {"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg==:", VALUE "sha-256 that is not base64."},
        {"crc32c=:Q3lHI===:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lH====:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3l=IA==:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3==IA==:", VALUE "crc32c that is not base64."},
        {"crc32c=:=3lHIA==:", VALUE "crc32c that is not base64."},
        {"crc32c=:====:", VALUE "crc32c that is not base64."},
        {"crc32c=:=:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHI_==:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHI-==:", VALUE "crc32c that is not base64."},
        {"crc32c=:Q3lHI\351==:", VALUE "crc32c that is not base64."},
        {"unknown=:A:", VALUE "unknown that is not base64."},
        {"unknown=:AA=A:", VALUE "unknown that is not base64."},

        {"crc32c=::", VALUE "crc32c that does not have 4 bytes."},
        {"crc32c=:AAAA:", VALUE "crc32c that does not have 4 bytes."},
        {"crc32c=:Q3lHIAA=:", VALUE "crc32c that does not have 4 bytes."},
        {"crc32c=:Q3lHIAAA:", VALUE "crc32c that does not have 4 bytes."},
        {"md5=:" SAMPLE_SHA256 ":", VALUE "md5 that does not have 16 bytes."},
        {"sha-256=:" SAMPLE_MD5 ":", VALUE "sha-256 that does not have 32 bytes."},
        {"sha-256=:" SAMPLE_SHA512 ":", VALUE "sha-256 that does not have 32 bytes."},

        {"md5=:" SAMPLE_MD5 ":, md5=:Sd/dVLAcvNLSq16eXua5ug==:",
         VALUE "md5 that contradicts one given before."},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digests digests = {0};
        const char *problem = take(rows[i].field, &digests);

        if (problem == NULL || strcmp(problem, rows[i].problem) != 0)
            fail_msg("\"%s\" gives: %s", rows[i].field, problem != NULL ? problem : "no problem");
    }
}

/* A NUL ends neither a name, nor a value, nor a string. */
static void test_nul(void **state)
{
    static const struct slice fields[] = {
        BYTES("\0"),           BYTES("a\0=:AAAA:"),     BYTES("a=:AAAA:\0"),        BYTES("a=:A\0AA:"),
        BYTES("a=:AAAA:;b\0"), BYTES("a=:AAAA:;b=c\0"), BYTES("a=:AAAA:;b=\"\0\""),
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(fields); i++) {
        struct digests digests = {0};
        if (digests_take_field(fields[i], "Repr-Digest", &digests) == NULL)
            fail_msg("row %zu is taken", i);
    }
}

/* The sentence stays short and whole when the name in it is not. */
static void test_long_name(void **state)
{
    struct buffer field = {NULL, 0, 0};
    struct digests digests = {0};
    const char *problem;
    int i;

    (void)state;
    for (i = 0; i < 5000; i++)
        buffer_append_text(&field, "a");
    buffer_append_text(&field, "=1");
    problem = take(field.base, &digests);
    assert_non_null(problem);
    assert_true(strlen(problem) < 200);
    assert_string_equal(problem + strlen(problem) - strlen(" two colons."), " two colons.");
    buffer_free(&field);
}

static void test_content_md5(void **state)
{
    static const struct {
        const char *field, *problem;
    } rows[] = {
        {SAMPLE_MD5, NULL},
        {" " SAMPLE_MD5 "\t", NULL},
        {"", "Content-MD5 gives a value of md5 that does not have 16 bytes."},
        {"AAAA", "Content-MD5 gives a value of md5 that does not have 16 bytes."},
        {SAMPLE_SHA256, "Content-MD5 gives a value of md5 that does not have 16 bytes."},
        {"Sd/dVLAcvNLSq16eXua5uQ", "Content-MD5 gives a value of md5 that is not base64."},
        {":" SAMPLE_MD5 ":", "Content-MD5 gives a value of md5 that is not base64."},
        {SAMPLE_MD5 "," SAMPLE_MD5, "Content-MD5 gives a value of md5 that is not base64."},
        {"49dfdd54b01cbcd2d2ab5e9e5ee6b9b9x", "Content-MD5 gives a value of md5 that is not base64."},
        /* In hexadecimal, a mistake often made: that is base64, too, but of more bytes. */
        {"49dfdd54b01cbcd2d2ab5e9e5ee6b9b9", "Content-MD5 gives a value of md5 that does not have 16 bytes."},
    };
    struct digests expected = digests_of(SLICE_LITERAL(SAMPLE));
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digests digests = {0};
        const char *problem = digests_take_content_md5(slice_of(rows[i].field), &digests);

        if (rows[i].problem == NULL) {
            assert_row(problem == NULL && digests.known == MD5, rows[i].field);
            assert_row(digests_compare(&digests, &expected) == -1, rows[i].field);
        } else if (problem == NULL || strcmp(problem, rows[i].problem) != 0) {
            fail_msg("\"%s\" gives: %s", rows[i].field, problem != NULL ? problem : "no problem");
        }
    }
}

static void test_preferences_are_taken(void **state)
{
    static const struct {
        const char *field;
        unsigned char crc32c, sha256, md5;
    } rows[] = {
        {"", 0, 0, 0},
        {"sha-256=1", 0, 1, 0},
        {"sha-512=3, sha-256=10, unixsum=0", 0, 10, 0},
        {"sha-256=10, crc32c=1, sha-512=0", 1, 10, 0},
        {"md5=0,crc32c=9 ,\tsha-256=010", 9, 10, 0},
        {" md5=5;q=0.5;x , *a.b-c_d=2 ", 0, 0, 5},
        /* Of two members the last counts, also when it takes back the first (RFC 8941, 4.2.2). */
        {"md5=3, md5=7", 0, 0, 7},
        {"md5=3, md5=0", 0, 0, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digest_preferences preferences = {{0}};
        const char *problem = take_preferences(rows[i].field, &preferences);

        if (problem != NULL)
            fail_msg("\"%s\" is refused: %s", rows[i].field, problem);
        assert_row(preferences.weight[DIGEST_CRC32C] == rows[i].crc32c, rows[i].field);
        assert_row(preferences.weight[DIGEST_SHA_256] == rows[i].sha256, rows[i].field);
        assert_row(preferences.weight[DIGEST_MD5] == rows[i].md5, rows[i].field);
    }
}

#define WANT_SYNTAX                                                                                          \
    "Want-Repr-Digest is not a list of preferences such as sha-256=10, with names in small letters."
#define WANT_WEIGHT(name) "Want-Repr-Digest gives " name " a preference that is not an integer from 0 to 10."

static void test_preferences_are_refused(void **state)
{
    static const struct {
        const char *field, *problem;
    } rows[] = {
        {"sha-256", WANT_SYNTAX},
        {"SHA-256=1", WANT_SYNTAX},
        {"sha-256=1,", WANT_SYNTAX},
        {"sha-256=1,,md5=1", WANT_SYNTAX},
        {"sha-256=1 md5=1", WANT_SYNTAX},
        {"sha-256=1.0", WANT_SYNTAX},
        {"sha-256=1x", WANT_SYNTAX},
        {"sha-256=1;", WANT_SYNTAX},
        {"sha-256;q=0.5", WANT_SYNTAX},
        {"sha-256=", WANT_WEIGHT("sha-256")},
        {"sha-256=11", WANT_WEIGHT("sha-256")},
        {"sha-256=100", WANT_WEIGHT("sha-256")},
        {"sha-256=4294967297", WANT_WEIGHT("sha-256")},
        {"sha-256=18446744073709551617", WANT_WEIGHT("sha-256")},
        {"sha-256=-1", WANT_WEIGHT("sha-256")},
        {"sha-256=+1", WANT_WEIGHT("sha-256")},
        {"sha-256=?1", WANT_WEIGHT("sha-256")},
        {"sha-256= 1", WANT_WEIGHT("sha-256")},
        {"sha-256=:AAAA:", WANT_WEIGHT("sha-256")},
        {"sha-256=1, unknown=11", WANT_WEIGHT("unknown")},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digest_preferences preferences = {{0}};
        const char *problem = take_preferences(rows[i].field, &preferences);

        if (problem == NULL || strcmp(problem, rows[i].problem) != 0)
            fail_msg("\"%s\" gives: %s", rows[i].field, problem != NULL ? problem : "no problem");
    }
}

static void test_format(void **state)
{
    static const struct {
        unsigned known;
        const char *wanted; /* NULL: no preferences */
        const char *value;
    } rows[] = {
        {0, NULL, ""},
        {MD5, NULL, ""},
        {CRC32C, NULL, "crc32c=:" SAMPLE_CRC32C ":"},
        {ALL, NULL, "crc32c=:" SAMPLE_CRC32C ":, sha-256=:" SAMPLE_SHA256 ":"},
        {ALL, "", ""},
        {ALL, "sha-512=10", ""},
        {ALL, "sha-256=0, crc32c=0, md5=0", ""},
        {SHA256, "crc32c=10", ""},
        {ALL, "md5=1", "md5=:" SAMPLE_MD5 ":"},
        {ALL, "sha-256=10, crc32c=1, sha-512=0", "sha-256=:" SAMPLE_SHA256 ":, crc32c=:" SAMPLE_CRC32C ":"},
        {ALL, "sha-256=1, crc32c=10", "crc32c=:" SAMPLE_CRC32C ":, sha-256=:" SAMPLE_SHA256 ":"},
        {CRC32C | MD5, "sha-256=10, md5=9, crc32c=8", "md5=:" SAMPLE_MD5 ":, crc32c=:" SAMPLE_CRC32C ":"},
        {ALL, "sha-256=3, md5=2, crc32c=1",
         "sha-256=:" SAMPLE_SHA256 ":, md5=:" SAMPLE_MD5 ":, crc32c=:" SAMPLE_CRC32C ":"},
    };
    struct digests digests = digests_of(SLICE_LITERAL(SAMPLE));
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct digest_preferences preferences = {{0}};

        digests.known = rows[i].known;
        if (rows[i].wanted != NULL)
            assert_null(take_preferences(rows[i].wanted, &preferences));
        assert_formats_as(&digests, rows[i].wanted != NULL ? &preferences : NULL, rows[i].value);
    }
}

static void test_append_base64(void **state)
{
    struct digests digests = digests_of(SLICE_LITERAL(SAMPLE));
    struct buffer text = {NULL, 0, 0};

    (void)state;
    digest_append_base64(&digests, DIGEST_MD5, &text);
    buffer_append_text(&text, "|");
    digest_append_base64(&digests, DIGEST_SHA_256, &text);
    buffer_append_text(&text, "|");
    digest_append_base64(&digests, DIGEST_CRC32C, &text);
    assert_slice_equals(buffer_slice(&text), SLICE_LITERAL(SAMPLE_MD5 "|" SAMPLE_SHA256 "|" SAMPLE_CRC32C));
    buffer_free(&text);
}

static void test_set_crc32c(void **state)
{
    struct digests digests = {0};

    (void)state;
    digests_set_crc32c(&digests, 0xe3069283);
    assert_int_equal(digests.known, CRC32C);
    assert_memory_equal(digests.value[DIGEST_CRC32C], "\xe3\x06\x92\x83", 4);
}

static void test_compute(void **state)
{
    struct digests digests = digests_of(SLICE_ABSENT);
    struct digest_context *context;

    (void)state;
    assert_int_equal(digests.known, ALL);
    digests.known = SHA256;
    assert_formats_as(&digests, NULL, "sha-256=:" EMPTY_SHA256 ":");
    digests.known = CRC32C;
    assert_formats_as(&digests, NULL, "crc32c=:AAAAAA==:");

    /* Another sample of RFC 9530 (B.1): the same with a line break behind it. */
    digests = digests_of(SLICE_LITERAL(SAMPLE "\n"));
    digests.known = SHA256;
    assert_formats_as(&digests, NULL, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");

    /* Only what was asked for, and nothing of what stood there. */
    memset(&digests, 0xff, sizeof(digests));
    context = digest_begin(MD5);
    digest_finish(context, &digests);
    assert_int_equal(digests.known, MD5);
    digest_finish(digest_begin(0), &digests);
    assert_int_equal(digests.known, 0);

    digest_abandon(NULL);
    context = digest_begin(ALL);
    digest_update(context, SAMPLE, sizeof(SAMPLE) - 1);
    digest_abandon(context);
}

static void test_compute_in_pieces(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 500; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0};
        struct digest_context *context = digest_begin(ALL);
        struct digests whole, pieces;
        size_t done = 0;

        random_append_bytes(&random, 1 + random_below(&random, 2000), &bytes);
        while (done < bytes.len) {
            size_t piece = random_below(&random, bytes.len - done + 1);
            digest_update(context, bytes.base + done, piece);
            done += piece;
        }
        digest_finish(context, &pieces);
        whole = digests_of(buffer_slice(&bytes));
        assert_seeded(digests_compare(&pieces, &whole) == -1, seed);
        buffer_free(&bytes);
    }
}

static void test_compare(void **state)
{
    struct digests computed = digests_of(SLICE_LITERAL(SAMPLE)), claimed = computed;
    enum digest_algorithm algorithm;

    (void)state;
    assert_int_equal(digests_compare(&claimed, &computed), -1);
    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++) {
        unsigned char *last = &claimed.value[algorithm][digest_size(algorithm) - 1];

        *last ^= 1;
        assert_int_equal(digests_compare(&claimed, &computed), algorithm);
        claimed.known = ALL & ~DIGEST_BIT(algorithm);
        assert_int_equal(digests_compare(&claimed, &computed), -1);
        claimed.known = ALL;
        *last ^= 1;
    }

    /* What nobody has computed is not verified, whatever stands in its place. */
    computed.known = CRC32C | SHA256;
    assert_int_equal(digests_compare(&claimed, &computed), DIGEST_MD5);
    claimed.known = 0;
    assert_int_equal(digests_compare(&claimed, &computed), -1);
}

/* What is formatted is read back the same, whatever the bytes. */
static void test_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        static const struct digest_preferences all = {{3, 2, 1}};
        struct random random = random_seeded(seed);
        struct digests digests = {0}, read = {0};
        struct buffer field = {NULL, 0, 0};
        enum digest_algorithm algorithm;
        size_t i;

        for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++)
            for (i = 0; i < digest_size(algorithm); i++)
                digests.value[algorithm][i] = (unsigned char)random_next(&random);
        digests.known = (unsigned)random_below(&random, ALL + 1);
        digests_format(&digests, &all, &field);
        assert_seeded(digests_take_field(buffer_slice(&field), "Repr-Digest", &read) == NULL, seed);
        assert_seeded(read.known == digests.known && digests_compare(&digests, &read) == -1, seed);
        buffer_free(&field);
    }
}

/* Whatever the bytes: an answer, no read beyond the field, and what is then known can be sent. */
static void test_any_bytes(void **state)
{
    static const char *const pieces[] = {
        "sha-256",
        "md5",
        "crc32c",
        "x",
        "=",
        ":",
        ":" SAMPLE_MD5 ":",
        ":" SAMPLE_CRC32C ":",
        SAMPLE_MD5,
        "AAAA",
        ", ",
        ",",
        ";a",
        " ",
        "\"",
        "\\",
        "=1",
        "10",
        "A",
        "\t",
        "\377",
    };
    uint64_t seed;
    size_t taken = 0;

    (void)state;
    for (seed = 1; seed <= 30000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer text = {NULL, 0, 0};
        struct digests digests = {0};
        struct digest_preferences preferences = {{0}};
        size_t count = 1 + random_below(&random, 12);
        enum digest_algorithm algorithm;

        while (count-- != 0)
            buffer_append_text(&text, pieces[random_below(&random, COUNT_OF(pieces))]);
        if (take(text.base, &digests) == NULL)
            taken++;
        assert_seeded((digests.known & ~ALL) == 0, seed);
        (void)take_preferences(text.base, &preferences);
        for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++)
            assert_seeded(preferences.weight[algorithm] <= 10, seed);
        buffer_free(&text);
    }
    assert_true(taken > 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes),
        cmocka_unit_test(test_field_is_taken),
        cmocka_unit_test(test_several_fields),
        cmocka_unit_test(test_field_is_refused),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_content_md5),
        cmocka_unit_test(test_preferences_are_taken),
        cmocka_unit_test(test_preferences_are_refused),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_append_base64),
        cmocka_unit_test(test_set_crc32c),
        cmocka_unit_test(test_compute),
        cmocka_unit_test(test_compute_in_pieces),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
