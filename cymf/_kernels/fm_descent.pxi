# Factorization machines by coordinate descent, and by Gibbs sampling, which is the same sweep with noise.
#
# For one parameter theta the score is linear in it, y_hat = g + theta h. With the residuals r = y - y_hat, weights c,
# penalty lambda around a mean mu and precision alpha (1 for descent),
#
#   theta <- (alpha (sum c h r + theta sum c h^2) + lambda mu) / (alpha sum c h^2 + lambda)  [+ noise / sqrt(the same)]
#
# with h = x_j for w_j and h = x_j (q - v_jf x_j), q = sum_l x_l v_lf, for v_jf. r and q are kept up to date.
#
# In a stacked design (see fm.pxi) the columns of a block see data rows only through sums over the data rows that share
# a row b of the block. Let o be the sum of v_l x_l over the other blocks, with a 1 behind it, in place k. Then for one
# factor, with a = q_b - v x and h = x (o_f + a), all it takes is G = sum c o o' and s = sum c r o:
#
#   sum_b c h r = x (s_f + a s_k),   sum_b c h^2 = x^2 (G_ff + 2 a G_fk + a^2 G_kk).
#
# theta += delta changes r by -delta x (o_f + a), so s by -delta x (G_f + a G_k). While one factor is swept, only s_f and
# s_k are needed; the rest of s follows when it is done, from the sums of delta x and of delta x a. The linear terms are
# the same with o_k = 1 in place of o_f, and a = 0. So data rows are passed over twice for a block, whatever the number
# of factors: a rank-k update that gives G and s, and r -= o . (what changed in b). Columns cost their entries in the block.
# Sources: Rendle, Gantner, Freudenthaler and Schmidt-Thieme 2011, "Fast context-aware recommendations with factorization
# machines" (SIGIR); Freudenthaler, Schmidt-Thieme and Rendle 2011, "Bayesian factorization machines"; Rendle 2013,
# "Scaling factorization machines to relational data" (VLDB), for sums over shared rows.

cdef enum:
    FM_R = 0            # s_k
    FM_OR = 1           # s_f
    FM_ONE = 2          # G_kk
    FM_O = 3            # G_fk
    FM_OO = 4           # G_ff
    FM_Q = 5            # q_b now
    FM_Q_BEFORE = 6     # q_b when the factor's turn began
    FM_CROSS = 7        # sum of delta x a
    FM_SUMS = 8
    FM_BATCH = 32       # data rows gathered for one rank-k update


def fm_vector_bytes():
    """Bytes of a vector: rows given to the kernels are padded to a multiple of it and of four elements."""
    return CYMF_VECTOR_BYTES


cdef inline double fm_new_value(
    double h_r,                 # IN  sum c h r
    double h_h,                 # IN  sum c h^2
    double old,                 # IN  theta
    double alpha,               # IN
    double penalty,             # IN  lambda
    double mean,                # IN  mu
    double noise,               # IN  standard normal, or 0
) noexcept nogil:
    cdef double precision = alpha * h_h + penalty
    if not precision > 0:
        return old
    return (alpha * (h_r + old * h_h) + penalty * mean) / precision + noise / sqrt(precision)


cdef const real* fm_others(
    Py_ssize_t n_blocks,        # IN
    const index* rows,          # IN  (n_blocks,) stacked rows of a data row
    Py_ssize_t block,           # IN  the one to leave out
    const real* sums,           # IN  (stacked rows, width) q_b, then 1
    Py_ssize_t k,               # IN  place of the 1
    Py_ssize_t width,           # IN
    real* buffer,               # SCRATCH (width,)
) noexcept nogil:
    """o of a data row: another block's row where there are two, otherwise a sum in the buffer."""
    cdef Py_ssize_t t
    if n_blocks == 2:
        return sums + rows[1 - block] * width
    memset(buffer, 0, width * sizeof(real))
    for t in range(n_blocks):
        if t != block:
            axpy(buffer, <real>1, sums + rows[t] * width, width)
    buffer[k] = 1
    return buffer


