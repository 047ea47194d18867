# Factorization machines of second order: scores of design rows.
#
#   y_hat(x) = w0 + sum_j w_j x_j + sum_{j<l} (v_j . v_l) x_j x_l
#            = w0 + sum_t x_t (w_t + v_t . sum_{s<t} x_s v_s)             t over the row's entries, in their order
#
# 4 k flops an entry. The running form has no cancellation; Rendle's 1/2 (|sum x v|^2 - sum x^2 |v|^2) has.
# A design may be stacked: blocks of columns, each with rows of its own that many data rows share (all of one user's
# columns, all of one item's). A data row is one row of each block, and the same formula joins them:
#   y_hat = w0 + sum_B (score_B + q_B . sum_{A<B} q_A),   q_B = sum_{j in B} x_j v_j.
# Sources: Rendle 2010, "Factorization machines" (ICDM), equations 1 and 5; Rendle 2013, "Scaling factorization machines
# to relational data" (VLDB), for blocks.

from libc.math cimport exp, fabs, isfinite, log1p, sqrt
from libc.string cimport memset


cdef double fm_row(
    Py_ssize_t n,               # IN  entries of this row
    const index* columns,       # IN  (n,)
    const real* values,         # IN  (n,)
    const real* weights,        # IN  (d,) w or NULL
    const real* factors,        # IN  (d, width) v
    Py_ssize_t width,           # IN
    real* sums,                 # OUT (width,) sum_t x_t v_t
) noexcept nogil:
    """The row's own score, without w0."""
    cdef double score = 0
    cdef const real* v
    cdef real term
    cdef Py_ssize_t t
    for t in range(n):
        if t + 4 < n:
            cymf_prefetch_row(factors + columns[t + 4] * width, width * sizeof(real))
        v = factors + columns[t] * width
        term = weights[columns[t]] if weights != NULL else <real>0
        if t == 0:
            scaled_copy(sums, values[0], v, width)
        else:
            term += dot(sums, v, width)
            axpy(sums, values[t], v, width)
        score += <double>values[t] * term
    if n == 0:
        memset(sums, 0, width * sizeof(real))
    return score


def fm_rows(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) columns
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (d,) w or empty
    const real[:, ::1] factors,     # IN  (d, width) v
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,)
    double[::1] scores,             # OUT (rows,) each row's own score, without w0
    real[:, ::1] sums,              # OUT (rows, width) q, or one row a worker (n_workers, width) that is overwritten
    Py_ssize_t worker,              # IN  -1: keep q of all rows; otherwise whose row of `sums` is scratch
):
    """One worker's share of the rows of a stacked or plain design."""
    cdef Py_ssize_t width = factors.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, begin
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef const index* columns = &indices[0] if indices.shape[0] else NULL
    cdef const real* entries = &values[0] if values.shape[0] else NULL
    cdef const real* v = &factors[0, 0] if factors.shape[0] else NULL
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[i]
                scores[i] = fm_row(
                    indptr[i + 1] - begin, columns + begin, entries + begin, weight_pointer, v, width,
                    &sums[worker if worker >= 0 else i, 0])


def fm_join(
    const index[:, ::1] rows,       # IN  (n, n_blocks) the stacked rows of each data row
    const double[::1] own,          # IN  (stacked rows,) scores
    const real[:, ::1] sums,        # IN  (stacked rows, width) q
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) borders of data rows
    int64_t[::1] counter,           # IN/OUT (1,)
    double[::1] scores,             # OUT (n,) without w0
    real[::1] scratch,              # SCRATCH (width,)
):
    """One worker's share of the data rows of a stacked design."""
    cdef Py_ssize_t width = sums.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, t, n_blocks = rows.shape[1]
    cdef const real* before
    cdef const real* q
    cdef double score
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                before = &sums[rows[i, 0], 0]
                score = own[rows[i, 0]]
                for t in range(1, n_blocks):
                    q = &sums[rows[i, t], 0]
                    score += own[rows[i, t]] + dot(before, q, width)
                    if t + 1 < n_blocks:
                        if t == 1:
                            scaled_copy(&scratch[0], <real>1, before, width)
                            before = &scratch[0]
                        axpy(&scratch[0], <real>1, q, width)
                scores[i] = score
