/* For people's eyes: a guest's texts made harmless to a terminal, sizes, times, tables. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/client/guestproto.h"

#define HUMAN_TEXT 32

/* Bytes of the valid UTF-8 character that text begins with; 0: none. */
size_t human_character(const char *text, size_t len);

/* Control characters and bytes that are no UTF-8 as \n, \e, \xHH: a guest can't drive the terminal.
 */
void human_bytes(FILE *out, struct guestproto_bytes text);
void human_text(FILE *out, const char *text);

/* "999", "1.5K", "20M": at most five columns. buf holds 8. Returns buf. */
const char *human_size(uint64_t bytes, char buf[8]);
/* "85 ms", "1.25 s", "3 m 07 s", "2 h 05 m", "3 d 04 h". buf holds HUMAN_TEXT. */
const char *human_duration(double seconds, char buf[HUMAN_TEXT]);
/* "2026-11-22 08:47:52", local. buf holds HUMAN_TEXT. */
const char *human_time(int64_t unix_seconds, char buf[HUMAN_TEXT]);

/* Escape sequences only where a person asked for none to be left out: a terminal, no NO_COLOR, no
 * dumb TERM. */
bool human_colors(int fd);

/* Rows under one another: as wide as the widest cell, two spaces between, the last column as it
 * comes. */
#define TABLE_COLUMNS 8

struct table {
    unsigned columns;
    unsigned right; /* bit i: column i is set flush right */
    size_t width[TABLE_COLUMNS];
    char **cells;
    size_t n, size;
    FILE *cell; /* the one that is being written */
    char *text;
    size_t len;
};

void table_init(struct table *table, unsigned columns, unsigned right);
/* Begins the next cell; what is written to the stream until the next table call is its text. */
FILE *table_cell(struct table *table);
void table_text(struct table *table, const char *text);
/* Prints the rows so far and forgets them; widths stay, so that a long table may come in parts. */
void table_flush(struct table *table);
void table_deinit(struct table *table);
