# The kernels of SVD++, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "svdpp.pxi"
