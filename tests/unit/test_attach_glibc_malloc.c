/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The reader of glibc's malloc, on a heap that is laid out here: an arena of brk(), a thread's, a cache, a fastbin; and on
 * many that are damaged. */
#include "attach/glibc_malloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BASE      UINT64_C(0x70000000) /* a multiple of 64 MiB: the thread's heap begins here */
#define HEAP_SIZE UINT64_C(0x8000)
#define LIBRARY   (BASE + HEAP_SIZE)
#define MAIN      (LIBRARY + 0x200)
#define BRK       (LIBRARY + 0x2000)
#define BRK_SIZE  UINT64_C(0x4000)
#define SIZE      (HEAP_SIZE + 0x2000 + BRK_SIZE)
#define THREADS   (BASE + 48) /* the thread's arena */
#define BINS      112u
#define NEXT      2160u
#define STATE     2200u

struct laid {
    unsigned char bytes[SIZE];
};

static void put(struct laid *laid, uint64_t at, uint64_t value)
{
    memcpy(laid->bytes + (at - BASE), &value, sizeof(value));
}

static void put_arena(struct laid *laid, uint64_t arena, uint64_t next, uint64_t top, uint64_t system)
{
    put(laid, arena + BINS - 16, top);
    for (uint64_t i = 0; i < 127; i++) {
        put(laid, arena + BINS + i * 16, arena + BINS + i * 16 - 16);
        put(laid, arena + BINS + i * 16 + 8, arena + BINS + i * 16 - 16);
    }
    put(laid, arena + NEXT, next);
    put(laid, arena + NEXT + 16, 1);
    put(laid, arena + NEXT + 24, system);
}

/* A free chunk of 0x100 bytes alone in the first bin. */
static void put_free(struct laid *laid, uint64_t arena, uint64_t chunk)
{
    put(laid, arena + BINS, chunk);
    put(laid, arena + BINS + 8, chunk);
    put(laid, chunk + 16, arena + BINS - 16);
    put(laid, chunk + 24, arena + BINS - 16);
}

/* In the heap by brk(): a cache with two chunks of 0x30 bytes, these, one in a fastbin, one in use, a free one, one in use,
 * the top. `mangled`: links are, as from 2.32 on. */
static void lay_main(struct laid *laid, bool mangled)
{
    uint64_t cache = BRK, first = cache + 0x290, second = first + 0x30, fast = second + 0x30, used = fast + 0x20;
    uint64_t empty = used + 0x400, last = empty + 0x100, top = last + 0x50;

    put_arena(laid, MAIN, THREADS, top, BRK_SIZE);
    put(laid, cache + 8, 0x291);
    put(laid, cache + 16, UINT64_C(2) << 16); /* counts: of the second bin */
    put(laid, cache + 16 + 128 + 8, first + 16);
    put(laid, first + 8, 0x31);
    put(laid, first + 16, (second + 16) ^ (mangled ? (first + 16) >> 12 : 0));
    put(laid, second + 8, 0x31);
    put(laid, second + 16, mangled ? (second + 16) >> 12 : 0);
    put(laid, MAIN + 16, fast);
    put(laid, fast + 8, 0x21);
    put(laid, fast + 16, mangled ? (fast + 16) >> 12 : 0);
    put(laid, used + 8, 0x401);
    put(laid, empty + 8, 0x101);
    put_free(laid, MAIN, empty);
    put(laid, last, 0x100);
    put(laid, last + 8, 0x50);
    put(laid, top + 8, (BRK + BRK_SIZE - top) | 1);
}

static void lay(struct laid *laid, bool mangled)
{
    uint64_t first = THREADS + STATE + 8, top = first + 0x200;

    memset(laid, 0, sizeof(*laid));
    lay_main(laid, mangled);
    put(laid, BASE, THREADS); /* the head of the thread's heap */
    put(laid, BASE + 16, HEAP_SIZE);
    put_arena(laid, THREADS, MAIN, top, HEAP_SIZE);
    put(laid, first + 8, 0x205);
    put(laid, top + 8, (BASE + HEAP_SIZE - top) | 1);
    put(laid, LIBRARY + 0x100 - 32, UINT64_C(65536) << 32 | 3); /* n_mmaps, n_mmaps_max */
    put(laid, LIBRARY + 0x100 - 16, 0x9000);
    put(laid, LIBRARY + 0x100 - 8, 0xa000);
    put(laid, LIBRARY + 0x100, BRK);
}

static void make_maps(struct maps *maps)
{
    char *text = malloc(1024);
    int length = snprintf(text, 1024,
                          "%llx-%llx rw-p 00000000 00:00 0 \n"
                          "%llx-%llx rw-p 00001000 fe:00 7                          /usr/lib/libc.so.6\n"
                          "%llx-%llx rw-p 00000000 00:00 0                          [heap]\n",
                          (unsigned long long)BASE, (unsigned long long)LIBRARY, (unsigned long long)LIBRARY,
                          (unsigned long long)BRK, (unsigned long long)BRK, (unsigned long long)(BRK + BRK_SIZE));
    struct error *error = maps_parse(maps, text, (size_t)length);

    assert_null(error);
}

