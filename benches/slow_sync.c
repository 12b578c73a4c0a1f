// Makes every fsync and fdatasync of a process take SLOW_SYNC_US microseconds longer (LD_PRELOAD), without using the
// processor meanwhile: what a slower disk would do to the same program on the same machine.
//
//   cc -O2 -shared -fPIC -o target/slow_sync.so benches/slow_sync.c -ldl
//   LD_PRELOAD=$PWD/target/slow_sync.so SLOW_SYNC_US=60 skep bench
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static void wait_longer(void) {
  static __thread int is_exact;
  static long micros = -1;
  if (micros < 0) {
    const char *asked = getenv("SLOW_SYNC_US");
    micros = asked ? atol(asked) : 0;
  }
  if (micros <= 0) return;
  // By default the kernel may sleep 50 microseconds longer than it is told.
  if (!is_exact) is_exact = prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0;
  struct timespec left = {micros / 1000000, micros % 1000000 * 1000};
  while (nanosleep(&left, &left)) {
  }
}

#define SLOWER(name)                                     \
  int name(int fd) {                                     \
    static int (*real)(int);                             \
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
    int result = real(fd);                               \
    wait_longer();                                       \
    return result;                                       \
  }

SLOWER(fsync)
SLOWER(fdatasync)
