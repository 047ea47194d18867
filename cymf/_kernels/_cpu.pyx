# The instruction-set levels that this processor and its operating system support.

cdef extern from "cpu.h" nogil:
    int cymf_cpu_level()


def cpu_level() -> int:
    """1: the architecture's baseline; 3: AVX2, FMA, BMI1 and BMI2; 4: also AVX-512 F, BW, CD, DQ and VL."""
    return cymf_cpu_level()
