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
# Directions that no fixed row has come with a huge eigenvalue, and columns of zeros: the solution is 0 there.
# Primal: B + X'X by rank-k updates and Cholesky: n q^2 + q^3 / 3 flops for q unknowns and n observed cells.
# Dual (Woodbury), for n < q: with Y = sqrt(d) X B^-1/2, y = r / sqrt(d), and q0 = -s t + what has d = 0,
#
#   K z = y - Y B^-1/2 q0,   K = I + Y Y',        x = B^-1 q0 + B^-1/2 Y'z         n^2 q + n^3 / 3 flops
#
# Only for d >= 0: a square root is taken.
# Sources: Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets"; Rendle, Krichene, Zhang and
# Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks"; Golub and Van Loan, 2.1.4 (Woodbury).

from libc.math cimport fabs, sqrt, sqrtf
from libc.string cimport memcpy, memset

cdef extern from "implicit_als.h" nogil:
    void products_f32(float* out, const float** rows, const float* y, Py_ssize_t width, Py_ssize_t samples)
    void products_f64(double* out, const double** rows, const double* y, Py_ssize_t width, Py_ssize_t samples)

cdef enum:
    IMPLICIT_BATCH = 32     # rated rows summed at once
    IMPLICIT_AHEAD = 8      # rated rows prefetched ahead of their use

cdef enum:
    ROW_SOLVED = 0
    ROW_RANK_DEFICIENT = 1
    ROW_NOT_FINITE = 2

cdef enum:
    SOLVE_EXACTLY = 0
    SOLVE_BY_CG = 1
    SOLVE_BY_BLOCKS = 2


