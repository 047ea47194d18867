# The kernels of implicit feedback, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "implicit_als.pxi"
include "implicit_als_cg.pxi"
include "implicit_als_subspace.pxi"
include "implicit_half_sweep.pxi"
