# The kernels of top-N search and ranking metrics, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "ranking_metrics.pxi"
include "top_n.pxi"
