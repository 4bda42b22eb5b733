#include "files/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/etc.h"

enum kind {
    USERS,
    GROUPS,
};

void names_deinit(struct names *names) {
    for (int kind = USERS; kind <= GROUPS; kind++) {
        free(names->text[kind]);
        for (size_t i = 0; i < NAMES_SLOTS; i++)
            free(names->slot[kind][i].name);
    }
    *names = (struct names){0};
}

static char *find(const char *text, enum kind kind, unsigned id) {
    struct etc_user user;
    struct etc_group group;
    char number[16];

    while (kind == USERS && etc_next_user(&text, &user))
        if (user.uid == id)
            return strndup(user.name.at, user.name.len);
    while (kind == GROUPS && etc_next_group(&text, &group))
        if (group.gid == id)
            return strndup(group.name.at, group.name.len);
    snprintf(number, sizeof(number), "%u", id);
    return strdup(number);
}

static const char *name_of(struct names *names, enum kind kind, unsigned id) {
    struct names_slot *slot = &names->slot[kind][id % NAMES_SLOTS];

    if (slot->name && slot->id == id)
        return slot->name;
    if (!names->text[kind])
        names->text[kind] = etc_load(kind == USERS ? "/etc/passwd" : "/etc/group");
    free(slot->name);
    slot->id = id;
    slot->name = find(names->text[kind] ? names->text[kind] : "", kind, id);
    return slot->name ? slot->name : "?";
}

const char *names_user(struct names *names, uid_t uid) {
    return name_of(names, USERS, uid);
}

const char *names_group(struct names *names, gid_t gid) {
    return name_of(names, GROUPS, gid);
}
