# SGD, one rating at a time, reproducible for any number of threads.
#
#   e = a - mean - b_i - b_j - w_i.h_j
#   w_i <- w_i + rate (c e h_j - reg n_i^(nu-1) w_i)         both rows, and both biases, from their old values
#   h_j <- h_j + rate (c e w_i - reg n_j^(nu-1) h_j)
#
# Users and items are dealt into stripes; stripe x stripe is a grid of blocks. A stratum is a set of blocks that share
# no stripe, so its blocks commute exactly. Blocks are drawn in a fixed order; one waits until the clock of its user
# stripe and of its item stripe has reached its stratum. Every row therefore sees the same updates in the same order
# whoever does them. Inside a block the ratings of eight users take turns, so that an update need not wait for the last.
# Sources: Gemulla et al. 2011, "Large-scale matrix factorization with distributed stochastic gradient descent" (strata);
# Koren, Bell and Volinsky 2009 (biased updates); Duchi, Hazan and Singer 2011 (AdaGrad).

cdef extern from "sgd.h" nogil:
    ctypedef struct sgd_block_arrays_f32:
        const uint16_t* users
        const uint16_t* items
        const float* values
        const float* weights
        float* user_factors
        float* item_factors
        float* user_bias
        float* item_bias
        const float* user_shrink
        const float* item_shrink
        float mean
        float rate
    ctypedef struct sgd_block_arrays_f64:
        const uint16_t* users
        const uint16_t* items
        const double* values
        const double* weights
        double* user_factors
        double* item_factors
        double* user_bias
        double* item_bias
        const double* user_shrink
        const double* item_shrink
        double mean
        double rate
    double sgd_block_f32(Py_ssize_t n, const sgd_block_arrays_f32* block, Py_ssize_t width)
    double sgd_block_f64(Py_ssize_t n, const sgd_block_arrays_f64* block, Py_ssize_t width)

cdef enum:
    SGD_TURNS = 8           # users whose ratings take turns inside a block

cdef enum:
    STEP_PLAIN = 0
    STEP_ADAGRAD_ROW = 1
    STEP_ADAGRAD = 2


cdef void adagrad_step(
    real* w,                    # IN/OUT (width,)
    real* h,                    # IN/OUT (width,)
    real* sum_w,                # IN/OUT (width,) or (1,) sums of squared gradients
    real* sum_h,                # IN/OUT (width,) or (1,)
    real g,                     # IN  c e
    real share_w,               # IN  reg n_i^(nu-1)
    real share_h,               # IN  reg n_j^(nu-1)
    real rate,                  # IN
    Py_ssize_t n_factors,       # IN
    bint by_row,                # IN  one sum for the row (its mean square) instead of one a coordinate
) noexcept nogil:
    cdef Py_ssize_t f
    cdef real gw, gh, rate_w, rate_h, old, square_w = 0, square_h = 0
    if by_row:
        for f in range(n_factors):
            gw = share_w * w[f] - g * h[f]
            gh = share_h * h[f] - g * w[f]
            square_w += gw * gw
            square_h += gh * gh
        sum_w[0] += square_w / <real>n_factors
        sum_h[0] += square_h / <real>n_factors
        rate_w = rate / <real>sqrt(sum_w[0])
        rate_h = rate / <real>sqrt(sum_h[0])
        for f in range(n_factors):
            old = w[f]
            w[f] -= rate_w * (share_w * old - g * h[f])
            h[f] -= rate_h * (share_h * h[f] - g * old)
    else:
        for f in range(n_factors):
            gw = share_w * w[f] - g * h[f]
            gh = share_h * h[f] - g * w[f]
            sum_w[f] += gw * gw
            sum_h[f] += gh * gh
            w[f] -= rate / <real>sqrt(sum_w[f]) * gw
            h[f] -= rate / <real>sqrt(sum_h[f]) * gh


