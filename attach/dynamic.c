/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/dynamic.h"

#include <string.h>

/* Entries that are looked at; the C library itself has some 30. */
#define DYNAMIC_ENTRIES_MAX 512
/* Steps along one chain of a hash table; a good one has a handful. */
#define DYNAMIC_CHAIN_MAX 4096
#define DYNAMIC_NAME_MAX 128

/* ------------------------------------------------------------------ reading */

static bool dynamic_get(const struct dynamic *dynamic, struct address from, void *to, size_t size)
{
    struct error *error = memory_read(dynamic->memory, from, to, size);

    error_destroy(error);
    return !error;
}

static bool dynamic_get_u32(const struct dynamic *dynamic, struct address from, uint64_t index, uint32_t *value)
{
    return dynamic_get(dynamic, address_add(from, index * sizeof(*value)), value, sizeof(*value));
}

/* The loader adds the bias to some of these addresses in the target's memory (glibc does,
 * musl doesn't); in the file none has it. */
static struct address dynamic_locate(const struct dynamic_span *span, uint64_t value)
{
    uint64_t size = span->high - span->low;

    if (value - span->low < size)
        return address_of(value + span->bias);
    return value - span->bias - span->low < size ? address_of(value) : ADDRESS_NULL;
}

/* True as long as there may be another entry. */
static bool dynamic_take_entry(struct dynamic *dynamic, const struct dynamic_span *span, const Elf64_Dyn *entry)
{
    switch (entry->d_tag) {
    case DT_SYMTAB:
        dynamic->symbols = dynamic_locate(span, entry->d_un.d_ptr);
        return true;
    case DT_STRTAB:
        dynamic->strings = dynamic_locate(span, entry->d_un.d_ptr);
        return true;
    case DT_STRSZ:
        dynamic->strings_size = entry->d_un.d_val;
        return true;
    case DT_HASH:
        dynamic->hash = dynamic_locate(span, entry->d_un.d_ptr);
        return true;
    case DT_GNU_HASH:
        dynamic->gnu_hash = dynamic_locate(span, entry->d_un.d_ptr);
        return true;
    default:
        return entry->d_tag != DT_NULL;
    }
}

bool dynamic_read(struct dynamic *dynamic, const struct memory *memory, const struct dynamic_span *span,
                  struct address table, uint64_t size)
{
    uint64_t count = size / sizeof(Elf64_Dyn);
    bool more = true;

    *dynamic = (struct dynamic){.memory = memory};
    for (uint64_t i = 0; more && i < count && i < DYNAMIC_ENTRIES_MAX; i++) {
        Elf64_Dyn entry;

        more = dynamic_get(dynamic, address_add(table, i * sizeof(entry)), &entry, sizeof(entry)) &&
               dynamic_take_entry(dynamic, span, &entry);
    }
    if (dynamic->symbols.value && dynamic->strings.value && (dynamic->hash.value || dynamic->gnu_hash.value))
        return true;
    *dynamic = (struct dynamic){.memory = memory};
    return false;
}

/* ------------------------------------------------------------------ symbols */

/* The symbol of that index: defined, and of that name? */
static bool dynamic_matches(const struct dynamic *dynamic, uint64_t index, const char *name, Elf64_Sym *found)
{
    size_t length = strlen(name) + 1;
    char text[DYNAMIC_NAME_MAX];
    Elf64_Sym symbol;

    if (!dynamic_get(dynamic, address_add(dynamic->symbols, index * sizeof(symbol)), &symbol, sizeof(symbol)) ||
        symbol.st_shndx == SHN_UNDEF || symbol.st_name >= dynamic->strings_size ||
        dynamic->strings_size - symbol.st_name < length ||
        !dynamic_get(dynamic, address_add(dynamic->strings, symbol.st_name), text, length) ||
        memcmp(text, name, length) != 0)
        return false;
    *found = symbol;
    return true;
}

/*
 * DT_GNU_HASH:   u32 buckets, first symbol, words of the Bloom filter, its shift
 *                u64 filter[], u32 bucket[], u32 hash[] of each symbol from the first on;
 *                bit 0 of a hash is set at a chain's end
 */
struct dynamic_gnu_head {
    uint32_t buckets, first, words, shift;
};

static uint32_t dynamic_gnu_hash(const char *name)
{
    uint32_t hash = 5381;

    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* The filter says "certainly not" of most names that aren't there. */
static bool dynamic_may_have(const struct dynamic *dynamic, const struct dynamic_gnu_head *head, uint32_t hash)
{
    struct address filter = address_add(dynamic->gnu_hash, sizeof(*head));
    uint64_t word;

    return dynamic_get(dynamic, address_add(filter, hash / 64 % head->words * sizeof(word)), &word, sizeof(word)) &&
           word >> hash % 64 & word >> (hash >> head->shift) % 64 & 1;
}

static bool dynamic_find_gnu(const struct dynamic *dynamic, const char *name, Elf64_Sym *found)
{
    struct dynamic_gnu_head head;
    uint32_t hash = dynamic_gnu_hash(name), index, other = 0;

    if (!dynamic_get(dynamic, dynamic->gnu_hash, &head, sizeof(head)) || !head.buckets || !head.words ||
        head.shift > 31 || !dynamic_may_have(dynamic, &head, hash))
        return false;
    struct address buckets = address_add(dynamic->gnu_hash, sizeof(head) + (uint64_t)head.words * sizeof(uint64_t));
    struct address hashes = address_add(buckets, (uint64_t)head.buckets * sizeof(uint32_t));
    if (!dynamic_get_u32(dynamic, buckets, hash % head.buckets, &index) || index < head.first)
        return false;
    for (uint64_t step = 0; step < DYNAMIC_CHAIN_MAX && !(other & 1); step++) {
        if (!dynamic_get_u32(dynamic, hashes, index - head.first + step, &other))
            return false;
        if ((other | 1) == (hash | 1) && dynamic_matches(dynamic, index + step, name, found))
            return true;
    }
    return false;
}

/* DT_HASH:   u32 buckets, symbols, bucket[], next[] of each symbol; 0 ends a chain */
static uint32_t dynamic_hash(const char *name)
{
    uint32_t hash = 0;

    for (; *name; name++) {
        hash = (hash << 4) + (unsigned char)*name;
        hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
    }
    return hash;
}

static bool dynamic_find_old(const struct dynamic *dynamic, const char *name, Elf64_Sym *found)
{
    uint32_t head[2], index;

    if (!dynamic_get(dynamic, dynamic->hash, head, sizeof(head)) || !head[0])
        return false;
    struct address buckets = address_add(dynamic->hash, sizeof(head));
    struct address next = address_add(buckets, (uint64_t)head[0] * sizeof(uint32_t));
    if (!dynamic_get_u32(dynamic, buckets, dynamic_hash(name) % head[0], &index))
        return false;
    for (unsigned step = 0; step < DYNAMIC_CHAIN_MAX && index && index < head[1]; step++) {
        if (dynamic_matches(dynamic, index, name, found))
            return true;
        if (!dynamic_get_u32(dynamic, next, index, &index))
            return false;
    }
    return false;
}

bool dynamic_find(const struct dynamic *dynamic, const char *name, Elf64_Sym *found)
{
    if (strlen(name) >= DYNAMIC_NAME_MAX)
        return false;
    return dynamic->gnu_hash.value ? dynamic_find_gnu(dynamic, name, found)
                                   : dynamic->hash.value && dynamic_find_old(dynamic, name, found);
}
