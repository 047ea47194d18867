# Rows with what is not known about them: a draw from a row's normal distribution, and variances of its products.
#
# With the other side's rows g_j fixed and noise of variance sigma^2 / d_j, a row x that is N(m, sigma^2 P^-1) beforehand is
# normal given its ratings,
#
#   x ~ N(A^-1 (sum_j d_j y_j g_j + P m), sigma^2 A^-1),      A = P + sum_j d_j g_j g_j',      y_j = a_j - o_j
#
# (Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo", equations 11
# and 12). P = s B + t diag(D), with s and t of the row, stands for all priors: one full matrix for all rows, the scaled
# penalties of ALS, and the base of implicit ALS, where an observed cell may weigh less than an unobserved one: d < 0.
# A bias is a factor whose g is 1. With A = U'U and z standard normal,
#
#   draw:      U^-1 (U'^-1 right-hand side + sigma z)             one Cholesky factor, one back substitution
#   variance:  var(x.g) / sigma^2 = |U'^-1 g|^2                   one forward substitution for every g
#
# Cost a row: n q (q + 1) + q^3 / 3 flops for n ratings and q unknowns; q^2 for every g. Always the primal system.

from libc.math cimport cos, log, sin, sqrt
from libc.string cimport memset

include "random_streams.pxi"

cdef enum:
    POSTERIOR_BATCH = 32    # rated rows summed at once

cdef enum:
    ROW_SOLVED = 0
    ROW_RANK_DEFICIENT = 1
    ROW_NOT_FINITE = 2


