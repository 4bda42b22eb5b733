#include "files/sort.h"

/* The eight bytes from `at` on, so that integers compare as the bytes do; zero behind the end. */
static uint64_t key_at(const char *name, size_t at) {
    uint64_t key = 0;

    for (unsigned i = 0; i < 8; i++) {
        uint8_t byte = (uint8_t)name[at + i];
        if (!byte)
            return i ? key << 8 * (8 - i) : 0;
        key = key << 8 | byte;
    }
    return key;
}

static void load(struct sort_name *names, size_t n, size_t at) {
    for (size_t i = 0; i < n; i++)
        names[i].key = key_at(names[i].name, at);
}

static void swap(struct sort_name *a, struct sort_name *b) {
    struct sort_name c = *a;
    *a = *b;
    *b = c;
}

static void insertion(struct sort_name *names, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct sort_name name = names[i];
        size_t j = i;
        for (; j > 0 && names[j - 1].key > name.key; j--)
            names[j] = names[j - 1];
        names[j] = name;
    }
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c) {
    if (a > b) {
        uint64_t t = a;
        a = b;
        b = t;
    }
    if (c <= a)
        return a;
    return c < b ? c : b;
}

static uint64_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static uint64_t pivot(const struct sort_name *names, size_t n, uint64_t *seed) {
    return median(names[next_random(seed) % n].key, names[next_random(seed) % n].key,
                  names[next_random(seed) % n].key);
}

/* Sorts a run whose keys hold the bytes from `at`. The recursion is as deep as log n and a name's
 * length / 8. */
static void sort(struct sort_name *names, size_t n, size_t at, uint64_t *seed);

/* Names whose keys at `at` are the same go on behind them, unless they ended there (then there is
 * only one). */
static void sort_equal(struct sort_name *names, size_t n, size_t at, uint64_t *seed) {
    if (n < 2)
        return;
    load(names, n, at + 8);
    sort(names, n, at + 8, seed);
}

static void sort_small(struct sort_name *names, size_t n, size_t at, uint64_t *seed) {
    insertion(names, n);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && names[to].key == names[from].key; to++)
            ;
        sort_equal(names + from, to - from, at, seed);
    }
}

static void sort(struct sort_name *names, size_t n, size_t at, uint64_t *seed) {
    while (n > 12) {
        const uint64_t middle = pivot(names, n, seed);
        size_t less = 0, more = n;
        for (size_t i = 0; i < more;) {
            if (names[i].key < middle)
                swap(&names[less++], &names[i++]);
            else if (names[i].key > middle)
                swap(&names[i], &names[--more]);
            else
                i++;
        }
        sort_equal(names + less, more - less, at, seed);
        /* The larger part by the loop, so that the stack stays small. */
        if (less < n - more) {
            sort(names, less, at, seed);
            names += more;
            n -= more;
        } else {
            sort(names + more, n - more, at, seed);
            n = less;
        }
    }
    sort_small(names, n, at, seed);
}

void sort_names(struct sort_name *names, size_t n, uint64_t seed) {
    load(names, n, 0);
    sort(names, n, 0, &seed);
}
