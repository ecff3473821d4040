/* A static C program as a C library starts it: standard output, the heap, a child, the arguments, system calls with
   buffers that end in a hole. Ends with 7. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Of a buffer that reaches over the end of memory, what lies before is written and read: to the byte, wherever it begins. */
static int holes(void)
{
    char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || munmap(page + PAGE, PAGE))
        return 0;
    for (int before = 1; before <= 24; before++) {
        memset(page, 'x', PAGE);
        if (write(STDOUT_FILENO, page + PAGE - before, 32) != before)
            return 0;
        if (getrandom(page + PAGE - before, 32, 0) != before)
            return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    printf("%d %s %.3f\n", argc, argv[argc - 1], 2.0 / 3);
    char *memory = malloc(1 << 20);
    if (!memory)
        return 1;
    memset(memory, 'x', 1 << 20);
    printf("%zu\n", strnlen(memory, 1 << 20));
    free(memory);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        exit(argc == 3 ? 5 : 6);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return 2;
    printf("%d\n", WEXITSTATUS(status));
    fflush(stdout);
    if (!holes())
        return 3;
    return getenv("PATH") ? 7 : 4;
}
