/*
 * The link between supervisor and agent: one SOCK_SEQPACKET pair, each message one fixed struct
 * below (host byte order, both ends are on one kernel) plus file descriptors by SCM_RIGHTS. Both
 * ends check type, size and number of fds; a message that doesn't fit kills the agent, never the
 * supervisor.
 *
 * The agent speaks for clients and may be captured by one: the supervisor bounds every number here
 * itself. Neither end ever blocks on the link: a full link sets a flag, and the job table (the
 * truth) is compared later.
 *
 * Versions. `upgrade` brings agents and supervisors of different builds together, so
 *
 * - what is here stays as it is: a struct only grows at its end, an enum only gets new values at
 *   its end, and then LINK_VERSION goes up. A struct that bytes follow (LINK_INPUT, LINK_SPAWN)
 *   doesn't grow.
 *   struct link_config is the last member of LINK_HELLO, so that both can grow: the one at its
 *   end, the other into `later`.
 * - LINK_HELLO tells the supervisor's version and the oldest it speaks with. An agent that is older
 *   than that, or doesn't know the supervisor's, says so on stderr and exits with
 * LINK_EXIT_VERSION. Else an agent of another version answers LINK_SPEAKS first of all.
 * - From then on both take a longer struct cut to what they know, and a shorter one as if zeros
 *   followed. Of equal versions every size must fit exactly.
 * - The younger side sends nothing that the older doesn't know: the agent goes by LINK_HELLO, the
 *   supervisor by LINK_SPEAKS. What can't be said to an old supervisor is answered `unsupported`.
 */
#pragma once

#include <stdint.h>
#include <sys/resource.h>

#ifndef LINK_VERSION /* a test builds a guestd of another one */
#define LINK_VERSION 3
#define LINK_LEAST 2 /* the oldest version that this build speaks with */
#endif
#define LINK_EXIT_VERSION 77      /* the agent's exit code: no common version */
#define LINK_FD 3                 /* the agent's end, when it starts */
#define LINK_ROLE "agent-on-link" /* the only argument of guestd as the agent */
#define LINK_LISTENERS 8
#define LINK_LIMITS 32
#define LINK_TOKEN 256
#define LINK_SPEC_MAX (4u << 20)
#define LINK_SPEC_HERE_MAX (16u << 10) /* bytes of a spec in LINK_SPAWN itself */
#define LINK_FACTS_MAX (64u << 10)
#define LINK_INPUT_MAX (64u << 10) /* bytes of stdin in one LINK_INPUT */

enum link_type {
    /* supervisor → agent */
    LINK_HELLO = 1, /* link_hello + the listening sockets */
    LINK_JOB, /* link_job + store memfd: the job table at an agent's start, one message a job … */
    LINK_JOBS_END, /* link_header … and its end; from here on the agent may serve */
    LINK_SPAWNED,  /* link_spawned, + store memfd when err is 0 */
    LINK_OUTPUT,   /* link_output: a doorbell that LINK_LOOK asked for */
    LINK_EXITED,   /* link_exited: once a job, when the answer is due */
    LINK_DONE,     /* link_done: what LINK_SIGNAL, LINK_FORGET or LINK_POWER came to */
    LINK_PING,     /* link_header: answer LINK_PONG, asked only while connections or jobs exist */
    LINK_STOPPING, /* link_header: guestd shuts down: take no new work (busy) */
    LINK_COUNTS,   /* link_counts: while there are connections, when they changed */
    LINK_TAKEN,    /* link_taken: how far a job's stdin is */
    LINK_STORE,    /* link_job_ref + memfd: the job's store moved to a smaller one; LINK_STORED */
    /* agent → supervisor */
    LINK_SERVING = 64, /* link_serving: listeners are being accepted from; sent again when
                          `connections` goes 0 ↔ 1 */
    LINK_PONG,         /* link_header */
    LINK_SPAWN,        /* link_spawn + the spec, as bytes or memfd [+ stdin memfd] */
    LINK_LOOK,         /* link_look: acknowledges output and arms the doorbell */
    LINK_DETACH,       /* link_job_ref: the opener is gone or reads no more; BLOCK becomes DROP */
    LINK_SIGNAL,       /* link_signal */
    LINK_CANCEL,  /* link_job_ref: TERM, grace, KILL to the tree; the reason becomes CANCELLED */
    LINK_FORGET,  /* link_job_ref: an exited job's store and record may go */
    LINK_POWER,   /* link_power */
    LINK_INPUT,   /* link_input + its bytes */
    LINK_RESIZE,  /* link_resize */
    LINK_ADOPT,   /* link_job_ref: who opened it is back after an agent's death; BLOCK stays */
    LINK_UPGRADE, /* link_upgrade + the executable, a sealed memfd; answered by LINK_DONE */
    LINK_STORED,  /* link_job_ref: the agent has nothing mapped of the store before LINK_STORE */
    LINK_SPEAKS,  /* link_speaks: the agent's version, where it isn't the supervisor's */
};

