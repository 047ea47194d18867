# Implicit ALS, exact: every row of one side from its least squares over ALL cells, the other side fixed.
#
#   minimize over x:  1/2 sum_{all j} s v_j (o_j + x.g_j)^2                        every cell, target 0
#                     + 1/2 sum_{observed j} [c_j (p_j - o_j - x.g_j)^2 - u_j (o_j + x.g_j)^2] + 1/2 reg |x|^2
#
# g_j is the fixed row, o_j its bias, s v_j the cell's unobserved weight, u_j what of it an observed cell loses: all (Hu et
# al.: the cell has weight c_j instead) or nothing (Rendle et al.: it has both). c_j comes signed: positive pulls to
# p = 1, negative with weight |c| to p = 0. With d = |c| - u and r = max(c, 0) - d o the normal equations are
#
#   (s G + reg I + sum_obs d g g') x = sum_obs r g - s t,          G = sum v g g',  t = sum v o g      (once per half-sweep)
#
# The fixed side comes rotated into the eigenbasis of G, where the base s G + reg I is a diagonal B for every row.
# Primal: B + X'X by rank-k updates and Cholesky: n q^2 + q^3 / 3 flops for q unknowns and n observed cells.
# Dual (Woodbury), for n < q: with Y = sqrt(d) X B^-1/2, y = r / sqrt(d), and q0 = -s t + what has d = 0,
#
#   K z = y - Y B^-1/2 q0,   K = I + Y Y',        x = B^-1 q0 + B^-1/2 Y'z         n^2 q + n^3 / 3 flops
#
# Only for d >= 0: a square root is taken.
# Sources: Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets"; Rendle, Krichene, Zhang and
# Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks"; Golub and Van Loan, 2.1.4 (Woodbury).

from libc.math cimport fabs, sqrt
from libc.string cimport memcpy, memset

cdef enum:
    IMPLICIT_BATCH = 32     # rated rows gathered at once
    IMPLICIT_AHEAD = 8      # rated rows prefetched ahead of the gather

cdef enum:
    ROW_SOLVED = 0
    ROW_RANK_DEFICIENT = 1
    ROW_NOT_FINITE = 2

cdef enum:
    SOLVE_EXACTLY = 0
    SOLVE_BY_CG = 1
    SOLVE_BY_BLOCKS = 2


