/* Tables of text; see human.h. */
#include <stdlib.h>
#include <string.h>

#include "proto/client/human.h"

static void no_memory(void) {
    fprintf(stderr, "guestctl: no memory\n");
    exit(125);
}

void table_init(struct table *table, unsigned columns, unsigned right) {
    *table = (struct table){.columns = columns, .right = right};
}

static size_t width_of(const char *text) {
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void end_cell(struct table *table) {
    size_t column = table->n % table->columns, width;

    if (!table->cell)
        return;
    if (fclose(table->cell) != 0 || !table->text)
        no_memory();
    if (table->n == table->size) {
        table->size = table->size ? table->size * 2 : 64;
        table->cells = realloc(table->cells, table->size * sizeof(*table->cells));
        if (!table->cells)
            no_memory();
    }
    width = width_of(table->text);
    if (width > table->width[column])
        table->width[column] = width;
    table->cells[table->n++] = table->text;
    table->cell = NULL;
}

FILE *table_cell(struct table *table) {
    end_cell(table);
    table->text = NULL;
    table->cell = open_memstream(&table->text, &table->len);
    if (!table->cell)
        no_memory();
    return table->cell;
}

void table_text(struct table *table, const char *text) {
    fputs(text, table_cell(table));
}

static void pad(size_t n) {
    printf("%*s", (int)n, "");
}

void table_flush(struct table *table) {
    end_cell(table);
    for (size_t i = 0; i < table->n; i++) {
        size_t column = i % table->columns;
        size_t space = table->width[column] - width_of(table->cells[i]);
        bool last = column == table->columns - 1;

        if (table->right & 1u << column)
            pad(space);
        fputs(table->cells[i], stdout);
        if (last)
            putchar('\n');
        else
            pad((table->right & 1u << column ? 0 : space) + 2);
        free(table->cells[i]);
    }
    table->n = 0;
}

void table_deinit(struct table *table) {
    table_flush(table);
    free(table->cells);
    *table = (struct table){0};
}
