# ALS by subspaces: every row minimized exactly over one block of its factors and its bias after the other.
#
# With e_j = y_j - b - w.h_j the row's errors and X_B the rated rows' columns of block B, scaled by sqrt(c), a block moves by
#
#   [ X_B'X_B + reg n^nu I      X_B'1               ] [dw_B]   [ X_B'(sqrt(c) e) - reg n^nu w_B  ]
#   [ 1'X_B                     1'1 + reg_bias n^nu ] [db  ] = [ 1'(c e) - reg_bias n^nu b       ]
#
# and the errors by -(h_B.dw_B + db). Each step is an exact minimization, so the row's quadratic never rises, and neither
# does the objective. One block of all factors is the exact solution. Rows do not see each other, so that taking a row's
# blocks in turn is the same as taking all rows' first blocks, then all rows' second blocks. A block too near to singular
# is damped: a multiple of |change|^2 is added to what is minimized, which it cannot raise either.
# Work per rating: k(d + 1) + 6k flops for blocks of d factors; per row: k d^2 / 3.
# Source: Rendle, Krichene, Zhang and Koren 2021, "iALS++: Speeding up matrix factorization with subspace optimization"
# (there for implicit feedback).

cdef int als_subspace_row(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings
    const real* weights,        # IN  (n,) or NULL
    const real* fixed,          # IN  (m, width)
    const real* fixed_bias,     # IN  (m,) or NULL: no biases
    Py_ssize_t n_factors,       # IN
    Py_ssize_t block_size,      # IN  0 < block_size <= n_factors
    Py_ssize_t width,           # IN
    real mean,                  # IN  global mean
    double reg,                 # IN  already scaled by n^nu
    double reg_bias,            # IN  already scaled by n^nu
    real* row,                  # IN/OUT (width,)
    real* bias,                 # IN/OUT (1,) or NULL
    real* scratch,              # SCRATCH als_subspace_scratch_size() elements
) noexcept nogil:
    cdef Py_ssize_t lanes = CYMF_VECTOR_BYTES // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t most_rows = (block_size + 3) // 4 * 4, most_columns = system_columns(block_size, sizeof(real))
    cdef real* gram = scratch
    cdef real* right = gram + most_rows * most_columns
    cdef real* inverse_diagonal = right + 2 * most_columns
    cdef real* change = inverse_diagonal + most_rows
    cdef real* packed = change + most_columns
    cdef real* targets = packed + ALS_BATCH * most_columns
    cdef real* errors = targets + 2 * ALS_BATCH
    cdef const real* rated[ALS_BATCH]
    cdef const real* x
    cdef bint use_bias = fixed_bias != NULL, in_place
    cdef int n_right = 2 if use_bias else 1
    cdef Py_ssize_t first = 0, d, n_rows, n_columns, start, size, s, f, before = 0, whole
    cdef real root, e, tolerance, bias_change = 0
    cdef double sum_weights, sum_errors, corner, pivot, largest, damping = 0, total = 0

    for s in range(n):
        errors[s] = values[s] - mean - dot(row, fixed + indices[s] * width, width)
        if use_bias:
            errors[s] -= bias[0] + fixed_bias[indices[s]]
    while first < n_factors:
        d = min(block_size, n_factors - first)
        n_rows = (d + 3) // 4 * 4
        n_columns = system_columns(d, sizeof(real))
        whole = before // lanes * lanes
        sum_weights = 0
        sum_errors = 0
        start = 0
        in_place = weights == NULL and d == n_columns
        if not in_place:
            for s in range(ALS_BATCH):
                rated[s] = packed + s * most_columns
                for f in range(d, n_columns):
                    packed[s * most_columns + f] = 0
        while start < n:
            size = min(<Py_ssize_t>ALS_BATCH, n - start)
            for s in range(size):
                x = fixed + indices[start + s] * width + first
                e = errors[start + s]
                if start + s + ALS_AHEAD < n:
                    cymf_prefetch_row(fixed + indices[start + s + ALS_AHEAD] * width + first, d * sizeof(real))
                if before:
                    e -= dot(x - before, change, whole) + bias_change
                    for f in range(whole, before):
                        e -= x[f - before] * change[f]
                    errors[start + s] = e
                root = <real>sqrt(<double>weights[start + s]) if weights != NULL else <real>1
                if in_place:
                    rated[s] = x
                else:
                    for f in range(d):
                        packed[s * most_columns + f] = root * x[f]
                targets[2 * s] = root * e
                targets[2 * s + 1] = root
                sum_weights += root * root
                sum_errors += root * root * e
            rank_k_gathered(start > 0, n_right, gram, right, n_rows, n_columns, rated, targets, size,
                            <const real**>NULL, 0)
            start += size
        largest = sum_weights + reg_bias if use_bias else 0
        for f in range(d):
            largest = max(largest, gram[f * n_columns + f] + reg)
            gram[f * n_columns + f] += <real>(reg + damping)
            right[f] -= <real>reg * row[first + f]
        for f in range(d, n_rows):
            gram[f * n_columns + f] = 1
        tolerance = <real>(16 * d * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
        before = 0
        bias_change = 0
        if cholesky(gram, right, n_right, n_rows, n_columns, inverse_diagonal, tolerance) < 0:
            before = d
            if use_bias:
                corner = sum_weights + reg_bias + damping
                pivot = corner - dot(right + n_columns, right + n_columns, n_columns)
                if pivot > tolerance * corner:
                    bias_change = <real>((sum_errors - reg_bias * bias[0]
                                          - dot(right, right + n_columns, n_columns)) / pivot)
                    axpy(right, -bias_change, right + n_columns, n_columns)
                    bias[0] += bias_change
                else:
                    before = 0
        if before == 0 and damping == 0 and largest > 0:
            damping = 4 * tolerance * largest
            continue
        damping = 0
        if before:
            back_substitute(gram, right, n_rows, n_columns, inverse_diagonal)
            for f in range(d):
                change[f] = right[f]
                row[first + f] += right[f]
        total += sum_errors
        first += d
    for f in range(n_factors):
        total += row[f]
    if use_bias:
        total += bias[0]
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


def als_subspace_scratch_size(Py_ssize_t block_size, Py_ssize_t longest):
    """Elements of scratch one worker needs, `longest` being the most ratings of a row."""
    cdef Py_ssize_t n_rows = (block_size + 3) // 4 * 4
    cdef Py_ssize_t n_columns = system_columns(block_size, sizeof(float))
    return (n_rows + 3 + ALS_BATCH) * n_columns + n_rows + 2 * ALS_BATCH + longest


def als_subspace_half_sweep(
    const int64_t[::1] indptr,      # IN  as als_half_sweep, but solved rows are IN/OUT, and:
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
    Py_ssize_t block_size,          # IN  factors solved for at once
    const int64_t[::1] chunks,
    int64_t[::1] counter,
    int8_t[::1] status,
    real[::1] scratch,              # SCRATCH of this worker
):
    """One worker's share of a half-sweep: every row is minimized over its blocks of factors in turn."""
    cdef bint use_bias = fixed_bias.shape[0] > 0
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
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
                status[i] = als_subspace_row(
                    n, &indices[begin], &values[begin], weight_pointer + begin if weight_pointer != NULL else NULL,
                    &fixed[0, 0], &fixed_bias[0] if use_bias else NULL, n_factors, block_size, width, <real>mean,
                    reg * scale, reg_bias * scale, &solved[i, 0], &solved_bias[i] if use_bias else NULL, &scratch[0])
