/* Ring buffers. */
#include <stddef.h>

#define RING_SIZE 64
#define RING_NEXT(i) (((i) + 1) % RING_SIZE)

typedef unsigned char byte;

/* One buffer. */
struct ring {
    byte data[RING_SIZE];
    size_t head, tail;
    void (*on_full)(struct ring *);
};

typedef struct {
    int x;
    int y;
} point_t;

enum ring_state { RING_EMPTY, RING_FULL = 4 };

union word {
    int whole;
    char parts[4];
};

static const char *const names[] = {"a", "b"};
int ring_count = 0, ring_peak;
extern int ring_open(const char *path);

/**
 * Push a byte.
 * Returns 0 when the ring is full.
 */
static inline int
ring_push(struct ring *r, byte value)
{
    size_t next = RING_NEXT(r->head);
    if (next == r->tail)
        return 0;
    r->data[r->head] = value;
    r->head = next;
    return 1;
}

char **ring_names(void) { return 0; }

// The handler of a signal.
void (*ring_handler(int number))(int) { return 0; }