static void check_laid(bool mangled)
{
    struct laid *laid = malloc(sizeof(*laid));
    struct memory_fake fake;
    struct glibc_malloc heap;
    struct maps maps;

    lay(laid, mangled);
    make_maps(&maps);
    memory_fake_init(&fake, address_of(BASE), laid->bytes, sizeof(laid->bytes));
    struct error *error = glibc_malloc_read(&heap, &fake.memory, &maps);
    assert_null(error);
    assert_int_equal(heap.arena_count, 2);
    assert_int_equal(heap.mangled, mangled);
    assert_int_equal(heap.tcaches, 1);
    const struct glibc_arena *main = &heap.arenas[0], *thread = &heap.arenas[1];
    assert_true(main->sound && thread->sound);
    assert_int_equal(main->address, MAIN);
    assert_int_equal(main->count[GLIBC_TCACHE], 2);
    assert_int_equal(main->bytes[GLIBC_TCACHE], 0x60);
    assert_int_equal(main->bytes[GLIBC_FAST], 0x20);
    assert_int_equal(main->bytes[GLIBC_FREE], 0x100);
    assert_int_equal(main->bytes[GLIBC_USED], 0x290 + 0x400 + 0x50);
    assert_int_equal(main->bytes[GLIBC_TOP], BRK_SIZE - 0x290 - 0x60 - 0x20 - 0x400 - 0x100 - 0x50);
    assert_int_equal(thread->bytes[GLIBC_USED], 0x200);
    assert_int_equal(thread->system_bytes, HEAP_SIZE);
    assert_true(heap.counted);
    assert_int_equal(heap.mapped_count, 3);
    assert_int_equal(heap.mapped_bytes, 0x9000);
    glibc_malloc_deinit(&heap);
    maps_deinit(&maps);
    free(laid);
}

static void test_reads(void **state)
{
    (void)state;
    check_laid(true);
    check_laid(false);
}

static void test_not_sound(void **state)
{
    struct laid *laid = malloc(sizeof(*laid));
    struct memory_fake fake;
    struct glibc_malloc heap;
    struct maps maps;

    (void)state;
    lay(laid, true);
    make_maps(&maps);
    put(laid, BRK + 0x290 + 0x60 + 8, 0x31); /* the fastbin's chunk has another size: the walk goes astray */
    memory_fake_init(&fake, address_of(BASE), laid->bytes, sizeof(laid->bytes));
    struct error *error = glibc_malloc_read(&heap, &fake.memory, &maps);
    assert_null(error);
    assert_false(heap.arenas[0].sound);
    assert_true(heap.arenas[1].sound);
    glibc_malloc_deinit(&heap);
    put(laid, MAIN + BINS + 64 * 16, 1); /* no ring */
    error = glibc_malloc_read(&heap, &fake.memory, &maps);
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_UNSUPPORTED);
    error_destroy(error);
    glibc_malloc_deinit(&heap);
    maps_deinit(&maps);
    free(laid);
}

static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* What a word may be made: another word of the heap, an address, a size, anything. */
static uint64_t draw_word(const struct laid *laid, uint64_t *seed)
{
    uint64_t word;

    switch (draw(seed) % 5) {
    case 0:
        memcpy(&word, laid->bytes + draw(seed) % (SIZE / 8) * 8, sizeof(word));
        return word;
    case 1:
        return BASE + draw(seed) % SIZE;
    case 2:
        return draw(seed) % SIZE & ~UINT64_C(15);
    case 3:
        return 0;
    default:
        return draw(seed);
    }
}

static void count(void *context, const struct glibc_chunk *chunk)
{
    uint64_t *bytes = context;

    assert_true(chunk->size >= 16 && chunk->address >= BASE && chunk->address + chunk->size <= BASE + SIZE);
    *bytes += chunk->size;
}

/* Whatever it holds, it is read to an end, and chunks lie where there is memory, and don't overlap. */
static void test_damaged(void **state)
{
    struct laid *laid = malloc(sizeof(*laid));
    struct memory_fake fake;
    struct maps maps;
    uint64_t seed = 88172645463325252ULL;
    unsigned readable = 0;

    (void)state;
    make_maps(&maps);
    for (int round = 0; round < 4000; round++) {
        struct glibc_malloc heap;
        uint64_t bytes = 0;

        lay(laid, round % 2);
        for (uint64_t i = draw(&seed) % 12; i-- > 0;) {
            /* Where there is something: the heads of the heaps, the library's variables, the chunks. */
            uint64_t at = draw(&seed) % 3 ? LIBRARY + draw(&seed) % 0x2b00 : BASE + draw(&seed) % 0xc00;
            put(laid, at & ~UINT64_C(7), draw_word(laid, &seed));
        }
        memory_fake_init(&fake, address_of(BASE), laid->bytes, sizeof(laid->bytes));
        struct error *error = glibc_malloc_read(&heap, &fake.memory, &maps);
        readable += !error;
        error_destroy(error);
        glibc_malloc_visit(&heap, count, &bytes);
        assert_true(bytes <= SIZE);
        for (uint64_t page = BASE; page < BASE + SIZE; page += 4096)
            assert_true(glibc_malloc_mapped_size(&heap, page, BASE + SIZE - page) <= BASE + SIZE - page);
        glibc_malloc_deinit(&heap);
    }
    assert_true(readable > 100);
    maps_deinit(&maps);
    free(laid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_not_sound),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