def fm_block_grams(
    const int64_t[::1] member_start,    # IN  (rows of the block + 1,)
    const index[::1] members,           # IN  (n,) data rows, by row of the block
    const index[:, ::1] rows,           # IN  (n, n_blocks) stacked rows
    Py_ssize_t block,                   # IN  which of the blocks
    const real[::1] weights,            # IN  (n,) c of data rows, or empty
    const real[::1] residuals,          # IN  (n,) r
    const real[:, ::1] sums,            # IN  (stacked rows, width) q_b, then 1, then zeros
    Py_ssize_t k,                       # IN  place of the 1
    const int64_t[::1] chunks,          # IN  (n_chunks + 1,) borders of the block's rows
    int64_t[::1] counter,               # IN/OUT (1,)
    real[:, :, ::1] grams,              # OUT (rows of the block, k + 1 up to a multiple of four, width) G
    real[:, ::1] right,                 # OUT (rows of the block, width) s
    real[:, ::1] scratch,               # SCRATCH (FM_BATCH, width), a worker's own
):
    """One worker's share of G and s of a block's rows."""
    cdef Py_ssize_t width = sums.shape[1], n_rows = grams.shape[1], n_blocks = rows.shape[1]
    cdef Py_ssize_t chunk, n_chunks = chunks.shape[0] - 1, b, begin, end, start, size, s, i, e, f
    cdef bint weighted = weights.shape[0] > 0
    cdef const real* gathered[FM_BATCH]
    cdef real targets[2 * FM_BATCH]
    cdef real root
    cdef real* gram
    memset(targets, 0, sizeof(targets))
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for b in range(chunks[chunk], chunks[chunk + 1]):
                begin = member_start[b]
                end = member_start[b + 1]
                gram = &grams[b, 0, 0]
                if begin == end:
                    memset(gram, 0, n_rows * width * sizeof(real))
                    memset(&right[b, 0], 0, width * sizeof(real))
                    continue
                start = begin
                while start < end:
                    size = min(<Py_ssize_t>FM_BATCH, end - start)
                    for s in range(size):
                        i = members[start + s]
                        if start + s + 8 < end:
                            cymf_prefetch_row(&sums[rows[members[start + s + 8], n_blocks - 1 - block], 0],
                                              width * sizeof(real))
                        gathered[s] = fm_others(
                            n_blocks, &rows[i, 0], block, &sums[0, 0], k, width, &scratch[s, 0])
                        targets[2 * s] = residuals[i]
                        if weighted:
                            root = <real>sqrt(<double>weights[i])
                            targets[2 * s] *= root
                            scaled_copy(&scratch[s, 0], root, gathered[s], width)
                            gathered[s] = &scratch[s, 0]
                    rank_k_gathered(start > begin, 1, gram, &right[b, 0], n_rows, width, gathered, targets, size,
                                    <const real**>NULL, 0)
                    start += size
                for e in range(1, k + 1):
                    for f in range(e):
                        gram[e * width + f] = gram[f * width + e]


def fm_apply(
    const int64_t[::1] member_start,    # IN  (rows of the block + 1,)
    const index[::1] members,           # IN  (n,) data rows, by row of the block
    const index[:, ::1] rows,           # IN  (n, n_blocks) stacked rows
    Py_ssize_t block,                   # IN  which of the blocks
    const real[:, ::1] sums,            # IN  (stacked rows, width) q_b, then 1, then zeros
    Py_ssize_t k,                       # IN  place of the 1
    const real[:, ::1] changes,         # IN  (rows of the block, width) of q_b, and of the row's own score
    const int64_t[::1] chunks,          # IN  (n_chunks + 1,) borders of the block's rows
    int64_t[::1] counter,               # IN/OUT (1,)
    real[::1] residuals,                # IN/OUT (n,) r
    real[:, ::1] scratch,               # SCRATCH (FM_BATCH, width), a worker's own
):
    """One worker's share of bringing a block's change to the residuals: r -= o . change."""
    cdef Py_ssize_t width = sums.shape[1], n_blocks = rows.shape[1]
    cdef Py_ssize_t chunk, n_chunks = chunks.shape[0] - 1, b, s, i
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for b in range(chunks[chunk], chunks[chunk + 1]):
                for s in range(member_start[b], member_start[b + 1]):
                    i = members[s]
                    if s + 8 < member_start[b + 1]:
                        cymf_prefetch_row(&sums[rows[members[s + 8], n_blocks - 1 - block], 0], width * sizeof(real))
                    residuals[i] -= dot(
                        fm_others(n_blocks, &rows[i, 0], block, &sums[0, 0], k, width, &scratch[0, 0]),
                        &changes[b, 0], width)