struct link_header {
    uint32_t type;
    uint32_t size; /* of the whole struct */
};

/* ── start ── */

enum link_family {
    LINK_FAMILY_VSOCK,
    LINK_FAMILY_UNIX,
    LINK_FAMILY_TCP,
};

struct link_listener {
    uint32_t family; /* enum link_family */
    char name[124];  /* as `listen` tells it: "vsock:1024" */
};

/* What main read from the command line and the agent acts upon; the supervisor only carries it. */
struct link_config {
    uint64_t limit[LINK_LIMITS]; /* by enum limit of proto/limits.h */
    uint32_t allow_cid[8];
    uint32_t allow_cids;
    uint32_t token_len; /* 0: no token is asked for */
    uint8_t token[LINK_TOKEN];
    uint32_t log_level; /* 0 error … 3 debug */
    char ready[128];    /* address of --ready, empty: none */
};

enum link_kill_tree {
    LINK_KILL_BEST_EFFORT,
    LINK_KILL_CGROUP,
};

enum link_controller {
    LINK_CONTROLLER_MEMORY = 1 << 0,
    LINK_CONTROLLER_PIDS = 1 << 1,
    LINK_CONTROLLER_CPU = 1 << 2,
};

struct link_hello {
    struct link_header h;
    uint32_t version;   /* LINK_VERSION */
    uint32_t restarts;  /* agents before this one: also the upper half of the job ids it makes */
    char boot_id[40];   /* of this kernel's boot, as text */
    uint64_t job_nonce; /* GUESTD_JOB=<nonce %016x>-<job %016x> marks a job's processes where there
                           is no cgroup */
    int64_t started_mono_ns; /* CLOCK_BOOTTIME when the supervisor started */
    double last_active_at;   /* unix seconds; survives the agent */
    uint32_t is_init;        /* the machine's init: PID 1 of the initial pid namespace */
    uint32_t supervisor_pid;
    uint32_t kill_tree;   /* enum link_kill_tree */
    uint32_t controllers; /* bits of enum link_controller: delegated to job groups */
    uint64_t max_jobs;    /* running jobs that RLIMIT_NOFILE allows */
    uint64_t reaped_orphans;
    uint64_t processes_started;
    struct rlimit nofile; /* the original one, for children and for `info` */
    uint32_t least;       /* the oldest agent's version that the supervisor speaks with */
    uint32_t reexecs;     /* how often the supervisor executed another file */
    uint32_t upgrade;     /* enum link_upgrade_state, if this agent comes to serve */
    uint32_t unready;     /* nobody has answered config.ready yet */
    double upgrade_at;    /* unix seconds; 0: never */
    char supervisor[32];  /* the supervisor's build, as `hello` tells the agent's */
    uint64_t later[8];    /* zeros: room to grow */
    uint32_t listeners;
    struct link_listener listener[LINK_LISTENERS]; /* in the order of the fds */
    struct link_config config;
};

/* What grows of struct link_hello. */
struct link_counts {
    struct link_header h;
    uint64_t reaped_orphans;
};

