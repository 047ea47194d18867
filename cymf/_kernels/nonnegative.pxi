# Non-negative rows from their observed cells: every row of one side, the other side fixed.
#
#   minimize over w >= 0, b:  1/2 sum_j c_j (y_j - b - w.h_j)^2 + n^nu (1/2 reg |w|^2 + reg_l1 sum_f w_f + 1/2 reg_bias b^2),
#   y_j = a_j - mean - b_j
#
# The free bias is eliminated exactly, b = (t - s'w) / d with t = sum c y, s = sum c h, d = sum c + reg_bias. What is left,
#
#   minimize over w >= 0:  1/2 w'G w - r'w,   G = sum c h h' + n^nu reg I - s s' / d,   r = sum c y h - (t / d) s - n^nu reg_l1 1,
#
# is solved by cyclic coordinate descent from where the row is, the gradient g = G w - r carried along:
#
#   w_f <- max(0, w_f - g_f / G_ff),   g <- g + (change of w_f) G_f
#
# which is hierarchical alternating least squares within one row. Every step lowers the objective. The row rests once a
# pass over the coordinates lowers it by at most `precision` times what all passes did. Work per rating: k(k + 1) flops; per
# row and pass: 2k^2.
#
# The multiplicative update is the other solver:  w_f <- w_f (sum c y h_f) / (sum c (w.h) h_f + n^nu (reg_l1 + reg w_f)),  mean and
# biases being 0. It never raises the objective either. Work per rating: 6k flops.
#
# Sources: Cichocki and Phan 2009, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations" (HALS);
# Hsieh and Dhillon 2011, "Fast coordinate descent methods with variable selection for non-negative matrix factorization",
# section 3 (the gain of a step as the measure of convergence); Lee and Seung 2001, "Algorithms for non-negative matrix
# factorization" (multiplicative updates; with weights: Zhang, Wang, Ford and Makedon 2006).

from libc.math cimport pow, sqrt
from libc.string cimport memset

cdef enum:
    ROWS_AT_ONCE = 32       # rated rows summed at once
    NONNEGATIVE_AHEAD = 8   # rated rows asked for ahead of their use

# Row status, as of the other solvers.
cdef enum:
    ROW_SOLVED = 0
    ROW_NOT_FINITE = 2


