#include "digest.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "crc32c.h"
#include "log.h"
#include "xalloc.h"

#define WEIGHT_MAX 10 /* RFC 9530, 4 */

/* A block of base64 makes three bytes, of which the last may have up to two too many. */
#define DECODED_SIZE_MAX (DIGEST_SIZE_MAX + 2)
#define ENCODED_SIZE_MAX ((DIGEST_SIZE_MAX + 2) / 3 * 4)

static const struct {
    const char *name; /* in the registry of RFC 9530 */
    size_t size;
    const EVP_MD *(*method)(void); /* NULL: crc32c.h */
    bool unasked;                  /* given to those who have no preferences */
} algorithms[DIGEST_COUNT] = {
    [DIGEST_CRC32C] = {"crc32c", 4, NULL, true},
    [DIGEST_SHA_256] = {"sha-256", 32, EVP_sha256, true},
    [DIGEST_MD5] = {"md5", 16, EVP_md5, false},
};

size_t digest_size(enum digest_algorithm algorithm)
{
    return algorithms[algorithm].size;
}

const char *digest_name(enum digest_algorithm algorithm)
{
    return algorithms[algorithm].name;
}

static bool is_known(const struct digests *digests, enum digest_algorithm algorithm)
{
    return (digests->known & DIGEST_BIT(algorithm)) != 0;
}

/* DIGEST_COUNT when it is none of ours. */
static enum digest_algorithm algorithm_named(struct slice name)
{
    enum digest_algorithm algorithm;

    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++)
        if (slice_is(name, algorithms[algorithm].name))
            break;
    return algorithm;
}

