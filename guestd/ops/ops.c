#include "ops/ops.h"

#include <string.h>

#include "ops/ops_table.h"
#include "proto/message.h"

enum { N_OPS = sizeof ops_table / sizeof *ops_table };

const struct op *ops_find(struct slice name) {
    for (unsigned i = 0; i < N_OPS; i++)
        if (strlen(ops_table[i]->name) == name.len &&
            memcmp(ops_table[i]->name, name.data, name.len) == 0)
            return ops_table[i];
    return NULL;
}

void ops_pack_names(msgpack_packer *pk) {
    msgpack_pack_array(pk, N_OPS);
    for (unsigned i = 0; i < N_OPS; i++)
        pack_text(pk, ops_table[i]->name);
}
