/*
 * Stands between a process and the C library, and sees every call that changes files below one directory.
 *
 * Loaded with LD_PRELOAD. CODEQ_SHIM_ROOT is the directory. With CODEQ_SHIM_LOG it appends a record of each call to that
 * file, so that the order of the file is the order in which things happened; whoever else appends to it (the clients,
 * their acknowledgements) has a place in the same order. With CODEQ_SHIM_CONTROL it maps that file, whose fields let
 * calls fail, fall short or wait, and shift the clock. Must not know what is written. See shim.py for both formats.
 *
 * A plain write is recorded when it has been done. A write through a descriptor with O_DSYNC is recorded before, with a
 * serial number, and its end after: in between it may be on the disk or not. So for fsync and fdatasync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAGIC 0x51454443u
#define DESCRIPTORS 65536
#define FILES 4096
#define DIRECTORY UINT32_MAX

enum record_kind { OPENED = 1, WRITTEN, SYNC_BEGIN, SYNC_END, TRUNCATED, RENAMED, UNLINKED, MADE_DIRECTORY,
    REMOVED_DIRECTORY, MAPPED, UNKNOWN_CALL };
enum fault_kind { WRITE = 1, META_WRITE, SYNC, RESIZE, DIRECTORY_SYNC, FAULT_KINDS };
enum fault_mode { INSTEAD, AFTERWARDS, SHORT };

struct record {
    uint32_t magic;
    uint8_t kind, flag;
    uint16_t process;
    uint32_t file, serial;
    uint64_t offset, length;
};

struct control {
    int32_t kind, skip, times, error, mode, delay_ms, hits, free_set;
    int64_t clock_seconds, free_bytes;
    int32_t calls[FAULT_KINDS];
};

struct descriptor { uint32_t file; uint8_t dsync; };
struct known { dev_t device; ino_t inode; };

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static struct control *control;
static struct descriptor descriptors[DESCRIPTORS]; /* file 0: not ours */
static struct known files[FILES];
static uint32_t file_count, serials;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(name, ...) ({ \
    static __typeof__(&name) real_##name; \
    if (!real_##name) real_##name = REAL(name); \
    real_##name(__VA_ARGS__); })

static void give_up(const char *why)
{
    dprintf(2, "shim: %s: %s\n", why, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void start(void)
{
    const char *name = getenv("CODEQ_SHIM_ROOT");
    if (!name || !realpath(name, root))
        return;
    root_length = strlen(root);
    if ((name = getenv("CODEQ_SHIM_LOG")) &&
        (log_file = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        give_up("cannot open the log");
    if ((name = getenv("CODEQ_SHIM_CONTROL"))) {
        int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC);
        void *at = fd < 0 ? MAP_FAILED : mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            give_up("cannot map the control file");
        control = at;
    }
}

/* The record, then up to two pieces of content, in one append. */
static void append(struct record record, const void *first, size_t first_length, const void *second, size_t second_length)
{
    if (log_file < 0)
        return;
    record.magic = MAGIC;
    record.process = (uint16_t)getpid();
    record.length = first_length + second_length;
    struct iovec parts[3] = {{&record, sizeof record}, {(void *)first, first_length}, {(void *)second, second_length}};
    if (syscall(SYS_writev, log_file, parts, 3) != (long)(sizeof record + record.length))
        give_up("cannot write the log");
}

/* Below the root: the path relative to it; else NULL. Links on the way are not followed: there are none. */
static const char *ours(int directory, const char *path, char buffer[PATH_MAX])
{
    if (!root_length || !path)
        return NULL;
    if (path[0] != '/') {
        char link[64], base[PATH_MAX];
        ssize_t length;
        if (directory == AT_FDCWD)
            length = getcwd(base, sizeof base) ? (ssize_t)strlen(base) : -1;
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            length = readlink(link, base, sizeof base - 1);
        }
        if (length < 0 || length + strlen(path) + 2 > PATH_MAX)
            return NULL;
        memcpy(buffer, base, length);
        buffer[length] = '/';
        strcpy(buffer + length + 1, path);
        path = buffer;
    }
    if (strncmp(path, root, root_length))
        return NULL;
    path += root_length;
    return *path == '/' ? path + 1 : *path == 0 ? path : NULL;
}

/* Whether this call is to fail, after a wait where one is asked for. */
static int struck(enum fault_kind kind)
{
    if (!control)
        return 0;
    __atomic_add_fetch(&control->calls[kind], 1, __ATOMIC_SEQ_CST);
    if (control->kind != (int)kind)
        return 0;
    if (__atomic_fetch_sub(&control->skip, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    control->skip = 0;
    if (control->times == 0)
        return 0;
    if (control->times > 0)
        control->times--;
    __atomic_add_fetch(&control->hits, 1, __ATOMIC_SEQ_CST);
    if (control->delay_ms) {
        struct timespec left = {control->delay_ms / 1000, control->delay_ms % 1000 * 1000000L};
        while (nanosleep(&left, &left)) {}
    }
    return control->error || control->mode == SHORT;
}

static struct descriptor descriptor_of(int fd)
{
    struct descriptor none = {0, 0};
    return fd >= 0 && fd < DESCRIPTORS && root_length ? descriptors[fd] : none;
}

static uint32_t number_of(int fd, int is_new)
{
    struct stat facts;
    if (fstat(fd, &facts))
        return 0;
    if (S_ISDIR(facts.st_mode))
        return DIRECTORY;
    for (uint32_t at = file_count; at > 0 && !is_new; at--)
        if (files[at].device == facts.st_dev && files[at].inode == facts.st_ino)
            return at;
    if (++file_count >= FILES)
        give_up("too many files");
    files[file_count] = (struct known){facts.st_dev, facts.st_ino};
    return file_count;
}

static int opened(int fd, const char *path, int flags, int existed)
{
    if (fd < 0 || fd >= DESCRIPTORS || !path)
        return fd;
    int saved = errno;
    pthread_mutex_lock(&guard);
    uint32_t number = number_of(fd, !existed);
    descriptors[fd] = (struct descriptor){number, (flags & O_DSYNC) != 0};
    if (number && number != DIRECTORY) {
        append((struct record){.kind = OPENED, .flag = !existed, .file = number}, path, strlen(path), "", 0);
        if (existed && (flags & O_TRUNC))
            append((struct record){.kind = TRUNCATED, .file = number}, "", 0, "", 0);
    }
    pthread_mutex_unlock(&guard);
    errno = saved;
    return fd;
}

static int exists(int directory, const char *path)
{
    struct stat facts;
    return fstatat(directory, path, &facts, 0) == 0;
}

#define OPEN_BODY(directory, call) \
    char buffer[PATH_MAX]; \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    } \
    const char *mine = ours(directory, path, buffer); \
    int existed = mine && exists(directory, path); \
    return opened(call, mine, flags, existed);

static const char *mounts(const char *path)
{
    const char *other = getenv("CODEQ_SHIM_MOUNTS");
    return other && path && !strcmp(path, "/proc/self/mountinfo") ? other : path;
}

EXPORT int open(const char *path, int flags, ...) { path = mounts(path); OPEN_BODY(AT_FDCWD, CALL(open, path, flags, mode)) }
EXPORT int open64(const char *path, int flags, ...) { path = mounts(path); OPEN_BODY(AT_FDCWD, CALL(open64, path, flags, mode)) }
EXPORT int openat(int at, const char *path, int flags, ...) { OPEN_BODY(at, CALL(openat, at, path, flags, mode)) }
EXPORT int openat64(int at, const char *path, int flags, ...) { OPEN_BODY(at, CALL(openat64, at, path, flags, mode)) }

EXPORT int close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        descriptors[fd] = (struct descriptor){0, 0};
    return CALL(close, fd);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t length = 0;
    for (int at = 0; at < count; at++)
        length += parts[at].iov_len;
    return length;
}

static ssize_t write_out(int fd, const struct iovec *parts, int count, off_t offset, int at_position)
{
    return at_position ? CALL(writev, fd, parts, count) : CALL(pwritev, fd, parts, count, offset);
}

/* Every kind of write ends here; one with several parts is joined first. */
static ssize_t wrote(int fd, const struct iovec *parts, int count, off_t offset, int at_position)
{
    struct descriptor mine = descriptor_of(fd);
    if (!mine.file || mine.file == DIRECTORY)
        return write_out(fd, parts, count, offset, at_position);
    size_t length = total(parts, count);
    char *joined = malloc(length + 1), *to = joined;
    for (int at = 0; at < count; to += parts[at++].iov_len)
        memcpy(to, parts[at].iov_base, parts[at].iov_len);
    if (at_position)
        offset = lseek(fd, 0, SEEK_CUR);
    struct record record = {.kind = WRITTEN, .flag = mine.dsync, .file = mine.file, .offset = offset};
    int strike = struck(mine.dsync ? META_WRITE : WRITE);
    ssize_t result = -1;
    int error = strike ? control->error : 0;
    size_t wanted = strike && control->mode == SHORT ? length / 2 : length;
    if (strike && control->mode == INSTEAD)
        goto end;
    struct iovec whole = {joined, wanted};
    if (mine.dsync) {
        pthread_mutex_lock(&guard);
        record.serial = ++serials;
        append(record, joined, wanted, "", 0);
        pthread_mutex_unlock(&guard);
    }
    result = write_out(fd, &whole, 1, offset, at_position);
    int saved = errno;
    if (mine.dsync) {
        record.kind = SYNC_END;
        record.flag = result != (ssize_t)wanted || (strike && control->mode == AFTERWARDS);
        append(record, "", 0, "", 0);
    } else if (result > 0)
        append(record, joined, result, "", 0);
    errno = saved;
    if (strike && control->mode == AFTERWARDS)
        result = -1;
end:
    free(joined);
    if (error && result < 0)
        errno = error;
    return result;
}

#define ONE_PART struct iovec part = {(void *)data, length}
EXPORT ssize_t write(int fd, const void *data, size_t length) { ONE_PART; return descriptor_of(fd).file ? wrote(fd, &part, 1, 0, 1) : CALL(write, fd, data, length); }
EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) { return wrote(fd, parts, count, 0, 1); }
EXPORT ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { ONE_PART; return wrote(fd, &part, 1, offset, 0); }
EXPORT ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { ONE_PART; return wrote(fd, &part, 1, offset, 0); }
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return wrote(fd, parts, count, offset, 0); }
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return wrote(fd, parts, count, offset, 0); }

static int synced(int fd, int (*real)(int))
{
    struct descriptor mine = descriptor_of(fd);
    if (!mine.file)
        return real(fd);
    char path[PATH_MAX], link[64];
    ssize_t length = 0;
    if (mine.file == DIRECTORY) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof path) - (ssize_t)root_length;
        if (length < 0)
            give_up("cannot name a directory");
    }
    char *name = path + root_length;
    if (length > 0)
        name++, length--;
    pthread_mutex_lock(&guard);
    struct record record = {.kind = SYNC_BEGIN, .file = mine.file, .serial = ++serials};
    append(record, name, length, "", 0);
    pthread_mutex_unlock(&guard);
    int strike = struck(mine.file == DIRECTORY ? DIRECTORY_SYNC : SYNC);
    int result = strike && control->mode == INSTEAD ? -1 : real(fd);
    int error = result < 0 ? errno : 0;
    if (strike)
        result = -1, error = control->error;
    record.kind = SYNC_END;
    record.flag = result != 0;
    append(record, name, length, "", 0);
    errno = error;
    return result;
}