static const char *sentence(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *sentence(const char *format, ...)
{
    static _Thread_local char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return text;
}

/* For "%.*s": a name may be as long as the client likes. */
static int printed_len(struct slice name)
{
    return name.len < 64 ? (int)name.len : 64;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_one_of(char c, struct slice characters)
{
    return memchr(characters.base, c, characters.len) != NULL;
}

/*
 * False when the text is not base64 as RFC 4648, 4 writes it: whole blocks, "=" only to fill the last one.
 * OpenSSL cannot be asked: it takes white space around the text and "=" anywhere.
 */
static bool base64_decoded_size(struct slice encoded, size_t *size)
{
    size_t padding = 0, i;

    if (encoded.len % 4 != 0)
        return false;
    while (padding < 2 && padding < encoded.len && encoded.base[encoded.len - 1 - padding] == '=')
        padding++;
    for (i = 0; i < encoded.len - padding; i++) {
        char c = encoded.base[i];
        if (!is_lower(c) && !is_upper(c) && !is_digit(c) && c != '+' && c != '/')
            return false;
    }
    *size = encoded.len / 4 * 3 - padding;
    return true;
}

/* What follows takes a piece of a Dictionary (RFC 8941, 4.2) off the front of *rest. False: it does not stand
 * there. */

static void skip(struct slice *rest, size_t len)
{
    rest->base += len;
    rest->len -= len;
}

static bool take_character(struct slice *rest, char character)
{
    if (rest->len == 0 || rest->base[0] != character)
        return false;
    skip(rest, 1);
    return true;
}

static bool take_key(struct slice *rest, struct slice *key)
{
    size_t len = 0;

    if (rest->len == 0 || !(is_lower(rest->base[0]) || rest->base[0] == '*'))
        return false;
    while (len < rest->len && (is_lower(rest->base[len]) || is_digit(rest->base[len]) ||
                               is_one_of(rest->base[len], SLICE_LITERAL("_-.*"))))
        len++;
    *key = (struct slice){rest->base, len};
    skip(rest, len);
    return true;
}

/* What stands between the colons of a byte sequence, whether it is base64 or not. */
static bool take_byte_sequence(struct slice *rest, struct slice *encoded)
{
    if (!take_character(rest, ':') || rest->len == 0 || memchr(rest->base, ':', rest->len) == NULL)
        return false;
    *encoded = slice_cut(rest, ':');
    return true;
}

/* An integer from 0 to WEIGHT_MAX. */
static bool take_weight(struct slice *rest, unsigned *weight)
{
    bool some = false;

    *weight = 0;
    while (rest->len != 0 && is_digit(rest->base[0]) && *weight <= WEIGHT_MAX) {
        *weight = *weight * 10 + (unsigned)(rest->base[0] - '0');
        some = true;
        skip(rest, 1);
    }
    return some && *weight <= WEIGHT_MAX;
}

static bool take_string(struct slice *rest)
{
    if (!take_character(rest, '"'))
        return false;
    while (rest->len != 0) {
        char c = rest->base[0];

        skip(rest, 1);
        if (c == '"')
            return true;
        if (c < ' ' || c > '~')
            return false;
        if (c == '\\' && !take_character(rest, '"') && !take_character(rest, '\\'))
            return false;
    }
    return false;
}

/* The value of a parameter. Nobody looks at it, so what is neither a string nor a byte sequence need only be
 * made of the characters of a number, a boolean, a date or a token. */
static bool take_parameter_value(struct slice *rest)
{
    struct slice encoded;
    size_t len = 0, size;

    if (rest->len != 0 && rest->base[0] == '"')
        return take_string(rest);
    if (rest->len != 0 && rest->base[0] == ':')
        return take_byte_sequence(rest, &encoded) && base64_decoded_size(encoded, &size);
    while (len < rest->len &&
           (is_lower(rest->base[len]) || is_upper(rest->base[len]) || is_digit(rest->base[len]) ||
            is_one_of(rest->base[len], SLICE_LITERAL("!#$%&'*+-.^_`|~:/?@"))))
        len++;
    skip(rest, len);
    return len != 0;
}

static bool take_parameters(struct slice *rest)
{
    struct slice key;

    while (take_character(rest, ';')) {
        while (take_character(rest, ' '))
            ;
        if (!take_key(rest, &key))
            return false;
        if (take_character(rest, '=') && !take_parameter_value(rest))
            return false;
    }
    return true;
}

/* What stands behind a member: parameters, and then the end or a comma with another member behind it. */
static bool take_end_of_member(struct slice *rest)
{
    if (!take_parameters(rest))
        return false;
    *rest = slice_trim(*rest);
    if (rest->len == 0)
        return true;
    if (!take_character(rest, ','))
        return false;
    *rest = slice_trim(*rest);
    return rest->len != 0;
}

static const char *take_value(const char *field_name, struct slice name, struct slice encoded,
                              struct digests *digests)
{
    enum digest_algorithm algorithm = algorithm_named(name);
    unsigned char value[DECODED_SIZE_MAX];
    size_t size;

    if (!base64_decoded_size(encoded, &size))
        return sentence("%s gives a value of %.*s that is not base64.", field_name, printed_len(name),
                        name.base);
    if (algorithm == DIGEST_COUNT)
        return NULL;
    if (size != digest_size(algorithm))
        return sentence("%s gives a value of %s that does not have %zu bytes.", field_name,
                        digest_name(algorithm), digest_size(algorithm));

    (void)EVP_DecodeBlock(value, (const unsigned char *)encoded.base, (int)encoded.len);
    if (is_known(digests, algorithm) && memcmp(digests->value[algorithm], value, size) != 0)
        return sentence("%s gives a value of %s that contradicts one given before.", field_name,
                        digest_name(algorithm));
    memcpy(digests->value[algorithm], value, size);
    digests->known |= DIGEST_BIT(algorithm);
    return NULL;
}

const char *digests_take_field(struct slice field, const char *field_name, struct digests *digests)
{
    static const char syntax[] =
        "%s is not a list of digests such as sha-256=:BASE64:, with names in small letters.";
    struct slice rest = slice_trim(field), name, encoded;

    while (rest.len != 0) {
        const char *problem;

        if (!take_key(&rest, &name) || !take_character(&rest, '='))
            return sentence(syntax, field_name);
        if (!take_byte_sequence(&rest, &encoded))
            return sentence("%s gives a value of %.*s that does not stand between two colons.", field_name,
                            printed_len(name), name.base);
        problem = take_value(field_name, name, encoded, digests);
        if (problem != NULL)
            return problem;
        if (!take_end_of_member(&rest))
            return sentence(syntax, field_name);
    }
    return NULL;
}

const char *digests_take_content_md5(struct slice field, struct digests *digests)
{
    return take_value("Content-MD5", slice_of(digest_name(DIGEST_MD5)), slice_trim(field), digests);
}

void digests_set_crc32c(struct digests *digests, uint32_t crc)
{
    unsigned char *value = digests->value[DIGEST_CRC32C];

    value[0] = (unsigned char)(crc >> 24);
    value[1] = (unsigned char)(crc >> 16);
    value[2] = (unsigned char)(crc >> 8);
    value[3] = (unsigned char)crc;
    digests->known |= DIGEST_BIT(DIGEST_CRC32C);
}

const char *digest_preferences_take(struct slice field, const char *field_name,
                                    struct digest_preferences *preferences)
{
    static const char syntax[] =
        "%s is not a list of preferences such as sha-256=10, with names in small letters.";
    struct slice rest = slice_trim(field), name;
    unsigned weight;

    while (rest.len != 0) {
        enum digest_algorithm algorithm;

        if (!take_key(&rest, &name) || !take_character(&rest, '='))
            return sentence(syntax, field_name);
        if (!take_weight(&rest, &weight))
            return sentence("%s gives %.*s a preference that is not an integer from 0 to %d.", field_name,
                            printed_len(name), name.base, WEIGHT_MAX);
        if (!take_end_of_member(&rest))
            return sentence(syntax, field_name);
        algorithm = algorithm_named(name);
        if (algorithm != DIGEST_COUNT)
            preferences->weight[algorithm] = (unsigned char)weight;
    }
    return NULL;
}

void digest_append_base64(const struct digests *digests, enum digest_algorithm algorithm, struct buffer *to)
{
    unsigned char encoded[ENCODED_SIZE_MAX + 1]; /* with OpenSSL's NUL */
    int len = EVP_EncodeBlock(encoded, digests->value[algorithm], (int)digest_size(algorithm));

    buffer_append(to, encoded, (size_t)len);
}

static unsigned weight_of(enum digest_algorithm algorithm, const struct digest_preferences *preferences)
{
    if (preferences == NULL)
        return algorithms[algorithm].unasked ? 1 : 0;
    return preferences->weight[algorithm];
}

void digests_format(const struct digests *digests, const struct digest_preferences *preferences,
                    struct buffer *to)
{
    enum digest_algorithm algorithm;
    unsigned weight;
    bool first = true;

    for (weight = WEIGHT_MAX; weight != 0; weight--) {
        for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++) {
            if (!is_known(digests, algorithm) || weight_of(algorithm, preferences) != weight)
                continue;
            buffer_printf(to, "%s%s=:", first ? "" : ", ", digest_name(algorithm));
            digest_append_base64(digests, algorithm, to);
            buffer_append_text(to, ":");
            first = false;
        }
    }
}

int digests_compare(const struct digests *claimed, const struct digests *computed)
{
    enum digest_algorithm algorithm;

    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++) {
        if (!is_known(claimed, algorithm))
            continue;
        if (!is_known(computed, algorithm) ||
            memcmp(claimed->value[algorithm], computed->value[algorithm], digest_size(algorithm)) != 0)
            return (int)algorithm;
    }
    return -1;
}

