# All kernels, compiled for AVX2 and FMA. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "als.pxi"
include "gradient_descent.pxi"
include "als_cg.pxi"
include "als_subspace.pxi"
include "sgd.pxi"
include "export.pxi"
