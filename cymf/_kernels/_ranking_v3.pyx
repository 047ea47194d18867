# The kernels of ranking losses, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "ranking_sampling.pxi"
include "ranking.pxi"
include "ranking_contrast.pxi"
