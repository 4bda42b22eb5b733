#include "proto/client/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/client/human.h"
#include "proto/client/wire.h"

#define REDRAW_MS 100
#define BAR_MAX 40
/* What is beside name and bar: percent, both sizes, rate, time. */
#define OTHERS 48

void progress_begin(struct progress *progress, const char *name, uint64_t total) {
    const char *slash = strrchr(name, '/');

    *progress = (struct progress){
        .name = slash && slash[1] ? slash + 1 : name,
        .total = total,
        .start_ms = wire_now_ms(),
        .on = isatty(STDERR_FILENO),
    };
    progress->shown_ms = progress->start_ms;
}

static int terminal_width(void) {
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

static void draw_bar(uint64_t bytes, uint64_t total, int width) {
    int full = bytes >= total ? width : (int)((double)bytes / (double)total * width);

    fputs(" [", stderr);
    for (int i = 0; i < width; i++)
        fputc(i < full ? '#' : '-', stderr);
    fputc(']', stderr);
}

static void draw(struct progress *progress, uint64_t bytes, int64_t now_ms, bool last) {
    double seconds = (double)(now_ms - progress->start_ms) / 1000;
    double rate = seconds > 0 ? (double)bytes / seconds : 0;
    char size[8], total[8], speed[8], left[HUMAN_TEXT];
    int room = terminal_width() - OTHERS - 24;

    fprintf(stderr, "\r%-.24s", progress->name);
    if (progress->total > 0) {
        if (room >= 10)
            draw_bar(bytes, progress->total, room < BAR_MAX ? room : BAR_MAX);
        fprintf(stderr, " %3.0f%%  %s of %s",
                bytes < progress->total ? 100.0 * (double)bytes / (double)progress->total : 100.0,
                human_size(bytes, size), human_size(progress->total, total));
    } else {
        fprintf(stderr, "  %s", human_size(bytes, size));
    }
    fprintf(stderr, "  %s/s", human_size((uint64_t)rate, speed));
    if (last)
        fprintf(stderr, "  in %s", human_duration(seconds, left));
    else if (progress->total > bytes && rate > 0)
        fprintf(stderr, "  ETA %s", human_duration((double)(progress->total - bytes) / rate, left));
    fputs("\x1b[K", stderr);
    progress->drawn = true;
}

void progress_update(void *context, uint64_t bytes) {
    struct progress *progress = context;
    int64_t now_ms;

    if (!progress->on)
        return;
    now_ms = wire_now_ms();
    if (now_ms - progress->shown_ms < REDRAW_MS)
        return;
    progress->shown_ms = now_ms;
    draw(progress, bytes, now_ms, false);
}

void progress_end(struct progress *progress, uint64_t bytes, bool done) {
    if (!progress->on || !progress->drawn)
        return;
    if (done) {
        draw(progress, bytes, wire_now_ms(), true);
        fputc('\n', stderr);
    } else {
        fputs("\r\x1b[K", stderr);
    }
}
