/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ELF files made here byte by byte, right and wrong, read from a file and from a memory:
 *
 *   0x000 header          0x100 dynamic        0x300 strings     0x500 code
 *   0x040 two segments    0x200 symbols 0-3    0x340 DT_HASH     0x600 five section headers
 *                                              0x400 DT_GNU_HASH 0x800 .symtab  0x900 names
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attach/arch/arch.h"
#include "attach/image.h"
#include "attach/maps.h"
#include "attach/process.h"

#define SIZE    4096u
#define VADDR   0x10000u
#define BIAS    0x7f0000000000u
#define MAPPED  (BIAS + VADDR)
#define DYNAMIC 0x100u
#define SYMBOLS 0x200u
#define STRINGS 0x300u
#define HASH    0x340u
#define GNU     0x400u
#define CODE    0x500u
#define HEADERS 0x600u
#define SYMTAB  0x800u
#define NAMES   0x900u

static unsigned char file[SIZE];
static const struct map map = {.start = {MAPPED}, .end = {MAPPED + SIZE}, .inode = 1, .readable = true,
                               .executable = true, .path = "/made/here.so"};
static const char strings[] = "\0alpha\0beta\0absent\0local";
enum { ALPHA = 1, BETA = 7, ABSENT = 12, LOCAL = 19 };
static const char names[] = "\0.text\0.names\0.symtab\0.strtab";
static const char code[] = "some machine code";

static void put(size_t at, const void *bytes, size_t size)
{
    memcpy(file + at, bytes, size);
}

static void put_u32(size_t at, uint32_t value)
{
    put(at, &value, sizeof(value));
}

static void put_symbol(size_t at, uint32_t name, uint16_t section, uint64_t value)
{
    const Elf64_Sym symbol = {.st_name = name, .st_shndx = section, .st_value = value, .st_size = 8};

    put(at, &symbol, sizeof(symbol));
}

static void put_entry(unsigned index, int64_t tag, uint64_t value)
{
    const Elf64_Dyn entry = {tag, {value}};

    put(DYNAMIC + index * sizeof(entry), &entry, sizeof(entry));
}

static void put_header(unsigned index, uint32_t name, uint32_t type, uint64_t at, uint64_t size, uint32_t link)
{
    const Elf64_Shdr header = {.sh_name = name, .sh_type = type, .sh_flags = type == SHT_PROGBITS ? SHF_ALLOC : 0,
                               .sh_addr = VADDR + at, .sh_offset = at, .sh_size = size, .sh_link = link};

    put(HEADERS + index * sizeof(header), &header, sizeof(header));
}

static void put_heads(void)
{
    const Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                               .e_type = ET_DYN, .e_machine = arch_native.elf_machine, .e_phoff = 64, .e_phnum = 2,
                               .e_phentsize = sizeof(Elf64_Phdr), .e_shoff = HEADERS, .e_shnum = 5, .e_shstrndx = 2,
                               .e_shentsize = sizeof(Elf64_Shdr)};
    const Elf64_Phdr segments[2] = {
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = VADDR, .p_filesz = SIZE, .p_memsz = SIZE},
        {.p_type = PT_DYNAMIC, .p_offset = DYNAMIC, .p_vaddr = VADDR + DYNAMIC, .p_filesz = 0x100, .p_memsz = 0x100}};

    put(0, &header, sizeof(header));
    put(64, segments, sizeof(segments));
}

/* One bucket each; the chains run over symbols 1, 2 and 3. */
static void put_hashes(void)
{
    static const uint32_t old[] = {1, 4, 1, 0, 2, 3, 0};
    static const char *const hashed[] = {"alpha", "beta", "absent"};

    put(HASH, old, sizeof(old));
    put_u32(GNU, 1);
    put_u32(GNU + 4, 1);
    put_u32(GNU + 8, 1);
    put_u32(GNU + 12, 6);
    memset(file + GNU + 16, 0xff, 8);
    put_u32(GNU + 24, 1);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t hash = 5381;

        for (const char *c = hashed[i]; *c; c++)
            hash = hash * 33 + (unsigned char)*c;
        put_u32(GNU + 28 + i * 4, (hash & ~1u) | (i == 2));
    }
}

