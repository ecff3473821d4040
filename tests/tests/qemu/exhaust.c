// Programs that use up what the kernel has: `exhaust MODE`. Each ends with 0 if it, the first program, was served to the end
// and nobody saw what is not theirs; else with 1. No C library: it would use memory of its own. Built for 64 MiB of RAM.

typedef unsigned long u64;
typedef long i64;

enum { READ = 1, WRITE = 2, PAGE = 4096 };
#define GIB (1ul << 30)

static i64 call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    register i64 x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register i64 x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

static i64 fork(void) { return call(220, 17, 0, 0, 0, 0, 0); }
static i64 wait(i64 pid, int *status, int options) { return call(260, pid, (i64)status, options, 0, 0, 0); }
static i64 map(u64 at, u64 size, int rights) { return call(222, at, size, rights, at ? 0x32 : 0x22, -1, 0); }
static i64 unmap(u64 at, u64 size) { return call(215, at, size, 0, 0, 0, 0); }
static i64 protect(u64 at, u64 size, int rights) { return call(226, at, size, rights, 0, 0, 0); }
static volatile char *byte(u64 at) { return (volatile char *)at; }

static void exit(int code)
{
    call(93, code, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

// Times are kept in constants: a process may not have a stack page of its own to write to.
static void sleep(int seconds)
{
    static const u64 times[16][2] = { { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 }, { 7 }, { 8 }, { 9 }, { 10 }, { 11 }, { 12 },
                                      { 13 }, { 14 }, { 15 }, { 16 } };
    call(101, (i64)times[seconds - 1], 0, 0, 0, 0, 0);
}

static u64 milliseconds(void)
{
    u64 time[2];
    call(113, 1, (i64)time, 0, 0, 0, 0);
    return time[0] * 1000 + time[1] / 1000000;
}

// Children fork until that fails, each with `gibibytes` pages that need two tables each; all go away after `seconds`.
static void take_tables(int gibibytes, int seconds)
{
    if (fork() != 0)
        return;
    for (int i = 1; i < gibibytes; i++) {
        u64 at = i * GIB + 0x40000000;
        if (map(at, PAGE, READ | WRITE) < 0)
            break;
        *byte(at) = 1;
    }
    for (;;) {
        i64 child = fork();
        if (child == 0)
            sleep(seconds), exit(0);
        if (child < 0)
            break;
    }
    sleep(seconds);
    exit(0);
}

// What is unmapped, or made read-only, is so when no frame is left: none is needed.
static int unmapping(void)
{
    int bad = 0, status;
    i64 victim = fork();
    if (victim == 0) {
        u64 gone = 0x70 * GIB, kept = 0x71 * GIB;
        map(gone, PAGE, READ | WRITE), map(kept, PAGE, READ | WRITE);
        *byte(gone) = 7, *byte(kept) = 7;
        sleep(4);
        bad |= unmap(gone, PAGE) != 0;
        bad |= protect(kept, PAGE, READ) != 0;
        sleep(4);
        i64 child = fork();
        if (child == 0)
            exit(*byte(kept) != 7);
        bad |= child < 0 || wait(child, &status, 0) != child || status != 0;
        exit(bad);
    }
    take_tables(240, 3);
    take_tables(1, 3);
    while (wait(-1, &status, 0) > 0)
        bad |= status != 0 && status != 9;
    return bad;
}

// The first program gets its share of frames whatever the others do with theirs.
static int first(void)
{
    int status;
    take_tables(240, 8);
    sleep(2);
    // What is too little for one more of those.
    take_tables(1, 6);
    sleep(3);
    u64 at = map(0, 200 * PAGE, READ | WRITE);
    for (int i = 0; i < 200; i++)
        *byte(at + i * PAGE) = 1;
    while (wait(-1, &status, 0) > 0)
        ;
    return 0;
}

// Holes in the kernel's heap, too small for what another one asks for.
static int holes(void)
{
    enum { HOLES = 120, HOLE = 24 * PAGE, KEPT = 12 * PAGE };
    u64 base = 0x40 * GIB, areas = 0x50 * GIB;
    int status;
    if (fork() == 0) {
        for (int i = 0; i < 245; i++, areas += PAGE)
            map(areas, PAGE, READ | WRITE * (i & 1));
        sleep(12);
        for (;;) {
            i64 child = fork();
            if (child == 0)
                sleep(8), exit(0);
            if (child < 0)
                break;
        }
        sleep(8);
        exit(0);
    }
    if (fork() == 0) {
        u64 at = base;
        for (int i = 0; i < HOLES; i++, at += HOLE + KEPT) {
            map(at, HOLE, READ), map(at + HOLE, KEPT, READ | WRITE);
            for (int page = 0; page < HOLE + KEPT; page += PAGE)
                (void)*byte(at + page);
        }
        for (;;) {
            i64 child = fork();
            if (child == 0) {
                sleep(8);
                for (int i = 0; i < HOLES; i++)
                    unmap(base + i * (u64)(HOLE + KEPT), HOLE);
                sleep(16);
                exit(0);
            }
            if (child < 0)
                break;
        }
        sleep(16);
        exit(0);
    }
    while (wait(-1, &status, 0) > 0)
        ;
    return 0;
}

// A chain of frame records as long as memory keeps nobody else waiting, when its program dies.
static int chain(void)
{
    int status;
    i64 victim = fork();
    if (victim == 0) {
        u64 size = 24ul << 20, at = map(0, size, READ | WRITE);
        for (u64 record = at; record < at + size; record += 16) {
            ((volatile u64 *)record)[0] = record + 16;
            ((volatile u64 *)record)[1] = 0x400100;
        }
        __asm__ volatile("mov x29, %0\n brk #1" ::"r"(at));
    }
    u64 last = milliseconds(), longest = 0;
    i64 ended;
    do {
        ended = wait(victim, &status, 1);
        u64 now = milliseconds();
        if (now - last > longest)
            longest = now - last;
        last = now;
    } while (ended == 0);
    return status != 5 || longest > 50;
}

int run(u64 *stack)
{
    switch (*(char *)stack[2]) {
    case 'u':
        return unmapping();
    case 'f':
        return first();
    case 'h':
        return holes();
    case 'c':
        return chain();
    default:
        return 2;
    }
}

__asm__(".global _start\n_start: mov x0, sp\n bl run\n mov x8, #93\n svc #0\n");
