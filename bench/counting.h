/* Marks for callgrind where valgrind's header is installed; without it they do nothing, and cost nothing elsewhere. */
#ifndef CYMF_BENCH_COUNTING_H
#define CYMF_BENCH_COUNTING_H

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define CYMF_COUNTING 1
#endif
#endif

static void start_counting(void) {
#ifdef CYMF_COUNTING
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
#endif
}

static void end_counting(const char *label) {
#ifdef CYMF_COUNTING
  CALLGRIND_DUMP_STATS_AT(label);
#else
  (void)label;
#endif
}

#endif
