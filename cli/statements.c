/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/statements.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void statements_init(struct statements *statements, bool typed)
{
    *statements = (struct statements){.typed = typed};
}

void statements_deinit(struct statements *statements)
{
    statements_clear(statements);
}

/* else, elif, except and finally: a block's next part. */
static bool statements_goes_on(const char *line)
{
    static const char *const words[] = {"else", "elif", "except", "finally"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i]);
        if (!strncmp(line, words[i], length) && !isalnum((unsigned char)line[length]) && line[length] != '_')
            return true;
    }
    return false;
}

bool statements_line_ends_block(const struct statements *statements, const char *line)
{
    return statements->text && !statements->typed && line[0] && !isspace((unsigned char)line[0]) && line[0] != '#' &&
           !statements_goes_on(line);
}

bool statements_add(struct statements *statements, const char *line)
{
    size_t length = strlen(line), begin = statements->text ? statements->size + 1 : 0;
    char *larger = realloc(statements->text, begin + length + 1);

    if (!larger)
        return false;
    if (begin)
        larger[begin - 1] = '\n';
    memcpy(larger + begin, line, length + 1);
    statements->text = larger;
    statements->size = begin + length;
    return true;
}

void statements_clear(struct statements *statements)
{
    free(statements->text);
    statements->text = NULL;
    statements->size = 0;
}