cdef void fm_column(
    Py_ssize_t n,               # IN  entries
    const index* rows,          # IN  (n,) rows of the block, counted from its first
    const real* values,         # IN  (n,)
    real* sums,                 # IN/OUT (rows of the block, FM_SUMS)
    real* theta,                # IN/OUT (1,)
    double penalty,             # IN
    double mean,                # IN
    double noise,               # IN
    double alpha,               # IN
) noexcept nogil:
    cdef double h_r = 0, h_h = 0
    cdef real a, x, old = theta[0], delta, with_one, with_o
    cdef real* s
    cdef Py_ssize_t t
    for t in range(n):
        s = sums + rows[t] * FM_SUMS
        x = values[t]
        a = s[FM_Q] - old * x
        with_one = s[FM_O] + a * s[FM_ONE]
        with_o = s[FM_OO] + a * s[FM_O]
        h_r += x * (s[FM_OR] + a * s[FM_R])
        h_h += x * x * (with_o + a * with_one)
    theta[0] = <real>fm_new_value(h_r, h_h, old, alpha, penalty, mean, noise)
    delta = theta[0] - old
    if delta == 0:
        return
    for t in range(n):
        s = sums + rows[t] * FM_SUMS
        x = values[t]
        a = s[FM_Q] - old * x
        x *= delta
        with_one = s[FM_O] + a * s[FM_ONE]
        with_o = s[FM_OO] + a * s[FM_O]
        s[FM_R] -= x * with_one
        s[FM_OR] -= x * with_o
        s[FM_Q] += x
        s[FM_CROSS] += x * a


def fm_block_sweep(
    const int64_t[::1] indptr,      # IN  (d + 1,) by column, over all columns of the design
    const index[::1] rows,          # IN  (nnz,) rows of each column's block, counted from the block's first
    const real[::1] values,         # IN  (nnz,)
    Py_ssize_t first_column,        # IN  the block's columns
    Py_ssize_t end_column,          # IN
    bint use_bias,                  # IN  whether there are linear terms
    const real[:, :, ::1] grams,    # IN  (rows of the block, multiple of four, width) G
    real[:, ::1] right,             # IN/OUT (rows of the block, width) s
    real[:, ::1] own,               # IN/OUT (rows of the block, width) q_b, then 1
    real[:, ::1] changes,           # OUT (rows of the block, width) of q_b, and of the row's own score
    real[:, ::1] theta,             # IN/OUT (k + 1, d) w, then the factors of v
    const real[:, ::1] penalty,     # IN  (k + 1, d) lambda
    const real[:, ::1] mean,        # IN  (k + 1, d) mu, or empty
    const real[:, ::1] noise,       # IN  (k + 1, d) or empty
    double alpha,                   # IN
    real[:, ::1] sums,              # SCRATCH (rows of the block, FM_SUMS)
):
    """Sweep the linear terms and then each factor of a block, all its columns one after the other."""
    cdef Py_ssize_t k = theta.shape[0] - 1, n_rows = own.shape[0], width = own.shape[1], family, place, b, j, begin
    cdef const index* row_pointer = &rows[0] if rows.shape[0] else NULL
    cdef const real* value_pointer = &values[0] if values.shape[0] else NULL
    cdef real* sum_pointer = &sums[0, 0] if sums.shape[0] else NULL
    cdef real change, cross
    cdef real* s
    cdef const real* gram
    with nogil:
        if n_rows:
            memset(&changes[0, 0], 0, n_rows * width * sizeof(real))
        for family in range(0 if use_bias else 1, k + 1):
            place = k if family == 0 else family - 1
            for b in range(n_rows):
                s = &sums[b, 0]
                gram = &grams[b, 0, 0]
                memset(s, 0, FM_SUMS * sizeof(real))
                s[FM_OR] = right[b, place]
                s[FM_OO] = gram[place * width + place]
                if family:
                    s[FM_R] = right[b, k]
                    s[FM_ONE] = gram[k * width + k]
                    s[FM_O] = gram[place * width + k]
                    s[FM_Q] = own[b, place]
                s[FM_Q_BEFORE] = s[FM_Q]
            for j in range(first_column, end_column):
                begin = indptr[j]
                fm_column(
                    indptr[j + 1] - begin, row_pointer + begin, value_pointer + begin, sum_pointer, &theta[family, j],
                    penalty[family, j], mean[family, j] if mean.shape[0] else <real>0,
                    noise[family, j] if noise.shape[0] else <real>0, alpha)
            for b in range(n_rows):
                s = &sums[b, 0]
                gram = &grams[b, 0, 0]
                change = s[FM_Q] - s[FM_Q_BEFORE]
                cross = s[FM_CROSS] if family else <real>0
                axpy(&right[b, 0], -change, gram + place * width, width)
                axpy(&right[b, 0], -cross, gram + k * width, width)
                changes[b, place] += change
                changes[b, k] += cross
                if family:
                    own[b, place] = s[FM_Q]