struct link_speaks {
    struct link_header h;
    uint32_t version; /* LINK_VERSION */
    uint32_t pad;
};

struct link_serving {
    struct link_header h;
    uint32_t connections;
    uint32_t ready; /* config.ready was answered */
    double last_active_at;
};

/* ── spawn ── */

enum link_spawn_flags {
    LINK_SPAWN_STDIN = 1 << 0, /* the last fd becomes fd 0; else /dev/null */
    LINK_SPAWN_NO_NEW_PRIVS = 1 << 1,
    LINK_SPAWN_KILL_REST =
        1 << 2, /* kill descendants that outlive a leader which exits by itself */
    LINK_SPAWN_FOREGROUND = 1 << 3,
    LINK_SPAWN_SET_USER = 1 << 4, /* uid, gid and the spec's groups; else as guestd itself */
    LINK_SPAWN_MAIN = 1 << 5, /* the PROGRAM of the command line (made by the supervisor itself) */
    LINK_SPAWN_STDIN_OPEN = 1 << 6, /* a pipe that LINK_INPUT writes; not with STDIN */
    LINK_SPAWN_PTY = 1 << 7, /* a terminal for all three; implies STDIN_OPEN. store[1].size is 0 */
    LINK_SPAWN_SPEC_HERE = 1 << 8, /* the spec's bytes follow the struct, h.size counts them; else
                                      it is the first fd. Since version 3 */
};

enum store_mode {
    STORE_HEAD,  /* keep the first `size` bytes, read and count the rest */
    STORE_KILL,  /* the same, and kill the tree at byte size + 1: reason OUTPUT_LIMIT */
    STORE_DROP,  /* ring: the oldest bytes are overwritten (also overflow: tail) */
    STORE_BLOCK, /* ring: nothing is overwritten before it is acknowledged; the pipe waits */
};

enum link_limit {
    LINK_LIMIT_NOFILE,
    LINK_LIMIT_NPROC,
    LINK_LIMIT_CORE, /* bytes, as are fsize and memory_max */
    LINK_LIMIT_FSIZE,
    LINK_LIMIT_CPU_SECONDS,
    LINK_LIMIT_NICE,
    LINK_LIMIT_MEMORY_MAX, /* from here on of the job's cgroup */
    LINK_LIMIT_PIDS_MAX,
    LINK_LIMIT_CPU_MAX, /* millionths of a CPU */
    LINK_LIMIT_COUNT,
};

struct link_spawn {
    struct link_header h;
    uint64_t job; /* chosen by the agent: restarts << 32 | counter; never 0 */
    uint32_t flags;
    uint32_t uid, gid;
    uint32_t grace_ms;   /* SIGTERM to SIGKILL at timeout or cancel */
    uint64_t timeout_ms; /* 0: none; counted from the start of the program */
    struct {
        uint64_t size; /* bytes kept, exactly; 1 … 64 MiB */
        uint32_t mode; /* enum store_mode */
        uint32_t pad;
    } store[2];                      /* stdout (or the terminal's output), stderr */
    uint16_t rows, cols;             /* of a terminal */
    uint32_t limits;                 /* bits, 1 << enum link_limit: these are set … */
    int64_t limit[LINK_LIMIT_COUNT]; /* … to these */
};

/*
 * The spec, in a memfd (sealed WRITE|SHRINK|GROW before it is sent, at most LINK_SPEC_MAX bytes)
 * or, where it is short, in LINK_SPAWN itself, which saves a start the making of a file: this
 * header, then groups (uint32_t each), filter (struct sock_filter each, 8 bytes), then
 * NUL-terminated strings one after the other: `argc` arguments, `envc` of NAME=VALUE, `candidates`
 * paths to try in order as execvp(3) does, the cwd; then the facts: `facts` opaque bytes that come
 * back with LINK_JOB. The supervisor checks every count against the size.
 */
struct link_spec {
    uint32_t magic; /* LINK_SPEC_MAGIC */
    uint32_t argc, envc, candidates;
    uint32_t groups, filter;
    uint32_t strings; /* bytes of all strings together */
    uint32_t facts;
};
#define LINK_SPEC_MAGIC 0x67737063u

