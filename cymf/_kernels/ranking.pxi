# Ranking losses by SGD over sampled negatives, reproducible for any number of threads (see ranking_sampling.pxi).
#
# A positive (i, j) of confidence c, negatives l that are drawn from its block's item stripe, x = w_i.h_j + b_i + b_j:
#   pairwise    -c ln s(x_ij - x_il)                          s the logistic function
#   WARP        c L(rank) max(0, 1 - x_ij + x_il)             l the first of at most n_negatives draws that violates the
#               margin; after N draws rank = max(1, (M - 1) // N), L(r) = sum_{s <= r} 1/s over L(M - 1)
#   pointwise   -c ln s(x_ij) - sum_l ln s(-x_il)
# Each row goes down its gradient with reg / 2 |row|^2 added, all from their old values; biases likewise. A pairwise step
# costs 10 k flops and three rows read and written.
# Sources: Rendle et al. 2009, "BPR: Bayesian personalized ranking from implicit feedback"; Weston, Bengio and Usunier
# 2011, "WSABIE"; Johnson 2014, "Logistic matrix factorization for implicit feedback data"; Duchi, Hazan and Singer 2011.

cdef enum:
    LOSS_PAIRWISE = 0
    LOSS_WARP = 1
    LOSS_POINTWISE = 2

cdef enum:
    RULE_PLAIN = 0
    RULE_ADAGRAD_ROW = 1
    RULE_ADAGRAD = 2

cdef enum:
    DRAWN_AHEAD = 16        # pairs whose rows are fetched before the first of them is used

cdef extern from "ranking_steps.h" nogil:
    float dot_difference_f32(const float* w, const float* h, const float* l, Py_ssize_t n)
    double dot_difference_f64(const double* w, const double* h, const double* l, Py_ssize_t n)
    void pair_step_f32(float* w, float* h, float* l, float step, float shrink, Py_ssize_t n)
    void pair_step_f64(double* w, double* h, double* l, double step, double shrink, Py_ssize_t n)
    void row_gradient_f32(float* gradient, const float* x, const float* y, const float* z, float g, float reg, Py_ssize_t n)
    void row_gradient_f64(double* gradient, const double* x, const double* y, const double* z, double g, double reg, Py_ssize_t n)
    void adagrad_row_f32(float* x, float* sums, const float* gradient, float rate, int by_row, Py_ssize_t n_factors, Py_ssize_t n)
    void adagrad_row_f64(double* x, double* sums, const double* gradient, double rate, int by_row, Py_ssize_t n_factors, Py_ssize_t n)


cdef inline real dot_difference(const real* w, const real* h, const real* l, Py_ssize_t n) noexcept nogil:
    if real is float:
        return dot_difference_f32(w, h, l, n)
    else:
        return dot_difference_f64(w, h, l, n)


cdef inline void pair_step(real* w, real* h, real* l, real step, real shrink, Py_ssize_t n) noexcept nogil:
    if real is float:
        pair_step_f32(w, h, l, step, shrink, n)
    else:
        pair_step_f64(w, h, l, step, shrink, n)


cdef inline void row_gradient(real* gradient, const real* x, const real* y, const real* z, real g, real reg, Py_ssize_t n) noexcept nogil:
    if real is float:
        row_gradient_f32(gradient, x, y, z, g, reg, n)
    else:
        row_gradient_f64(gradient, x, y, z, g, reg, n)


cdef inline void adagrad_row(real* x, real* sums, const real* gradient, real rate, bint by_row, Py_ssize_t n_factors, Py_ssize_t n) noexcept nogil:
    if real is float:
        adagrad_row_f32(x, sums, gradient, rate, by_row, n_factors, n)
    else:
        adagrad_row_f64(x, sums, gradient, rate, by_row, n_factors, n)


cdef inline void bias_step(
    real* bias,                 # IN/OUT
    real* sum_of_squares,       # IN/OUT AdaGrad's, or NULL
    real g,                     # IN  how far the score should rise
    real reg,                   # IN
    real rate,                  # IN
) noexcept nogil:
    cdef real gradient = reg * bias[0] - g
    if sum_of_squares != NULL:
        sum_of_squares[0] += gradient * gradient
        rate = rate / <real>sqrt(sum_of_squares[0])
    bias[0] -= rate * gradient


cdef struct LogLoss:
    double total
    double product              # of probabilities whose logarithm is still to be taken


cdef inline double logistic_gradient(double x, double confidence, LogLoss* loss) noexcept nogil:
    """Return s(-x), adding -confidence ln s(x) to the loss; NaN goes into the loss."""
    cdef double growth = exp(x), g = 1 / (1 + growth)
    if x > 30:
        pass
    elif x >= -30 and confidence == 1:
        loss.product *= growth * g
        if loss.product < 1e-280:
            loss.total -= log(loss.product)
            loss.product = 1
    elif x >= -30:
        loss.total -= confidence * log(growth * g)
    else:
        loss.total -= confidence * x
    return g