cdef inline Py_ssize_t gram_columns(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, rounded up to whole vectors and to strips of four."""
    cdef Py_ssize_t step = max(CYMF_VECTOR_BYTES // itemsize, <Py_ssize_t>4)
    return (n + step - 1) // step * step


cdef inline real epsilon(const real* any) noexcept nogil:
    return <real>1.2e-7 if sizeof(real) == 4 else <real>2.3e-16


cdef void mirror(
    real* gram,                 # IN/OUT (n_rows, n_columns) upper triangle in strips of four rows
    Py_ssize_t n_rows,          # IN  a multiple of four
    Py_ssize_t n_columns,       # IN
) noexcept nogil:
    """Complete a symmetric matrix whose blocks of four on the diagonal are complete."""
    cdef Py_ssize_t a, r
    cdef const real* strip[4]
    cdef real ones[4]
    for r in range(4):
        ones[r] = 1
    for a in range(0, n_rows - 4, 4):
        for r in range(4):
            strip[r] = gram + (a + r) * n_columns + a + 4
        scaled_transpose(gram + (a + 4) * n_columns + a, n_columns, strip, ones, n_rows - a - 4)


cdef int descend(
    const real* gram,           # IN  (n_factors, n_columns) symmetric, complete
    const real* inverse,        # IN  (n_factors,) of the diagonal; 0 where the coordinate becomes 0
    const real* right,          # IN  (n_columns,) r
    Py_ssize_t n_factors,       # IN
    Py_ssize_t n_columns,       # IN
    Py_ssize_t max_passes,      # IN
    double precision,           # IN
    real* row,                  # IN/OUT (n_factors,) w >= 0
    real* gradient,             # SCRATCH (n_columns,)
) noexcept nogil:
    """Coordinate descent on min 1/2 w'Gw - r'w, w >= 0."""
    cdef Py_ssize_t f, sweep
    cdef real best, change, check = 0
    cdef double gain, total = 0
    for f in range(n_columns):
        gradient[f] = -right[f]
    for f in range(n_factors):
        if row[f] != 0:
            axpy(gradient, row[f], gram + f * n_columns, n_columns)
    for sweep in range(max_passes):
        gain = 0
        for f in range(n_factors):
            best = 0
            if inverse[f] > 0:
                best = row[f] - gradient[f] * inverse[f]
                if not best > 0:
                    best = 0
            change = best - row[f]
            if change != 0:
                gain += <double>(gram[f * n_columns + f] * change) * change
                axpy(gradient, change, gram + f * n_columns, n_columns)
                row[f] = best
        total += gain
        if not gain > precision * total:
            break
    for f in range(n_columns):
        check += gradient[f]
    for f in range(n_factors):
        check += row[f]
    return ROW_SOLVED if check - check == 0 else ROW_NOT_FINITE


cdef int nonnegative_row(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings
    const real* weights,        # IN  (n,) sample weights or NULL
    const real* fixed,          # IN  (m, width) factors of the fixed side, padded by zeros
    const real* fixed_bias,     # IN  (m,) or NULL: no biases
    Py_ssize_t n_factors,       # IN
    Py_ssize_t width,           # IN  padded row length
    real mean,                  # IN  global mean
    double reg,                 # IN  already scaled by n^nu, as the next two
    double reg_l1,              # IN
    double reg_bias,            # IN
    Py_ssize_t max_passes,      # IN
    double precision,           # IN
    real* row,                  # IN/OUT (width,) the factors, >= 0
    real* bias,                 # OUT (1,) the bias; untouched without biases
    real* scratch,              # SCRATCH nonnegative_scratch_size() elements
) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4, n_columns = gram_columns(n_factors, sizeof(real))
    cdef real* gram = scratch
    cdef real* right = gram + n_rows * n_columns
    cdef real* sums = right + n_columns
    cdef real* inverse = sums + n_columns
    cdef real* gradient = inverse + n_rows
    cdef real* scaled = gradient + n_columns
    cdef real* targets = scaled + ROWS_AT_ONCE * n_columns
    cdef const real* addresses[2 * ROWS_AT_ONCE]
    cdef const real** rated = addresses
    cdef const real** rated_next = addresses + ROWS_AT_ONCE
    cdef int n_right = 2 if fixed_bias != NULL else 1, status
    cdef Py_ssize_t n_batches = (n + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE, batch, start = 0, end, size = n // n_batches, n_next, s, f
    cdef real root, target, least
    cdef double sum_weights = 0, sum_targets = 0, corner = 0

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

    mirror(gram, n_rows, n_columns)
    if fixed_bias != NULL:
        corner = sum_weights + reg_bias
    for f in range(n_factors):
        gram[f * n_columns + f] += <real>reg
        least = 0
        if corner > 0:
            least = 16 * epsilon(row) * gram[f * n_columns + f]
            axpy(gram + f * n_columns, <real>(-sums[f] / corner), sums, n_columns)
        inverse[f] = 1 / gram[f * n_columns + f] if gram[f * n_columns + f] > least else 0
    if corner > 0:
        axpy(right, <real>(-sum_targets / corner), sums, n_columns)
    for f in range(n_factors):
        right[f] -= <real>reg_l1
    status = descend(gram, inverse, right, n_factors, n_columns, max_passes, precision, row, gradient)
    if fixed_bias != NULL:
        bias[0] = 0
        if corner > 0:
            bias[0] = <real>((sum_targets - dot(sums, row, n_columns)) / corner)
            if bias[0] - bias[0] != 0:
                return ROW_NOT_FINITE
    return status


cdef int multiplied_row(
    Py_ssize_t n,               # IN  the arguments of nonnegative_row
    const index* indices,
    const real* values,
    const real* weights,
    const real* fixed,
    Py_ssize_t n_factors,
    Py_ssize_t width,
    double reg,
    double reg_l1,
    real* row,
    real* scratch,
) noexcept nogil:
    """One multiplicative update. What has no denominator stays as it is: nothing depends on it."""
    cdef real* numerators = scratch
    cdef real* denominators = scratch + width
    cdef real c, below, check = 0
    cdef Py_ssize_t s, f
    memset(numerators, 0, width * sizeof(real))
    memset(denominators, 0, width * sizeof(real))
    for s in range(n):
        if s + NONNEGATIVE_AHEAD < n:
            cymf_prefetch_row(fixed + indices[s + NONNEGATIVE_AHEAD] * width, width * sizeof(real))
        c = 1
        if weights != NULL:
            c = weights[s]
        axpy(denominators, c * dot(row, fixed + indices[s] * width, width), fixed + indices[s] * width, width)
        axpy(numerators, c * values[s], fixed + indices[s] * width, width)
    for f in range(n_factors):
        below = denominators[f] + <real>reg_l1 + <real>reg * row[f]
        if below > 0:
            row[f] *= numerators[f] / below
        check += row[f]
    return ROW_SOLVED if check - check == 0 else ROW_NOT_FINITE


cdef Py_ssize_t nonnegative_scratch(Py_ssize_t n_factors, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4
    return n_rows * width + 3 * width + n_rows + ROWS_AT_ONCE * (width + 2)


def nonnegative_scratch_size(Py_ssize_t n_factors, Py_ssize_t width):
    """Elements of scratch one worker needs: Gram matrix, vectors, gathered rows."""
    return nonnegative_scratch(n_factors, width)


def nonnegative_half_sweep(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (nnz,) or empty
    const real[:, ::1] fixed,       # IN  (m, width)
    const real[::1] fixed_bias,     # IN  (m,) or empty
    real[:, ::1] solved,            # IN/OUT (rows, width), >= 0
    real[::1] solved_bias,          # OUT (rows,) or empty
    Py_ssize_t n_factors,           # IN
    double mean,                    # IN
    double reg,                     # IN
    double reg_l1,                  # IN
    double reg_bias,                # IN
    double reg_exponent,            # IN  nu
    Py_ssize_t max_passes,          # IN  of coordinate descent; 0 is one multiplicative update, without mean and biases
    double precision,               # IN
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    int8_t[::1] status,             # OUT (rows,) SOLVED, or why not
    real[::1] scratch,              # SCRATCH of this worker
):
    """One worker's share of a half-sweep: draws chunks of rows until none is left. Rows without ratings become zero."""
    cdef bint use_bias = fixed_bias.shape[0] > 0
    cdef const real* weight_pointer = NULL
    cdef const real* bias_pointer = NULL
    cdef const real* own_weights = NULL
    cdef const real* fixed_pointer = &fixed[0, 0]
    cdef const index* index_pointer = NULL
    cdef const real* value_pointer = NULL
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, n, begin
    cdef double scale
    if indices.shape[0]:
        index_pointer = &indices[0]
        value_pointer = &values[0]
    if weights.shape[0]:
        weight_pointer = &weights[0]
    if use_bias:
        bias_pointer = &fixed_bias[0]
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
                if weight_pointer != NULL:
                    own_weights = weight_pointer + begin
                if max_passes == 0:
                    status[i] = multiplied_row(
                        n, index_pointer + begin, value_pointer + begin, own_weights, fixed_pointer, n_factors, width,
                        reg * scale, reg_l1 * scale, &solved[i, 0], &scratch[0])
                else:
                    status[i] = nonnegative_row(
                        n, index_pointer + begin, value_pointer + begin, own_weights, fixed_pointer, bias_pointer,
                        n_factors, width, <real>mean, reg * scale, reg_l1 * scale, reg_bias * scale, max_passes,
                        precision, &solved[i, 0], &solved_bias[i] if use_bias else NULL, &scratch[0])
