// The first instructions of a program. The kernel enters with SP on argc, 16-byte aligned, and every other register
// without meaning (Linux arm64 ELF ABI). x29 = x30 = 0 ends backtraces here.
    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, sp
    bl      {start}
    .size _start, . - _start