cdef double sgd_block(
    Py_ssize_t n,               # IN  ratings of this block
    const uint16_t* users,      # IN  (n,) rows within the user stripe
    const uint16_t* items,      # IN  (n,) rows within the item stripe
    const real* values,         # IN  (n,)
    const real* weights,        # IN  (n,) or NULL
    real* user_factors,         # IN/OUT (stripe, width)
    real* item_factors,         # IN/OUT (stripe, width)
    real* user_bias,            # IN/OUT (stripe,) or NULL
    real* item_bias,            # IN/OUT (stripe,)
    const real* user_shrink,    # IN  (stripe, 2) 1 - rate * (share of factors, share of bias)
    const real* item_shrink,    # IN  (stripe, 2)
    real mean,                  # IN
    real rate,                  # IN
    Py_ssize_t width,           # IN
) noexcept nogil:
    """Plain steps with one rate. Returns the sum of c e^2, e taken before each update."""
    cdef sgd_block_arrays_f32 single
    cdef sgd_block_arrays_f64 double_
    if real is float:
        single = sgd_block_arrays_f32(
            users, items, values, weights, user_factors, item_factors, user_bias, item_bias, user_shrink, item_shrink,
            mean, rate)
        return sgd_block_f32(n, &single, width)
    else:
        double_ = sgd_block_arrays_f64(
            users, items, values, weights, user_factors, item_factors, user_bias, item_bias, user_shrink, item_shrink,
            mean, rate)
        return sgd_block_f64(n, &double_, width)


cdef double sgd_block_adagrad(
    Py_ssize_t n,               # IN  the arguments of sgd_block, but shares instead of shrinkage, and:
    const uint16_t* users,
    const uint16_t* items,
    const real* values,
    const real* weights,
    real* user_factors,
    real* item_factors,
    real* user_bias,
    real* item_bias,
    const real* user_share,     # IN  (stripe, 2) reg n^(nu-1) of factors and of bias
    const real* item_share,     # IN  (stripe, 2)
    real* user_sums,            # IN/OUT (stripe, sums) sums of squared gradients, the bias's last
    real* item_sums,            # IN/OUT (stripe, sums)
    Py_ssize_t sums,            # IN  n_factors + 1, or 2 when by row
    real mean,
    real rate,
    Py_ssize_t n_factors,
    Py_ssize_t width,
    bint by_row,
) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t s, u, v
    cdef real e, g, gradient
    cdef real* w
    cdef real* h
    for s in range(n):
        u = users[s]
        v = items[s]
        w = user_factors + u * width
        h = item_factors + v * width
        e = values[s] - mean - dot(w, h, width)
        if user_bias != NULL:
            e -= user_bias[u] + item_bias[v]
        g = e
        if weights != NULL:
            g *= weights[s]
        total += <double>g * e
        adagrad_step(w, h, user_sums + u * sums, item_sums + v * sums, g, user_share[2 * u], item_share[2 * v], rate,
                     n_factors, by_row)
        if user_bias != NULL:
            gradient = user_share[2 * u + 1] * user_bias[u] - g
            user_sums[u * sums + sums - 1] += gradient * gradient
            user_bias[u] -= rate / <real>sqrt(user_sums[u * sums + sums - 1]) * gradient
            gradient = item_share[2 * v + 1] * item_bias[v] - g
            item_sums[v * sums + sums - 1] += gradient * gradient
            item_bias[v] -= rate / <real>sqrt(item_sums[v * sums + sums - 1]) * gradient
    return total