static void put_tables(uint64_t at)
{
    put_entry(0, DT_SYMTAB, at + SYMBOLS);
    put_entry(1, DT_STRTAB, at + STRINGS);
    put_entry(2, DT_STRSZ, sizeof(strings));
    put_entry(3, DT_HASH, at + HASH);
    put_entry(4, DT_GNU_HASH, at + GNU);
}

static int make_file(void **state)
{
    (void)state;
    memset(file, 0, sizeof(file));
    put_heads();
    put_tables(VADDR);
    put(STRINGS, strings, sizeof(strings));
    put_symbol(SYMBOLS + 24, ALPHA, 1, VADDR + 0x700);
    put_symbol(SYMBOLS + 48, BETA, 1, VADDR + 0x708);
    put_symbol(SYMBOLS + 72, ABSENT, SHN_UNDEF, 0);
    put_hashes();
    put(CODE, code, sizeof(code));
    put_header(1, 1, SHT_PROGBITS, CODE, 64, 0);
    put_header(2, 7, SHT_STRTAB, NAMES, sizeof(names), 0);
    put_header(3, 14, SHT_SYMTAB, SYMTAB, 48, 4);
    put_header(4, 22, SHT_STRTAB, STRINGS, sizeof(strings), 0);
    put_symbol(SYMTAB + 24, LOCAL, 1, VADDR + 0x710);
    put(NAMES, names, sizeof(names));
    return 0;
}

static struct error *open_file(struct image **image)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, file, sizeof(file)), sizeof(file));
    return image_open_fd(image, fd, &map);
}

static void assert_export(const char *name, uint64_t value)
{
    struct image *image;
    struct image_range range = {ADDRESS_NULL, 0};

    assert_null(open_file(&image));
    assert_int_equal(image_find_export(image, name, &range), value != 0);
    assert_int_equal(range.start.value, value ? BIAS + value : 0);
    image_close(image);
}

static void assert_exports(void)
{
    assert_export("alpha", VADDR + 0x700);
    assert_export("beta", VADDR + 0x708);
    assert_export("absent", 0);
    assert_export("nothing", 0);
    assert_export("", 0);
}

static void test_exports(void **state)
{
    (void)state;
    assert_exports();
    put_entry(4, DT_DEBUG, 0); /* DT_HASH alone */
    assert_exports();
    make_file(NULL);
    put_entry(3, DT_DEBUG, 0); /* DT_GNU_HASH alone */
    assert_exports();
    put_entry(4, DT_DEBUG, 0);
    assert_export("alpha", 0);
}

static void test_sections(void **state)
{
    struct image *image;
    struct image_range range;

    (void)state;
    assert_null(open_file(&image));
    assert_true(image_find_section(image, ".text", &range));
    assert_int_equal(range.start.value, MAPPED + CODE);
    assert_int_equal(range.size, 64);
    assert_false(image_find_section(image, ".names", &range)); /* not loaded */
    assert_false(image_find_export(image, "local", &range));
    assert_true(image_find_symbol(image, "local", &range));
    assert_int_equal(range.start.value, MAPPED + 0x710);
    assert_int_equal(image_bias(image), BIAS);
    assert_string_equal(image_path(image), "/made/here.so");
    image_close(image);
}

