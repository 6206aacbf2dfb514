/* Stands between a process and the C library, by LD_PRELOAD, and makes its durable calls go wrong.

   Durable calls are those that reach a database: writing, syncing, cutting and removing a watched
   file (its path has the watched prefix), and sending on a TCP socket. What is to happen to them is
   said by the process itself through the chaos_* functions; until then everything goes through. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum side { BEFORE, AFTER, HALFWAY };
enum operation { WRITE, SYNC, CUT, REMOVE, MARK };

static char watched[PATH_MAX];
static long victim, calls;
static enum side victim_side;
static char full_flag[PATH_MAX];
static char failing_flag[PATH_MAX];
static int failures_to = -1;
static unsigned failing_chance;
static int record_to = -1;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;
static volatile int64_t *clock_offset;

/* --- what the process says ---------------------------------------------------------------------- */

void chaos_watch(const char *prefix) { snprintf(watched, sizeof watched, "%s", prefix); }

/* Die at the n-th durable call from now, on that side of it; 0 only counts. */
void chaos_die_at(long n, int side) {
    victim_side = side;
    victim = n;
    __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
}

long chaos_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

/* While a file of that name exists, watched files cannot grow. */
void chaos_full_while(const char *flag) { snprintf(full_flag, sizeof full_flag, "%s", flag); }

/* While a file of that name exists, some writes and syncs of watched files fail, whether or not they
   were done; each is told by a line. */
void chaos_failing_while(const char *flag, const char *failures, unsigned seed) {
    failing_chance = seed;
    failures_to = open(failures, O_WRONLY | O_CREAT | O_APPEND, 0600);
    snprintf(failing_flag, sizeof failing_flag, "%s", flag);
}

/* Write down what is done to watched files. */
void chaos_record(const char *path) { record_to = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600); }

/* The file holds how far the wall clock is off, in nanoseconds. */
int chaos_clock(const char *path) {
    int file = open(path, O_RDWR);
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) return -1;
    clock_offset = page;
    return close(file);
}

/* --- which calls are durable -------------------------------------------------------------------- */

static const char *name_of(int fd) {
    static __thread char path[PATH_MAX];
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static int is_watched_name(const char *path) {
    size_t length = strlen(watched), all = strlen(path);
    if (!length || strncmp(path, watched, length)) return 0;
    /* The index beside the log is made anew after a crash. */
    return all < 4 || strcmp(path + all - 4, "-shm");
}

static int is_watched(int fd) { return *watched && is_watched_name(name_of(fd)); }

static int is_server(int fd) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (!*watched || getpeername(fd, (struct sockaddr *)&peer, &size)) return 0;
    return peer.ss_family == AF_INET || peer.ss_family == AF_INET6;
}

/* --- dying -------------------------------------------------------------------------------------- */

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int is_last(void) { return __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == victim; }

/* Whether this call is the last, when it does not die here already. */
static int enter(void) {
    int last = is_last();
    if (last && victim_side == BEFORE) die();
    return last;
}

/* --- writing down ------------------------------------------------------------------------------- */

struct record {
    uint8_t operation;
    uint8_t padding;
    uint16_t name_length;
    uint32_t length;
    uint64_t offset;
};

static void record(enum operation operation, const char *name, uint64_t offset, const void *data,
                   size_t length) {
    if (record_to < 0) return;
    struct record head = {operation, 0, strlen(name), length, offset};
    struct iovec parts[3] = {{&head, sizeof head},
                             {(void *)name, head.name_length},
                             {(void *)data, length}};
    pthread_mutex_lock(&recording);
    if (writev(record_to, parts, 3) < 0) die();
    pthread_mutex_unlock(&recording);
}

/* What the process wants to have among what it did. */
void chaos_mark(const char *text) { record(MARK, "", 0, text, strlen(text)); }

/* --- files -------------------------------------------------------------------------------------- */