cdef struct Rows:
    void* user_factors          # (N, width)
    void* item_factors          # (M, width)
    void* user_bias             # (N,) or NULL
    void* item_bias             # (M,) or NULL
    void* user_sums             # (N, sums) AdaGrad's, the bias's last, or NULL
    void* item_sums             # (M, sums)
    void* scratch               # (3, width)
    Py_ssize_t n_factors
    Py_ssize_t width
    Py_ssize_t sums
    int rule                    # RULE_...
    double rate
    double reg
    double reg_bias


cdef struct Negatives:
    const int64_t* indptr       # (N + 1,) known positives, no negatives
    const int32_t* indices
    const int32_t* items        # (n_items,) of the stripe
    const double* cumulative    # (n_items,) or NULL
    Py_ssize_t n_items


cdef inline void pairwise_update(
    Rows* rows,
    Py_ssize_t user,
    Py_ssize_t item,
    Py_ssize_t negative,
    real g,                     # IN  how far the difference of scores should rise
) noexcept nogil:
    cdef Py_ssize_t width = rows.width, sums = rows.sums
    cdef real* w = <real*>rows.user_factors + user * width
    cdef real* h = <real*>rows.item_factors + item * width
    cdef real* l = <real*>rows.item_factors + negative * width
    cdef real* scratch = <real*>rows.scratch
    cdef real* item_sums = <real*>rows.item_sums
    cdef real* bias = <real*>rows.item_bias
    cdef real rate = <real>rows.rate, reg = <real>rows.reg
    if rows.rule == RULE_PLAIN:
        pair_step(w, h, l, rate * g, 1 - rate * reg, width)
    else:
        row_gradient(scratch, w, h, l, g, reg, width)
        row_gradient(scratch + width, h, w, <const real*>NULL, g, reg, width)
        row_gradient(scratch + 2 * width, l, w, <const real*>NULL, -g, reg, width)
        adagrad_row(w, <real*>rows.user_sums + user * sums, scratch, rate, rows.rule == RULE_ADAGRAD_ROW,
                    rows.n_factors, width)
        adagrad_row(h, item_sums + item * sums, scratch + width, rate, rows.rule == RULE_ADAGRAD_ROW, rows.n_factors,
                    width)
        adagrad_row(l, item_sums + negative * sums, scratch + 2 * width, rate, rows.rule == RULE_ADAGRAD_ROW,
                    rows.n_factors, width)
    if bias != NULL:
        bias_step(bias + item, item_sums + item * sums + sums - 1 if item_sums != NULL else NULL, g,
                  <real>rows.reg_bias, rate)
        bias_step(bias + negative, item_sums + negative * sums + sums - 1 if item_sums != NULL else NULL, -g,
                  <real>rows.reg_bias, rate)


cdef inline void pointwise_update(
    Rows* rows,
    Py_ssize_t user,
    Py_ssize_t item,
    real g,                     # IN  how far the score should rise
) noexcept nogil:
    cdef Py_ssize_t width = rows.width, sums = rows.sums
    cdef real* w = <real*>rows.user_factors + user * width
    cdef real* h = <real*>rows.item_factors + item * width
    cdef real* scratch = <real*>rows.scratch
    cdef real* user_sums = <real*>rows.user_sums
    cdef real* item_sums = <real*>rows.item_sums
    cdef real rate = <real>rows.rate, reg = <real>rows.reg
    if rows.rule == RULE_PLAIN:
        sgd_step(w, h, rate * g, 1 - rate * reg, 1 - rate * reg, width)
    else:
        row_gradient(scratch, w, h, <const real*>NULL, g, reg, width)
        row_gradient(scratch + width, h, w, <const real*>NULL, g, reg, width)
        adagrad_row(w, user_sums + user * sums, scratch, rate, rows.rule == RULE_ADAGRAD_ROW, rows.n_factors, width)
        adagrad_row(h, item_sums + item * sums, scratch + width, rate, rows.rule == RULE_ADAGRAD_ROW, rows.n_factors,
                    width)
    if rows.item_bias != NULL:
        bias_step(<real*>rows.user_bias + user, user_sums + user * sums + sums - 1 if user_sums != NULL else NULL, g,
                  <real>rows.reg_bias, rate)
        bias_step(<real*>rows.item_bias + item, item_sums + item * sums + sums - 1 if item_sums != NULL else NULL, g,
                  <real>rows.reg_bias, rate)