cdef inline real square_root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline void products(real* out, const real** rows, const real* y, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    """out[s] = rows[s] . y"""
    if real is float:
        products_f32(out, rows, y, width, samples)
    else:
        products_f64(out, rows, y, width, samples)


cdef inline int finite_status(const real* row, Py_ssize_t width) noexcept nogil:
    """A number that is not finite has no difference to itself."""
    cdef Py_ssize_t f
    cdef int wrong = 0
    for f in range(width):
        wrong |= row[f] - row[f] != 0
    return ROW_NOT_FINITE if wrong else ROW_SOLVED


cdef inline Py_ssize_t system_columns(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, rounded up to whole vectors and to strips of four."""
    cdef Py_ssize_t step = max(CYMF_VECTOR_BYTES // itemsize, <Py_ssize_t>4)
    return (n + step - 1) // step * step


cdef inline real observed_cells(
    Py_ssize_t n,               # IN  observed cells of this row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* confidence,     # IN  (n,) signed
    double base,                # IN  s
    const real* base_fixed,     # IN  (m,) v, or NULL: all 1
    bint replaces,              # IN  whether an observed cell loses its unobserved weight
    const real* offset,         # IN  (m,) o, or NULL: all 0
    real* weights,              # OUT (n,) d
    real* pulls,                # OUT (n,) r
    real* largest,              # OUT (1,) the largest d
) noexcept nogil:
    """Returns the smallest d."""
    cdef Py_ssize_t t
    cdef real c, least, most, lost = <real>base if replaces else 0
    for t in range(n):
        c = confidence[t]
        weights[t] = (c if c >= 0 else -c) - lost
        pulls[t] = c if c > 0 else 0
    if replaces and base_fixed != NULL:
        for t in range(n):
            weights[t] += lost - <real>(base * base_fixed[indices[t]])
    if offset != NULL:
        for t in range(n):
            pulls[t] -= weights[t] * offset[indices[t]]
    least = weights[0]
    most = weights[0]
    for t in range(1, n):
        least = weights[t] if weights[t] < least else least
        most = weights[t] if weights[t] > most else most
    largest[0] = most
    return least


cdef void add_rated_rows(
    real sign,                  # IN  1: cells with d > 0; -1: cells with d < 0, as if their d were positive
    Py_ssize_t n,               # IN
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    const real* fixed,          # IN  (m, width)
    Py_ssize_t width,           # IN
    Py_ssize_t n_rows,          # IN  unknowns, rounded up to four
    Py_ssize_t n_columns,       # IN  and to vectors
    real* gram,                 # IN/OUT (n_rows, n_columns) += sum |d| g g', upper triangle
    real* right,                # IN/OUT (n_columns,) += sum r g
    real* scaled,               # SCRATCH (IMPLICIT_BATCH, n_columns)
    real* targets,              # SCRATCH (2 IMPLICIT_BATCH,)
) noexcept nogil:
    cdef const real* rated[IMPLICIT_BATCH]
    cdef Py_ssize_t t, size = 0
    cdef real root
    for t in range(n):
        if t + IMPLICIT_AHEAD < n:
            cymf_prefetch_row(fixed + indices[t + IMPLICIT_AHEAD] * width, n_columns * sizeof(real))
        if sign * weights[t] > 0:
            root = square_root(sign * weights[t])
            scaled_copy(scaled + size * n_columns, root, fixed + indices[t] * width, n_columns)
            rated[size] = scaled + size * n_columns
            targets[2 * size] = pulls[t] / root
            size += 1
        elif sign > 0 and weights[t] == 0:
            axpy(right, pulls[t], fixed + indices[t] * width, n_columns)
        if size == IMPLICIT_BATCH:
            rank_k_gathered(True, 1, gram, right, n_rows, n_columns, rated, targets, size, NULL, 0)
            size = 0
    if size:
        rank_k_gathered(True, 1, gram, right, n_rows, n_columns, rated, targets, size, NULL, 0)


cdef void add_rows_alike(
    Py_ssize_t n,               # IN  the arguments of add_rated_rows, with the same d > 0 in all cells
    const index* indices,
    real weight,                # IN  d
    const real* pulls,
    const real* fixed,
    Py_ssize_t width,
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,
    real* gram,                 # OUT sum g g'
    real* right,                # OUT sum r / d g
    real* targets,
) noexcept nogil:
    """The rows where they are: the common d divides everything else."""
    cdef const real* addresses[2 * IMPLICIT_BATCH]
    cdef const real** rated = addresses
    cdef const real** rated_next = addresses + IMPLICIT_BATCH
    cdef Py_ssize_t n_batches = (n + IMPLICIT_BATCH - 1) // IMPLICIT_BATCH, size = n // n_batches
    cdef Py_ssize_t batch, start = 0, n_next, t
    for t in range(size):
        rated[t] = fixed + indices[t] * width
    for batch in range(n_batches):
        n_next = n * (batch + 2) // n_batches - start - size if batch + 1 < n_batches else 0
        for t in range(n_next):
            rated_next[t] = fixed + indices[start + size + t] * width
        for t in range(size):
            targets[2 * t] = pulls[start + t] / weight
        rank_k_gathered(batch > 0, 1, gram, right, n_rows, n_columns, rated, targets, size, rated_next, n_next)
        rated, rated_next = rated_next, rated
        start += size
        size = n_next


cdef int implicit_solve_primal(
    Py_ssize_t n,               # IN  observed cells of this row
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    real least,                 # IN  the smallest d
    real largest,               # IN  and the largest
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
    cdef Py_ssize_t n_rows = (n_factors + 3) // 4 * 4, n_columns = system_columns(n_factors, sizeof(real))
    cdef real* gram = scratch
    cdef real* right = gram + n_rows * n_columns
    cdef real* inverse_diagonal = right + 2 * n_columns
    cdef real* scaled = inverse_diagonal + n_rows
    cdef real* targets = scaled + IMPLICIT_BATCH * n_columns
    cdef real* negative = targets + 2 * IMPLICIT_BATCH
    cdef Py_ssize_t f
    cdef double share = 1
    cdef real tolerance
    if least == largest and least > 0:
        share = least
        add_rows_alike(n, indices, least, pulls, fixed, width, n_rows, n_columns, gram, right, targets)
    else:
        memset(gram, 0, n_rows * n_columns * sizeof(real))
        memset(right, 0, n_columns * sizeof(real))
        add_rated_rows(1, n, indices, weights, pulls, fixed, width, n_rows, n_columns, gram, right, scaled, targets)
    if least < 0:
        memset(negative, 0, n_rows * n_columns * sizeof(real))
        memset(row, 0, n_columns * sizeof(real))
        add_rated_rows(-1, n, indices, weights, pulls, fixed, width, n_rows, n_columns, negative, row, scaled, targets)
        axpy(gram, <real>-1, negative, n_rows * n_columns)
        axpy(right, <real>1, row, n_columns)
    if constant != NULL:
        axpy(right, <real>(-base / share), constant, n_columns)
    for f in range(n_factors):
        gram[f * n_columns + f] += <real>((base * eigenvalues[f] + reg) / share)
    for f in range(n_factors, n_rows):
        gram[f * n_columns + f] = 1
    tolerance = <real>(16 * n_factors * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
    if cholesky(gram, right, 1, n_rows, n_columns, inverse_diagonal, tolerance) >= 0:
        return ROW_RANK_DEFICIENT
    back_substitute(gram, right, n_rows, n_columns, inverse_diagonal)
    memcpy(row, right, n_columns * sizeof(real))
    memset(row + n_columns, 0, (width - n_columns) * sizeof(real))
    return finite_status(row, n_columns)


cdef int implicit_solve_dual(
    Py_ssize_t n,               # IN  observed cells of this row, 0 < n <= q, all d >= 0
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
    cdef Py_ssize_t n_rows = (n + 3) // 4 * 4, n_columns = system_columns(n, sizeof(real))
    cdef Py_ssize_t n_samples = (n_factors + 3) // 4 * 4
    cdef real* gram = scratch
    cdef real* z = gram + n_rows * n_columns
    cdef real* inverse_diagonal = z + n_columns
    cdef real* roots = inverse_diagonal + n_rows
    cdef real* inverse_base = roots + n_columns
    cdef real* inverse_root = inverse_base + width
    cdef real* columns = inverse_root + width
    cdef const real* rated[4]
    cdef const real* combined[IMPLICIT_BATCH]
    cdef bint remainder = constant != NULL or least == 0
    cdef Py_ssize_t t, i, f, size
    cdef real s = <real>base, penalty = <real>reg

    for f in range(width):
        inverse_base[f] = 1 / (s * eigenvalues[f] + penalty)
        inverse_root[f] = square_root(inverse_base[f])
    if least > 0:
        for t in range(n):
            roots[t] = square_root(weights[t])
            z[t] = pulls[t] / roots[t]
    if remainder:
        memset(row, 0, width * sizeof(real))
        if constant != NULL:
            axpy(row, -s, constant, width)
        for t in range(n):
            if weights[t] > 0:
                roots[t] = square_root(weights[t])
                z[t] = pulls[t] / roots[t]
            else:
                roots[t] = 0
                z[t] = 0
                axpy(row, pulls[t], fixed + indices[t] * width, width)
    for t in range(n, n_columns):
        roots[t] = 0
        z[t] = 0
    for t in range(0, n, 4):
        for i in range(4):
            rated[i] = fixed + indices[min(t + i, n - 1)] * width
            if t + i + IMPLICIT_AHEAD < n:
                cymf_prefetch_row(fixed + indices[t + i + IMPLICIT_AHEAD] * width, width * sizeof(real))
        scaled_transpose(columns + t, n_columns, rated, roots + t, n_samples)
    for f in range(n_samples):
        for t in range(n_rows, n_columns):
            columns[f * n_columns + t] = 0
        scaled_copy(columns + f * n_columns, inverse_root[f], columns + f * n_columns, n_columns)
        if remainder:
            axpy(z, -inverse_root[f] * row[f], columns + f * n_columns, n_columns)
    rank_k_update(False, gram, columns, n_rows, n_columns, n_samples)
    for t in range(n_rows):
        gram[t * n_columns + t] += 1
    if cholesky(gram, z, 1, n_rows, n_columns, inverse_diagonal, <real>0) >= 0:
        return ROW_NOT_FINITE
    back_substitute(gram, z, n_rows, n_columns, inverse_diagonal)
    for t in range(n):
        z[t] *= roots[t]
    t = 0
    while t < n:
        size = min(<Py_ssize_t>IMPLICIT_BATCH, n - t)
        for i in range(size):
            combined[i] = fixed + indices[t + i] * width
        combination(t > 0 or remainder, row, z + t, combined, width, size)
        t += size
    for f in range(width):
        row[f] *= inverse_base[f]
    return finite_status(row, width)