def sgd_epoch(
    const int64_t[::1] block_start,     # IN  (stripes * stripes + 1,) ratings of each block, row-major grid
    const uint16_t[::1] users,          # IN  (nnz,) rows within their stripe
    const uint16_t[::1] items,          # IN  (nnz,)
    const real[::1] values,             # IN  (nnz,)
    const real[::1] weights,            # IN  (nnz,) or empty
    const int64_t[::1] user_start,      # IN  (stripes + 1,) first row of each user stripe
    const int64_t[::1] item_start,      # IN  (stripes + 1,)
    const int64_t[::1] strata,          # IN  (strata,) diagonal taken as s-th stratum: all of them, or a part of an epoch
    real[:, ::1] user_factors,          # IN/OUT (N, width) in stripe order
    real[:, ::1] item_factors,          # IN/OUT (M, width)
    real[::1] user_bias,                # IN/OUT (N,) or empty
    real[::1] item_bias,                # IN/OUT (M,) or empty
    const real[:, ::1] user_share,      # IN  (N, 2) plain: 1 - rate * share; AdaGrad: share = reg n^(nu-1)
    const real[:, ::1] item_share,      # IN  (M, 2)
    real[:, ::1] user_sums,             # IN/OUT (N, sums) AdaGrad's sums, or (0, 0)
    real[:, ::1] item_sums,             # IN/OUT (M, sums)
    int step,                           # IN  STEP_PLAIN, STEP_ADAGRAD_ROW or STEP_ADAGRAD
    double mean,                        # IN
    double rate,                        # IN
    Py_ssize_t n_factors,               # IN
    int64_t[::1] counter,               # IN/OUT (1,) next block, shared by the workers
    int64_t[::1] user_clock,            # IN/OUT (stripes * 8,) strata done, one cache line a stripe
    int64_t[::1] item_clock,            # IN/OUT (stripes * 8,)
    int64_t[::1] diverged,              # IN/OUT (1,) set when a block's error is not finite or above the limit
    double limit,                       # IN  largest plausible mean squared error of a block
    double[::1] squared_error,          # OUT (stripes * stripes,) sum of c e^2 of each block
):
    """One worker's share of an epoch."""
    cdef Py_ssize_t stripes = user_start.shape[0] - 1, width = user_factors.shape[1], drawn, s, i, j, block, begin, n
    cdef Py_ssize_t sums = user_sums.shape[1]
    cdef bint use_bias = user_bias.shape[0] > 0, has_weights = weights.shape[0] > 0
    cdef double total
    with nogil:
        while True:
            drawn = cymf_draw(&counter[0])
            if drawn >= stripes * strata.shape[0]:
                break
            s = drawn // stripes
            i = drawn % stripes
            j = (i + strata[s]) % stripes
            if not cymf_wait(&user_clock[8 * i], s, &diverged[0]) or not cymf_wait(&item_clock[8 * j], s, &diverged[0]):
                break
            block = i * stripes + j
            begin = block_start[block]
            n = block_start[block + 1] - begin
            total = 0
            if n > 0 and step == STEP_PLAIN:
                total = sgd_block(
                    n, &users[begin], &items[begin], &values[begin], &weights[begin] if has_weights else NULL,
                    &user_factors[user_start[i], 0], &item_factors[item_start[j], 0],
                    &user_bias[user_start[i]] if use_bias else NULL, &item_bias[item_start[j]] if use_bias else NULL,
                    &user_share[user_start[i], 0], &item_share[item_start[j], 0], <real>mean, <real>rate, width)
            elif n > 0:
                total = sgd_block_adagrad(
                    n, &users[begin], &items[begin], &values[begin], &weights[begin] if has_weights else NULL,
                    &user_factors[user_start[i], 0], &item_factors[item_start[j], 0],
                    &user_bias[user_start[i]] if use_bias else NULL, &item_bias[item_start[j]] if use_bias else NULL,
                    &user_share[user_start[i], 0], &item_share[item_start[j], 0],
                    &user_sums[user_start[i], 0], &item_sums[item_start[j], 0], sums,
                    <real>mean, <real>rate, n_factors, width, step == STEP_ADAGRAD_ROW)
            squared_error[block] = total
            if n > 0 and (not total <= limit * n or total - total != 0):
                cymf_publish(&diverged[0], 1)
                break
            cymf_publish(&user_clock[8 * i], s + 1)
            cymf_publish(&item_clock[8 * j], s + 1)


cdef Py_ssize_t end_of_run(
    const uint16_t* users,      # IN  (n,) sorted
    Py_ssize_t start,           # IN
    Py_ssize_t n,               # IN
) noexcept nogil:
    cdef Py_ssize_t end = start
    while end < n and users[end] == users[start]:
        end += 1
    return end


