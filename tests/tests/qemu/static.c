/* A static C program as a C library starts it: standard output, the heap, a child, the arguments. Ends with 7. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
    return getenv("PATH") ? 7 : 3;
}
