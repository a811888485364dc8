/* Loaded by LD_PRELOAD: counts the system calls that change files below one folder, and makes one of them go wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, COUNT, KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_FROM };

static char folder[4096];
static enum fault fault = NONE;
static long target, calls;
static int code;

void faults_arm(const char *path, int kind, long at, int error) {
  fault = NONE;
  snprintf(folder, sizeof folder, "%s/", path);
  target = at;
  code = error;
  __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
  fault = kind;
}

long faults_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int path_of_descriptor(int fd, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, 4095);
  if (n > 0) out[n] = 0;
  return n > 0;
}

static int watched_path(int parent, const char *path) {
  char full[9000], base[4096];
  if (fault == NONE || path == NULL) return 0;
  if (path[0] == '/') {
    snprintf(full, sizeof full, "%s", path);
  } else {
    if (parent == AT_FDCWD ? getcwd(base, sizeof base) == NULL : !path_of_descriptor(parent, base)) return 0;
    snprintf(full, sizeof full, "%s/%s", base, path);
  }
  return strncmp(full, folder, strlen(folder)) == 0;
}

static int watched_descriptor(int fd) {
  char path[4096];
  if (fault == NONE || !path_of_descriptor(fd, path)) return 0;
  strncat(path, "/", sizeof path - strlen(path) - 1); /* so that the folder itself is watched too */
  return strncmp(path, folder, strlen(folder)) == 0;
}

/* What to do with this call: an error to return, or 0; a kill before the call does not return. */
static int due(long *number) {
  *number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
  if (*number == target && fault == KILL_BEFORE) die();
  if ((*number == target && fault == FAIL_ONCE) || (*number >= target && fault == FAIL_FROM)) return code;
  return 0;
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define GUARD(watched, call, torn)                                  \
  do {                                                              \
    if (!(watched)) return call;                                    \
    long number;                                                    \
    int error = due(&number);                                       \
    if (error) { errno = error; return -1; }                        \
    if (number == target && fault == KILL_TORN) { torn; die(); }    \
    __typeof__(call) result = call;                                 \
    if (number == target && fault == KILL_AFTER) die();             \
    return result;                                                  \
  } while (0)
#define ON_DESCRIPTOR(type, name, parameters, call, torn) \
  type name parameters { NEXT(name); GUARD(watched_descriptor(fd), call, torn); }
#define ON_PATH(name, parameters, parent, path, call) \
  int name parameters { NEXT(name); GUARD(watched_path(parent, path), call, (void)0); }

ON_DESCRIPTOR(ssize_t, write, (int fd, const void *p, size_t n), next(fd, p, n), next(fd, p, n / 2))
ON_DESCRIPTOR(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), next(fd, p, n, at), next(fd, p, n / 2, at))
ON_DESCRIPTOR(ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at), next(fd, p, n, at), next(fd, p, n / 2, at))
ON_DESCRIPTOR(ssize_t, writev, (int fd, const struct iovec *v, int n), next(fd, v, n), next(fd, v, (n + 1) / 2))
ON_DESCRIPTOR(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), next(fd, v, n, at), next(fd, v, (n + 1) / 2, at))
ON_DESCRIPTOR(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), next(fd, v, n, at), next(fd, v, (n + 1) / 2, at))
ON_DESCRIPTOR(int, fsync, (int fd), next(fd), (void)0)
ON_DESCRIPTOR(int, fdatasync, (int fd), next(fd), (void)0)
ON_DESCRIPTOR(int, ftruncate, (int fd, off_t n), next(fd, n), (void)0)
ON_DESCRIPTOR(int, ftruncate64, (int fd, off64_t n), next(fd, n), (void)0)
ON_PATH(rename, (const char *from, const char *to), AT_FDCWD, to, next(from, to))
ON_PATH(renameat, (int a, const char *from, int b, const char *to), b, to, next(a, from, b, to))
ON_PATH(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), b, to, next(a, from, b, to, flags))
ON_PATH(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, next(path, mode))
ON_PATH(mkdirat, (int parent, const char *path, mode_t mode), parent, path, next(parent, path, mode))
ON_PATH(unlink, (const char *path), AT_FDCWD, path, next(path))
ON_PATH(unlinkat, (int parent, const char *path, int flags), parent, path, next(parent, path, flags))
ON_PATH(rmdir, (const char *path), AT_FDCWD, path, next(path))
ON_PATH(link, (const char *from, const char *to), AT_FDCWD, to, next(from, to))

#define ON_OPEN(name, parameters, parent, call)                         \
  int name parameters {                                                 \
    mode_t mode = 0;                                                    \
    if (flags & (O_CREAT | O_TMPFILE)) {                                \
      va_list rest;                                                     \
      va_start(rest, flags);                                            \
      mode = va_arg(rest, mode_t);                                      \
      va_end(rest);                                                     \
    }                                                                   \
    NEXT(name);                                                         \
    int changes = (flags & (O_CREAT | O_TRUNC)) != 0;                   \
    GUARD(changes && watched_path(parent, path), call, (void)0);        \
  }
ON_OPEN(open, (const char *path, int flags, ...), AT_FDCWD, next(path, flags, mode))
ON_OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, next(path, flags, mode))
ON_OPEN(openat, (int parent, const char *path, int flags, ...), parent, next(parent, path, flags, mode))
ON_OPEN(openat64, (int parent, const char *path, int flags, ...), parent, next(parent, path, flags, mode))
