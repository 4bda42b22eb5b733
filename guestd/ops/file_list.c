/* file.list: a directory or a tree, in the answer or as a stream of batches. PROTOCOL.md, "Files".
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "files/tree_list.h"
#include "files/user.h"
#include "ops/ahead.h"
#include "ops/file_reply.h"
#include "ops/hold.h"
#include "proto/limits.h"
#include "proto/message.h"

#define PART (256u << 10)    /* bytes of a batch, about */
#define ANSWER_OVERHEAD 128u /* of what the entries are wrapped in */

struct list_params {
    uint64_t present;
    const char *path;
    uint64_t depth;
    uint64_t limit;
    bool stream;
    const char *user;
};

static const struct field fields[] = {
    FIELD(list_params, path, PATH, .required = true),
    FIELD(list_params, depth, UINT, .max = INT64_MAX, .otherwise.u = 1),
    FIELD(list_params, limit, UINT, .min = 1, .max = INT64_MAX, .otherwise.u = INT64_MAX),
    FIELD(list_params, stream, BOOL),
    FIELD(list_params, user, STR),
    FIELDS_END,
};

/* What answers have beyond the HELD_FIRST that each may have: large ones must not add up. */
#define HELD_FIRST (1u << 20)
static _Atomic uint64_t held;

/* One of the two ways uses `work` and `hold`, the other `ahead`. */
struct list_call {
    struct ahead ahead;
    struct work work;
    struct hold hold;
    const struct list_params *params;
    struct identity identity;
    struct tree_list list;
    bool open, truncated;
    uint64_t told;  /* entries so far */
    uint32_t batch; /* limits.list_batch */
    size_t room;    /* bytes that one frame may have */
    uint64_t held, held_max;
    msgpack_sbuffer carry; /* an entry that didn't fit into the last batch */
    struct part {
        msgpack_sbuffer packed;
        uint32_t n;
    } part[2]; /* the whole answer is the first */
};

/* Charged before it grows: at each doubling. */
static bool grow(struct list_call *list, size_t size) {
    while (size > HELD_FIRST + list->held) {
        const uint64_t more = HELD_FIRST + list->held;
        if (atomic_fetch_add(&held, more) + more > list->held_max) {
            atomic_fetch_sub(&held, more);
            return false;
        }
        list->held += more;
    }
    return true;
}

/* Adds the next entry's bytes to the part. Returns 1, 0 at the end, or -errno. */
static int pack_next(struct list_call *list, msgpack_packer *pk) {
    struct entry entry;

    if (list->carry.size) {
        file_pack_packed(pk, &list->carry);
        list->carry.size = 0;
        return 1;
    }
    int r = tree_list_next(&list->list, &entry);
    if (r == 1)
        file_pack_entry(pk, &entry);
    return r;
}

/* Whether what was packed behind `before` may stay. What a batch has no room for is the next one's.
 */
static bool take(struct list_call *list, struct part *part, size_t before) {
    const bool over = part->packed.size > list->room;

    if (over && list->params->stream && part->n > 0)
        msgpack_sbuffer_write(&list->carry, part->packed.data + before, part->packed.size - before);
    else if (over || list->told == list->params->limit)
        /* One more than may be told: only now it is known that there is more. */
        list->truncated = true;
    else
        return true;
    part->packed.size = before;
    return false;
}

/* Packs entries until the part has `n` or `size` bytes, or nothing is left. */
static int pack_entries(struct list_call *list, struct part *part, uint32_t n, size_t size,
                        const _Atomic bool *cancelled, bool *ret_end) {
    msgpack_packer pk;
    int r = 1;

    part->n = 0;
    part->packed.size = 0;
    msgpack_packer_init(&pk, &part->packed, msgpack_sbuffer_write);
    while (part->n < n && part->packed.size < size) {
        const size_t before = part->packed.size;
        if (atomic_load_explicit(cancelled, memory_order_relaxed))
            return -ECANCELED;
        r = pack_next(list, &pk);
        if (r <= 0 || !take(list, part, before))
            break;
        if (!list->params->stream && !grow(list, part->packed.size))
            return -ENOMEM;
        part->n++;
        list->told++;
    }
    *ret_end = r == 0 || list->truncated;
    return r < 0 ? r : 0;
}

static int open_list(struct list_call *list) {
    const struct list_params *p = list->params;

    if (list->open)
        return 0;
    list->open = true;
    return tree_list_open(&list->list, p->path, p->depth);
}

static void close_list(struct list_call *list) {
    if (list->open)
        tree_list_close(&list->list);
    list->open = false;
}

