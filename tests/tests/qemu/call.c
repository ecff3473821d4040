/* Ends with what one system call, NUMBER, costs, its loop of three instructions included, where the counter ticks once an instruction. */
void _start(void) {
    unsigned long begin, end, left = 100;
    asm volatile("mov x8, %3\n"
                 "isb\n"
                 "mrs %0, cntvct_el0\n"
                 "1: svc #0\n"
                 "subs %2, %2, #1\n"
                 "b.ne 1b\n"
                 "isb\n"
                 "mrs %1, cntvct_el0\n"
                 : "=&r"(begin), "=&r"(end), "+&r"(left)
                 : "r"((unsigned long)NUMBER)
                 : "x0", "x8", "cc", "memory");
    register unsigned long x0 asm("x0") = (end - begin) / 100;
    register unsigned long x8 asm("x8") = 93;
    asm volatile("svc #0" : : "r"(x0), "r"(x8));
    __builtin_unreachable();
}
