# ALS rows through LAPACK: the plain path, reference of als.pxi, and the minimum-norm solution where that one stops.
#
# The same normal equations as in als.pxi, the bias as one more column of ones, unpadded:
#   (X'X + diag(reg n^nu, ..., reg_bias n^nu)) [w, b] = X'y        syrk, gemv, potrf, potrs
# Where they are singular: the minimum-norm least-squares solution of the rows themselves, by their singular values in
# double precision (gelsd), never of the squared system.

from libc.math cimport pow, sqrt
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

include "blas.pxi"

ctypedef fused index:
    int32_t
    int64_t

cdef extern from "threads.h" nogil:
    int64_t cymf_draw(int64_t* counter)

cdef enum:
    BATCH = 128
    ROW_SOLVED = 0
    ROW_RANK_DEFICIENT = 1
    ROW_NOT_FINITE = 2


cdef real gather_row(
    const real* fixed,          # IN  (k,) rated row of the fixed side
    const real* fixed_bias,     # IN  (1,) its bias, or NULL
    const real* weight,         # IN  (1,) or NULL
    real target,                # IN  rating - mean
    Py_ssize_t n_factors,       # IN
    real* row,                  # OUT (k or k + 1,) sqrt(c) [h, 1]
) noexcept nogil:
    """Returns the scaled target."""
    cdef real root = 1
    cdef Py_ssize_t f
    if weight != NULL:
        root = <real>sqrt(weight[0])
    for f in range(n_factors):
        row[f] = root * fixed[f]
    if fixed_bias != NULL:
        row[n_factors] = root
        target -= fixed_bias[0]
    return root * target


cdef int lapack_solve_row(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,)
    const real* values,         # IN  (n,)
    const real* weights,        # IN  (n,) or NULL
    const real* fixed,          # IN  (m, width)
    const real* fixed_bias,     # IN  (m,) or NULL
    Py_ssize_t n_factors,       # IN
    Py_ssize_t width,           # IN
    real mean,                  # IN
    double reg,                 # IN  already scaled by n^nu
    double reg_bias,            # IN  already scaled by n^nu
    real* row,                  # OUT (width,)
    real* bias,                 # OUT (1,) or NULL
    real* scratch,              # SCRATCH als_scratch_size() elements
) noexcept nogil:
    cdef int size = <int>n_factors + (1 if fixed_bias != NULL else 0), batch
    cdef real* gram = scratch
    cdef real* x = gram + size * size
    cdef real* diagonal = x + size
    cdef real* rows = diagonal + size
    cdef real* targets = rows + BATCH * size
    cdef Py_ssize_t start = 0, s, p
    cdef double total = 0, tolerance
    while start < n:
        batch = <int>min(<Py_ssize_t>BATCH, n - start)
        for s in range(batch):
            p = indices[start + s]
            targets[s] = gather_row(fixed + p * width, fixed_bias + p if fixed_bias != NULL else NULL,
                                    weights + start + s if weights != NULL else NULL, values[start + s] - mean,
                                    n_factors, rows + s * size)
        syrk(size, batch, rows, <real>(start > 0), gram)
        gemv_transposed(batch, size, rows, targets, <real>(start > 0), x)
        start += batch
    for p in range(size):
        gram[p * size + p] += <real>(reg if p < n_factors else reg_bias)
        diagonal[p] = gram[p * size + p]
    if potrf(size, gram) != 0:
        return ROW_RANK_DEFICIENT
    tolerance = 16 * size * (1.2e-7 if sizeof(real) == 4 else 2.3e-16)
    if reg == 0: # as in als.pxi
        tolerance = sqrt(tolerance)
    for p in range(size):
        if not gram[p * size + p] * gram[p * size + p] > tolerance * diagonal[p]:
            return ROW_RANK_DEFICIENT
    potrs(size, gram, x)
    for p in range(n_factors):
        row[p] = x[p]
    for p in range(n_factors, width):
        row[p] = 0
    if fixed_bias != NULL:
        bias[0] = x[n_factors]
    for p in range(size):
        total += x[p]
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


def als_scratch_size(Py_ssize_t n_factors, Py_ssize_t width):
    """Elements of scratch one worker needs."""
    cdef Py_ssize_t size = n_factors + 1
    return size * size + 2 * size + BATCH * (size + 1)


def als_half_sweep(
    const int64_t[::1] indptr,      # IN  as als_half_sweep in als.pxi, argument by argument
    const index[::1] indices,
    const real[::1] values,
    const real[::1] weights,
    const real[:, ::1] fixed,
    const real[::1] fixed_bias,
    real[:, ::1] solved,
    real[::1] solved_bias,
    Py_ssize_t n_factors,
    double mean,
    double reg,
    double reg_bias,
    double reg_exponent,
    const int64_t[::1] chunks,
    int64_t[::1] counter,
    int8_t[::1] status,
    real[::1] scratch,
):
    """One worker's share of a half-sweep, each row by LAPACK."""
    cdef bint use_bias = fixed_bias.shape[0] > 0
    cdef const index* index_pointer = &indices[0] if indices.shape[0] else NULL
    cdef const real* value_pointer = &values[0] if values.shape[0] else NULL
    cdef const real* fixed_pointer = &fixed[0, 0] if fixed.shape[0] and fixed.shape[1] else NULL
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef const real* bias_pointer = &fixed_bias[0] if use_bias else NULL
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, n, begin
    cdef double scale
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[i]
                n = indptr[i + 1] - begin
                status[i] = ROW_SOLVED
                if n == 0:
                    memset(&solved[i, 0], 0, width * sizeof(real))
                    if use_bias:
                        solved_bias[i] = 0
                    continue
                scale = pow(<double>n, reg_exponent)
                status[i] = lapack_solve_row(
                    n, index_pointer + begin, value_pointer + begin, weight_pointer + begin if weight_pointer != NULL else NULL,
                    fixed_pointer, bias_pointer, n_factors, width, <real>mean, reg * scale, reg_bias * scale,
                    &solved[i, 0], &solved_bias[i] if use_bias else NULL, &scratch[0])


