/* The arena: zeroed, aligned, and gone at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/fields.h"

static void the_arena_gives_zeroed_and_aligned_memory(void **state) {
    struct arena own = {0};

    for (size_t len = 0; len < 5000; len += 37) {
        char *memory = arena_alloc(&own, len);

        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, len);
    }
    assert_string_equal(arena_strndup(&own, "cut here", 3), "cut");
    assert_string_equal(arena_strndup(&own, NULL, 0), "");
    assert_null(arena_alloc(&own, SIZE_MAX));
    assert_null(arena_strndup(&own, "x", SIZE_MAX));
    arena_deinit(&own);
    arena_deinit(&own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_arena_gives_zeroed_and_aligned_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
