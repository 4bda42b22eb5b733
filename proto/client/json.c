#include "proto/client/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/client/human.h"

static void write_base64(FILE *out, const uint8_t *data, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t three = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (left > 2 ? data[i + 2] : 0);

        putc(digits[three >> 18], out);
        putc(digits[three >> 12 & 63], out);
        putc(left > 1 ? digits[three >> 6 & 63] : '=', out);
        putc(left > 2 ? digits[three & 63] : '=', out);
    }
}

static void write_str(FILE *out, const char *text, size_t len) {
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    putc('"', out);
    for (size_t i = 0; i < len;) {
        size_t n = human_character(text + i, len - i);
        const char *name = n == 1 ? memchr(names, text[i], sizeof(names) - 1) : NULL;

        /* Pairs of the byte and the letter that stands for it; a letter's own place is odd. */
        if (name && (name - names) % 2 == 0)
            fprintf(out, "\\%c", name[1]);
        else if (n == 1 && (unsigned char)text[i] < 0x20)
            fprintf(out, "\\u%04x", (unsigned)text[i]);
        else if (n > 0)
            fwrite(text + i, 1, n, out);
        else
            fputs("\xef\xbf\xbd", out);
        i += n ? n : 1;
    }
    putc('"', out);
}

void json_write_text(FILE *out, const char *text) {
    write_str(out, text, strlen(text));
}

/* The fewest digits that read back as the same number. */
static void write_double(FILE *out, double value) {
    char text[32];

    if (!isfinite(value)) {
        fputs("null", out);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
    if (!strpbrk(text, ".e"))
        fputs(".0", out);
}

static void write_key(FILE *out, const msgpack_object *key) {
    if (key->type == MSGPACK_OBJECT_STR || key->type == MSGPACK_OBJECT_BIN) {
        json_write(out, key);
        return;
    }
    /* JSON's keys are texts: another one is told as the text of itself. Containers have none. */
    putc('"', out);
    if (key->type != MSGPACK_OBJECT_MAP && key->type != MSGPACK_OBJECT_ARRAY)
        json_write(out, key);
    putc('"', out);
}

/* Recursion is bounded: what the library hands out is at most 16 levels deep. */
void json_write(FILE *out, const msgpack_object *object) {
    switch (object->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        fputs(object->via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(out, "%" PRIu64, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf(out, "%" PRId64, object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        write_double(out, object->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        write_str(out, object->via.str.ptr, object->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        putc('"', out);
        write_base64(out, (const uint8_t *)object->via.bin.ptr, object->via.bin.size);
        putc('"', out);
        break;
    case MSGPACK_OBJECT_ARRAY:
        putc('[', out);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            fputs(i ? "," : "", out);
            json_write(out, &object->via.array.ptr[i]);
        }
        putc(']', out);
        break;
    case MSGPACK_OBJECT_MAP:
        putc('{', out);
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            fputs(i ? "," : "", out);
            write_key(out, &object->via.map.ptr[i].key);
            putc(':', out);
            json_write(out, &object->via.map.ptr[i].val);
        }
        putc('}', out);
        break;
    default:
        fputs("null", out);
    }
}

void json_print(const msgpack_object *object) {
    json_write(stdout, object);
    putchar('\n');
}
