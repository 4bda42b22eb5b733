#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "options.h"
#include "proto/address.h"
#include "proto/limits.h"

#define BACKLOG 128

static void add_listener(struct settings *settings, unsigned i, int fd) {
    static const enum link_family families[] = {
        [ADDRESS_VSOCK] = LINK_FAMILY_VSOCK,
        [ADDRESS_UNIX] = LINK_FAMILY_UNIX,
        [ADDRESS_TCP] = LINK_FAMILY_TCP,
    };
    struct link_listener *told = &settings->options.listener[i].told;
    enum address_family family = settings->address[i].family;
    settings->options.listener[i].fd = fd;
    address_format(&settings->address[i], told->name, sizeof told->name);
    if (family == ADDRESS_FD) {
        int domain = 0;
        socklen_t len = sizeof domain;
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
        family = domain == AF_UNIX    ? ADDRESS_UNIX
                 : domain == AF_VSOCK ? ADDRESS_VSOCK
                                      : ADDRESS_TCP;
    }
    told->family = families[family];
}

/* A port is open to whoever reaches it. */
static bool may_serve(const struct settings *settings, unsigned i) {
    const struct link_listener *told = &settings->options.listener[i].told;
    if (told->family != LINK_FAMILY_TCP || settings->options.config.token_len > 0)
        return true;
    if (settings->no_token)
        fprintf(stderr, "guestd: without a token, whoever reaches %s may do anything here\n",
                told->name);
    else
        fprintf(stderr, "guestd: %s needs --token-file (or --no-token, for tests)\n", told->name);
    return settings->no_token;
}

/* LISTEN_FDS, sd_listen_fds(3); else the default. */
static void choose_default(struct settings *settings) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t count = 0;
    if (fds != NULL && pid != NULL && strtoull(pid, NULL, 10) == (unsigned long long)getpid())
        count = strtoull(fds, NULL, 10);
    for (uint64_t i = 0; i < count && settings->options.listeners < LINK_LISTENERS; i++)
        settings->address[settings->options.listeners++] =
            (struct address){.family = ADDRESS_FD, .fd = 3 + (int)i};
    if (settings->options.listeners == 0)
        settings->address[settings->options.listeners++] =
            (struct address){.family = ADDRESS_VSOCK, .cid = UINT32_MAX, .port = DEFAULT_PORT};
}

bool sockets_need_network(const struct settings *settings) {
    struct address ready;
    for (unsigned i = 0; i < settings->options.listeners; i++) {
        if (settings->address[i].family == ADDRESS_TCP)
            return true;
    }
    return address_parse(settings->options.config.ready, &ready) == 0 &&
           ready.family == ADDRESS_TCP;
}

int sockets_listen(struct settings *settings) {
    struct supervisor_options *options = &settings->options;
    unsigned served = 0;
    choose_default(settings);
    for (unsigned i = 0; i < options->listeners; i++) {
        char name[128];
        struct address *address = &settings->address[i];
        address_format(address, name, sizeof name);
        int fd = address_listen(address, BACKLOG);
        if (fd < 0) {
            fprintf(stderr, "guestd: can't listen on %s: %s%s\n", name, strerror(-fd),
                    address->family == ADDRESS_VSOCK ? " (without vsock: --listen unix:/PATH)"
                                                     : "");
            if (!settings->forgiving)
                return fd;
            continue;
        }
        settings->address[served] = *address;
        add_listener(settings, served, fd);
        if (!may_serve(settings, served))
            return -EACCES;
        served++;
    }
    options->listeners = served;
    return 0;
}

int sockets_read_token(struct settings *settings) {
    struct link_config *config = &settings->options.config;
    if (settings->token_file == NULL)
        return 0;
    /* One byte more than fits, to see that there isn't one. */
    char text[LINK_TOKEN + 2];
    int fd = open(settings->token_file, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text) : -1;
    int err = errno;
    if (fd >= 0)
        close(fd);
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len > 0 && len <= LINK_TOKEN) {
        memcpy(config->token, text, (size_t)len);
        config->token_len = (uint32_t)len;
        return 0;
    }
    fprintf(stderr, "guestd: the token file %s: %s\n", settings->token_file,
            len < 0    ? strerror(err)
            : len == 0 ? "empty"
                       : "longer than 256 bytes");
    return -EACCES;
}

void sockets_recall(struct settings *settings) {
    for (unsigned i = 0; i < settings->options.listeners; i++) {
        if (address_parse(settings->options.listener[i].told.name, &settings->address[i]) < 0)
            settings->address[i].family = ADDRESS_FD; /* nobody's file */
    }
}

void sockets_remove(const struct settings *settings) {
    for (unsigned i = 0; i < settings->options.listeners; i++) {
        if (settings->address[i].family == ADDRESS_UNIX)
            unlink(settings->address[i].path);
    }
}
