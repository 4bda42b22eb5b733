#include "agent/listener.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/conn.h"
#include "agent/log.h"

struct listener {
    struct agent *agent;
    enum link_family family;
    uv_pipe_t handle;
};

static void on_connection(uv_stream_t *server, int status) {
    struct listener *listener = server->data;

    if (status < 0) {
        log_warning("listen: %s", uv_strerror(status));
        return;
    }
    conn_accept(listener->agent, server, listener->family);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

struct listener *listener_new(struct agent *agent, int fd, const struct link_listener *about) {
    struct listener *listener = calloc(1, sizeof *listener);
    int r;

    if (!listener) {
        log_error("no memory for listener %s", about->name);
        close(fd);
        return NULL;
    }
    listener->agent = agent;
    listener->family = about->family;
    listener->handle.data = listener;
    uv_pipe_init(&agent->loop, &listener->handle, 0);
    r = uv_pipe_open(&listener->handle, fd);
    if (r < 0)
        close(fd);
    else
        r = uv_listen((uv_stream_t *)&listener->handle, 128, on_connection);
    if (r < 0) {
        log_error("listener %s: %s", about->name, uv_strerror(r));
        listener_close(listener);
        return NULL;
    }
    return listener;
}

void listener_close(struct listener *listener) {
    if (listener)
        uv_close((uv_handle_t *)&listener->handle, on_closed);
}