struct digest_context {
    unsigned algorithms;               /* bits */
    EVP_MD_CTX *openssl[DIGEST_COUNT]; /* NULL where OpenSSL has nothing to do */
    uint32_t crc;
};

/* OpenSSL fails for want of memory, or where its configuration forbids the algorithm. Neither leaves us a
 * digest to go on with. */
static void must(int succeeded, enum digest_algorithm algorithm)
{
    if (succeeded != 1) {
        log_error("OpenSSL does not compute %s", digest_name(algorithm));
        abort();
    }
}

struct digest_context *digest_begin(unsigned wanted)
{
    struct digest_context *context = xcalloc(1, sizeof(*context));
    enum digest_algorithm algorithm;

    context->algorithms = wanted;
    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++) {
        if ((wanted & DIGEST_BIT(algorithm)) == 0 || algorithms[algorithm].method == NULL)
            continue;
        context->openssl[algorithm] = EVP_MD_CTX_new();
        must(context->openssl[algorithm] != NULL, algorithm);
        must(EVP_DigestInit_ex(context->openssl[algorithm], algorithms[algorithm].method(), NULL), algorithm);
    }
    return context;
}

void digest_update(struct digest_context *context, const void *bytes, size_t len)
{
    enum digest_algorithm algorithm;

    if ((context->algorithms & DIGEST_BIT(DIGEST_CRC32C)) != 0)
        context->crc = crc32c_update(context->crc, bytes, len);
    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++)
        if (context->openssl[algorithm] != NULL)
            must(EVP_DigestUpdate(context->openssl[algorithm], bytes, len), algorithm);
}

void digest_finish(struct digest_context *context, struct digests *digests)
{
    enum digest_algorithm algorithm;

    *digests = (struct digests){0};
    if ((context->algorithms & DIGEST_BIT(DIGEST_CRC32C)) != 0)
        digests_set_crc32c(digests, context->crc);
    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++) {
        if (context->openssl[algorithm] == NULL)
            continue;
        must(EVP_DigestFinal_ex(context->openssl[algorithm], digests->value[algorithm], NULL), algorithm);
        digests->known |= DIGEST_BIT(algorithm);
    }
    digest_abandon(context);
}

void digest_abandon(struct digest_context *context)
{
    enum digest_algorithm algorithm;

    if (context == NULL)
        return;
    for (algorithm = 0; algorithm < DIGEST_COUNT; algorithm++)
        EVP_MD_CTX_free(context->openssl[algorithm]);
    free(context);
}