EXPORT int fsync(int fd) { static int (*real)(int); if (!real) real = REAL(fsync); return synced(fd, real); }
EXPORT int fdatasync(int fd) { static int (*real)(int); if (!real) real = REAL(fdatasync); return synced(fd, real); }

static int resized(uint32_t file, off_t length, int result)
{
    int saved = errno;
    if (result == 0)
        append((struct record){.kind = TRUNCATED, .file = file, .offset = length}, "", 0, "", 0);
    errno = saved;
    return result;
}

EXPORT int ftruncate(int fd, off_t length)
{
    struct descriptor mine = descriptor_of(fd);
    if (!mine.file)
        return CALL(ftruncate, fd, length);
    if (struck(RESIZE)) {
        errno = control->error;
        return -1;
    }
    return resized(mine.file, length, CALL(ftruncate, fd, length));
}

EXPORT int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

EXPORT int truncate(const char *path, off_t length)
{
    char buffer[PATH_MAX];
    if (!ours(AT_FDCWD, path, buffer))
        return CALL(truncate, path, length);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ftruncate(fd, length), saved = errno;
    close(fd);
    errno = saved;
    return result;
}

EXPORT int truncate64(const char *path, off64_t length) { return truncate(path, length); }

static int named(enum record_kind kind, int from_at, const char *from, int to_at, const char *to, int result)
{
    char first[PATH_MAX], second[PATH_MAX];
    const char *old = ours(from_at, from, first), *new = to ? ours(to_at, to, second) : "";
    int saved = errno;
    if (result == 0 && (old || (to && new))) {
        if (!old || !new)
            append((struct record){.kind = UNKNOWN_CALL}, "a rename over the edge", 22, "", 0);
        else
            append((struct record){.kind = kind}, old, strlen(old) + (to != NULL), new, strlen(new));
    }
    errno = saved;
    return result;
}