cdef inline Py_ssize_t system_columns(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n, rounded up to whole vectors and to strips of four."""
    cdef Py_ssize_t step = max(CYMF_VECTOR_BYTES // itemsize, <Py_ssize_t>4)
    return (n + step - 1) // step * step


cdef void standard_normals(uint64_t stream, double* z, Py_ssize_t n) noexcept nogil:
    """n standard normal numbers of a stream, two from two by the transformation of Box and Muller."""
    cdef Py_ssize_t s
    cdef double radius, angle
    for s in range(0, n, 2):
        radius = sqrt(-2.0 * log(((draw64(&stream) >> 11) + 1) * (1.0 / 9007199254740992.0)))
        angle = 6.283185307179586 * ((draw64(&stream) >> 11) * (1.0 / 9007199254740992.0))
        z[s] = radius * cos(angle)
        if s + 1 < n:
            z[s + 1] = radius * sin(angle)


cdef void add_cells(
    real sign,                  # IN  1: cells with d > 0, -1: cells with d < 0, as if their d were positive
    Py_ssize_t n,               # IN  ratings of the row, > 0
    const index* indices,       # IN  (n,) rows of the fixed side
    const real* values,         # IN  (n,) ratings, or NULL: no right-hand side is wanted
    const real* weights,        # IN  (n,) d, or NULL: all 1
    const real* fixed,          # IN  (m, width)
    const real* offset,         # IN  (m,) o, or NULL: all 0
    Py_ssize_t width,           # IN
    Py_ssize_t n_rows,          # IN  unknowns, rounded up to four
    Py_ssize_t n_columns,       # IN  and to vectors
    real* gram,                 # IN/OUT (n_rows, n_columns) += sum |d| g g', upper triangle
    real* right,                # IN/OUT (n_columns,) += sum d y g
    real* scaled,               # SCRATCH (POSTERIOR_BATCH, n_columns)
    real* targets,              # SCRATCH (2 POSTERIOR_BATCH,)
) noexcept nogil:
    cdef const real* addresses[2 * POSTERIOR_BATCH]
    cdef const real** rated = addresses
    cdef const real** rated_next = addresses + POSTERIOR_BATCH
    cdef Py_ssize_t s = 0, size = 0, n_next, ahead
    cdef real root, target
    while s < n or size:
        if weights == NULL:
            size = min(<Py_ssize_t>POSTERIOR_BATCH, n - s)
            n_next = max(<Py_ssize_t>0, min(<Py_ssize_t>POSTERIOR_BATCH, n - s - size))
            for ahead in range(n_next):
                rated_next[ahead] = fixed + indices[s + size + ahead] * width
            for ahead in range(size):
                rated[ahead] = fixed + indices[s + ahead] * width
                target = values[s + ahead] if values != NULL else 0
                if offset != NULL:
                    target -= offset[indices[s + ahead]]
                targets[2 * ahead] = target
            rank_k_gathered(True, 1, gram, right, n_rows, n_columns, rated, targets, size, rated_next, n_next)
            s += size
            size = 0
            continue
        if s < n and sign * weights[s] > 0:
            root = <real>sqrt(<double>(sign * weights[s]))
            scaled_copy(scaled + size * n_columns, root, fixed + indices[s] * width, n_columns)
            rated[size] = scaled + size * n_columns
            target = values[s] if values != NULL else 0
            if offset != NULL:
                target -= offset[indices[s]]
            targets[2 * size] = sign * root * target
            size += 1
        s += 1
        if size == POSTERIOR_BATCH or (s >= n and size):
            rank_k_gathered(True, 1, gram, right, n_rows, n_columns, rated, targets, size, NULL, 0)
            size = 0


cdef int factor_system(
    Py_ssize_t n,               # IN  ratings of the row
    const index* indices,       # IN  (n,)
    const real* values,         # IN  (n,) or NULL
    const real* weights,        # IN  (n,) d or NULL
    const real* fixed,          # IN  (m, width)
    const real* offset,         # IN  (m,) or NULL
    Py_ssize_t n_unknowns,      # IN  q
    Py_ssize_t width,           # IN
    const real* base,           # IN  (q, width) B, upper triangle, or NULL: zero
    real base_scale,            # IN  s
    const real* diagonal,       # IN  (q,) D, or NULL: zero
    real diagonal_scale,        # IN  t
    const real* pull,           # IN  (width,) P m, or NULL: zero
    real* gram,                 # OUT (n_rows, n_columns) U
    real* right,                # OUT (n_columns,) U'^-1 right-hand side
    real* inverse_diagonal,     # OUT (n_rows,)
    real* scaled,               # SCRATCH (POSTERIOR_BATCH, n_columns)
    real* targets,              # SCRATCH (2 POSTERIOR_BATCH,)
) noexcept nogil:
    """A = U'U of one row; a status."""
    cdef Py_ssize_t n_rows = (n_unknowns + 3) // 4 * 4, n_columns = system_columns(n_unknowns, sizeof(real)), p, f, s
    cdef real tolerance = <real>(16 * n_unknowns * (1.2e-7 if sizeof(real) == 4 else 2.3e-16))
    cdef bint negative = False
    memset(gram, 0, n_rows * n_columns * sizeof(real))
    memset(right, 0, n_columns * sizeof(real))
    if n:
        if weights != NULL:
            for s in range(n):
                negative |= weights[s] < 0
        if negative:
            add_cells(<real>-1, n, indices, values, weights, fixed, offset, width, n_rows, n_columns, gram, right, scaled, targets)
            for p in range(n_rows * n_columns):
                gram[p] = -gram[p]
        add_cells(<real>1, n, indices, values, weights, fixed, offset, width, n_rows, n_columns, gram, right, scaled, targets)
    for p in range(n_unknowns):
        if base != NULL:
            axpy(gram + p * n_columns, base_scale, base + p * width, n_columns)
        if diagonal != NULL:
            gram[p * n_columns + p] += diagonal_scale * diagonal[p]
        if pull != NULL:
            right[p] += pull[p]
    for p in range(n_unknowns, n_rows):
        for f in range(n_columns):
            gram[p * n_columns + f] = 0
        gram[p * n_columns + p] = 1
    if cholesky(gram, right, 1, n_rows, n_columns, inverse_diagonal, tolerance) >= 0:
        return ROW_RANK_DEFICIENT
    return ROW_SOLVED


cdef inline int draw_row(
    double sigma,               # IN  of the draw's deviation from the mean; 0 gives the mean
    uint64_t stream,            # IN
    Py_ssize_t n_unknowns,      # IN
    Py_ssize_t width,           # IN
    const real* gram,           # IN  U
    real* right,                # IN  U'^-1 right-hand side, overwritten
    const real* inverse_diagonal,
    real* row,                  # OUT (width,)
    double* z,                  # SCRATCH (q,)
) noexcept nogil:
    cdef Py_ssize_t n_rows = (n_unknowns + 3) // 4 * 4, n_columns = system_columns(n_unknowns, sizeof(real)), p
    cdef real total = 0
    standard_normals(stream, z, n_unknowns)
    for p in range(n_unknowns):
        right[p] += <real>(sigma * z[p])
    back_substitute(gram, right, n_rows, n_columns, inverse_diagonal)
    for p in range(n_unknowns):
        row[p] = right[p]
        total += right[p]
    for p in range(n_unknowns, width):
        row[p] = 0
    return ROW_SOLVED if total - total == 0 else ROW_NOT_FINITE


cdef inline double squared_length(
    const real* g,              # IN  (width,)
    const real* gram,           # IN  U
    const real* inverse_diagonal,
    Py_ssize_t n_unknowns,      # IN
    real* v,                    # SCRATCH (n_columns,)
) noexcept nogil:
    """|U'^-1 g|^2, by rows of U; a pivot's own entry is taken away with the rest and not needed again."""
    cdef Py_ssize_t n_columns = system_columns(n_unknowns, sizeof(real)), p, first
    cdef Py_ssize_t lanes = CYMF_VECTOR_BYTES // sizeof(real)
    cdef double total = 0
    cdef real entry
    for p in range(n_columns):
        v[p] = g[p]
    for p in range(n_unknowns):
        entry = v[p] * inverse_diagonal[p]
        first = p // lanes * lanes
        axpy(v + first, -entry, gram + p * n_columns + first, n_columns - first)
        total += <double>entry * entry
    return total


def posterior_scratch_size(Py_ssize_t n_unknowns, Py_ssize_t width):
    """Elements of scratch one worker needs: system, right-hand side, gathered rows, normal numbers."""
    cdef Py_ssize_t n_rows = (n_unknowns + 3) // 4 * 4
    return n_rows * width + 2 * width + n_rows + POSTERIOR_BATCH * (width + 2) + 2 * (n_rows + 8)


cdef struct Scratch:
    Py_ssize_t gram             # first element of each part
    Py_ssize_t right
    Py_ssize_t v
    Py_ssize_t inverse_diagonal
    Py_ssize_t scaled
    Py_ssize_t targets
    Py_ssize_t z


cdef inline Scratch parts_of_scratch(Py_ssize_t n_unknowns, Py_ssize_t itemsize) noexcept nogil:
    """The normal numbers come first, as doubles."""
    cdef Scratch parts
    cdef Py_ssize_t n_rows = (n_unknowns + 3) // 4 * 4, n_columns = system_columns(n_unknowns, itemsize)
    parts.z = 0
    parts.gram = 2 * (n_rows + 7) // 8 * 8
    parts.right = parts.gram + n_rows * n_columns
    parts.v = parts.right + n_columns
    parts.scaled = parts.v + n_columns
    parts.targets = parts.scaled + POSTERIOR_BATCH * n_columns
    parts.inverse_diagonal = parts.targets + 2 * POSTERIOR_BATCH
    return parts


def bayesian_half_sweep(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (nnz,) or empty: all 1
    const real[:, ::1] fixed,       # IN  (m, width) g
    const real[::1] offset,         # IN  (m,) o
    const real[:, ::1] precision,   # IN  (q, width) P, the precision of all rows beforehand, in units of 1 / sigma^2
    const real[:, ::1] pulls,       # IN  (rows, width) P m of each row, or (1, width) of all rows
    double sigma,                   # IN  standard deviation of the noise
    uint64_t seed,                  # IN  the stream of row i is that of (seed, epoch, i)
    uint64_t epoch,                 # IN
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    real[:, ::1] drawn,             # OUT (rows, width); rows without ratings become zero
    int8_t[::1] status,             # OUT (rows,) SOLVED, or why not
    real[::1] scratch,              # SCRATCH of this worker, posterior_scratch_size() elements
):
    """One worker's share of a half-sweep: every row with ratings drawn from its distribution given the other side."""
    cdef Py_ssize_t n_unknowns = precision.shape[0], width = fixed.shape[1], n_chunks = chunks.shape[0] - 1
    cdef Py_ssize_t chunk, i, n, begin, pull_step = width if pulls.shape[0] > 1 else 0
    cdef Scratch parts = parts_of_scratch(n_unknowns, sizeof(real))
    cdef real* own = &scratch[0]
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
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
                    memset(&drawn[i, 0], 0, width * sizeof(real))
                    continue
                status[i] = factor_system(
                    n, &indices[begin], &values[begin], weight_pointer + begin if weight_pointer != NULL else NULL,
                    &fixed[0, 0], &offset[0], n_unknowns, width, &precision[0, 0], <real>1, <const real*>NULL, <real>0,
                    &pulls[0, 0] + i * pull_step, own + parts.gram, own + parts.right, own + parts.inverse_diagonal,
                    own + parts.scaled, own + parts.targets)
                if status[i] == ROW_SOLVED:
                    status[i] = draw_row(
                        sigma, stream_of(seed, epoch, i), n_unknowns, width, own + parts.gram, own + parts.right,
                        own + parts.inverse_diagonal, &drawn[i, 0], <double*>(own + parts.z))


def posterior_rows(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] weights,        # IN  (nnz,) d, of any sign, or empty: all 1
    const real[:, ::1] fixed,       # IN  (m, width) g
    const real[:, ::1] base,        # IN  (q, width) B, or (0, width): zero
    const double[::1] base_scale,   # IN  (rows + 1,) s of each row; last, of a row without ratings
    const real[::1] diagonal,       # IN  (q,) D
    const double[::1] diagonal_scale,  # IN  (rows + 1,) t of each row; last, of a row without ratings
    const int64_t[::1] asked,       # IN  (n,) rows asked about; -1 is a row without ratings
    const int64_t[::1] asked_indptr,  # IN  (n + 1,) the products asked for, or (0,): none
    const int64_t[::1] asked_indices,  # IN  rows g of the fixed side
    uint64_t seed,                  # IN  the stream of entry t of `asked` is that of (seed, 0, streams[t])
    const int64_t[::1] streams,     # IN  (n,) or empty: no draws are wanted
    int64_t[::1] counter,           # IN/OUT (1,) next entry of `asked`, shared by the workers
    double[::1] variances,          # OUT one for each product: g' A^-1 g, or (0,)
    real[:, ::1] deviations,        # OUT (n, width) a draw of N(0, A^-1), or (0, width)
    int8_t[::1] status,             # OUT (n,) SOLVED, or why not
    real[::1] scratch,              # SCRATCH of this worker, posterior_scratch_size() elements
):
    """One worker's share: variances of products with given rows, and draws of rows, around whatever their mean is."""
    cdef Py_ssize_t n_unknowns = diagonal.shape[0], width = fixed.shape[1], n_asked = asked.shape[0]
    cdef Py_ssize_t turn, t, begin, n, row
    cdef bint draws = streams.shape[0] > 0
    cdef Scratch parts = parts_of_scratch(n_unknowns, sizeof(real))
    cdef real* own = &scratch[0]
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef const real* base_pointer = &base[0, 0] if base.shape[0] else NULL
    cdef const index* index_pointer = &indices[0] if indices.shape[0] else NULL
    with nogil:
        while True:
            turn = cymf_draw(&counter[0])
            if turn >= n_asked:
                break
            row = asked[turn]
            begin = 0
            n = 0
            if row >= 0:
                begin = indptr[row]
                n = indptr[row + 1] - begin
            else:
                row = base_scale.shape[0] - 1
            status[turn] = factor_system(
                n, index_pointer + begin, <const real*>NULL, weight_pointer + begin if weight_pointer != NULL else NULL,
                &fixed[0, 0], <const real*>NULL, n_unknowns, width, base_pointer, <real>base_scale[row], &diagonal[0],
                <real>diagonal_scale[row], <const real*>NULL, own + parts.gram, own + parts.right,
                own + parts.inverse_diagonal, own + parts.scaled, own + parts.targets)
            if status[turn] != ROW_SOLVED:
                continue
            if variances.shape[0]:
                for t in range(asked_indptr[turn], asked_indptr[turn + 1]):
                    variances[t] = squared_length(
                        &fixed[asked_indices[t], 0], own + parts.gram, own + parts.inverse_diagonal, n_unknowns,
                        own + parts.v)
            if draws:
                memset(own + parts.right, 0, system_columns(n_unknowns, sizeof(real)) * sizeof(real))
                status[turn] = draw_row(
                    1.0, stream_of(seed, 0, streams[turn]), n_unknowns, width, own + parts.gram, own + parts.right,
                    own + parts.inverse_diagonal, &deviations[turn, 0], <double*>(own + parts.z))


def normal_numbers(
    uint64_t seed,              # IN  the stream's key
    uint64_t epoch,             # IN
    uint64_t block,             # IN
    double[::1] z,              # OUT
):
    """The standard normal numbers of one stream, for tests."""
    standard_normals(stream_of(seed, epoch, block), &z[0], z.shape[0])
