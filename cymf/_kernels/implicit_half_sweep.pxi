# What one worker does of a half-sweep of implicit ALS, and of the pass over the observed cells that the objective needs.

cdef Py_ssize_t implicit_scratch(Py_ssize_t width) noexcept nogil:
    """Two matrices, and vectors or a batch of rows with targets; a block of factors is at most as wide."""
    return 2 * width * width + 6 * width + IMPLICIT_BATCH * (width + 2)


def implicit_scratch_size(Py_ssize_t width, Py_ssize_t longest):
    """Elements of scratch one worker needs where the longest row has so many observed cells."""
    return implicit_scratch(width) + 3 * ((longest + 15) // 16 * 16)


def implicit_half_sweep(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] confidence,     # IN  (nnz,) signed
    const double[::1] base_row,     # IN  (rows,) s
    const real[::1] base_fixed,     # IN  (m,) v, or empty: all 1
    bint replaces,                  # IN  whether an observed cell loses its unobserved weight
    const double[::1] reg,          # IN  (rows,) penalties, scaled
    const real[:, ::1] fixed,       # IN  (m, width)
    const real[::1] offset,         # IN  (m,) o, or empty
    const real[::1] constant,       # IN  (width,) t; or (rows * width,), one t for each row; or empty
    const real[::1] eigenvalues,    # IN  (width,) of G, in whose basis all factors are
    const real[::1] mean_squares,   # IN  (width,) m
    Py_ssize_t n_factors,           # IN  q
    int method,                     # IN  SOLVE_EXACTLY, SOLVE_BY_CG, SOLVE_BY_BLOCKS
    Py_ssize_t setting,             # IN  steps of CG, or the size of blocks
    real[:, ::1] solved,            # OUT (rows, width); IN/OUT unless exact
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    int8_t[::1] status,             # OUT (rows,)
    real[::1] scratch,              # SCRATCH of this worker
):
    """One worker's share of a half-sweep. Rows without observed cells become zero."""
    cdef const real* base_pointer = &base_fixed[0] if base_fixed.shape[0] else NULL
    cdef const real* offset_pointer = &offset[0] if offset.shape[0] else NULL
    cdef const real* constant_pointer = &constant[0] if constant.shape[0] else NULL
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, n, t, begin, longest
    cdef Py_ssize_t n_cells = indices.shape[0], constant_stride = width if constant.shape[0] > width else 0
    cdef const real* constant_of_row
    cdef real* work = &scratch[0]
    cdef real* weights = work + implicit_scratch(width)
    cdef real* pulls
    cdef real* products
    cdef real least, largest
    longest = (scratch.shape[0] - implicit_scratch(width)) // 3
    pulls = weights + longest
    products = pulls + longest
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[i]
                n = indptr[i + 1] - begin
                for t in range(begin + n, min(begin + n + IMPLICIT_BATCH, n_cells)):
                    cymf_prefetch_row(&fixed[indices[t], 0], width * sizeof(real))
                status[i] = ROW_SOLVED
                constant_of_row = constant_pointer + i * constant_stride if constant_pointer != NULL else NULL
                if n == 0:
                    memset(&solved[i, 0], 0, width * sizeof(real))
                    continue
                least = observed_cells(n, &indices[begin], &confidence[begin], base_row[i], base_pointer, replaces,
                                       offset_pointer, weights, pulls, &largest)
                if least >= 0 and dual_is_cheaper(n, n_factors, method, setting):
                    status[i] = implicit_solve_dual(n, &indices[begin], weights, pulls, least, &fixed[0, 0], n_factors, width,
                                                    &eigenvalues[0], constant_of_row, base_row[i], reg[i], &solved[i, 0],
                                                    work)
                elif method == SOLVE_EXACTLY:
                    status[i] = implicit_solve_primal(n, &indices[begin], weights, pulls, least, largest, &fixed[0, 0],
                                                      n_factors, width, &eigenvalues[0], constant_of_row, base_row[i], reg[i],
                                                      &solved[i, 0], work)
                elif method == SOLVE_BY_CG:
                    status[i] = implicit_cg_row(n, &indices[begin], weights, pulls, &fixed[0, 0], &mean_squares[0],
                                                setting, width, &eigenvalues[0], constant_of_row, base_row[i], reg[i],
                                                &solved[i, 0], work)
                else:
                    status[i] = implicit_blocks_row(n, &indices[begin], weights, pulls, least, &fixed[0, 0], setting,
                                                    n_factors, width, &eigenvalues[0], constant_of_row, base_row[i], reg[i],
                                                    &solved[i, 0], products, work)


cdef inline bint dual_is_cheaper(Py_ssize_t n, Py_ssize_t n_factors, int method, Py_ssize_t setting) noexcept nogil:
    if method == SOLVE_BY_CG:
        return n <= setting and n <= n_factors
    if method == SOLVE_BY_BLOCKS:
        return n <= n_factors and n <= 2 * setting
    return 4 * n <= 3 * n_factors


def implicit_observed_errors(
    const int64_t[::1] indptr,      # IN  as implicit_half_sweep
    const index[::1] indices,
    const real[::1] confidence,
    const double[::1] base_row,
    const real[::1] base_fixed,
    bint replaces,
    const real[:, ::1] rows,        # IN  (rows, width)
    const real[::1] row_bias,       # IN  (rows,) or empty
    const real[:, ::1] fixed,       # IN  (m, width)
    const real[::1] fixed_bias,     # IN  (m,) or empty
    const int64_t[::1] chunks,
    int64_t[::1] counter,
    double[::1] sums,               # OUT (n_chunks,)
):
    """sum_obs c (p - score)^2 - u score^2 of each chunk of rows."""
    cdef bint use_bias = row_bias.shape[0] > 0
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, t
    cdef double total, score, c, target
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            total = 0
            for i in range(chunks[chunk], chunks[chunk + 1]):
                for t in range(indptr[i], indptr[i + 1]):
                    if t + IMPLICIT_AHEAD < indptr[i + 1]:
                        cymf_prefetch_row(&fixed[indices[t + IMPLICIT_AHEAD], 0], width * sizeof(real))
                    score = dot(&rows[i, 0], &fixed[indices[t], 0], width)
                    if use_bias:
                        score += row_bias[i] + fixed_bias[indices[t]]
                    c = confidence[t]
                    target = 1 if c > 0 else 0
                    total += fabs(c) * (target - score) * (target - score)
                    if replaces:
                        total -= base_row[i] * (base_fixed[indices[t]] if base_fixed.shape[0] else 1) * score * score
            sums[chunk] = total
