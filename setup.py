"""Builds the compiled kernels; everything else about the package is in pyproject.toml.

The same kernel source is compiled once per instruction-set level. One table of flags, keyed by compiler kind, and one
table of Cython directives, are all there is. ``CYMF_DEBUG=1`` turns bounds checks, assertions and -O0 on.
"""

import os
import sys
import sysconfig
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

if sys.maxsize < 2**63 - 1:
    raise SystemExit(
        "cymf needs a 64-bit Python: row pointers and counts of its kernels have 64 bits"
    )

DEBUG = os.environ.get("CYMF_DEBUG") == "1"
X86 = sysconfig.get_platform().endswith(("x86_64", "amd64"))  # what is built for, not what builds

# Never -march=native (the wheel travels), never -ffast-math (it sets flush-to-zero for the whole process).
FLAGS = {
    "unix": {
        "all": ["-std=gnu11", "-O0" if DEBUG else "-O3", "-g" if DEBUG else "-g0"],
        "kernels": ["-fno-math-errno", "-ffp-contract=fast"],
        "as written": ["-ffp-contract=off"],  # a * b + c in two roundings
        "baseline": [],
        "v3": ["-mavx2", "-mfma", "-mbmi2"],
        "v4": [
            "-mavx512f",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx512vl",
            "-mfma",
            "-mbmi2",
            "-mprefer-vector-width=512",
        ],
    },
    "msvc": {
        "all": ["/std:c11", "/Od" if DEBUG else "/O2"],
        "kernels": ["/fp:contract"],
        "as written": ["/fp:precise"],
        "baseline": [],
        "v3": ["/arch:AVX2"],
        "v4": ["/arch:AVX512"],
    },
}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}

LEVELS = ["baseline", "v3", "v4"] if X86 else ["baseline"]
if os.environ.get("CYMF_LEVELS"):  # CYMF_LEVELS=v3: only these, for a quick build while developing
    LEVELS = [level for level in LEVELS if level in os.environ["CYMF_LEVELS"].split(",")]
FAMILIES = [  # explicit ratings have the plain names
    "",
    "bayesian_",
    "fm_",
    "implicit_",
    "nonnegative_",
    "ranking_",
    "svdpp_",
    "top_n_",
]
KERNEL_SOURCES = sorted(glob("cymf/_kernels/*.pxi") + glob("cymf/_kernels/*.h"))

# What Cython adds for memory views: once, not in each module.
SHARED = "cymf._kernels._memory_views"

# The flag groups of each module, beside "all".
MODULES = {
    SHARED: [],
    "cymf.kernels": [],
    "cymf._kernels._cpu": [],
    "cymf._kernels._als_lapack": [],
    "cymf._kernels._surprise_order": ["as written"],
    **{
        f"cymf._kernels._{family}{level}": ["kernels", level]
        for family in FAMILIES
        for level in LEVELS
    },
}


class BuildWithLevels(build_ext):
    """Adds the flags of the compiler at hand, and compiles as many modules at a time as there are processors."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        """Translate to C, only now that it is needed: a source distribution is made without, and then compile."""
        options = {
            "nthreads": (os.cpu_count() or 1) if sys.platform.startswith("linux") else 0,
            "shared_utility_qualified_name": SHARED,
        }
        own = [ext for ext in self.extensions if ext.name != SHARED]
        translated = cythonize(own, compiler_directives=DIRECTIVES, **options)
        translated += cythonize([ext for ext in self.extensions if ext not in own], **options)
        sources = {ext.name: ext.sources for ext in translated}
        for ext in self.extensions:
            ext.sources = sources[ext.name]
        super().run()

    def build_extension(self, ext: Extension) -> None:
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        for group in ["all", *MODULES[ext.name]]:
            ext.extra_compile_args = [*ext.extra_compile_args, *FLAGS[kind][group]]
        super().build_extension(ext)


def extension(module: str) -> Extension:
    return Extension(
        module,
        [module.replace(".", "/") + (".c" if module == SHARED else ".pyx")],
        depends=KERNEL_SOURCES,
        extra_link_args=["-Wl,-s"] if sys.platform.startswith("linux") and not DEBUG else [],
    )


setup(
    ext_modules=[extension(module) for module in MODULES],
    cmdclass={"build_ext": BuildWithLevels},
)
