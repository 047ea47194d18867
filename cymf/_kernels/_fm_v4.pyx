# The kernels of factorization machines, compiled for AVX-512. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "fm.pxi"
include "fm_descent.pxi"
include "fm_sgd.pxi"
