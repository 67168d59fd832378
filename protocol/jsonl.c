/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/jsonl.h"

static void jsonl_begin(struct json *json, const char *kind)
{
    json_begin_object(json, NULL);
    json_string(json, "kind", kind);
}

void jsonl_begin_heap(struct json *json, FILE *file)
{
    json_init(json, file);
    jsonl_begin(json, "heap");
    json_integer(json, "v", 1);
}

/* What comes next is no item of an array. */
void jsonl_end(struct json *json)
{
    json_end_object(json);
    putc_unlocked('\n', json->file);
    json->has_items[0] = false;
}

void jsonl_put_type(struct json *json, const char *name, const char *module)
{
    jsonl_begin(json, "type");
    json_string(json, "type", name);
    json_string(json, "module", module);
    jsonl_end(json);
}

static void jsonl_put_hex(struct json *json, const char *name, const char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";

    json_begin_string(json, name);
    for (size_t i = 0; i < size; i++) {
        const char pair[] = {digits[(unsigned char)bytes[i] >> 4], digits[(unsigned char)bytes[i] & 15]};
        json_add_to_string(json, pair, sizeof(pair));
    }
    json_end_string(json);
}

static void jsonl_put_value(struct json *json, const struct jsonl_object *object)
{
    if (!object->value)
        return;
    if (object->bytes)
        jsonl_put_hex(json, "value_hex", object->value, object->value_size);
    else
        json_bytes(json, "value", object->value, object->value_size);
    if (object->cut)
        json_boolean(json, "cut", true);
}

void jsonl_put_object(struct json *json, const struct jsonl_object *object)
{
    jsonl_begin(json, "object");
    json_unsigned(json, "address", object->address);
    json_string(json, "type", object->type);
    json_unsigned(json, "size", object->size);
    json_unsigned(json, "retained", object->retained);
    if (object->dominator)
        json_unsigned(json, "dominator", object->dominator);
    if (object->immortal)
        json_boolean(json, "immortal", true);
    else
        json_unsigned(json, "refcount", object->refcount);
    json_boolean(json, "tracked", object->tracked);
    if (object->generation >= 0)
        json_integer(json, "generation", object->generation);
    jsonl_put_value(json, object);
    jsonl_end(json);
}

void jsonl_put_reference(struct json *json, const struct jsonl_reference *reference)
{
    jsonl_begin(json, "reference");
    json_unsigned(json, "from", reference->from);
    json_unsigned(json, "to", reference->to);
    json_string(json, "edge", reference->edge);
    if (reference->name)
        json_string(json, "name", reference->name);
    if (reference->number != JSONL_NO_NUMBER)
        json_unsigned(json, "number", reference->number);
    if (reference->key)
        json_unsigned(json, "key", reference->key);
    if (!reference->counted)
        json_boolean(json, "counted", false);
    jsonl_end(json);
}

void jsonl_put_root(struct json *json, const struct jsonl_root *root)
{
    jsonl_begin(json, "root");
    json_unsigned(json, "to", root->to);
    json_string(json, "root", root->root);
    json_unsigned(json, "holder", root->holder);
    json_unsigned(json, "number", root->number);
    if (root->name)
        json_string(json, "name", root->name);
    if (root->code)
        json_unsigned(json, "code", root->code);
    jsonl_end(json);
}
