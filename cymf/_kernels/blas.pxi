# The one seam to BLAS and LAPACK: arguments by value, row-major matrices, the docstring is the formula.
# SciPy's cython_blas and cython_lapack take 32-bit pointers to everything; no other file has to know.

from scipy.linalg.cython_blas cimport dgemv, dsyrk, sgemv, ssyrk
from scipy.linalg.cython_lapack cimport dgelsd, dpotrf, dpotrs, spotrf, spotrs

ctypedef fused real:
    float
    double


cdef inline void syrk(int n, int samples, const real* rows, real beta, real* gram) noexcept nogil:
    """gram <- X'X + beta gram, upper triangle; X (samples, n), gram (n, n)"""
    cdef real one = 1
    if real is float:
        ssyrk(b"L", b"N", &n, &samples, &one, <float*>rows, &n, &beta, gram, &n)
    else:
        dsyrk(b"L", b"N", &n, &samples, &one, <double*>rows, &n, &beta, gram, &n)


cdef inline void gemv_transposed(int samples, int n, const real* rows, const real* y, real beta, real* x) noexcept nogil:
    """x <- X'y + beta x; X (samples, n), y (samples,), x (n,)"""
    cdef real one = 1
    cdef int step = 1
    if real is float:
        sgemv(b"N", &n, &samples, &one, <float*>rows, &n, <float*>y, &step, &beta, x, &step)
    else:
        dgemv(b"N", &n, &samples, &one, <double*>rows, &n, <double*>y, &step, &beta, x, &step)


cdef inline int potrf(int n, real* gram) noexcept nogil:
    """gram <- U with U'U = gram, upper triangle; 0, or the first pivot that is not positive, counted from 1"""
    cdef int info = 0
    if real is float:
        spotrf(b"L", &n, gram, &n, &info)
    else:
        dpotrf(b"L", &n, gram, &n, &info)
    return info


cdef inline void potrs(int n, const real* factor, real* x) noexcept nogil:
    """x <- (U'U)^-1 x"""
    cdef int info = 0, one = 1
    if real is float:
        spotrs(b"L", &n, &one, <float*>factor, &n, x, &n, &info)
    else:
        dpotrs(b"L", &n, &one, <double*>factor, &n, x, &n, &info)


cdef inline int gelsd(int m, int n, double* columns, double* y, double rcond, double* singular, double* work, int work_size,
                      int* integer_work) noexcept nogil:
    """y[:n] <- the minimum-norm x of min |A x - y|; A (m, n) column-major, y (max(m, n),), both overwritten; 0, or a failure to converge"""
    cdef int info = 0, one = 1, rank = 0, ldb = max(m, n)
    dgelsd(&m, &n, &one, columns, &m, y, &ldb, singular, &rcond, &rank, work, &work_size, integer_work, &info)
    return info


cdef inline void gelsd_sizes(int m, int n, int* work_size, int* integer_size) noexcept nogil:
    """elements of work and of integer work that gelsd needs for a system of this size"""
    cdef int info = 0, one = 1, rank = 0, query = -1, integers = 0, ldb = max(m, n)
    cdef double nothing = 0, size = 0, rcond = -1
    dgelsd(&m, &n, &one, &nothing, &m, &nothing, &ldb, &nothing, &rcond, &rank, &size, &query, &integers, &info)
    work_size[0] = <int>size
    integer_size[0] = max(integers, 1)