cdef int minimum_norm_row(
    Py_ssize_t n,               # IN  as lapack_solve_row
    const index* indices,
    const real* values,
    const real* weights,
    const real* fixed,
    const real* fixed_bias,
    Py_ssize_t n_factors,
    Py_ssize_t width,
    double mean,
    double reg,
    double reg_bias,
    real* row,
    real* bias,
    double* columns,            # SCRATCH (m * size,) m = n + size
    double* y,                  # SCRATCH (m,)
    double* singular,           # SCRATCH (size,)
    double* work,               # SCRATCH (work_size,)
    int work_size,              # IN
    int* integer_work,          # SCRATCH
) noexcept nogil:
    """Least squares of the rows [X; sqrt(reg) I] against [y; 0]; rows of zeros where nothing is regularized."""
    cdef int size = <int>n_factors + (1 if fixed_bias != NULL else 0), m = <int>n + size
    cdef Py_ssize_t s, f, j
    cdef double root, target, total = 0, rcond
    memset(columns, 0, <size_t>m * size * sizeof(double))
    for s in range(n):
        j = indices[s]
        root = sqrt(<double>weights[s]) if weights != NULL else 1.0
        target = values[s] - mean
        for f in range(n_factors):
            columns[f * m + s] = root * fixed[j * width + f]
        if fixed_bias != NULL:
            columns[n_factors * m + s] = root
            target -= fixed_bias[j]
        y[s] = root * target
    for f in range(size):
        columns[f * m + n + f] = sqrt(reg if f < n_factors else reg_bias)
        y[n + f] = 0
    rcond = 2.3e-16 * m
    if reg == 0: # what the rounding of the factors leaves of a dependent one is not a direction to fit
        rcond = (1.2e-7 if sizeof(real) == 4 else 2.3e-16) * m
    if gelsd(m, size, columns, y, rcond, singular, work, work_size, integer_work) != 0:
        return ROW_NOT_FINITE
    for f in range(width):
        row[f] = <real>y[f] if f < n_factors else <real>0
        total += row[f]
    if fixed_bias != NULL:
        bias[0] = <real>y[n_factors]
        total += bias[0]
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


def als_minimum_norm_rows(
    const int64_t[::1] rows,        # IN  the rows to solve
    const int64_t[::1] indptr,      # IN  as als_half_sweep
    const index[::1] indices,
    const real[::1] values,
    const real[::1] weights,
    const real[:, ::1] fixed,
    const real[::1] fixed_bias,
    real[:, ::1] solved,            # OUT (N, width): the given rows
    real[::1] solved_bias,          # OUT
    Py_ssize_t n_factors,
    double mean,
    double reg,
    double reg_bias,
    double reg_exponent,
    int8_t[::1] status,             # OUT (N,): of the given rows
):
    """Minimum-norm solutions of the given rows, whose normal equations are singular to working precision."""
    cdef bint use_bias = fixed_bias.shape[0] > 0
    cdef const index* index_pointer = &indices[0] if indices.shape[0] else NULL
    cdef const real* value_pointer = &values[0] if values.shape[0] else NULL
    cdef const real* fixed_pointer = &fixed[0, 0] if fixed.shape[0] and fixed.shape[1] else NULL
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef Py_ssize_t width = fixed.shape[1], s, i, n, begin, longest = 0
    cdef int size = <int>n_factors + use_bias, work_size, integer_size
    cdef double scale
    cdef double* scratch
    cdef int* integer_work
    for s in range(rows.shape[0]):
        longest = max(longest, <Py_ssize_t>(indptr[rows[s] + 1] - indptr[rows[s]]))
    gelsd_sizes(<int>longest + size, size, &work_size, &integer_size)
    scratch = <double*>malloc(sizeof(double) * ((longest + size) * (size + 1) + size + work_size))
    integer_work = <int*>malloc(sizeof(int) * integer_size)
    if scratch == NULL or integer_work == NULL:
        free(scratch)
        free(integer_work)
        raise MemoryError(f"minimum-norm solution of a row with {longest} ratings and {size} unknowns")
    with nogil:
        for s in range(rows.shape[0]):
            i = rows[s]
            begin = indptr[i]
            n = indptr[i + 1] - begin
            scale = pow(<double>n, reg_exponent)
            status[i] = minimum_norm_row(
                n, index_pointer + begin, value_pointer + begin, weight_pointer + begin if weight_pointer != NULL else NULL,
                fixed_pointer, &fixed_bias[0] if use_bias else NULL, n_factors, width, mean,
                reg * scale, reg_bias * scale, &solved[i, 0], &solved_bias[i] if use_bias else NULL,
                scratch, scratch + (longest + size) * size, scratch + (longest + size) * (size + 1),
                scratch + (longest + size) * (size + 1) + size, work_size, integer_work)
    free(scratch)
    free(integer_work)