cdef void take_turns(
    const uint16_t* users,      # IN  (n,) users of a block's ratings, sorted
    Py_ssize_t n,               # IN
    int64_t* order,             # OUT (n,) positions, the ratings of SGD_TURNS users by turns
) noexcept nogil:
    cdef Py_ssize_t cursor[SGD_TURNS]
    cdef Py_ssize_t end[SGD_TURNS]
    cdef Py_ssize_t active = 0, following = 0, out = 0, slot = 0
    while active < SGD_TURNS and following < n:
        cursor[active] = following
        following = end_of_run(users, following, n)
        end[active] = following
        active += 1
    while active > 0:
        order[out] = cursor[slot]
        out += 1
        cursor[slot] += 1
        if cursor[slot] == end[slot]:
            if following < n:
                cursor[slot] = following
                following = end_of_run(users, following, n)
                end[slot] = following
            else:
                active -= 1
                cursor[slot] = cursor[active]
                end[slot] = end[active]
                slot -= 1
        slot += 1
        if slot >= active:
            slot = 0


def sgd_fill_blocks(
    const int64_t[::1] indptr,          # IN  (N + 1,) CSR of the ratings
    const index[::1] indices,           # IN  (nnz,)
    const real[::1] values,             # IN  (nnz,)
    const real[::1] weights,            # IN  (nnz,) or empty
    const int64_t[::1] user_order,      # IN  (N,) user of each row in stripe order
    const int64_t[::1] item_position,   # IN  (M,) row of each item in stripe order
    const int64_t[::1] user_start,      # IN  (stripes + 1,)
    const int64_t[::1] item_start,      # IN  (stripes + 1,)
    const int32_t[::1] item_stripe,     # IN  (M,) stripe of each item
    int64_t[::1] block_start,           # OUT (stripes * stripes + 1,)
    uint16_t[::1] users,                # OUT (nnz,)
    uint16_t[::1] items,                # OUT (nnz,)
    real[::1] block_values,             # OUT (nnz,)
    real[::1] block_weights,            # OUT (nnz,) or empty
    int64_t[::1] taken,                 # SCRATCH (stripes + 1,)
    uint16_t[::1] sorted_users,         # SCRATCH (ratings of the fullest user stripe,)
    int64_t[::1] source,                # SCRATCH (the same,)
    int64_t[::1] order,                 # SCRATCH (the same,)
):
    """Deal the ratings into blocks; inside a block the ratings of SGD_TURNS users take turns."""
    cdef Py_ssize_t stripes = user_start.shape[0] - 1, stripe, j, row, user, item, s, first, last
    cdef bint has_weights = weights.shape[0] > 0
    cdef int64_t base = 0, t, slot
    with nogil:
        for stripe in range(stripes):
            for j in range(stripes + 1):
                taken[j] = 0
            for row in range(user_start[stripe], user_start[stripe + 1]):
                user = user_order[row]
                for t in range(indptr[user], indptr[user + 1]):
                    taken[item_stripe[indices[t]] + 1] += 1
            for j in range(stripes):
                block_start[stripe * stripes + j] = base + taken[j]
                taken[j + 1] += taken[j]
            for row in range(user_start[stripe], user_start[stripe + 1]):
                user = user_order[row]
                for t in range(indptr[user], indptr[user + 1]):
                    j = item_stripe[indices[t]]
                    slot = taken[j]
                    taken[j] = slot + 1
                    source[slot] = t
                    sorted_users[slot] = <uint16_t>(row - user_start[stripe])
            first = 0
            for j in range(stripes):
                last = taken[j]
                if last > first:
                    take_turns(&sorted_users[0] + first, last - first, &order[0])
                for s in range(last - first):
                    slot = first + order[s]
                    t = source[slot]
                    item = indices[t]
                    users[base + first + s] = sorted_users[slot]
                    items[base + first + s] = <uint16_t>(item_position[item] - item_start[j])
                    block_values[base + first + s] = values[t]
                    if has_weights:
                        block_weights[base + first + s] = weights[t]
                first = last
            base += first
        block_start[stripes * stripes] = base
