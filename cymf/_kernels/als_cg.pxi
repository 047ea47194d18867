# ALS, inexact: a few steps of preconditioned conjugate gradients a row, from where the row is.
#
# The row's normal equations A x = r of als.pxi, x = (w, b), are never formed:
#
#   A (p, q) = sum_j c_j (h_j.p + q) (h_j, 1) + n^nu (reg p, reg_bias q)        one fused pass over the rated rows
#
# Preconditioner: the diagonal n m_f + reg n^nu, with m_f the mean square of factor f over the fixed side's rated rows.
# A row's quadratic never rises, so neither does the objective. Work per rating and step: 4k flops.
# Sources: Hestenes and Stiefel 1952; Takacs, Pilaszy and Tikk 2011, "Applications of the conjugate gradient method for
# implicit feedback collaborative filtering".

cdef inline double als_cg_product(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings, or NULL: all zero
    const real* weights,        # IN  (n,) or NULL
    const real* fixed,          # IN  (m, width)
    const real* fixed_bias,     # IN  (m,) or NULL: all zero
    const real* p,              # IN  (width,)
    real offset,                # IN  q
    Py_ssize_t width,           # IN
    real* product,              # IN/OUT (width,) sum_j c_j e_j h_j is added, e_j = h_j.p + q + bias_j - value_j
) noexcept nogil:
    """Four rated rows for one pass over p and the product; returns sum_j c_j e_j."""
    cdef double total = 0
    cdef real e[4]
    cdef const real* rated[4]
    cdef Py_ssize_t s, t, size
    for s in range(0, n, 4):
        size = min(<Py_ssize_t>4, n - s)
        for t in range(4):
            rated[t] = fixed + indices[min(s + t, n - 1)] * width
            if s + t + 8 < n:
                cymf_prefetch_row(fixed + indices[s + t + 8] * width, width * sizeof(real))
        dot4(e, rated, p, width)
        for t in range(size):
            e[t] += offset
            if values != NULL:
                e[t] -= values[s + t]
            if fixed_bias != NULL:
                e[t] += fixed_bias[indices[s + t]]
            if weights != NULL:
                e[t] *= weights[s + t]
            total += e[t]
        for t in range(size, 4):
            e[t] = 0
        axpy4(product, e, rated[0], rated[1], rated[2], rated[3], width)
    return total


cdef int als_cg_row(
    Py_ssize_t n,               # IN  ratings of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings
    const real* weights,        # IN  (n,) or NULL
    const real* fixed,          # IN  (m, width)
    const real* fixed_bias,     # IN  (m,) or NULL: no biases
    const real* mean_squares,   # IN  (width,) m_f
    Py_ssize_t steps,           # IN
    Py_ssize_t width,           # IN
    real mean,                  # IN  global mean
    double reg,                 # IN  already scaled by n^nu
    double reg_bias,            # IN  already scaled by n^nu
    real* row,                  # IN/OUT (width,)
    real* bias,                 # IN/OUT (1,) or NULL
    real* scratch,              # SCRATCH 4 * width elements
) noexcept nogil:
    cdef real* residual = scratch
    cdef real* direction = residual + width
    cdef real* product = direction + width
    cdef real* inverse = product + width
    cdef bint use_bias = fixed_bias != NULL
    cdef double residual_bias = 0, direction_bias = 0, product_bias = 0, inverse_bias = 0, size, before, curvature, a
    cdef double total = 0
    cdef Py_ssize_t f, step

    scaled_copy(residual, <real>reg, row, width)
    residual_bias = als_cg_product(n, indices, values, weights, fixed, fixed_bias, row,
                                   mean + (bias[0] if use_bias else <real>0), width, residual)
    for f in range(width):
        residual[f] = -residual[f]
        inverse[f] = 1 / (<real>n * mean_squares[f] + <real>reg) if <real>n * mean_squares[f] + <real>reg > 0 else 0
        direction[f] = inverse[f] * residual[f]
    if use_bias:
        residual_bias = -(residual_bias + reg_bias * bias[0])
        inverse_bias = 1 / (n + reg_bias)
        direction_bias = inverse_bias * residual_bias
    size = dot(residual, direction, width) + (residual_bias * direction_bias if use_bias else 0)
    for step in range(steps):
        if not size > 0:
            break
        scaled_copy(product, <real>reg, direction, width)
        product_bias = als_cg_product[index, real](n, indices, NULL, weights, fixed, NULL, direction,
                                                   <real>direction_bias, width, product)
        curvature = dot(direction, product, width)
        if use_bias:
            product_bias += reg_bias * direction_bias
            curvature += direction_bias * product_bias
        if not curvature > 0:
            total = curvature
            break
        a = size / curvature
        axpy(row, <real>a, direction, width)
        axpy(residual, <real>-a, product, width)
        for f in range(width):
            product[f] = inverse[f] * residual[f]
        before = size
        size = dot(residual, product, width)
        if use_bias:
            bias[0] += <real>(a * direction_bias)
            residual_bias -= a * product_bias
            size += residual_bias * inverse_bias * residual_bias
        for f in range(width):
            direction[f] = product[f] + <real>(size / before) * direction[f]
        direction_bias = inverse_bias * residual_bias + size / before * direction_bias
    total += size
    for f in range(width):
        total += row[f]
    if use_bias:
        total += bias[0]
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


def als_cg_half_sweep(
    const int64_t[::1] indptr,      # IN  as als_half_sweep, but solved rows are IN/OUT, and:
    const index[::1] indices,
    const real[::1] values,
    const real[::1] weights,
    const real[:, ::1] fixed,
    const real[::1] fixed_bias,
    real[:, ::1] solved,
    real[::1] solved_bias,
    double mean,
    double reg,
    double reg_bias,
    double reg_exponent,
    const real[::1] mean_squares,   # IN  (width,) of the fixed side's rated rows
    Py_ssize_t steps,               # IN  conjugate gradient steps a row
    const int64_t[::1] chunks,
    int64_t[::1] counter,
    int8_t[::1] status,
    real[::1] scratch,              # SCRATCH (4 * width,) of this worker
):
    """One worker's share of an inexact half-sweep: every row moves a few conjugate gradient steps."""
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
                status[i] = als_cg_row(
                    n, &indices[begin], &values[begin], weight_pointer + begin if weight_pointer != NULL else NULL,
                    &fixed[0, 0], &fixed_bias[0] if use_bias else NULL, &mean_squares[0], steps, width, <real>mean,
                    reg * scale, reg_bias * scale, &solved[i, 0], &solved_bias[i] if use_bias else NULL, &scratch[0])
