# Implicit ALS by blocks of factors (iALS++): a row's factors are solved a block after the other, the rest of them fixed.
#
# The system of implicit_als.pxi, A x = r. With e = X x the row's products with its rated rows, a block b moves by
#
#   (B_b + sum_obs d g_b g_b') delta = sum_obs (r - d e) g_b - B_b x_b - s t_b,        x_b += delta,  e += X_b delta
#
# The fixed side being rotated, the base B is a diagonal: blocks are coupled by the observed cells alone, and a row needs
# nothing of the others. Work per row: n q b + q b^2 / 3 flops for blocks of b, against n q^2 + q^3 / 3.
# A row's quadratic never rises. Source: Rendle, Krichene, Zhang and Koren 2021, "iALS++: speeding up matrix factorization
# with subspace optimization", arXiv 2110.14044, section 4.

cdef int implicit_blocks_row(
    Py_ssize_t n,               # IN  observed cells of this row
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    real least,                 # IN  the smallest d
    const real* fixed,          # IN  (m, width), padded by zeros
    Py_ssize_t block_size,      # IN  a multiple of the vector width and of four
    Py_ssize_t n_factors,       # IN  q
    Py_ssize_t width,           # IN
    const real* eigenvalues,    # IN  (width,) of G
    const real* constant,       # IN  (width,) t, or NULL
    double base,                # IN  s
    double reg,                 # IN
    real* row,                  # IN/OUT (width,)
    real* products,             # SCRATCH (n,) e
    real* scratch,              # SCRATCH
) noexcept nogil:
    cdef Py_ssize_t start, size, n_rows, f, t, held, limit = (block_size + 3) // 4 * 4
    cdef real* gram = scratch
    cdef real* right = gram + limit * block_size
    cdef real* inverse_diagonal = right + 2 * block_size
    cdef real* rows = inverse_diagonal + limit
    cdef real* targets = rows + IMPLICIT_BATCH * block_size
    cdef real* negative = targets + 2 * IMPLICIT_BATCH
    cdef const real* g
    cdef real root, tolerance, e
    cdef int sign
    for t in range(n):
        products[t] = dot(row, fixed + indices[t] * width, width)
    start = 0
    while start < n_factors:
        size = min(block_size, width - start)
        n_rows = (min(size, n_factors - start) + 3) // 4 * 4
        memset(gram, 0, n_rows * size * sizeof(real))
        memset(right, 0, size * sizeof(real))
        if constant != NULL:
            axpy(right, <real>-base, constant + start, size)
        for f in range(size):
            right[f] -= <real>(base * eigenvalues[start + f] + reg) * row[start + f]
        for sign in range(1, -2 if least < 0 else 0, -2):
            held = 0
            if sign < 0:
                memset(negative, 0, n_rows * size * sizeof(real))
            for t in range(n):
                if t + IMPLICIT_AHEAD < n:
                    cymf_prefetch_row(fixed + indices[t + IMPLICIT_AHEAD] * width + start, size * sizeof(real))
                g = fixed + indices[t] * width + start
                if sign * weights[t] > 0:
                    root = square_root(<real>sign * weights[t])
                    scaled_copy(rows + held * size, root, g, size)
                    targets[2 * held] = (pulls[t] - weights[t] * products[t]) / root
                    held += 1
                elif sign > 0 and weights[t] == 0:
                    axpy(right, pulls[t], g, size)
                if held == IMPLICIT_BATCH or held > 0 and t == n - 1:
                    rank_k_update(True, gram if sign > 0 else negative, rows, n_rows, size, held)
                    rank_k_right(True, 1, right, targets, rows, size, held)
                    held = 0
        if least < 0:
            axpy(gram, <real>-1, negative, n_rows * size)
        for f in range(n_rows):
            gram[f * size + f] += <real>(base * eigenvalues[start + f] + reg)
            if start + f >= n_factors:
                gram[f * size + f] = 1
        tolerance = <real>(16 * size * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
        if cholesky(gram, right, 1, n_rows, size, inverse_diagonal, tolerance) >= 0:
            return ROW_RANK_DEFICIENT
        back_substitute(gram, right, n_rows, size, inverse_diagonal)
        axpy(row + start, <real>1, right, size)
        start += size
        if start < n_factors:
            for t in range(n):
                products[t] += dot(right, fixed + indices[t] * width + start - size, size)
    return finite_status(row, width)