def fm_columns(
    const int64_t[::1] indptr,      # IN  (d + 1,) by column
    const index[::1] rows,          # IN  (nnz,) data rows
    const real[::1] values,         # IN  (nnz,)
    const real[::1] weights,        # IN  (n,) of data rows, or empty
    bint linear,                    # IN  whether theta is w
    real[:, ::1] cells,             # IN/OUT (n, 2) r and q
    real[::1] theta,                # IN/OUT (d,) w, or one factor of v
    const real[::1] penalty,        # IN  (d,)
    const real[::1] mean,           # IN  (d,) or empty
    const real[::1] noise,          # IN  (d,) or empty
    double alpha,                   # IN
):
    """All columns of a plain design, in which every data row is a row of its own."""
    cdef bint weighted = weights.shape[0] > 0
    cdef Py_ssize_t j, t
    cdef double h_r, h_h, h, x, delta, old, c
    cdef real* cell
    with nogil:
        for j in range(theta.shape[0]):
            h_r = h_h = 0
            old = theta[j]
            for t in range(indptr[j], indptr[j + 1]):
                cell = &cells[rows[t], 0]
                x = values[t]
                h = x if linear else x * (cell[1] - old * x)
                c = weights[rows[t]] * h if weighted else h
                h_r += c * cell[0]
                h_h += c * h
            theta[j] = <real>fm_new_value(
                h_r, h_h, old, alpha, penalty[j], mean[j] if mean.shape[0] else <real>0,
                noise[j] if noise.shape[0] else <real>0)
            delta = theta[j] - old
            if delta == 0:
                continue
            for t in range(indptr[j], indptr[j + 1]):
                cell = &cells[rows[t], 0]
                x = values[t]
                if linear:
                    cell[0] -= <real>(delta * x)
                else:
                    cell[0] -= <real>(delta * x * (cell[1] - old * x))
                    cell[1] += <real>(delta * x)


def fm_factor_sums(
    const int64_t[::1] indptr,      # IN  (n + 1,) by row
    const index[::1] indices,       # IN  (nnz,) columns
    const real[::1] values,         # IN  (nnz,)
    const real[::1] v,              # IN  (d,) one factor
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,)
    real[:, ::1] cells,             # OUT (n, 2) second column: q = sum_j x_j v_j
):
    """One worker's share of the sums of one factor, of a plain design."""
    cdef Py_ssize_t chunk, n_chunks = chunks.shape[0] - 1, i, t
    cdef double total
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                total = 0
                for t in range(indptr[i], indptr[i + 1]):
                    total += <double>values[t] * v[indices[t]]
                cells[i, 1] = <real>total