cdef inline real score(Rows* rows, Py_ssize_t user, Py_ssize_t item, real typed) noexcept nogil:
    """w.h + b_i + b_j; `typed` only says which type the rows have."""
    cdef Py_ssize_t width = rows.width
    cdef real x = dot(<real*>rows.user_factors + user * width, <real*>rows.item_factors + item * width, width)
    if rows.item_bias != NULL:
        x += (<real*>rows.user_bias)[user] + (<real*>rows.item_bias)[item]
    return x


cdef double sampled_block(
    int loss,                   # IN  LOSS_PAIRWISE or LOSS_POINTWISE
    Py_ssize_t n,               # IN  positives of this block
    const int32_t* users,       # IN  (n,)
    const int32_t* items,       # IN  (n,)
    const real* confidences,    # IN  (n,) or NULL
    Negatives* negatives,       # IN
    Py_ssize_t n_negatives,     # IN  of each positive
    uint64_t stream,            # IN
    Rows* rows,                 # IN/OUT
    int64_t* drawn,             # OUT pairs of a positive and a negative
) noexcept nogil:
    """Pairwise or pointwise steps, all of a block. Returns the sum of losses, each taken before its step.

    Negatives depend on no factor, so some are drawn ahead and their rows fetched meanwhile.
    """
    cdef LogLoss total = [0, 1]
    cdef int32_t ahead[DRAWN_AHEAD]
    cdef Py_ssize_t pair = 0, pairs = n * n_negatives, batch, s, t, width = rows.width
    cdef Py_ssize_t row_bytes = width * sizeof(real)
    cdef Py_ssize_t user, item
    cdef double x, confidence
    cdef real typed = 0
    drawn[0] = 0
    while pair < pairs:
        batch = min(pairs - pair, DRAWN_AHEAD)
        for s in range(batch):
            t = (pair + s) // n_negatives
            cymf_prefetch_row(<real*>rows.user_factors + users[t] * width, row_bytes)
            cymf_prefetch_row(<real*>rows.item_factors + items[t] * width, row_bytes)
            ahead[s] = draw_negative(&stream, negatives.indptr, negatives.indices, users[t], negatives.items,
                                     negatives.cumulative, negatives.n_items)
            if ahead[s] >= 0:
                cymf_prefetch_row(<real*>rows.item_factors + ahead[s] * width, row_bytes)
        for s in range(batch):
            t = (pair + s) // n_negatives
            user = users[t]
            item = items[t]
            confidence = confidences[t] if confidences != NULL else 1
            if loss == LOSS_POINTWISE:
                if (pair + s) % n_negatives == 0:
                    x = logistic_gradient(score(rows, user, item, typed), confidence, &total)
                    pointwise_update(rows, user, item, <real>(confidence * x))
                if ahead[s] >= 0:
                    x = logistic_gradient(-score(rows, user, ahead[s], typed), 1, &total)
                    pointwise_update(rows, user, ahead[s], <real>-x)
                    drawn[0] += 1
            elif ahead[s] >= 0:
                x = dot_difference(<real*>rows.user_factors + user * width, <real*>rows.item_factors + item * width,
                                   <real*>rows.item_factors + ahead[s] * width, width)
                if rows.item_bias != NULL:
                    x += (<real*>rows.item_bias)[item] - (<real*>rows.item_bias)[ahead[s]]
                x = logistic_gradient(x, confidence, &total)
                pairwise_update(rows, user, item, ahead[s], <real>(confidence * x))
                drawn[0] += 1
        pair += batch
    return total.total - log(total.product)


