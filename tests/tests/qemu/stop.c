// A child that stops itself, and is let go on and killed by its parent, which ends with 0 if it has seen all that.

typedef long i64;

static i64 call(i64 number, i64 a, i64 b, i64 c, i64 d)
{
    register i64 x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register i64 x3 __asm__("x3") = d, x4 __asm__("x4") = 0;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}

void _start(void)
{
    enum { CLONE = 220, KILL = 129, WAIT = 260, EXIT = 93, GETPID = 172, UNTRACED = 2 };
    int stopped = 0, killed = 0;
    i64 child = call(CLONE, 17, 0, 0, 0);
    if (child == 0) {
        call(KILL, call(GETPID, 0, 0, 0, 0), 19, 0, 0);
        for (;;)
            ;
    }
    call(WAIT, child, (i64)&stopped, UNTRACED, 0);
    call(KILL, child, 18, 0, 0);
    call(KILL, child, 9, 0, 0);
    call(WAIT, child, (i64)&killed, 0, 0);
    call(EXIT, !(stopped == (19 << 8 | 0x7f) && killed == 9), 0, 0, 0);
    __builtin_unreachable();
}