/* Without section headers, or with any other: no sections, the same exports. */
static void test_damaged_sections(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } damages[] = {
        {offsetof(Elf64_Ehdr, e_shoff), 0},      {offsetof(Elf64_Ehdr, e_shoff), SIZE - 8},
        {offsetof(Elf64_Ehdr, e_shoff) + 4, 0x80000000}, {offsetof(Elf64_Ehdr, e_shentsize), 0xffff0008},
        {HEADERS + 2 * 64 + offsetof(Elf64_Shdr, sh_offset), SIZE}, {HEADERS + 2 * 64 + offsetof(Elf64_Shdr, sh_type), 1},
        {HEADERS + 2 * 64 + offsetof(Elf64_Shdr, sh_size) + 4, 0xffffffff},
        {HEADERS + 64 + offsetof(Elf64_Shdr, sh_name), 0xffffffff},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct image *image;
        struct image_range range;

        make_file(NULL);
        put_u32(damages[i].at, damages[i].value);
        assert_exports();
        assert_null(open_file(&image));
        assert_false(image_find_section(image, ".text", &range));
        image_close(image);
    }
}

static void test_huge_numbers(void **state)
{
    static const size_t places[] = {GNU, GNU + 4, GNU + 8, GNU + 12, GNU + 24, SYMBOLS + 24, DYNAMIC + 8, DYNAMIC + 24};
    struct image_range range;
    struct image *image;

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        make_file(NULL);
        put_u32(places[i], 0xfffffff8);
        assert_export("alpha", 0);
    }
    make_file(NULL);
    put_u32(DYNAMIC + 2 * 16 + 8, 4); /* DT_STRSZ: no string ends within */
    assert_export("alpha", 0);
    make_file(NULL);
    put_u32(HEADERS + 3 * 64 + offsetof(Elf64_Shdr, sh_size) + 4, 0x7fffffff);
    put_u32(HEADERS + 4 * 64 + offsetof(Elf64_Shdr, sh_size) + 4, 0x7fffffff);
    assert_null(open_file(&image));
    assert_false(image_find_symbol(image, "local", &range));
    image_close(image);
}

/* Chains that don't end: symbol 2 follows itself; no hash has the bit that ends a chain. */
static void test_endless_chains(void **state)
{
    (void)state;
    put_u32(GNU + 28 + 8, 0);
    assert_export("nothing", 0);
    put_entry(4, DT_DEBUG, 0);
    put_u32(HASH + 8 + 4 + 2 * 4, 2);
    assert_export("nothing", 0);
    assert_export("alpha", VADDR + 0x700);
}

static void assert_refused(void)
{
    struct image *image = NULL;
    struct error *error = open_file(&image);

    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_NOT_PYTHON);
    assert_null(image);
    error_destroy(error);
}

