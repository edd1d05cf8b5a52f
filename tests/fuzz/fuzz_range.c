/* 8 bytes: the size; then a Range field. What is to be sent lies within the size, and nothing of it twice. */
#include "fuzz.h"

#include "range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span spans[RANGES_MAX];
    struct ranges ranges;
    uint64_t total = 0;
    size_t count, i, k;

    if (size < sizeof(total))
        return 0;
    memcpy(&total, data, sizeof(total));
    total &= INT64_MAX; /* no file is larger */
    ranges = ranges_parse(fuzz_slice(data + sizeof(total), size - sizeof(total)));
    must(ranges.count <= RANGES_MAX);
    count = ranges_resolve(&ranges, total, spans);
    must(count <= ranges.count);
    for (i = 0; i < count; i++) {
        must(spans[i].length != 0 && spans[i].offset < total && spans[i].length <= total - spans[i].offset);
        for (k = 0; k < i; k++)
            must(spans[i].offset + spans[i].length < spans[k].offset ||
                 spans[k].offset + spans[k].length < spans[i].offset);
    }
    return 0;
}