cdef inline int finite_status(const real* row, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t f
    cdef real total = 0
    for f in range(width):
        total += row[f] - row[f]
    return ROW_SOLVED if total == 0 else ROW_NOT_FINITE


cdef inline real observed_cells(
    Py_ssize_t n,               # IN  observed cells of this row
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* confidence,     # IN  (n,) signed
    double base,                # IN  s
    const real* base_fixed,     # IN  (m,) v, or NULL: all 1
    bint replaces,              # IN  whether an observed cell loses its unobserved weight
    const real* offset,         # IN  (m,) o, or NULL: all 0
    real* weights,              # OUT (n,) d
    real* pulls,                # OUT (n,) r
) noexcept nogil:
    """Returns the smallest d."""
    cdef Py_ssize_t t
    cdef real d, c, least = 1
    for t in range(n):
        c = confidence[t]
        d = c if c >= 0 else -c
        if replaces:
            d -= <real>(base * base_fixed[indices[t]]) if base_fixed != NULL else <real>base
        weights[t] = d
        pulls[t] = c if c > 0 else 0
        if offset != NULL:
            pulls[t] -= d * offset[indices[t]]
        if d < least:
            least = d
    return least


cdef void add_rated_rows(
    int sign,                   # IN  1: cells with d > 0; -1: cells with d < 0, as if their d were positive
    Py_ssize_t n,               # IN
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    const real* fixed,          # IN  (m, width)
    Py_ssize_t n_rows,          # IN  unknowns, rounded up to four
    Py_ssize_t width,           # IN
    real* gram,                 # IN/OUT (n_rows, width) += sum |d| g g', upper triangle
    real* right,                # IN/OUT (width,) += sum r g
    real* rows,                 # SCRATCH (IMPLICIT_BATCH, width)
    real* targets,              # SCRATCH (2 IMPLICIT_BATCH,)
) noexcept nogil:
    cdef Py_ssize_t t, size = 0
    cdef real root
    for t in range(n):
        if t + IMPLICIT_AHEAD < n:
            cymf_prefetch_row(fixed + indices[t + IMPLICIT_AHEAD] * width, width * sizeof(real))
        if sign * weights[t] > 0:
            root = <real>sqrt(<double>(sign * weights[t]))
            scaled_copy(rows + size * width, root, fixed + indices[t] * width, width)
            targets[2 * size] = pulls[t] / root
            size += 1
            if size == IMPLICIT_BATCH:
                rank_k_update(True, gram, rows, n_rows, width, size)
                rank_k_right(True, 1, right, targets, rows, width, size)
                size = 0
        elif sign > 0 and weights[t] == 0:
            axpy(right, pulls[t], fixed + indices[t] * width, width)
    if size:
        rank_k_update(True, gram, rows, n_rows, width, size)
        rank_k_right(True, 1, right, targets, rows, width, size)


cdef int implicit_solve_primal(
    Py_ssize_t n,               # IN  observed cells of this row
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    real least,                 # IN  the smallest d
    const real* fixed,          # IN  (m, width), padded by zeros
    Py_ssize_t n_factors,       # IN  q
    Py_ssize_t width,           # IN
    const real* eigenvalues,    # IN  (width,) of G
    const real* constant,       # IN  (width,) t, or NULL
    double base,                # IN  s
    double reg,                 # IN
    real* row,                  # OUT (width,)
    real* scratch,              # SCRATCH
) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4
    cdef real* gram = scratch
    cdef real* right = gram + n_rows * width
    cdef real* inverse_diagonal = right + 2 * width
    cdef real* rows = inverse_diagonal + n_rows
    cdef real* targets = rows + IMPLICIT_BATCH * width
    cdef real* negative = targets + 2 * IMPLICIT_BATCH
    cdef Py_ssize_t f, p
    cdef real tolerance
    memset(gram, 0, n_rows * width * sizeof(real))
    memset(right, 0, width * sizeof(real))
    add_rated_rows(1, n, indices, weights, pulls, fixed, n_rows, width, gram, right, rows, targets)
    if least < 0:
        memset(negative, 0, n_rows * width * sizeof(real))
        memset(row, 0, width * sizeof(real))
        add_rated_rows(-1, n, indices, weights, pulls, fixed, n_rows, width, negative, row, rows, targets)
        axpy(gram, <real>-1, negative, n_rows * width)
        axpy(right, <real>1, row, width)
    if constant != NULL:
        axpy(right, <real>-base, constant, width)
    for f in range(n_factors):
        gram[f * width + f] += <real>(base * eigenvalues[f] + reg)
        if reg == 0 and gram[f * width + f] == 0: # a factor that no fixed row has
            gram[f * width + f] = 1
    for f in range(n_factors, n_rows):
        gram[f * width + f] = 1
    tolerance = <real>(16 * n_factors * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
    if cholesky(gram, right, 1, n_rows, width, inverse_diagonal, tolerance) >= 0:
        return ROW_RANK_DEFICIENT
    back_substitute(gram, right, n_rows, width, inverse_diagonal)
    memcpy(row, right, width * sizeof(real))
    return finite_status(row, width)


cdef int implicit_solve_dual(
    Py_ssize_t n,               # IN  observed cells of this row, 0 < n <= q, all d >= 0
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    const real* fixed,          # IN  (m, width), padded by zeros
    Py_ssize_t n_factors,       # IN  q
    Py_ssize_t width,           # IN
    const real* eigenvalues,    # IN  (width,) of G
    const real* constant,       # IN  (width,) t, or NULL
    double base,                # IN  s
    double reg,                 # IN
    real* row,                  # OUT (width,)
    real* scratch,              # SCRATCH
) noexcept nogil:
    cdef Py_ssize_t lanes = max(CYMF_VECTOR_BYTES // <Py_ssize_t>sizeof(real), <Py_ssize_t>4)
    cdef Py_ssize_t n_rows = (n + 3) // 4 * 4, n_columns = (n + lanes - 1) // lanes * lanes
    cdef Py_ssize_t n_samples = (n_factors + 3) // 4 * 4
    cdef real* gram = scratch
    cdef real* z = gram + n_rows * n_columns
    cdef real* inverse_diagonal = z + n_columns
    cdef real* roots = inverse_diagonal + n_rows
    cdef real* inverse_base = roots + n_columns
    cdef real* columns = inverse_base + width
    cdef const real* rated[4]
    cdef bint remainder = constant != NULL
    cdef Py_ssize_t t, i, f
    cdef real b, scale

    memset(row, 0, width * sizeof(real))
    if constant != NULL:
        axpy(row, <real>-base, constant, width)
    for f in range(width):
        b = <real>(base * eigenvalues[f] + reg)
        inverse_base[f] = 1 / b if b > 0 and f < n_factors else 0
    for t in range(n_columns):
        roots[t] = 0
        z[t] = 0
    for t in range(n):
        if weights[t] > 0:
            roots[t] = <real>sqrt(<double>weights[t])
            z[t] = pulls[t] / roots[t]
        elif pulls[t] != 0:
            axpy(row, pulls[t], fixed + indices[t] * width, width)
            remainder = True
    for t in range(0, n, 4):
        for i in range(4):
            rated[i] = fixed + indices[min(t + i, n - 1)] * width
            if t + i + IMPLICIT_AHEAD < n:
                cymf_prefetch_row(fixed + indices[t + i + IMPLICIT_AHEAD] * width, width * sizeof(real))
        scaled_transpose(columns + t, n_columns, rated, roots + t, n_samples)
    for f in range(n_samples):
        for t in range(n_rows, n_columns):
            columns[f * n_columns + t] = 0
        scale = <real>sqrt(<double>inverse_base[f])
        scaled_copy(columns + f * n_columns, scale, columns + f * n_columns, n_columns)
        if remainder:
            axpy(z, -scale * row[f], columns + f * n_columns, n_columns)
    rank_k_update(False, gram, columns, n_rows, n_columns, n_samples)
    for t in range(n_rows):
        gram[t * n_columns + t] += 1
    if cholesky(gram, z, 1, n_rows, n_columns, inverse_diagonal, <real>0) >= 0:
        return ROW_NOT_FINITE
    back_substitute(gram, z, n_rows, n_columns, inverse_diagonal)
    for t in range(n):
        z[t] *= roots[t]
    for t in range(0, n - n % 4, 4):
        axpy4(row, z + t, fixed + indices[t] * width, fixed + indices[t + 1] * width, fixed + indices[t + 2] * width,
              fixed + indices[t + 3] * width, width)
    for t in range(n - n % 4, n):
        axpy(row, z[t], fixed + indices[t] * width, width)
    for f in range(width):
        row[f] *= inverse_base[f]
    return finite_status(row, width)