static void test_refused(void **state)
{
    static const struct {
        size_t at;
        unsigned char value;
    } damages[] = {
        {0, 'X'}, {EI_CLASS, ELFCLASS32}, {offsetof(Elf64_Ehdr, e_machine), 2}, {offsetof(Elf64_Ehdr, e_phnum), 0},
        {offsetof(Elf64_Ehdr, e_phnum) + 1, 0x80}, {offsetof(Elf64_Ehdr, e_phentsize), 55},
        {offsetof(Elf64_Ehdr, e_phoff) + 2, 1}, {64, PT_NOTE}, {64 + offsetof(Elf64_Phdr, p_offset) + 1, 0x60},
        {64 + offsetof(Elf64_Phdr, p_vaddr), 8}, {64 + offsetof(Elf64_Phdr, p_memsz) + 1, 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        make_file(NULL);
        file[damages[i].at] = damages[i].value;
        assert_refused();
    }
    /* A segment that ends behind the last address. */
    make_file(NULL);
    memset(file + 64 + offsetof(Elf64_Phdr, p_vaddr) + 2, 0xff, 6);
    file[64 + offsetof(Elf64_Phdr, p_memsz) + 4] = 1;
    assert_refused();
}

static void test_code(void **state)
{
    struct image *image;
    struct address found;

    (void)state;
    assert_null(open_file(&image));
    assert_true(image_find_code(image, code, sizeof(code), ADDRESS_NULL, &found));
    assert_int_equal(found.value, MAPPED + CODE);
    assert_true(image_find_code(image, code, sizeof(code), address_of(MAPPED + SIZE - 1), &found));
    assert_int_equal(found.value, MAPPED + CODE);
    assert_false(image_find_code(image, "other code", 10, ADDRESS_NULL, &found));
    image_close(image);
    /* A segment that claims more than the file has. */
    file[64 + offsetof(Elf64_Phdr, p_filesz) + 4] = file[64 + offsetof(Elf64_Phdr, p_memsz) + 4] = 1;
    assert_null(open_file(&image));
    assert_false(image_find_code(image, "other code", 10, ADDRESS_NULL, &found));
    image_close(image);
}

/* What the target has loaded, where the loader may have added the bias to addresses. */
static void test_memory(void **state)
{
    struct memory_fake fake;

    (void)state;
    memory_fake_init(&fake, address_of(MAPPED), file, sizeof(file));
    for (int relocated = 0; relocated <= 1; relocated++) {
        struct image *image;
        struct image_range range;
        struct address found;

        if (relocated)
            put_tables(MAPPED);
        assert_null(image_open_memory(&image, &fake.memory, &map));
        assert_true(image_find_symbol(image, "beta", &range));
        assert_int_equal(range.start.value, MAPPED + 0x708);
        assert_false(image_find_symbol(image, "local", &range));
        assert_false(image_find_section(image, ".text", &range));
        assert_true(image_find_code(image, code, sizeof(code), ADDRESS_NULL, &found));
        assert_int_equal(found.value, MAPPED + CODE);
        image_close(image);
    }
}

/* A file's bytes in a memory file, its section headers cut off. */
static int copy_cut(const char *path)
{
    static char bytes[8 << 20];
    FILE *from = fopen(path, "re");
    int copy = memfd_create("cut", MFD_CLOEXEC);

    assert_non_null(from);
    size_t size = fread(bytes, 1, sizeof(bytes), from);
    fclose(from);
    memset(bytes + offsetof(Elf64_Ehdr, e_shoff), 0, 8);
    memset(bytes + offsetof(Elf64_Ehdr, e_shnum), 0, 4);
    assert_int_equal(write(copy, bytes, size), size);
    return copy;
}

/* The C library that this test runs with, by its file cut of its section headers and by memory: as dlsym() finds it. */
static void test_libc(void **state)
{
    static const char *const wanted[] = {"munmap", "abs", "sigaction", "getpid", "PyEval_EvalCode"};
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    struct process process;
    struct maps maps;
    struct image *images[2];

    (void)state;
    assert_null(process_open(&process, getpid()));
    assert_null(maps_read(&maps, getpid()));
    const struct map *any = maps_find(&maps, address_of((uintptr_t)dlsym(libc, "munmap"))), *start = any;
    assert_non_null(any);
    while (start->offset)
        start--;
    assert_null(image_open_fd(&images[0], copy_cut(any->path), any));
    assert_null(image_open_memory(&images[1], &process.memory, start));
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        for (int j = 0; j < 2; j++) {
            struct image_range range = {ADDRESS_NULL, 0};

            assert_int_equal(image_find_symbol(images[j], wanted[i], &range), i < 4);
            assert_int_equal(range.start.value, (uintptr_t)dlsym(libc, wanted[i]));
        }
    }
    image_close(images[0]);
    image_close(images[1]);
    maps_deinit(&maps);
    process_close(&process);
    dlclose(libc);
}

#define TEST(name) cmocka_unit_test_setup(name, make_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_exports), TEST(test_sections), TEST(test_damaged_sections), TEST(test_huge_numbers),
        TEST(test_endless_chains), TEST(test_refused), TEST(test_code), TEST(test_memory), TEST(test_libc),
    };

    return cmocka_run_group_tests_name("attach image", tests, NULL, NULL);
}
