# The kernels of non-negative factors, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "nonnegative.pxi"
include "nonnegative_shared.pxi"
