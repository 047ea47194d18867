# ALS, exact: every row of one side from its regularized least squares, the other side fixed.
#
#   minimize over w, b:  1/2 sum_j c_j (y_j - b - w.h_j)^2 + 1/2 n^nu (reg |w|^2 + reg_bias b^2),   y_j = a_j - mean - b_j
#
# The normal equations, bordered by the bias, with X the rated rows h_j scaled by sqrt(c_j):
#
#   [ X'X + reg n^nu I      X'1               ] [w]   [ X'y   ]
#   [ 1'X                   1'1 + reg_bias n^nu ] [b] = [ 1'y   ]
#
# are solved by one Cholesky factor U'U of the upper left block; border and right-hand side ride along, and the bias
# falls out of the Schur complement. Work per rating: k(k + 1) + 4k flops; per row: k^3 / 3 + 2k^2.
#
# A row with at most as many ratings n as factors is cheaper in the dual, exactly: with X (n, k), s = sqrt(c), K = X X' + reg n^nu I,
#
#   K z = s y - b s,    w = X'z,    b = reg s'K^-1(s y) / (reg_bias + reg s'K^-1 s)
#
# which is an n x n system with two right-hand sides. Work per row: n^2 k + n^3 / 3.
# Sources: Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems" (biases, ALS);
# Zhou et al. 2008, "Large-scale parallel collaborative filtering for the Netflix prize", section 3 (n^nu with nu = 1).

from libc.math cimport pow, sqrt
from libc.string cimport memset

cdef enum:
    ALS_BATCH = 32          # rated rows summed at once: with the Gram matrix of 64 factors they fit the L1 cache
    ALS_AHEAD = 8           # rated rows prefetched ahead of their transposition

# Row status: the driver turns these into messages with the row's id, or solves the row again.
cdef enum:
    ROW_SOLVED = 0
    ROW_RANK_DEFICIENT = 1
    ROW_NOT_FINITE = 2