/* Where a start failed; the client's `field`. */
enum link_stage {
    LINK_STAGE_NONE, /* not the request's fault: memory, fds, processes */
    LINK_STAGE_CMD,
    LINK_STAGE_CWD,
    LINK_STAGE_USER,
    LINK_STAGE_ARGS,
    LINK_STAGE_BUSY, /* every spawn slot hung, or guestd is stopping */
    LINK_STAGE_PTY,
    LINK_STAGE_LIMIT, /* LINK_STAGE_LIMIT + enum link_limit */
};

struct link_spawned {
    struct link_header h;
    uint64_t job;
    int32_t pid;
    int32_t err;    /* positive errno when it did not start; no LINK_EXITED follows then */
    uint32_t stage; /* enum link_stage */
    uint32_t pad;
    double started_at; /* unix seconds */
};

/* ── output ── */

/*
 * A job's store: one memfd = this page, the stdout ring, the stderr ring, the facts. Byte `off` of
 * channel c is at ring[c].at + off % ring[c].size in DROP and BLOCK, ring[c].at + off in HEAD and
 * KILL (off < size).
 *
 * Only the supervisor writes, and it believes nothing that it reads back. Writing in DROP: first
 * `oldest` (seq_cst), then the bytes, then `end` (release). Reading: load `end` (acquire), copy
 * out, fence, load `oldest`; what is below it was overwritten meanwhile.
 */
struct store_head {
    uint32_t magic;   /* STORE_MAGIC */
    uint32_t version; /* LINK_VERSION */
    uint64_t facts_at;
    uint64_t facts_len;
    struct store_ring {
        _Atomic uint64_t end;    /* bytes ever read from the pipe */
        _Atomic uint64_t oldest; /* the first byte that can still be read */
        _Atomic uint32_t eof;    /* 1: nothing comes any more */
        _Atomic uint32_t mode;   /* enum store_mode as it is now */
        uint64_t at;
        _Atomic uint64_t size; /* falls, before the first lap only, when memory ends */
    } ring[2];
};
#define STORE_MAGIC 0x67737472u
#define STORE_PAGE 4096

/* "Everything below acked[c] may be overwritten. Ring (LINK_OUTPUT, once) as soon as a ring's end
 * is over seen[c], or its eof is set and LINK_LOOK_EOF says that this wasn't seen yet." */
enum link_look_flags {
    LINK_LOOK_ARM = 1 << 0,
    LINK_LOOK_EOF_SEEN_0 = 1 << 1,
    LINK_LOOK_EOF_SEEN_1 = 1 << 2,
};
struct link_look {
    struct link_header h;
    uint64_t job;
    uint64_t acked[2];
    uint64_t seen[2];
    uint32_t flags;
    uint32_t pad;
};

struct link_output {
    struct link_header h;
    uint64_t job;
};

/* ── input ── */

/*
 * Bytes for a job's stdin, or for its terminal. The supervisor keeps what the program hasn't read
 * yet, so that an agent's death loses none of it, and says how far it is by LINK_TAKEN: after each
 * LINK_INPUT, whenever bytes reached the program, and once to a new agent. What lies below `taken`
 * already is a repeat and skipped; what begins above it is the agent's mistake. At most
 * `limit[stdin_buffer]` bytes are kept a job: the agent goes by taken − written.
 */
enum link_input_flags {
    LINK_INPUT_CLOSE = 1 << 0, /* behind these bytes: the end; for a terminal its VEOF */
};
struct link_input {
    struct link_header h; /* size: with the bytes */
    uint64_t job;
    uint64_t off; /* of the first byte that follows; of the end, where there is none */
    uint32_t flags;
    uint32_t len; /* bytes that follow this struct */
};

