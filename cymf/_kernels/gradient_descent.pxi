# Batch gradient descent: loss and gradient over the observed cells, one fused pass per direction; predictions of pairs.
#
#   E = R_hat - R on the observed cells,   L = 1/2 |E|^2,   dL/dU = E V,   dL/dV = E' U,   dL/db_i = sum_j e_ij
#
# A pass over the CSR view gives dL/dU and the loss, the same pass over the CSC view gives dL/dV. E is never stored:
# a rated row that was fetched for its residual is still in the L1 cache for the gradient. 4k flops a rating and pass.
# Source: Aggarwal 2016, "Recommender systems: the textbook", section 3.6.4.

cdef extern from "residuals.h" nogil:
    void four_products_f32(float* out, const float* x, const float* y0, const float* y1, const float* y2, const float* y3, Py_ssize_t n)
    void four_products_f64(double* out, const double* x, const double* y0, const double* y1, const double* y2, const double* y3, Py_ssize_t n)


cdef inline void four_products(real* out, const real* x, const real* y0, const real* y1, const real* y2, const real* y3, Py_ssize_t n) noexcept nogil:
    if real is float:
        four_products_f32(out, x, y0, y1, y2, y3, n)
    else:
        four_products_f64(out, x, y0, y1, y2, y3, n)


cdef double row_squared_error(
    Py_ssize_t n,               # IN  ratings of this row
    const index* indices,       # IN  (n,)
    const real* values,         # IN  (n,)
    const real* weights,        # IN  (n,) or NULL
    const real* row,            # IN  (width,) this row's factors
    real offset,                # IN  mean + this row's bias
    const real* other,          # IN  (m, width)
    const real* other_bias,     # IN  (m,) or NULL
    Py_ssize_t width,           # IN
) noexcept nogil:
    cdef double total = 0
    cdef real e
    cdef Py_ssize_t s
    for s in range(n):
        e = offset + dot(row, other + indices[s] * width, width) - values[s]
        if other_bias != NULL:
            e += other_bias[indices[s]]
        if weights != NULL:
            total += <double>weights[s] * e * e
        else:
            total += <double>e * e
    return total


cdef double row_residual_gradient(
    Py_ssize_t n,               # IN  ratings of this row
    const index* indices,       # IN  (n,)
    const real* values,         # IN  (n,) or NULL: all zero
    const real* weights,        # IN  (n,) or NULL
    const real* row,            # IN  (width,)
    real offset,                # IN  mean + this row's bias
    const real* other,          # IN  (m, width)
    const real* other_bias,     # IN  (m,) or NULL
    Py_ssize_t width,           # IN
    real* gradient,             # IN/OUT (width,) sum_j e_ij v_j is added
    double* bias_gradient,      # OUT sum_j e_ij
) noexcept nogil:
    cdef double total = 0, sum_errors = 0
    cdef real e[4]
    cdef real products[4]
    cdef real error
    cdef Py_ssize_t s, t, size
    cdef const real* v[4]
    for s in range(0, n, 4):
        size = min(<Py_ssize_t>4, n - s)
        for t in range(4):
            e[t] = 0
            v[t] = other + indices[s + t] * width if t < size else row
            if s + t + 8 < n:
                cymf_prefetch_row(other + indices[s + t + 8] * width, width * sizeof(real))
        four_products(products, row, v[0], v[1], v[2], v[3], width)
        for t in range(size):
            error = offset
            if values != NULL:
                error -= values[s + t]
            if other_bias != NULL:
                error += other_bias[indices[s + t]]
            error += products[t]
            e[t] = error
            if weights != NULL:
                e[t] *= weights[s + t]
            total += <double>e[t] * error
            sum_errors += e[t]
        axpy4(gradient, e, v[0], v[1], v[2], v[3], width)
    bias_gradient[0] = sum_errors
    return total


