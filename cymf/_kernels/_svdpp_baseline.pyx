# The kernels of SVD++, compiled for the architecture's baseline. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "svdpp.pxi"