#define REAL(result, name, ...)                                                                    \
    static result (*real)(__VA_ARGS__);                                                            \
    if (!real) real = dlsym(RTLD_NEXT, #name)

static int grows_while_full(int fd, off_t end) {
    struct stat now;
    if (!*full_flag || access(full_flag, F_OK)) return 0;
    return fstat(fd, &now) == 0 && end > now.st_size;
}

/* Whether one of so many is to fail now. */
static int fails(int every) {
    if (!*failing_flag || access(failing_flag, F_OK)) return 0;
    unsigned drawn = __atomic_add_fetch(&failing_chance, 0x9e3779b9, __ATOMIC_SEQ_CST);
    return rand_r(&drawn) % every == 0;
}

static int failed(const char *what) {
    if (write(failures_to, what, strlen(what)) < 0) die();
    errno = EIO;
    return -1;
}

enum { OF_WRITES = 150, OF_SYNCS = 6 };

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    if (!is_watched(fd)) return real(fd, data, length, offset);
    if (grows_while_full(fd, offset + length)) {
        errno = ENOSPC;
        return -1;
    }
    int last = enter();
    if (last && victim_side == HALFWAY) {
        real(fd, data, length / 2, offset);
        die();
    }
    if (fails(2 * OF_WRITES)) return failed("writes not done\n");
    if (fails(2 * OF_WRITES)) {
        real(fd, data, length / 2, offset);
        return failed("writes half done\n");
    }
    ssize_t done = real(fd, data, length, offset);
    if (done > 0) record(WRITE, name_of(fd), offset, data, done);
    if (last) die();
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

#define SYNCS(name)                                                                                \
    int name(int fd) {                                                                             \
        REAL(int, name, int);                                                                      \
        if (!is_watched(fd)) return real(fd);                                                      \
        int last = enter();                                                                        \
        if (fails(2 * OF_SYNCS)) return failed("syncs not done\n");                                \
        int answer = real(fd);                                                                     \
        if (fails(2 * OF_SYNCS)) return failed("syncs done\n");                                    \
        if (!answer) record(SYNC, name_of(fd), 0, NULL, 0);                                        \
        if (last) die();                                                                           \
        return answer;                                                                             \
    }

SYNCS(fsync)
SYNCS(fdatasync)

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    if (!is_watched(fd)) return real(fd, length);
    if (grows_while_full(fd, length)) {
        errno = ENOSPC;
        return -1;
    }
    int last = enter();
    int answer = real(fd, length);
    if (!answer) record(CUT, name_of(fd), length, NULL, 0);
    if (last) die();
    return answer;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!is_watched_name(path)) return real(path);
    int last = enter();
    int answer = real(path);
    if (!answer) record(REMOVE, path, 0, NULL, 0);
    if (last) die();
    return answer;
}

/* --- sockets ------------------------------------------------------------------------------------ */

ssize_t send(int fd, const void *data, size_t length, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    if (!is_server(fd)) return real(fd, data, length, flags);
    int last = enter();
    if (last && victim_side == HALFWAY) {
        real(fd, data, length / 2, flags);
        die();
    }
    ssize_t done = real(fd, data, length, flags);
    if (last) die();
    return done;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    if (!is_server(fd)) return real(fd, message, flags);
    int last = enter();
    if (last && victim_side == HALFWAY) {
        if (message->msg_iovlen) write(fd, message->msg_iov->iov_base, message->msg_iov->iov_len);
        die();
    }
    ssize_t done = real(fd, message, flags);
    if (last) die();
    return done;
}

/* --- the clock ---------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int answer = real(clock, time);
    if (answer || clock != CLOCK_REALTIME || !clock_offset) return answer;
    int64_t nanoseconds = time->tv_sec * 1000000000LL + time->tv_nsec + *clock_offset;
    time->tv_sec = nanoseconds / 1000000000LL;
    time->tv_nsec = nanoseconds % 1000000000LL;
    return 0;
}