EXPORT int rename(const char *from, const char *to) { return named(RENAMED, AT_FDCWD, from, AT_FDCWD, to, CALL(rename, from, to)); }
EXPORT int renameat(int a, const char *from, int b, const char *to) { return named(RENAMED, a, from, b, to, CALL(renameat, a, from, b, to)); }
EXPORT int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return named(flags ? UNKNOWN_CALL : RENAMED, a, from, b, to, CALL(renameat2, a, from, b, to, flags)); }
EXPORT int unlink(const char *path) { return named(UNLINKED, AT_FDCWD, path, 0, NULL, CALL(unlink, path)); }
EXPORT int rmdir(const char *path) { return named(REMOVED_DIRECTORY, AT_FDCWD, path, 0, NULL, CALL(rmdir, path)); }
EXPORT int unlinkat(int at, const char *path, int flags) { return named(flags & AT_REMOVEDIR ? REMOVED_DIRECTORY : UNLINKED, at, path, 0, NULL, CALL(unlinkat, at, path, flags)); }
EXPORT int mkdir(const char *path, mode_t mode) { return named(MADE_DIRECTORY, AT_FDCWD, path, 0, NULL, CALL(mkdir, path, mode)); }
EXPORT int mkdirat(int at, const char *path, mode_t mode) { return named(MADE_DIRECTORY, at, path, 0, NULL, CALL(mkdirat, at, path, mode)); }
EXPORT int link(const char *from, const char *to) { return named(UNKNOWN_CALL, AT_FDCWD, from, AT_FDCWD, to, CALL(link, from, to)); }
EXPORT int symlink(const char *from, const char *to) { return named(UNKNOWN_CALL, AT_FDCWD, to, 0, NULL, CALL(symlink, from, to)); }

