# Factorization machines by mini-batches, reproducible for any number of threads.
#
#   g_i = c_i dl/dy_hat                               the loss's slope at every row of the batch, from the old parameters
#   w_j <- w_j - rate (mean_i g_i x_ij + share_j w_j)                          the mean over the batch's rows that have j
#   v_j <- v_j - rate (mean_i g_i x_ij (q_i - x_ij v_j) + share'_j v_j),       q_i = sum_l x_il v_l
#
# A batch of one row is plain SGD. AdaGrad divides the rate by the root of 1 plus the sum of squared gradients of the
# coordinate. A batch has two phases, rows and then columns, and in each what one chunk writes no other reads: sums run
# over the batch's rows in their order, whoever does them. Workers go on when all chunks of a phase are done.
# Losses: squared, (y_hat - y)^2 / 2; logistic, log(1 + exp(-y y_hat)) with y = -1 or 1; pairs of rows (a, b) one after
# the other, log(1 + exp(-(y_hat_a - y_hat_b))) (Rendle et al. 2009, "BPR"). 6 k flops an entry and phase.
# Sources: Rendle 2010 (ICDM), equation 4; Duchi, Hazan and Singer 2011 (AdaGrad).

cdef extern from "fm.h" nogil:
    void cymf_arrive(int64_t* done)

cdef enum:
    FM_SQUARED = 0
    FM_LOGISTIC = 1
    FM_PAIRS = 2
    FM_ROWS_AT_ONCE = 16    # of a chunk; even, so that no pair is cut
    FM_COLUMNS_AT_ONCE = 16
    FM_LINE = 8             # int64 of a cache line


def fm_batch_chunks(Py_ssize_t n):
    """Row chunks of a batch of n rows, for the size of what `fm_epoch` is given."""
    return (n + FM_ROWS_AT_ONCE - 1) // FM_ROWS_AT_ONCE


cdef inline double fm_softplus(double s) noexcept nogil:
    """log(1 + exp(s))"""
    return (s if s > 0 else 0) + log1p(exp(-fabs(s)))


cdef inline double fm_logistic(double s) noexcept nogil:
    """1 / (1 + exp(-s))"""
    cdef double t = exp(-fabs(s))
    return (1 if s >= 0 else t) / (1 + t)


cdef double fm_slopes(
    int loss,                   # IN
    Py_ssize_t n,               # IN  rows
    const int64_t* rows,        # IN  (n,) of the design
    const real* targets,        # IN  of the design's rows, or NULL
    const real* weights,        # IN  of the design's rows, or NULL
    double* slopes,             # IN/OUT (n,) scores; then dl/dy_hat
) noexcept nogil:
    """The loss of these rows: c e^2, or the loss itself where it is not squared."""
    cdef double total = 0, c, e, score
    cdef Py_ssize_t s
    if loss == FM_PAIRS:
        for s in range(0, n - 1, 2):
            c = weights[rows[s]] if weights != NULL else <real>1
            score = slopes[s] - slopes[s + 1]
            total += c * fm_softplus(-score)
            slopes[s] = -c * fm_logistic(-score)
            slopes[s + 1] = -slopes[s]
        return total
    for s in range(n):
        c = weights[rows[s]] if weights != NULL else <real>1
        if loss == FM_SQUARED:
            e = slopes[s] - targets[rows[s]]
            total += c * e * e
            slopes[s] = c * e
        else:
            score = targets[rows[s]] * slopes[s]
            total += c * fm_softplus(-score)
            slopes[s] = -c * targets[rows[s]] * fm_logistic(-score)
    return total


cdef inline real fm_step(double rate, double gradient, real* squares) noexcept nogil:
    """How far a coordinate goes down; AdaGrad's sum is brought up to date where there is one."""
    if squares != NULL:
        squares[0] += <real>(gradient * gradient)
        return <real>(rate * gradient / sqrt(<double>squares[0]))
    return <real>(rate * gradient)


cdef void fm_update_column(
    Py_ssize_t n,               # IN  rows of the batch that have the column, at least 1
    const int32_t* rows,        # IN  (n,) rows within the batch
    const real* values,         # IN  (n,)
    const double* slopes,       # IN  (batch,)
    const real* sums,           # IN  (batch, width) q
    double rate,                # IN
    double weight_share,        # IN
    double factor_share,        # IN
    real* weight,               # IN/OUT w_j, or NULL
    real* v,                    # IN/OUT (width,)
    real* weight_square,        # IN/OUT AdaGrad's sum, or NULL
    real* squares,              # IN/OUT (width,) AdaGrad's sums, or NULL
    Py_ssize_t width,           # IN
    Py_ssize_t n_factors,       # IN
    real* gradient,             # SCRATCH (width,)
) noexcept nogil:
    cdef double linear = 0, diagonal = 0, gx
    cdef Py_ssize_t t, f
    memset(gradient, 0, width * sizeof(real))
    for t in range(n):
        gx = slopes[rows[t]] * values[t]
        linear += gx
        diagonal += gx * values[t]
        axpy(gradient, <real>(gx / n), sums + rows[t] * width, width)
    axpy(gradient, <real>(factor_share - diagonal / n), v, width)
    if weight != NULL:
        weight[0] -= fm_step(rate, linear / n + weight_share * weight[0], weight_square)
    if squares == NULL:
        axpy(v, <real>(-rate), gradient, width)
    else:
        for f in range(n_factors):
            squares[f] += gradient[f] * gradient[f]
            v[f] -= <real>rate * gradient[f] / <real>sqrt(squares[f])


