# Random streams that depend on a key alone: whoever draws, and when, a key's numbers are the same.
#
# SplitMix64 (Steele, Lea and Flood 2014) from a key of seed, epoch and block.

from libc.stdint cimport uint64_t


cdef inline uint64_t mixed(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111eb
    return z ^ (z >> 31)


cdef inline uint64_t stream_of(uint64_t seed, uint64_t epoch, uint64_t block) noexcept nogil:
    return mixed(mixed(mixed(seed) + epoch) + block)


cdef inline uint64_t draw64(uint64_t* stream) noexcept nogil:
    stream[0] += <uint64_t>0x9e3779b97f4a7c15
    return mixed(stream[0])