static void unknown(int fd, const char *what)
{
    if (descriptor_of(fd).file)
        append((struct record){.kind = UNKNOWN_CALL}, what, strlen(what), "", 0);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length) { unknown(fd, "fallocate"); return CALL(fallocate, fd, mode, offset, length); }
EXPORT int posix_fallocate(int fd, off_t offset, off_t length) { unknown(fd, "posix_fallocate"); return CALL(posix_fallocate, fd, offset, length); }
EXPORT ssize_t copy_file_range(int a, off64_t *from, int b, off64_t *to, size_t length, unsigned flags) { unknown(b, "copy_file_range"); return CALL(copy_file_range, a, from, b, to, length, flags); }
EXPORT int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) { unknown(fd, "sync_file_range"); return CALL(sync_file_range, fd, offset, length, flags); }

static void *mapped(void *at, int protection, int flags, int fd)
{
    struct descriptor mine = descriptor_of(fd);
    if (at != MAP_FAILED && mine.file && (flags & MAP_SHARED) && (protection & PROT_WRITE))
        append((struct record){.kind = MAPPED, .file = mine.file}, "", 0, "", 0);
    return at;
}

EXPORT void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) { return mapped(CALL(mmap, at, length, protection, flags, fd, offset), protection, flags, fd); }
EXPORT void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) { return mapped(CALL(mmap64, at, length, protection, flags, fd, offset), protection, flags, fd); }

#define STATVFS(name, type) \
    EXPORT int name(const char *path, struct type *facts) \
    { \
        int result = CALL(name, path, facts); \
        if (!result && control && control->free_set) \
            facts->f_bavail = control->free_bytes / facts->f_frsize; \
        return result; \
    }
STATVFS(statvfs, statvfs)
STATVFS(statvfs64, statvfs64)

EXPORT int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = CALL(clock_gettime, clock, now);
    if (!result && control && clock == CLOCK_REALTIME)
        now->tv_sec += control->clock_seconds;
    return result;
}
