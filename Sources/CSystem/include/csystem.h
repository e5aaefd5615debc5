/* What Swift cannot ask the system for by itself: processor level, affinity, threads, atomics.
   Header only, so that the package holds no C to compile. */
#ifndef CSYSTEM_H
#define CSYSTEM_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 0 = baseline, 1 = AVX2 (x86-64-v3), 2 = AVX-512 (x86-64-v4). */
static inline int csystem_cpu_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 2;
  if (__builtin_cpu_supports("x86-64-v3")) return 1;
#endif
  return 0;
}

/* Declared here, since asking the headers for it (_GNU_SOURCE) changes types that other modules share. */
int sched_getaffinity(int pid, unsigned long size, void *mask);

/* Processors that this process may run on. */
static inline int csystem_cpu_count(void) {
  unsigned long mask[1024]; /* 65536 processors */
  int count = 0, i;
  memset(mask, 0, sizeof mask);
  if (sched_getaffinity(0, sizeof mask, mask) != 0) return 1;
  for (i = 0; i < 1024; ++i) count += __builtin_popcountl(mask[i]);
  return count < 1 ? 1 : count;
}

static inline int64_t csystem_add(int64_t *value, int64_t delta) { /* the value before */
  return __atomic_fetch_add(value, delta, __ATOMIC_SEQ_CST);
}
static inline int64_t csystem_exchange(int64_t *value, int64_t x) { /* the value before */
  return __atomic_exchange_n(value, x, __ATOMIC_ACQ_REL);
}
static inline int csystem_replace(int64_t *value, int64_t expected, int64_t x) { /* whether it was as expected */
  return __atomic_compare_exchange_n(value, &expected, x, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline int64_t csystem_load(const int64_t *value) { return __atomic_load_n(value, __ATOMIC_SEQ_CST); }
static inline void csystem_store(int64_t *value, int64_t x) { __atomic_store_n(value, x, __ATOMIC_RELEASE); }

/* While a thread holds what others wait for, it cannot be cancelled. Gives the state for csystem_let_cancel. */
static inline int csystem_hold_cancel(void) {
  int before = PTHREAD_CANCEL_ENABLE;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  return before;
}
static inline void csystem_let_cancel(int state) { pthread_setcancelstate(state, NULL); }

/* Asks for memory, which may be anything, to be brought into the L2 cache: it is read, or written, soon. */
static inline void csystem_prefetch(uintptr_t address, int64_t bytes, int isWritten) {
  uintptr_t end = address + (uintptr_t)bytes;
  if (isWritten) {
    for (; address < end; address += 64) __builtin_prefetch((const void *)address, 1, 2);
  } else {
    for (; address < end; address += 64) __builtin_prefetch((const void *)address, 0, 2);
  }
}

int usleep(unsigned microseconds); /* declared here for the same reason */
static inline void csystem_sleep_50us(void) {
  int state = csystem_hold_cancel();
  (void)usleep(50);
  csystem_let_cancel(state);
}

static inline void csystem_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Asks for huge pages: a wish, which a system without them does not hear. */
#if defined(__linux__)
int madvise(void *start, unsigned long size, int advice);
static inline void csystem_huge_pages(void *start, unsigned long size) { (void)madvise(start, size, 14); /* MADV_HUGEPAGE */ }
#else
static inline void csystem_huge_pages(void *start, unsigned long size) { (void)start, (void)size; }
#endif

/* A joinable thread that takes no signal: the host's handlers run on the host's threads. */
static inline int csystem_thread_create(pthread_t *thread, void *(*body)(void *), void *argument) {
  sigset_t all, before;
  int status;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  status = pthread_create(thread, NULL, body, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return status;
}

#endif