def fm_epoch(
    const int64_t[::1] indptr,          # IN  (n + 1,) the design by row
    const index[::1] indices,           # IN  (nnz,)
    const real[::1] values,             # IN  (nnz,)
    const real[::1] targets,            # IN  (n,), or empty for pairs
    const real[::1] row_weights,        # IN  (n,) c, or empty
    const int64_t[::1] rows,            # IN  (visits,) rows of the design, batch after batch
    const int64_t[::1] batch_start,     # IN  (n_batches + 1,) within `rows`; even for pairs
    const int64_t[::1] slot_start,      # IN  (n_batches + 1,) each batch's columns
    const int64_t[::1] slot_columns,    # IN  (slots,)
    const int64_t[::1] slot_entries,    # IN  (slots + 1,)
    const int32_t[::1] entry_rows,      # IN  (entries,) rows within the batch, rising in each slot
    const real[::1] entry_values,       # IN  (entries,)
    const int64_t[::1] order,           # IN  (n_batches,) in which batches are visited
    int loss,                           # IN
    double rate,                        # IN
    const real[:, ::1] shares,          # IN  (d, 2) penalty shares of w_j and of v_j
    Py_ssize_t n_factors,               # IN
    real[::1] constant,                 # IN/OUT (1,) w0, or empty
    real[::1] weights,                  # IN/OUT (d,) w, or empty
    real[:, ::1] factors,               # IN/OUT (d, width) v
    real[::1] constant_square,          # IN/OUT (1,) AdaGrad's sums, or all empty
    real[::1] weight_squares,           # IN/OUT (d,)
    real[:, ::1] squares,               # IN/OUT (d, width)
    real[:, ::1] sums,                  # SCRATCH (largest batch, width), one for all workers
    double[::1] slopes,                 # SCRATCH (largest batch,), one for all workers
    int64_t[:, ::1] turns,              # IN/OUT (2 n_batches, 2 FM_LINE) zeros
    int64_t[::1] diverged,              # IN/OUT (1,)
    double limit,                       # IN  mean loss of a chunk of rows from which on training has diverged
    double[:, ::1] losses,              # OUT (n_batches, row chunks of the largest batch)
    real[::1] scratch,                  # SCRATCH (width,), a worker's own
):
    """One worker's share of an epoch."""
    cdef Py_ssize_t width = factors.shape[1], n_batches = order.shape[0]
    cdef Py_ssize_t turn, p, first, n, begin, end, chunk, n_chunks, i, j, s, t
    cdef bint linear = weights.shape[0] > 0, adagrad = squares.shape[0] > 0
    cdef const real* weight_pointer = &weights[0] if linear else NULL
    cdef const real* target_pointer = &targets[0] if targets.shape[0] else NULL
    cdef const real* row_weight_pointer = &row_weights[0] if row_weights.shape[0] else NULL
    cdef const index* columns = &indices[0] if indices.shape[0] else NULL
    cdef const real* entries = &values[0] if values.shape[0] else NULL
    cdef double total
    with nogil:
        for turn in range(n_batches):
            p = order[turn]
            first = batch_start[p]
            n = batch_start[p + 1] - first
            n_chunks = (n + FM_ROWS_AT_ONCE - 1) // FM_ROWS_AT_ONCE
            while True:
                chunk = cymf_draw(&turns[2 * turn, 0])
                if chunk >= n_chunks:
                    break
                begin = chunk * FM_ROWS_AT_ONCE
                end = begin + FM_ROWS_AT_ONCE if begin + FM_ROWS_AT_ONCE < n else n
                for s in range(begin, end):
                    i = rows[first + s]
                    slopes[s] = fm_row(
                        indptr[i + 1] - indptr[i], columns + indptr[i], entries + indptr[i], weight_pointer,
                        &factors[0, 0], width, &sums[s, 0])
                    if constant.shape[0]:
                        slopes[s] += constant[0]
                total = fm_slopes(
                    loss, end - begin, &rows[first + begin], target_pointer, row_weight_pointer, &slopes[begin])
                losses[p, chunk] = total
                if not isfinite(total) or total > limit * (end - begin):
                    cymf_publish(&diverged[0], 1)
                cymf_arrive(&turns[2 * turn, FM_LINE])
            if not cymf_wait(&turns[2 * turn, FM_LINE], n_chunks, &diverged[0]):
                break
            if cymf_read(&diverged[0]):
                break
            n_chunks = (slot_start[p + 1] - slot_start[p] + FM_COLUMNS_AT_ONCE - 1) // FM_COLUMNS_AT_ONCE
            if n_chunks == 0:
                n_chunks = 1
            while True:
                chunk = cymf_draw(&turns[2 * turn + 1, 0])
                if chunk >= n_chunks:
                    break
                begin = slot_start[p] + chunk * FM_COLUMNS_AT_ONCE
                end = begin + FM_COLUMNS_AT_ONCE if begin + FM_COLUMNS_AT_ONCE < slot_start[p + 1] else slot_start[p + 1]
                for s in range(begin, end):
                    j = slot_columns[s]
                    t = slot_entries[s]
                    fm_update_column(
                        slot_entries[s + 1] - t, &entry_rows[t], &entry_values[t], &slopes[0], &sums[0, 0], rate,
                        shares[j, 0], shares[j, 1], &weights[j] if linear else NULL, &factors[j, 0],
                        &weight_squares[j] if linear and adagrad else NULL, &squares[j, 0] if adagrad else NULL,
                        width, n_factors, &scratch[0])
                if chunk == 0 and constant.shape[0]:
                    total = 0
                    for s in range(n):
                        total += slopes[s]
                    constant[0] -= fm_step(rate, total / n, &constant_square[0] if adagrad else NULL)
                cymf_arrive(&turns[2 * turn + 1, FM_LINE])
            if not cymf_wait(&turns[2 * turn + 1, FM_LINE], n_chunks, &diverged[0]):
                break
