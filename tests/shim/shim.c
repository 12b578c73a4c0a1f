// Between the real binary and the C library (LD_PRELOAD), for tests/replay.rs and tests/faults.rs. Everything is off
// unless its variable is set:
//   SHIM_FILE     the database; what is watched are the files whose names begin with its path, and their folder
//   SHIM_TRACE    where each change and sync of them is written down, in order, with CLOCK_MONOTONIC
//   SHIM_FAIL     OP:NTH:ERRNO:once|forever: the NTH such call fails. OP is write, sync, thread, open (for writing, any
//                 watched file) or opendb (for writing, the database itself)
//   SHIM_CONNECT  FROM:TO: connections to port FROM go to port TO
//   SHIM_CLOCK    a file of 8 bytes: nanoseconds added to CLOCK_REALTIME
// A record is written after its call has succeeded and before the caller goes on, so whatever follows from the call
// comes later than the record. A sync has two: what it covers was written before the first.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
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

#define FDS 65536
#define NAME 64

struct record {
  uint64_t at, offset;
  uint32_t length, name_length;
  char kind;
  char unused[7];
};

static const char *root;
static size_t root_length;
static char folder[4096];
static int trace = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[FDS];
static char names[FDS][NAME];
static atomic_ulong syncs, counted;
static char fail_op[16];
static unsigned long fail_at;
static int fail_errno, fail_forever;
static int port_from, port_to;
static volatile int64_t *clock_offset;