cdef inline Py_ssize_t system_columns(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, rounded up to whole vectors and to strips of four."""
    cdef Py_ssize_t step = max(CYMF_VECTOR_BYTES // itemsize, <Py_ssize_t>4)
    return (n + step - 1) // step * step


cdef int als_solve_primal(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings
    const real* weights,        # IN  (n,) sample weights or NULL
    const real* fixed,          # IN  (m, width) factors of the fixed side, padded by zeros
    const real* fixed_bias,     # IN  (m,) or NULL: no biases
    Py_ssize_t n_factors,       # IN
    Py_ssize_t width,           # IN  padded row length
    real mean,                  # IN  global mean
    double reg,                 # IN  already scaled by n^nu
    double reg_bias,            # IN  already scaled by n^nu
    real* row,                  # OUT (width,) the solved factors
    real* bias,                 # OUT (1,) the solved bias; untouched without biases
    real* scratch,              # SCRATCH als_scratch_size() elements
) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4, n_columns = system_columns(n_factors, sizeof(real))
    cdef real* gram = scratch
    cdef real* right = gram + n_rows * n_columns
    cdef real* inverse_diagonal = right + 2 * n_columns
    cdef real* scaled = inverse_diagonal + n_rows
    cdef real* targets = scaled + ALS_BATCH * n_columns
    cdef const real* addresses[2 * ALS_BATCH]
    cdef const real** rated = addresses
    cdef const real** rated_next = addresses + ALS_BATCH
    cdef int n_right = 2 if fixed_bias != NULL else 1
    cdef Py_ssize_t n_batches = (n + ALS_BATCH - 1) // ALS_BATCH, batch, start = 0, end, size = n // n_batches, n_next, s, p
    cdef real root, target, tolerance
    cdef double sum_weights = 0, sum_targets = 0, corner, pivot, b

    for s in range(size):
        rated[s] = fixed + indices[s] * width
    for batch in range(n_batches):
        end = start + size
        n_next = n * (batch + 2) // n_batches - end if batch + 1 < n_batches else 0
        for s in range(n_next):
            rated_next[s] = fixed + indices[end + s] * width
        for s in range(size):
            target = values[start + s] - mean
            if fixed_bias != NULL:
                target -= fixed_bias[indices[start + s]]
            root = 1
            if weights != NULL:
                root = <real>sqrt(<double>weights[start + s])
                scaled_copy(scaled + s * n_columns, root, rated[s], n_columns)
                rated[s] = scaled + s * n_columns
            targets[2 * s] = root * target
            targets[2 * s + 1] = root
            sum_weights += root * root
            sum_targets += root * root * target
        rank_k_gathered(batch > 0, n_right, gram, right, n_rows, n_columns, rated, targets, size, rated_next, n_next)
        rated, rated_next = rated_next, rated
        start = end
        size = n_next

    for p in range(n_factors):
        gram[p * n_columns + p] += <real>reg
    for p in range(n_factors, n_rows):
        gram[p * n_columns + p] = 1
    tolerance = <real>(16 * n_factors * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
    if reg == 0: # a singular system's last pivot is rounding noise, up to 1 / the smallest earlier pivot larger than epsilon
        tolerance = <real>sqrt(tolerance)
    if cholesky(gram, right, n_right, n_rows, n_columns, inverse_diagonal, tolerance) >= 0:
        return ROW_RANK_DEFICIENT
    if fixed_bias != NULL:
        corner = sum_weights + reg_bias
        pivot = corner - dot(right + n_columns, right + n_columns, n_columns)
        if not pivot > tolerance * corner:
            return ROW_RANK_DEFICIENT
        b = (sum_targets - dot(right, right + n_columns, n_columns)) / pivot
        axpy(right, <real>-b, right + n_columns, n_columns)
        bias[0] = <real>b
        if b - b != 0:
            return ROW_NOT_FINITE
    back_substitute(gram, right, n_rows, n_columns, inverse_diagonal)
    pivot = 0
    for p in range(n_columns):
        row[p] = right[p]
        pivot += right[p]
    for p in range(n_columns, width):
        row[p] = 0
    return ROW_SOLVED if pivot - pivot == 0 else ROW_NOT_FINITE


cdef int als_solve_dual(
    Py_ssize_t n,               # IN  the arguments of als_solve_primal; 0 < n <= n_factors, reg > 0
    const index* indices,
    const real* values,
    const real* weights,
    const real* fixed,
    const real* fixed_bias,
    Py_ssize_t n_factors,
    Py_ssize_t width,
    real mean,
    double reg,
    double reg_bias,
    real* row,
    real* bias,
    real* scratch,
) noexcept nogil:
    cdef Py_ssize_t n_rows = (n + 3) // 4 * 4, n_columns = system_columns(n, sizeof(real))
    cdef Py_ssize_t n_samples = (n_factors + 3) // 4 * 4
    cdef real* gram = scratch
    cdef real* z = gram + n_rows * n_columns
    cdef real* border = z + n_columns
    cdef real* inverse_diagonal = border + n_columns
    cdef real* roots = inverse_diagonal + n_rows
    cdef real* columns = roots + n_columns
    cdef const real* rated[4]
    cdef const real* combined[ALS_BATCH]
    cdef Py_ssize_t s, r, f, size
    cdef real target, tolerance, total = 0
    cdef double pivot, b
    for s in range(n_columns):
        roots[s] = 0
        z[s] = 0
    for s in range(n):
        target = values[s] - mean
        roots[s] = 1
        if fixed_bias != NULL:
            target -= fixed_bias[indices[s]]
        if weights != NULL:
            roots[s] = <real>sqrt(<double>weights[s])
        z[s] = roots[s] * target
    for s in range(0, n, 4):
        for r in range(4):
            rated[r] = fixed + indices[min(s + r, n - 1)] * width
            if s + r + ALS_AHEAD < n:
                cymf_prefetch_row(fixed + indices[s + r + ALS_AHEAD] * width, width * sizeof(real))
        scaled_transpose(columns + s, n_columns, rated, roots + s, n_samples)
    for f in range(n_samples):
        for s in range(n_rows, n_columns):
            columns[f * n_columns + s] = 0
    for s in range(n_columns):
        border[s] = roots[s]
    rank_k_update(False, gram, columns, n_rows, n_columns, n_samples)
    for s in range(n):
        gram[s * n_columns + s] += <real>reg
    for s in range(n, n_rows):
        gram[s * n_columns + s] = 1
    tolerance = <real>(16 * n * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
    if cholesky(gram, z, 2 if fixed_bias != NULL else 1, n_rows, n_columns, inverse_diagonal, tolerance) >= 0:
        return ROW_RANK_DEFICIENT
    if fixed_bias != NULL:
        pivot = reg_bias + reg * dot(border, border, n_columns)
        if not pivot > 0:
            return ROW_RANK_DEFICIENT
        b = reg * dot(z, border, n_columns) / pivot
        axpy(z, <real>-b, border, n_columns)
        bias[0] = <real>b
    back_substitute(gram, z, n_rows, n_columns, inverse_diagonal)
    for s in range(n):
        total += z[s]
        z[s] *= roots[s]
    s = 0
    while s < n:
        size = min(<Py_ssize_t>ALS_BATCH, n - s)
        for r in range(size):
            combined[r] = fixed + indices[s + r] * width
        combination(s > 0, row, z + s, combined, width, size)
        s += size
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


cdef inline int als_solve_row(
    Py_ssize_t n,               # IN  the arguments of als_solve_primal
    const index* indices,
    const real* values,
    const real* weights,
    const real* fixed,
    const real* fixed_bias,
    Py_ssize_t n_factors,
    Py_ssize_t width,
    real mean,
    double reg,
    double reg_bias,
    real* row,
    real* bias,
    real* scratch,
) noexcept nogil:
    """The cheaper of the two exact solutions; what is singular to the dual is for the primal to judge."""
    cdef int status = ROW_RANK_DEFICIENT
    if n <= n_factors and reg > 0:
        status = als_solve_dual(n, indices, values, weights, fixed, fixed_bias, n_factors, width, mean, reg, reg_bias,
                                row, bias, scratch)
    if status != ROW_RANK_DEFICIENT:
        return status
    return als_solve_primal(n, indices, values, weights, fixed, fixed_bias, n_factors, width, mean, reg, reg_bias,
                            row, bias, scratch)


cdef Py_ssize_t scratch_size(Py_ssize_t n_factors, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4
    cdef Py_ssize_t primal = n_rows * width + 2 * width + n_rows + ALS_BATCH * (width + 2)
    cdef Py_ssize_t dual = n_rows * width + 3 * width + n_rows + (n_rows + 1) * width
    return max(primal, dual)


def als_scratch_size(Py_ssize_t n_factors, Py_ssize_t width):
    """Elements of scratch one worker needs: Gram matrix, right-hand sides, gathered rows."""
    return scratch_size(n_factors, width)


def als_half_sweep(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (nnz,) or empty
    const real[:, ::1] fixed,       # IN  (m, width)
    const real[::1] fixed_bias,     # IN  (m,) or empty
    real[:, ::1] solved,            # OUT (rows, width)
    real[::1] solved_bias,          # OUT (rows,) or empty
    Py_ssize_t n_factors,           # IN
    double mean,                    # IN
    double reg,                     # IN
    double reg_bias,                # IN
    double reg_exponent,            # IN  nu
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    int8_t[::1] status,             # OUT (rows,) SOLVED, or why not
    real[::1] scratch,              # SCRATCH of this worker
):
    """One worker's share of a half-sweep: draws chunks of rows until none is left. Rows without ratings become zero."""
    cdef bint use_bias = fixed_bias.shape[0] > 0
    cdef const real* weight_pointer = NULL
    cdef const real* bias_pointer = NULL
    cdef real* solved_bias_pointer = NULL
    cdef const real* fixed_pointer = &fixed[0, 0] if fixed.shape[0] and fixed.shape[1] else NULL
    cdef const index* index_pointer = &indices[0] if indices.shape[0] else NULL
    cdef const real* value_pointer = &values[0] if values.shape[0] else NULL
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, n, begin
    cdef double scale
    if weights.shape[0]:
        weight_pointer = &weights[0]
    if use_bias:
        bias_pointer = &fixed_bias[0]
        solved_bias_pointer = &solved_bias[0]
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
                        solved_bias_pointer[i] = 0
                    continue
                scale = pow(<double>n, reg_exponent)
                status[i] = als_solve_row(
                    n, index_pointer + begin, value_pointer + begin,
                    weight_pointer + begin if weight_pointer != NULL else NULL,
                    fixed_pointer, bias_pointer, n_factors, width, <real>mean, reg * scale, reg_bias * scale,
                    &solved[i, 0], solved_bias_pointer + i if use_bias else NULL, &scratch[0])
