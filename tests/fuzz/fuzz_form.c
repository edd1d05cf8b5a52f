/* A boundary, NUL, a body: what is found lies within the body, whatever it is. */
#include "fuzz.h"

#include "form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = fuzz_slice(data, size), type = fuzz_cut(&body), boundary;
    const char *problem = NULL;
    struct form form;
    size_t i;

    boundary = form_boundary(type, &problem);
    must(problem == NULL || boundary.base == NULL);
    if (boundary.base == NULL)
        boundary = SLICE_LITERAL("b");
    must(boundary.len != 0);
    problem = form_parse(body, boundary, NULL, NULL, &form);
    must(problem == NULL || form.count == 0);
    for (i = 0; i < form.count; i++) {
        must(fuzz_within(form.files[i].content, body));
        must(fuzz_within(form.files[i].media_type, body));
    }
    form_free(&form);
    return 0;
}
