"""myFM: Bayesian factorization machines by Gibbs sampling, in C++; for `cold_start.py`, which trains it itself."""

from __future__ import annotations

# Its build scripts need pkg_resources, which newer setuptools have not.
REQUIREMENTS = (("setuptools<81", "numpy", "scipy"), ("myfm>=0.3.6",))
