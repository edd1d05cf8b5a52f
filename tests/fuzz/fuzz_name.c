/* Percent-encoding and back is no change; what is repaired is UTF-8. */
#include "fuzz.h"

#include "name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer encoded = {NULL, 0, 0}, decoded = {NULL, 0, 0}, repaired = {NULL, 0, 0};
    struct slice name = fuzz_slice(data, size);

    if (percent_decode(name, PERCENT_PLUS_IS_PLUS, &decoded))
        must(decoded.len <= name.len);
    decoded.len = 0;
    percent_encode(name, size % 2 != 0, &encoded);
    must(percent_decode(buffer_slice(&encoded), PERCENT_PLUS_IS_PLUS, &decoded));
    must(slice_equals(buffer_slice(&decoded), name));
    must(name_problem(name) != NULL ||
         (name.len >= 1 && name.len <= NAME_SIZE_MAX && memchr(name.base, 0, name.len) == NULL));
    utf8_repair(name, &repaired);
    must(utf8_is_valid(buffer_slice(&repaired)));
    must(!utf8_is_valid(name) || slice_equals(buffer_slice(&repaired), name));
    buffer_free(&encoded);
    buffer_free(&decoded);
    buffer_free(&repaired);
    return 0;
}
