/* Makes the process it is loaded into hang where a test wants it to: LD_PRELOAD, no line of the product's own.
 *
 * A file "hang-loop" in /var/lib/codeq stops the thread that waits for events, "hang-sync" the one that flushes. The
 * file is removed first, so that the process after this one is well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

static void hang_if_asked(const char *path) {
    if (unlink(path) == 0)
        for (;;)
            pause();
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
    static int (*real)(int, struct epoll_event *, int, int);
    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_wait");
    hang_if_asked("/var/lib/codeq/hang-loop");
    return real(epoll, events, count, timeout);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask) {
    static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_pwait");
    hang_if_asked("/var/lib/codeq/hang-loop");
    return real(epoll, events, count, timeout, mask);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fdatasync");
    hang_if_asked("/var/lib/codeq/hang-sync");
    return real(file);
}
