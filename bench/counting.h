/* Marks for callgrind where valgrind's header is installed. Outside valgrind a mark is a handful of idle instructions. */
#ifndef CYMF_BENCH_COUNTING_H
#define CYMF_BENCH_COUNTING_H

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif

#ifndef CALLGRIND_DUMP_STATS
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_DUMP_STATS
#endif

static void start_counting(void) { CALLGRIND_START_INSTRUMENTATION; }

#endif