def residual_gradient(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,)
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (nnz,) or empty
    const real[:, ::1] factors,     # IN  (rows, width)
    const real[::1] bias,           # IN  (rows,) or empty
    const real[:, ::1] other,       # IN  (m, width)
    const real[::1] other_bias,     # IN  (m,) or empty
    double mean,                    # IN
    double reg,                     # IN
    double reg_bias,                # IN
    double reg_exponent,            # IN  nu
    real[:, ::1] gradient,          # OUT (rows, width) of the objective with its penalty
    real[::1] bias_gradient,        # OUT (rows,) or empty
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,)
    double[::1] squared_error,      # OUT (n_chunks,) sum of c e^2
    double[::1] penalty,            # OUT (n_chunks,) sum over rows of n^nu (reg |u|^2 + reg_bias b^2)
):
    """One worker's share of a pass: gradient of the objective in one side's factors and biases, and its loss."""
    cdef bint use_bias = bias.shape[0] > 0
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef const real* other_bias_pointer = &other_bias[0] if use_bias else NULL
    cdef Py_ssize_t width = factors.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, n, begin
    cdef double scale, total, shrink, sum_errors
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            total = 0
            shrink = 0
            for i in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[i]
                n = indptr[i + 1] - begin
                if n == 0:
                    memset(&gradient[i, 0], 0, width * sizeof(real))
                    if use_bias:
                        bias_gradient[i] = 0
                    continue
                scale = pow(<double>n, reg_exponent)
                scaled_copy(&gradient[i, 0], <real>(reg * scale), &factors[i, 0], width)
                total += row_residual_gradient(
                    n, &indices[begin], &values[begin], weight_pointer + begin if weight_pointer != NULL else NULL,
                    &factors[i, 0], <real>mean + (bias[i] if use_bias else <real>0), &other[0, 0], other_bias_pointer,
                    width, &gradient[i, 0], &sum_errors)
                shrink += reg * scale * dot(&factors[i, 0], &factors[i, 0], width)
                if use_bias:
                    bias_gradient[i] = <real>(sum_errors + reg_bias * scale * bias[i])
                    shrink += reg_bias * scale * bias[i] * bias[i]
            squared_error[chunk] = total
            penalty[chunk] = shrink


def squared_errors(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,)
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (nnz,) or empty
    const real[:, ::1] factors,     # IN  (rows, width)
    const real[::1] bias,           # IN  (rows,) or empty
    const real[:, ::1] other,       # IN  (m, width)
    const real[::1] other_bias,     # IN  (m,) or empty
    double mean,                    # IN
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,)
    int64_t[::1] counter,           # IN/OUT (1,)
    double[::1] squared_error,      # OUT (n_chunks,) sum of c e^2
):
    """One worker's share of a pass that only evaluates."""
    cdef bint use_bias = bias.shape[0] > 0
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef const real* other_bias_pointer = &other_bias[0] if use_bias else NULL
    cdef Py_ssize_t width = factors.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, begin
    cdef double total
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            total = 0
            for i in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[i]
                if indptr[i + 1] == begin:
                    continue
                total += row_squared_error(
                    indptr[i + 1] - begin, &indices[begin], &values[begin],
                    weight_pointer + begin if weight_pointer != NULL else NULL,
                    &factors[i, 0], <real>mean + (bias[i] if use_bias else <real>0), &other[0, 0], other_bias_pointer,
                    width)
            squared_error[chunk] = total


def predict_pairs(
    const int64_t[::1] users,           # IN  (n,) rows, or -1 for unknown
    const int64_t[::1] items,           # IN  (n,) rows, or -1 for unknown
    const real[:, ::1] user_factors,    # IN  (N, k), not padded
    const real[:, ::1] item_factors,    # IN  (M, k), not padded
    const real[::1] user_bias,          # IN  (N,) or empty
    const real[::1] item_bias,          # IN  (M,) or empty
    double mean,                        # IN
    real[::1] predictions,              # OUT (n,) mean + b_i + b_j + w_i.h_j; what is unknown counts as zero
):
    """Predictions of pairs of rows, each sum in one fixed order."""
    cdef bint use_bias = user_bias.shape[0] > 0
    cdef Py_ssize_t k = user_factors.shape[1], s, f, whole
    cdef int64_t i, j
    cdef real t
    whole = k // (CYMF_VECTOR_BYTES // <Py_ssize_t>sizeof(real)) * (CYMF_VECTOR_BYTES // <Py_ssize_t>sizeof(real))
    with nogil:
        for s in range(users.shape[0]):
            i = users[s]
            j = items[s]
            t = <real>mean
            if use_bias:
                if i >= 0:
                    t += user_bias[i]
                if j >= 0:
                    t += item_bias[j]
            if i >= 0 and j >= 0:
                t += dot(&user_factors[i, 0], &item_factors[j, 0], whole)
                for f in range(whole, k):
                    t += user_factors[i, f] * item_factors[j, f]
            predictions[s] = t
