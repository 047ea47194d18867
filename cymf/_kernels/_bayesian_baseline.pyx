# The kernels of posterior draws and variances, compiled for the architecture's baseline. The bodies are in the .pxi files; the flags in setup.py.

include "micro_kernels.pxi"
include "posterior_rows.pxi"
include "bayesian_sets.pxi"
