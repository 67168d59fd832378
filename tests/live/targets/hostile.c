/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process that is no Python and wants to keep who looks at it busy.
 *
 * usage: hostile MODE FILE
 *   cookies   FILE is made 48 MiB of what _PyRuntime begins with, and mapped 300 times
 *   symbols   FILE is made an ELF file whose .symtab and strings claim hundreds of MiB, and mapped 1,000 times
 * It says "ready" and waits for the end of its standard input.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE    ((size_t)48 << 20)
#define SYMBOLS ((size_t)180 << 20)
#define STRINGS ((size_t)127 << 20)

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

static void need(int well)
{
    if (!well)
        exit(1);
}

static void map_often(int fd, size_t size, unsigned times, int protection)
{
    for (unsigned i = 0; i < times; i++) {
        char *at = mmap(NULL, size, protection, MAP_PRIVATE, fd, 0);
        need(at != MAP_FAILED);
        /* Another page between two, or they would be one mapping. */
        need(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    }
}

static void make_cookies(const char *path)
{
    static const struct {
        char cookie[8];
        uint64_t version, free_threaded;
    } head = {"xdebugpy", 0x030d00f0, 0};
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    need(fd >= 0 && ftruncate(fd, (off_t)SIZE) == 0);
    char *bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(bytes != MAP_FAILED);
    for (size_t i = 0; i + sizeof(head) <= SIZE; i += sizeof(head))
        memcpy(bytes + i, &head, sizeof(head));
    need(munmap(bytes, SIZE) == 0);
    map_often(fd, SIZE, 300, PROT_READ | PROT_WRITE);
}

static void make_symbols(const char *path)
{
    const Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                               .e_type = ET_DYN, .e_machine = MACHINE, .e_phoff = 64,
                               .e_phnum = 1, .e_phentsize = sizeof(Elf64_Phdr), .e_shoff = 256, .e_shnum = 3,
                               .e_shentsize = sizeof(Elf64_Shdr)};
    const Elf64_Phdr segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 4096, .p_memsz = 4096};
    const Elf64_Shdr sections[3] = {
        {0},
        {.sh_type = SHT_SYMTAB, .sh_offset = 4096, .sh_size = SYMBOLS, .sh_link = 2},
        {.sh_type = SHT_STRTAB, .sh_offset = 4096 + SYMBOLS, .sh_size = STRINGS},
    };
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0700);

    need(fd >= 0 && ftruncate(fd, (off_t)(4096 + SYMBOLS + STRINGS)) == 0);
    need(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
    need(pwrite(fd, &segment, sizeof(segment), 64) == sizeof(segment));
    need(pwrite(fd, sections, sizeof(sections), 256) == sizeof(sections));
    map_often(fd, 4096, 1000, PROT_READ | PROT_EXEC);
}

int main(int argc, char **argv)
{
    char byte;

    need(argc == 3);
    if (!strcmp(argv[1], "cookies"))
        make_cookies(argv[2]);
    else
        make_symbols(argv[2]);
    need(write(1, "ready\n", 6) == 6);
    return read(0, &byte, 1) != 0;
}
