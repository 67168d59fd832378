/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/json.h"

#include <inttypes.h>
#include <string.h>

#include "protocol/digits.h"

void json_init(struct json *json, FILE *file)
{
    *json = (struct json){.file = file};
}

/* The length of the valid UTF-8 sequence at `text`, 0 when it isn't one. */
static size_t json_utf8_length(const unsigned char *text, size_t size)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high, length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},          {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3},    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4},    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].first_low || text[0] > forms[i].first_high)
            continue;
        size_t length = forms[i].length;
        if (length > size || (length > 1 && (text[1] < forms[i].second_low || text[1] > forms[i].second_high)))
            return 0;
        for (size_t k = 2; k < length; k++) {
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        }
        return length;
    }
    return 0;
}

static void json_escape(struct json *json, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;

    if (at)
        fprintf(json->file, "\\%c", to[at - from]);
    else
        fprintf(json->file, "\\u%04x", c);
}

/* How many bytes from here on are written as they are. */
static size_t json_plain(const unsigned char *text, size_t size)
{
    size_t length = 0;

    while (length < size && text[length] >= 0x20 && text[length] < 0x7f && text[length] != '"' && text[length] != '\\')
        length++;
    return length;
}

static void json_text(struct json *json, const char *bytes, size_t size)
{
    const unsigned char *text = (const unsigned char *)bytes;

    for (size_t i = 0, length; i < size; i += length ? length : 1) {
        size_t plain = json_plain(text + i, size - i);
        if (plain) {
            fwrite_unlocked(text + i, 1, plain, json->file);
            length = plain;
            continue;
        }
        length = json_utf8_length(text + i, size - i);
        if (!length)
            fputs("\xef\xbf\xbd", json->file);
        else if (length == 1)
            json_escape(json, text[i]);
        else
            fwrite_unlocked(text + i, 1, length, json->file);
    }
}

static void json_quote(struct json *json, const char *text, size_t size)
{
    putc_unlocked('"', json->file);
    json_text(json, text, size);
    putc_unlocked('"', json->file);
}

/* The comma and the name before a value. */
static void json_lead(struct json *json, const char *name)
{
    if (json->has_items[json->depth])
        putc_unlocked(',', json->file);
    json->has_items[json->depth] = true;
    if (name) {
        json_quote(json, name, strlen(name));
        putc_unlocked(':', json->file);
    }
}

static void json_begin(struct json *json, const char *name, char bracket)
{
    json_lead(json, name);
    putc_unlocked(bracket, json->file);
    if (json->depth + 1 < JSON_DEPTH_MAX)
        json->depth++;
    json->has_items[json->depth] = false;
}

static void json_end(struct json *json, char bracket)
{
    putc_unlocked(bracket, json->file);
    if (json->depth > 0)
        json->depth--;
}

void json_begin_object(struct json *json, const char *name)
{
    json_begin(json, name, '{');
}

void json_end_object(struct json *json)
{
    json_end(json, '}');
}

void json_begin_array(struct json *json, const char *name)
{
    json_begin(json, name, '[');
}

void json_end_array(struct json *json)
{
    json_end(json, ']');
}

void json_begin_string(struct json *json, const char *name)
{
    json_lead(json, name);
    putc_unlocked('"', json->file);
    json->held_size = 0;
}

/* How many bytes at the end begin a character that isn't whole. */
static size_t json_cut_bytes(const char *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        unsigned char c = (unsigned char)text[size - back];

        if (c >= 0xc0)
            return c >= 0xf0 ? (back < 4 ? back : 0) : c >= 0xe0 ? (back < 3 ? back : 0) : (back < 2 ? back : 0);
        if (c < 0x80)
            return 0;
    }
    return 0;
}

void json_add_to_string(struct json *json, const char *text, size_t size)
{
    /* Completes the character that the last piece began. */
    while (json->held_size && size) {
        json->held[json->held_size++] = *text++;
        size--;
        if (json->held_size == sizeof(json->held) || !json_cut_bytes(json->held, json->held_size)) {
            json_text(json, json->held, json->held_size);
            json->held_size = 0;
        }
    }
    size_t cut = json_cut_bytes(text, size);
    json_text(json, text, size - cut);
    if (cut) {
        memcpy(json->held, text + size - cut, cut);
        json->held_size = cut;
    }
}

void json_end_string(struct json *json)
{
    json_text(json, json->held, json->held_size);
    json->held_size = 0;
    putc_unlocked('"', json->file);
}

void json_bytes(struct json *json, const char *name, const char *text, size_t size)
{
    json_lead(json, name);
    json_quote(json, text, size);
}

void json_string(struct json *json, const char *name, const char *text)
{
    if (text)
        json_bytes(json, name, text, strlen(text));
    else
        json_null(json, name);
}

void json_integer(struct json *json, const char *name, int64_t value)
{
    json_lead(json, name);
    fprintf(json->file, "%" PRId64, value);
}

void json_unsigned(struct json *json, const char *name, uint64_t value)
{
    char digits[DIGITS_MAX];

    json_lead(json, name);
    fwrite_unlocked(digits, 1, digits_put(digits, value), json->file);
}

void json_boolean(struct json *json, const char *name, bool value)
{
    json_lead(json, name);
    fputs_unlocked(value ? "true" : "false", json->file);
}

void json_null(struct json *json, const char *name)
{
    json_lead(json, name);
    fputs("null", json->file);
}

void json_decimal(struct json *json, const char *name, double value)
{
    json_lead(json, name);
    fprintf(json->file, "%.3f", value);
}