static void free_parts(struct list_call *list) {
    atomic_fetch_sub(&held, list->held);
    list->held = 0;
    msgpack_sbuffer_destroy(&list->carry);
    for (unsigned i = 0; i < 2; i++)
        msgpack_sbuffer_destroy(&list->part[i].packed);
}

static void pack_part(msgpack_packer *pk, const struct part *part) {
    pack_text(pk, "entries");
    msgpack_pack_array(pk, part->n);
    file_pack_packed(pk, &part->packed);
}

/* ── in the answer ── */

static int list_whole(struct work *work) {
    struct list_call *list = (struct list_call *)((char *)work - offsetof(struct list_call, work));
    bool end = false;

    int r = user_enter(list->params->user, &list->identity);
    if (r != 0)
        return r;
    r = open_list(list);
    if (r == 0)
        r = pack_entries(list, &list->part[0], UINT32_MAX, SIZE_MAX, &work->cancelled, &end);
    user_leave(list->params->user, &list->identity);
    close_list(list);
    return r;
}

static void let_go(struct call *call, void *arg) {
    struct list_call *list = arg;

    free_parts(list);
    hold_release(&list->hold);
}

static void reply(struct call *call, void *arg) {
    struct list_call *list = arg;

    msgpack_packer *pk = call_reply_begin(call, 2);
    pack_part(pk, &list->part[0]);
    pack_kv_bool(pk, "truncated", list->truncated);
    call_reply_end(call);
    let_go(call, arg);
}

static void on_listed(struct work *work, int result) {
    struct list_call *list = (struct list_call *)((char *)work - offsetof(struct list_call, work));

    if (result == 0) {
        call_reply_later(work->call, list->part[0].packed.size, reply, let_go, list);
        return;
    }
    file_fail(work->call, result, list->params->path);
    let_go(work->call, list);
}

static void start_listing(struct hold *hold) {
    struct list_call *list = (struct list_call *)((char *)hold - offsetof(struct list_call, hold));

    if (call_answered(hold->call))
        let_go(hold->call, list);
    else
        call_work_start(hold->call, &list->work, list_whole, on_listed);
}

/* ── as a stream ── */

static int fill(struct ahead *ahead, unsigned part, bool *ret_last) {
    struct list_call *list = (struct list_call *)ahead;

    int r = user_enter(list->params->user, &list->identity);
    if (r != 0)
        return r;
    r = open_list(list);
    if (r == 0)
        r = pack_entries(list, &list->part[part], list->batch, PART, &ahead->work.cancelled,
                         ret_last);
    user_leave(list->params->user, &list->identity);
    return r;
}

static bool send_part(struct ahead *ahead, unsigned index, bool *ret_empty) {
    const struct part *part = &((struct list_call *)ahead)->part[index];

    *ret_empty = true;
    if (!part->n)
        return false;
    msgpack_packer *pk = call_event_begin(ahead->call, "entries", 1);
    pack_part(pk, part);
    call_event_end(ahead->call);
    return true;
}

static void close_stream(struct ahead *ahead) {
    close_list((struct list_call *)ahead);
}

static void answer(struct ahead *ahead, int result) {
    struct list_call *list = (struct list_call *)ahead;

    if (result != 0) {
        file_fail(ahead->call, result, list->params->path);
    } else {
        msgpack_packer *pk = call_reply_begin(ahead->call, 1);
        pack_kv_bool(pk, "truncated", list->truncated);
        call_reply_end(ahead->call);
    }
    free_parts(list);
}

static const struct ahead_way way = {fill, send_part, close_stream, answer};

static void run(struct call *call, const void *params) {
    const struct list_params *p = params;
    const struct agent *agent = call_agent(call);
    struct list_call *list = arena_alloc(call_arena(call), sizeof(*list));
    const uint64_t frame = call_client_frame(call) - ANSWER_OVERHEAD;

    if (!list) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    list->params = p;
    list->batch = (uint32_t)agent->limit[LIMIT_list_batch];
    list->held_max = agent->limit[LIMIT_queue_total];
    list->room = frame < list->held_max ? frame : list->held_max;
    for (unsigned i = 0; i < 2; i++)
        msgpack_sbuffer_init(&list->part[i].packed);
    if (p->stream)
        ahead_start(&list->ahead, call, &way, 0);
    else
        hold_ask(&list->hold, call, HELD_FIRST, start_listing);
}

const struct op op_file_list = {"file.list", fields, sizeof(struct list_params), run, 0};