#define REAL(result, name, ...)                                                                    \
  static result (*real_##name)(__VA_ARGS__);                                                       \
  if (!real_##name) real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  root = getenv("SHIM_FILE");
  if (root) {
    root_length = strlen(root);
    snprintf(folder, sizeof folder, "%s", root);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
  }
  REAL(int, open64, const char *, int, ...);
  const char *path = getenv("SHIM_TRACE");
  if (path) trace = real_open64(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  const char *fail = getenv("SHIM_FAIL");
  char how[16] = "";
  if (fail && sscanf(fail, "%15[^:]:%lu:%d:%15s", fail_op, &fail_at, &fail_errno, how) != 4) {
    fprintf(stderr, "shim: SHIM_FAIL is not OP:NTH:ERRNO:once|forever: %s\n", fail);
    _exit(99);
  }
  fail_forever = strcmp(how, "forever") == 0;
  const char *ports = getenv("SHIM_CONNECT");
  if (ports) sscanf(ports, "%d:%d", &port_from, &port_to);
  const char *clock = getenv("SHIM_CLOCK");
  int fd = clock ? real_open64(clock, O_RDONLY | O_CLOEXEC) : -1;
  void *at = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) clock_offset = at;
}

static void put(char kind, const char *name, uint64_t offset, const void *data, size_t length) {
  if (trace < 0) return;
  int kept = errno;
  REAL(ssize_t, writev, int, const struct iovec *, int);
  REAL(int, clock_gettime, clockid_t, struct timespec *);
  struct timespec now;
  struct record record = {.offset = offset, .kind = kind};
  record.length = (uint32_t)length;
  record.name_length = (uint32_t)strlen(name);
  struct iovec parts[3] = {{&record, sizeof record},
                           {(void *)name, record.name_length},
                           {(void *)data, length}};
  pthread_mutex_lock(&lock);
  // Within the lock, so that the times are in the order of the records.
  real_clock_gettime(CLOCK_MONOTONIC, &now);
  record.at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  if (real_writev(trace, parts, 3) != (ssize_t)(sizeof record + record.name_length + length)) {
    static const char words[] = "shim: the trace cannot be written\n";
    REAL(ssize_t, write, int, const void *, size_t);
    real_write(2, words, sizeof words - 1);
    _exit(99);
  }
  pthread_mutex_unlock(&lock);
  errno = kept;
}

static int fails(const char *op) {
  if (!fail_at || strcmp(op, fail_op)) return 0;
  unsigned long nth = atomic_fetch_add(&counted, 1) + 1;
  if (nth != fail_at && !(fail_forever && nth > fail_at)) return 0;
  errno = fail_errno;
  return 1;
}

// The end of a watched file's name behind the database's; "." for the folder itself; 0 if it is not watched.
static const char *ours(const char *path) {
  if (!root || !path) return 0;
  if (!strncmp(path, root, root_length)) return path + root_length;
  return strcmp(path, folder) ? 0 : ".";
}

static const char *name_of(int fd) {
  return fd >= 0 && fd < FDS && watched[fd] ? names[fd] : 0;
}

static int opened(int fd, const char *path, int is_new) {
  const char *name = fd >= 0 && fd < FDS ? ours(path) : 0;
  if (name) {
    snprintf(names[fd], NAME, "%s", name);
    watched[fd] = 1;
    if (is_new) put('C', name, 0, 0, 0);
  }
  return fd;
}

// Opening it so is to fail.
static int barred(const char *path, int flags) {
  const char *name = ours(path);
  if (!name || (flags & O_ACCMODE) == O_RDONLY) return 0;
  return fails("open") || (!*name && fails("opendb"));
}

static int is_new(const char *path, int flags) {
  struct stat seen;
  return (flags & O_CREAT) && ours(path) && lstat(path, &seen) != 0;
}

#define MODE                                                                                       \
  mode_t mode = 0;                                                                                 \
  if (flags & (O_CREAT | O_TMPFILE)) {                                                             \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    mode = va_arg(rest, mode_t);                                                                   \
    va_end(rest);                                                                                  \
  }

#define OPEN(name)                                                                                 \
  int name(const char *path, int flags, ...) {                                                     \
    REAL(int, name, const char *, int, ...);                                                       \
    if (barred(path, flags)) return -1;                                                            \
    MODE int made = is_new(path, flags);                                                           \
    return opened(real_##name(path, flags, mode), path, made);                                     \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
  int name(int at, const char *path, int flags, ...) {                                             \
    REAL(int, name, int, const char *, int, ...);                                                  \
    if (barred(path, flags)) return -1;                                                            \
    MODE int made = is_new(path, flags);                                                           \
    return opened(real_##name(at, path, flags, mode), path, made);                                 \
  }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
  REAL(int, close, int);
  if (fd >= 0 && fd < FDS) watched[fd] = 0;
  return real_close(fd);
}

#define PWRITE(fn, type)                                                                           \
  ssize_t fn(int fd, const void *data, size_t length, type offset) {                               \
    REAL(ssize_t, fn, int, const void *, size_t, type);                                            \
    const char *name = name_of(fd);                                                                \
    if (name && fails("write")) return -1;                                                         \
    ssize_t done = real_##fn(fd, data, length, offset);                                            \
    if (name && done > 0) put('W', name, (uint64_t)offset, data, (size_t)done);                    \
    return done;                                                                                   \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t length) {
  REAL(ssize_t, write, int, const void *, size_t);
  const char *name = name_of(fd);
  if (!name) return real_write(fd, data, length);
  if (fails("write")) return -1;
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t done = real_write(fd, data, length);
  if (done > 0) put('W', name, (uint64_t)offset, data, (size_t)done);
  return done;
}

// Not used today; a change to it must be noticed, not missed.
#define NEVER(fn, ...)                                                                             \
  fprintf(stderr, "shim: " #fn " is not recorded\n");                                              \
  _exit(99)
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
  if (name_of(fd)) { NEVER(pwritev); }
  return real_pwritev(fd, parts, count, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  if (name_of(fd)) { NEVER(writev); }
  return real_writev(fd, parts, count);
}

#define TRUNCATE(fn, type)                                                                         \
  int fn(int fd, type length) {                                                                    \
    REAL(int, fn, int, type);                                                                      \
    const char *name = name_of(fd);                                                                \
    int result = real_##fn(fd, length);                                                            \
    if (name && !result) put('T', name, (uint64_t)length, 0, 0);                                   \
    return result;                                                                                 \
  }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define ALLOCATE(fn, type)                                                                         \
  int fn(int fd, type offset, type length) {                                                       \
    REAL(int, fn, int, type, type);                                                                \
    const char *name = name_of(fd);                                                                \
    int result = real_##fn(fd, offset, length);                                                    \
    if (name && !result) put('A', name, (uint64_t)(offset + length), 0, 0);                        \
    return result;                                                                                 \
  }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

#define SYNC(fn)                                                                                   \
  int fn(int fd) {                                                                                 \
    REAL(int, fn, int);                                                                            \
    const char *name = name_of(fd);                                                                \
    if (!name) return real_##fn(fd);                                                               \
    if (fails("sync")) return -1;                                                                  \
    uint64_t number = atomic_fetch_add(&syncs, 1);                                                 \
    put('B', name, number, 0, 0);                                                                  \
    int result = real_##fn(fd);                                                                    \
    if (!result) put('E', name, number, 0, 0);                                                     \
    return result;                                                                                 \
  }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  int result = real_unlink(path);
  if (!result && ours(path)) put('U', ours(path), 0, 0, 0);
  return result;
}

int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  int result = real_rename(from, to);
  const char *name = ours(from), *target = ours(to);
  if (!result && name && target) put('R', name, 0, target, strlen(target));
  return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*body)(void *), void *with) {
  REAL(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  if (fails("thread")) return fail_errno;
  int result = real_pthread_create(thread, how, body, with);
  if (!result) put('P', "", 0, 0, 0);
  return result;
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
  REAL(int, connect, int, const struct sockaddr *, socklen_t);
  struct sockaddr_in other;
  if (port_from && to->sa_family == AF_INET && length >= sizeof other) {
    memcpy(&other, to, sizeof other);
    if (ntohs(other.sin_port) == port_from) {
      other.sin_port = htons((uint16_t)port_to);
      return real_connect(fd, (struct sockaddr *)&other, sizeof other);
    }
  }
  return real_connect(fd, to, length);
}

int clock_gettime(clockid_t which, struct timespec *now) {
  REAL(int, clock_gettime, clockid_t, struct timespec *);
  int result = real_clock_gettime(which, now);
  if (!result && which == CLOCK_REALTIME && clock_offset) {
    int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + *clock_offset;
    now->tv_sec = ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
  }
  return result;
}