cdef double warp_block(
    Py_ssize_t n,               # IN  the arguments of sampled_block, and:
    const int32_t* users,
    const int32_t* items,
    const real* confidences,
    Negatives* negatives,
    Py_ssize_t n_negatives,     # IN  most draws for a positive
    const double* rank_loss,    # IN  (M,) L(r) over L(M - 1)
    Py_ssize_t n_items,         # IN  M
    uint64_t stream,
    Rows* rows,
    int64_t* drawn,
) noexcept nogil:
    cdef double total = 0, violation, weight
    cdef Py_ssize_t s, attempt, width = rows.width
    cdef int32_t negative
    cdef real positive_score, typed = 0
    drawn[0] = 0
    for s in range(n):
        if s + 4 < n:
            cymf_prefetch_row(<real*>rows.user_factors + users[s + 4] * width, width * sizeof(real))
            cymf_prefetch_row(<real*>rows.item_factors + items[s + 4] * width, width * sizeof(real))
        positive_score = score(rows, users[s], items[s], typed)
        for attempt in range(n_negatives):
            negative = draw_negative(&stream, negatives.indptr, negatives.indices, users[s], negatives.items,
                                     negatives.cumulative, negatives.n_items)
            if negative < 0:
                break
            drawn[0] += 1
            violation = 1 - <double>positive_score + score(rows, users[s], negative, typed)
            if not violation <= 0:
                weight = rank_loss[max((n_items - 1) // (attempt + 1), 1)]
                if confidences != NULL:
                    weight *= confidences[s]
                total += weight * violation
                pairwise_update(rows, users[s], items[s], negative, <real>weight)
                break
    return total


def ranking_epoch(
    const int64_t[::1] block_start,     # IN  (stripes * stripes + 1,) positives of each block, row-major grid
    const int32_t[::1] users,           # IN  (nnz,)
    const int32_t[::1] items,           # IN  (nnz,)
    const real[::1] confidences,        # IN  (nnz,) or empty
    const int64_t[::1] indptr,          # IN  (N + 1,) known positives
    const int32_t[::1] indices,         # IN
    const int32_t[::1] item_order,      # IN  (M,) items, stripe after stripe
    const int64_t[::1] item_start,      # IN  (stripes + 1,)
    const double[::1] cumulative,       # IN  (M,) running sums of sampling weights in each stripe, or empty
    const int64_t[::1] strata,          # IN  (stripes,) diagonal taken as s-th stratum
    int loss,                           # IN  LOSS_...
    Py_ssize_t n_negatives,             # IN
    const double[::1] rank_loss,        # IN  (M,) for WARP
    uint64_t seed,                      # IN
    uint64_t epoch,                     # IN
    real[:, ::1] user_factors,          # IN/OUT (N, width)
    real[:, ::1] item_factors,          # IN/OUT (M, width)
    real[::1] user_bias,                # IN/OUT (N,) or empty
    real[::1] item_bias,                # IN/OUT (M,) or empty
    real[:, ::1] user_sums,             # IN/OUT (N, sums) AdaGrad's sums, or (0, 0)
    real[:, ::1] item_sums,             # IN/OUT (M, sums)
    int rule,                           # IN  RULE_...
    double rate,                        # IN
    double reg,                         # IN
    double reg_bias,                    # IN
    Py_ssize_t n_factors,               # IN
    real[:, ::1] scratch,               # SCRATCH (3, width) of this worker
    int64_t[::1] counter,               # IN/OUT (1,) next block, shared by the workers
    int64_t[::1] user_clock,            # IN/OUT (stripes * 8,) strata done, one cache line a stripe
    int64_t[::1] item_clock,            # IN/OUT (stripes * 8,)
    int64_t[::1] diverged,              # IN/OUT (1,) set when a block's loss is not finite or above the limit
    double limit,                       # IN  largest plausible mean loss of a block
    double[::1] losses,                 # OUT (stripes * stripes,) sum of the losses of each block
    int64_t[::1] drawn,                 # OUT (stripes * stripes,) negatives drawn in each block
):
    """One worker's share of an epoch."""
    cdef Py_ssize_t block, j, begin, n
    cdef Grid grid
    cdef Rows rows
    cdef Negatives negatives
    cdef const real* weights
    cdef double total
    grid = Grid(item_start.shape[0] - 1, &strata[0], &counter[0], &user_clock[0], &item_clock[0], &diverged[0], 0, 0, 0)
    rows = Rows(&user_factors[0, 0], &item_factors[0, 0], NULL, NULL, NULL, NULL, &scratch[0, 0], n_factors,
                user_factors.shape[1], user_sums.shape[1], rule, rate, reg, reg_bias)
    if item_bias.shape[0] > 0:
        rows.user_bias = &user_bias[0]
        rows.item_bias = &item_bias[0]
    if rule != RULE_PLAIN:
        rows.user_sums = &user_sums[0, 0]
        rows.item_sums = &item_sums[0, 0]
    with nogil:
        while True:
            block = begin_block(&grid)
            if block < 0:
                break
            j = grid.j
            begin = block_start[block]
            n = block_start[block + 1] - begin
            total = 0
            if n > 0:
                negatives.indptr = &indptr[0]
                negatives.indices = &indices[0]
                negatives.items = &item_order[item_start[j]]
                negatives.cumulative = &cumulative[item_start[j]] if cumulative.shape[0] > 0 else NULL
                negatives.n_items = item_start[j + 1] - item_start[j]
                weights = &confidences[begin] if confidences.shape[0] > 0 else NULL
                if loss == LOSS_WARP:
                    total = warp_block(n, &users[begin], &items[begin], weights, &negatives, n_negatives,
                                       &rank_loss[0], item_order.shape[0], stream_of(seed, 2 * epoch + 1, block),
                                       &rows, &drawn[block])
                else:
                    total = sampled_block(loss, n, &users[begin], &items[begin], weights, &negatives, n_negatives,
                                          stream_of(seed, 2 * epoch + 1, block), &rows, &drawn[block])
            losses[block] = total
            if n > 0 and (not total <= limit * n or total - total != 0):
                cymf_publish(&diverged[0], 1)
                break
            end_block(&grid)
