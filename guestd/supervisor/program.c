#include "supervisor/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/spawn.h"
#include "supervisor/spec.h"
#include "supervisor/state.h"

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CANDIDATES 64
/* Upper half all ones: no agent makes such an id. */
#define PROGRAM_JOB (UINT64_C(0xffffffff) << 32 | 1)

extern char **environ;

/* guestd's own variables are not for programs. Contract §4, `envs`. */
static bool is_own(const char *variable) {
    return strncmp(variable, "GUESTD_", 7) == 0 || strncmp(variable, "LISTEN_", 7) == 0 ||
           strncmp(variable, "NOTIFY_SOCKET=", 14) == 0;
}

static char **make_environ(char *mark) {
    static char usual[] = "PATH=" USUAL_PATH;
    unsigned count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **envp = calloc(count + 3, sizeof *envp);
    if (envp == NULL)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        if (!is_own(environ[i]))
            envp[kept++] = environ[i];
    }
    if (getenv("PATH") == NULL)
        envp[kept++] = usual;
    envp[kept] = mark;
    return envp;
}

/* As execvp(3) would look for it. The text of each is in `room`. */
static void find_candidates(const char *name, char *room, size_t size, char *ret[CANDIDATES + 1]) {
    static char itself[4096];
    unsigned count = 0;
    if (strchr(name, '/') != NULL) {
        snprintf(itself, sizeof itself, "%s", name);
        ret[count++] = itself;
    } else {
        const char *path = getenv("PATH");
        if (path == NULL)
            path = USUAL_PATH;
        while (count < CANDIDATES) {
            size_t len = strcspn(path, ":");
            int wanted =
                snprintf(room, size, "%.*s/%s", len > 0 ? (int)len : 1, len > 0 ? path : ".", name);
            if (wanted < 0 || (size_t)wanted >= size)
                break;
            ret[count++] = room;
            room += wanted + 1;
            size -= (size_t)wanted + 1;
            if (path[len] == 0)
                break;
            path += len + 1;
        }
    }
    ret[count] = NULL;
}

/* The facts: the arguments, each with its NUL; as many whole ones as fit. */
static size_t put_facts(char *const argv[], char *facts, size_t size) {
    size_t len = 0;
    for (; *argv != NULL && len + strlen(*argv) + 1 <= size; argv++)
        len += strlen(strcpy(facts + len, *argv)) + 1;
    return len;
}

static int make_spec(struct supervisor *supervisor, struct spec_source *ret) {
    char *const *argv = supervisor->options->program;
    char mark[64], *candidates[CANDIDATES + 1];
    snprintf(mark, sizeof mark, "GUESTD_JOB=%016llx-%016llx",
             (unsigned long long)supervisor->job_nonce, (unsigned long long)PROGRAM_JOB);
    size_t size = LINK_FACTS_MAX;
    char *room = malloc(2 * size), **envp = make_environ(supervisor->cgroups ? NULL : mark);
    int err = -ENOMEM;
    if (room != NULL && envp != NULL) {
        find_candidates(argv[0], room, size, candidates);
        err =
            spec_make(argv, envp, candidates, room + size, put_facts(argv, room + size, size), ret);
    }
    free(room);
    free(envp);
    return err;
}

void program_start(struct supervisor *supervisor) {
    if (supervisor->options->program == NULL)
        return;
    struct spec_source spec;
    int err = make_spec(supervisor, &spec);
    if (err < 0) {
        program_failed(supervisor, -err);
        return;
    }
    struct link_spawn order = {
        .h = {.type = LINK_SPAWN, .size = sizeof order},
        .job = PROGRAM_JOB,
        .flags = LINK_SPAWN_MAIN | LINK_SPAWN_FOREGROUND,
        .grace_ms = supervisor->options->grace_ms,
    };
    spawn_take(supervisor, &order, &spec, -1);
    supervisor->program = task_find(&supervisor->tasks, PROGRAM_JOB);
    if (supervisor->program == NULL)
        program_failed(supervisor, EAGAIN);
}

void program_failed(struct supervisor *supervisor, int err) {
    note("%s: %s", supervisor->options->program[0], strerror(err));
    power_program_ended(supervisor, err == ENOENT ? 127 : 126);
}