struct link_taken {
    struct link_header h;
    uint64_t job;
    uint64_t taken;   /* bytes that are the supervisor's, or were */
    uint64_t written; /* of these, what the program's pipe or terminal has */
    uint32_t ends;    /* LINK_INPUT_CLOSE that were taken; behind one, a pipe takes no more */
    uint32_t closed;  /* bool: the program reads no more, or the end was written */
    int32_t err;      /* positive errno: the LINK_INPUT at `taken` was refused for want of memory,
                         and so is what follows until one begins there */
    uint32_t pad;
};

struct link_resize {
    struct link_header h;
    uint64_t job;
    uint16_t rows, cols;
    uint32_t pad;
};

/* ── the end of a job ── */

enum link_reason {
    LINK_REASON_EXITED,
    LINK_REASON_SIGNALED,
    LINK_REASON_TIMED_OUT,
    LINK_REASON_KILLED,
    LINK_REASON_CANCELLED,
    LINK_REASON_OOM_KILLED,
    LINK_REASON_OUTPUT_LIMIT,
    LINK_REASON_LOST,
};

struct link_result {
    int32_t wait_status;  /* as waitpid(2) gives it */
    uint32_t reason;      /* enum link_reason */
    uint32_t pipes_open;  /* bool: somebody still holds a pipe */
    int32_t oom_killed;   /* 1, 0, or -1: not known (no memory controller) */
    uint32_t descendants; /* alive at the answer */
    uint32_t killed_descendants;
    uint64_t duration_ms;
    uint64_t cpu_user_ms, cpu_sys_ms, max_rss_kb;
    double exited_at; /* unix seconds */
};

struct link_exited {
    struct link_header h;
    uint64_t job;
    struct link_result result;
};

/* One job of the table that a new agent takes over. + store memfd (its facts say what the job is).
 * pid 0: it only starts, so that its spec memfd comes instead (the facts are its last bytes), and
 * LINK_SPAWNED is still to follow. */
struct link_job {
    struct link_header h;
    uint64_t job;
    int32_t pid;
    uint32_t exited; /* bool: result holds */
    uint32_t flags;  /* enum link_spawn_flags */
    uint32_t pad;
    double started_at;
    struct link_result result;
};

/* ── orders ── */

struct link_job_ref {
    struct link_header h;
    uint64_t job;
};

enum link_scope {
    LINK_SCOPE_TREE,
    LINK_SCOPE_GROUP,
    LINK_SCOPE_LEADER,
};
struct link_signal {
    struct link_header h;
    uint64_t job;
    uint64_t request; /* comes back in LINK_DONE */
    int32_t signal;
    uint32_t scope; /* enum link_scope */
};

enum link_power_mode {
    LINK_POWER_OFF,
    LINK_POWER_REBOOT,
    LINK_POWER_EXIT,
};
struct link_power {
    struct link_header h;
    uint64_t request;
    uint32_t mode;
    uint32_t grace_ms;
};

/*
 * Another executable for the agent, and with the flag for the supervisor. LINK_DONE comes before
 * the swap: 0; EBUSY: one is under way, guestd stops, or a start hangs; ENOEXEC: the file doesn't
 * read this supervisor's state; EINVAL: no sealed memfd. Then the link's end is the agent's call to
 * send its last answers and go. One that isn't serving in 5 s is replaced by the one before.
 */
enum link_upgrade_flags {
    LINK_UPGRADE_SUPERVISOR = 1 << 0, /* the supervisor executes the file too */
};
enum link_upgrade_state {
    LINK_UPGRADE_NONE,
    LINK_UPGRADE_PENDING,
    LINK_UPGRADE_DONE,
    LINK_UPGRADE_ROLLED_BACK,
};
struct link_upgrade {
    struct link_header h;
    uint64_t request;
    uint32_t flags;
    uint32_t pad;
};

/* Answers LINK_SIGNAL (a SIGKILL: when the leader is reaped; ESRCH: already exited, or no such job)
 * and LINK_POWER (at once, before anything stops; EPERM where guestd isn't the machine's init). */
struct link_done {
    struct link_header h;
    uint64_t request;
    int32_t err; /* positive errno or 0 */
    uint32_t pad;
};
