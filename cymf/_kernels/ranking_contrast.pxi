# Contrastive losses over cosines, in batches of positives that share a pool of negatives; rows have unit length.
#
# For a positive (i, j) of confidence c, pool L without what user i took, s = w_i.h:
#   softmax              -c ln (e^(s_ij / t) / (e^(s_ij / t) + sum_{l in L} e^(s_il / t)))
#   cosine contrastive   c (1 - s_ij + weight / |L| sum_{l in L} max(0, s_il - margin))
# The pool is a run of the block's item stripe, whose order is drawn every epoch. The gradients of a batch are those of
# its old rows, then row after row takes a step along the sphere: the gradient less its part along the row, subtracted,
# and the row brought back to unit length; first the pool's rows, then each positive's item and user. Per positive and
# negative 6 k flops in three matrix products.
# Sources: Mao et al. 2021, "SimpleX: a simple and strong baseline for collaborative filtering" (cosine contrastive loss);
# Wu et al. 2022, "On the effectiveness of sampled softmax loss for item recommendation".

cdef enum:
    LOSS_SOFTMAX = 0
    LOSS_MARGIN = 1

cdef enum:
    POOL_CHUNK = 64         # negatives whose rows and gradients stay in the L1 cache

from libc.math cimport INFINITY

cdef extern from "ranking_contrast.h" nogil:
    enum: CONTRAST_BATCH
    float exponential_f32(float x)
    double exponential_f64(double x)
    void product_f32(int add, float* G, Py_ssize_t ldg, Py_ssize_t rows, Py_ssize_t columns, const float* A, Py_ssize_t row_stride, Py_ssize_t sample_stride, const float* B, Py_ssize_t ldb, Py_ssize_t samples)
    void product_f64(int add, double* G, Py_ssize_t ldg, Py_ssize_t rows, Py_ssize_t columns, const double* A, Py_ssize_t row_stride, Py_ssize_t sample_stride, const double* B, Py_ssize_t ldb, Py_ssize_t samples)
    void exponentials_of_f32(float* out, const float* x)
    void exponentials_of_f64(double* out, const double* x)
    void softmax_weights_f32(float* scores, float* sums, Py_ssize_t n, float inverse_temperature)
    void softmax_weights_f64(double* scores, double* sums, Py_ssize_t n, double inverse_temperature)
    void margin_weights_f32(float* scores, float* sums, const float* scale, Py_ssize_t n, float margin)
    void margin_weights_f64(double* scores, double* sums, const double* scale, Py_ssize_t n, double margin)
    void scale_columns_f32(float* scores, const float* scale, Py_ssize_t n)
    void scale_columns_f64(double* scores, const double* scale, Py_ssize_t n)


cdef inline real exponential(real x) noexcept nogil:
    if real is float:
        return exponential_f32(x)
    else:
        return exponential_f64(x)


cdef inline void product(bint add, real* G, Py_ssize_t ldg, Py_ssize_t rows, Py_ssize_t columns, const real* A, Py_ssize_t row_stride, Py_ssize_t sample_stride, const real* B, Py_ssize_t ldb, Py_ssize_t samples) noexcept nogil:
    if real is float:
        product_f32(add, G, ldg, rows, columns, A, row_stride, sample_stride, B, ldb, samples)
    else:
        product_f64(add, G, ldg, rows, columns, A, row_stride, sample_stride, B, ldb, samples)


cdef inline void softmax_weights(real* scores, real* sums, Py_ssize_t n, real inverse_temperature) noexcept nogil:
    if real is float:
        softmax_weights_f32(scores, sums, n, inverse_temperature)
    else:
        softmax_weights_f64(scores, sums, n, inverse_temperature)


cdef inline void margin_weights(real* scores, real* sums, const real* scale, Py_ssize_t n, real margin) noexcept nogil:
    if real is float:
        margin_weights_f32(scores, sums, scale, n, margin)
    else:
        margin_weights_f64(scores, sums, scale, n, margin)


cdef inline void scale_columns(real* scores, const real* scale, Py_ssize_t n) noexcept nogil:
    if real is float:
        scale_columns_f32(scores, scale, n)
    else:
        scale_columns_f64(scores, scale, n)


cdef inline void step_on_sphere(
    real* x,                    # IN/OUT (width,) unit row
    real* sums,                 # IN/OUT AdaGrad's, or NULL
    real* gradient,             # IN/OUT (width,) less its part along x afterwards
    real rate,                  # IN
    bint by_row,                # IN
    Py_ssize_t n_factors,       # IN
    Py_ssize_t width,           # IN
) noexcept nogil:
    axpy(gradient, -dot(gradient, x, width), x, width)
    if sums == NULL:
        axpy(x, -rate, gradient, width)
    else:
        adagrad_row(x, sums, gradient, rate, by_row, n_factors, width)
    scaled_copy(x, 1 / <real>sqrt(dot(x, x, width)), x, width)


cdef struct Pool:
    void* rows                  # (n_items, width) unit rows of the item stripe
    void* sums                  # (n_items, sums) AdaGrad's, or NULL
    const int32_t* position     # (M,) place of each item in the order of all stripes
    Py_ssize_t first            # place of the stripe's first item
    Py_ssize_t n_items
    Py_ssize_t offset           # place in the stripe where the pool begins
    Py_ssize_t size             # at most n_items; the pool goes on at the stripe's beginning


cdef inline Py_ssize_t run_of(
    Pool* pool,
    Py_ssize_t slot,            # IN  first place in the pool
    Py_ssize_t* start,          # OUT its place in the stripe
) noexcept nogil:
    """Return how many of the pool's next POOL_CHUNK rows lie together."""
    start[0] = pool.offset + slot
    if start[0] >= pool.n_items:
        start[0] -= pool.n_items
    return min(min(pool.size - slot, POOL_CHUNK), pool.n_items - start[0])


cdef double contrast_batch(
    int loss,                   # IN  LOSS_SOFTMAX or LOSS_MARGIN
    Py_ssize_t n,               # IN  positives, at most CONTRAST_BATCH
    const int32_t* users,       # IN  (n,)
    const int32_t* items,       # IN  (n,)
    const real* confidences,    # IN  (n,) or NULL
    const int64_t* indptr,      # IN  (N + 1,) known positives
    const int32_t* indices,     # IN
    Pool* pool,                 # IN/OUT
    real* user_factors,         # IN/OUT (N, width)
    real* user_sums,            # IN/OUT (N, sums) or NULL
    Py_ssize_t sums,            # IN
    int rule,                   # IN  RULE_...
    real rate,                  # IN
    real sharpness,             # IN  1 / temperature, or the margin
    real weight,                # IN  of the negatives, for the margin loss
    Py_ssize_t n_factors,       # IN
    Py_ssize_t width,           # IN
    real* scratch,              # SCRATCH contrast_scratch(pool.size, width)
) noexcept nogil:
    """One step of a batch. Returns the sum of its losses."""
    cdef real* old = scratch                                    # (CONTRAST_BATCH, width) the users' rows
    cdef real* turned = old + CONTRAST_BATCH * width            # (width, CONTRAST_BATCH) transposed
    cdef real* user_gradient = turned + CONTRAST_BATCH * width  # (CONTRAST_BATCH, width)
    cdef real* gradient = user_gradient + CONTRAST_BATCH * width    # (POOL_CHUNK, width)
    cdef real* scores = gradient + POOL_CHUNK * width           # (pool.size, CONTRAST_BATCH)
    cdef real* rows = <real*>pool.rows
    cdef real* pool_sums = <real*>pool.sums
    cdef real* row
    cdef bint by_row = rule == RULE_ADAGRAD_ROW
    cdef real total[CONTRAST_BATCH]
    cdef real scale[CONTRAST_BATCH]
    cdef real pull[CONTRAST_BATCH]
    cdef real positive_score, e, probability
    cdef double result = 0
    cdef Py_ssize_t b, f, slot, start, size, r, place
    cdef int64_t entry
    for b in range(CONTRAST_BATCH):
        row = user_factors + users[b] * width if b < n else NULL
        for f in range(width):
            old[b * width + f] = row[f] if row != NULL else 0
            turned[f * CONTRAST_BATCH + b] = old[b * width + f]
        scale[b] = 0
        total[b] = 0
        if b < n:
            scale[b] = confidences[b] if confidences != NULL else 1
    slot = 0
    while slot < pool.size:
        size = run_of(pool, slot, &start)
        product(False, scores + slot * CONTRAST_BATCH, CONTRAST_BATCH, size, CONTRAST_BATCH, rows + start * width, width,
                1, turned, CONTRAST_BATCH, n_factors)
        slot += size
    for b in range(n):
        size = pool.size
        for entry in range(indptr[users[b]], indptr[users[b] + 1]):
            place = pool.position[indices[entry]] - pool.first
            if 0 <= place < pool.n_items:
                place -= pool.offset
                if place < 0:
                    place += pool.n_items
                if place < pool.size:
                    scores[place * CONTRAST_BATCH + b] = <real>-INFINITY
                    size -= 1
        if loss == LOSS_MARGIN and size > 0:
            scale[b] *= weight / <real>size
    if loss == LOSS_SOFTMAX:
        softmax_weights(scores, total, pool.size, sharpness)
    else:
        margin_weights(scores, total, scale, pool.size, sharpness)
    for b in range(n):
        row = rows + (pool.position[items[b]] - pool.first) * width
        positive_score = dot(old + b * width, row, width)
        if loss == LOSS_SOFTMAX:
            e = exponential(min(positive_score - 1, <real>0) * sharpness)
            probability = e / (e + total[b])
            result -= <double>scale[b] * log(<double>probability)
            pull[b] = scale[b] * sharpness * (1 - probability)
            scale[b] *= sharpness / (e + total[b])
        else:
            pull[b] = confidences[b] if confidences != NULL else 1
            result += <double>pull[b] * (1 - positive_score) + total[b]
        scaled_copy(user_gradient + b * width, -pull[b], row, width)
    if loss == LOSS_SOFTMAX:
        scale_columns(scores, scale, pool.size)
    slot = 0
    while slot < pool.size:
        size = run_of(pool, slot, &start)
        row = rows + start * width
        product(False, gradient, width, size, width, scores + slot * CONTRAST_BATCH, CONTRAST_BATCH, 1, old, width, n)
        product(True, user_gradient, width, n, width, scores + slot * CONTRAST_BATCH, 1, CONTRAST_BATCH, row, width, size)
        for r in range(size):
            step_on_sphere(row + r * width, pool_sums + (start + r) * sums if pool_sums != NULL else NULL,
                           gradient + r * width, rate, by_row, n_factors, width)
        slot += size
    for b in range(n):
        place = pool.position[items[b]] - pool.first
        scaled_copy(gradient, -pull[b], old + b * width, width)
        step_on_sphere(rows + place * width, pool_sums + place * sums if pool_sums != NULL else NULL, gradient, rate,
                       by_row, n_factors, width)
        step_on_sphere(user_factors + users[b] * width, user_sums + users[b] * sums if user_sums != NULL else NULL,
                       user_gradient + b * width, rate, by_row, n_factors, width)
    return result


def contrast_scratch(Py_ssize_t pool, Py_ssize_t width):
    """Elements of scratch that a worker needs."""
    return (3 * CONTRAST_BATCH + POOL_CHUNK) * width + pool * CONTRAST_BATCH


def contrast_epoch(
    const int64_t[::1] block_start,     # IN  (stripes * stripes + 1,) positives of each block, row-major grid
    const int32_t[::1] users,           # IN  (nnz,)
    const int32_t[::1] items,           # IN  (nnz,)
    const real[::1] confidences,        # IN  (nnz,) or empty
    const int64_t[::1] indptr,          # IN  (N + 1,) known positives
    const int32_t[::1] indices,         # IN
    const int32_t[::1] position,        # IN  (M,) place of each item in stripe order
    const int64_t[::1] item_start,      # IN  (stripes + 1,)
    const int64_t[::1] strata,          # IN  (stripes,) diagonal taken as s-th stratum
    int loss,                           # IN  LOSS_SOFTMAX or LOSS_MARGIN
    Py_ssize_t n_negatives,             # IN  largest pool
    double sharpness,                   # IN  1 / temperature, or the margin
    double weight,                      # IN  of the negatives, for the margin loss
    uint64_t seed,                      # IN
    uint64_t epoch,                     # IN
    real[:, ::1] user_factors,          # IN/OUT (N, width) unit rows, or zero without interactions
    real[:, ::1] item_factors,          # IN/OUT (rated, width) unit rows in stripe order
    real[:, ::1] user_sums,             # IN/OUT (N, sums) AdaGrad's sums, or (0, 0)
    real[:, ::1] item_sums,             # IN/OUT (rated, sums) in stripe order
    int rule,                           # IN  RULE_...
    double rate,                        # IN
    Py_ssize_t n_factors,               # IN
    real[::1] scratch,                  # SCRATCH contrast_scratch(n_negatives, width) of this worker
    int64_t[::1] counter,               # IN/OUT (1,) next block, shared by the workers
    int64_t[::1] user_clock,            # IN/OUT (stripes * 8,) strata done, one cache line a stripe
    int64_t[::1] item_clock,            # IN/OUT (stripes * 8,)
    int64_t[::1] diverged,              # IN/OUT (1,) set when a block's loss is not finite
    double[::1] losses,                 # OUT (stripes * stripes,) sum of the losses of each block
):
    """One worker's share of an epoch."""
    cdef Grid grid
    cdef Pool pool
    cdef Py_ssize_t width = user_factors.shape[1], sums = user_sums.shape[1], block, at, n
    cdef uint64_t stream
    cdef double total
    cdef real* adagrad = NULL
    cdef const real* weights
    grid = Grid(item_start.shape[0] - 1, &strata[0], &counter[0], &user_clock[0], &item_clock[0], &diverged[0], 0, 0, 0)
    if rule != RULE_PLAIN:
        adagrad = &user_sums[0, 0]
    with nogil:
        while True:
            block = begin_block(&grid)
            if block < 0:
                break
            pool.first = item_start[grid.j]
            pool.n_items = item_start[grid.j + 1] - pool.first
            pool.size = min(n_negatives, pool.n_items)
            pool.rows = &item_factors[pool.first, 0]
            pool.sums = NULL
            if rule != RULE_PLAIN:
                pool.sums = &item_sums[pool.first, 0]
            pool.position = &position[0]
            stream = stream_of(seed, 2 * epoch + 1, block)
            total = 0
            at = block_start[block]
            while at < block_start[block + 1]:
                n = min(block_start[block + 1] - at, CONTRAST_BATCH)
                pool.offset = draw_below(&stream, pool.n_items)
                weights = NULL
                if confidences.shape[0] > 0:
                    weights = &confidences[at]
                total += contrast_batch(loss, n, &users[at], &items[at], weights, &indptr[0], &indices[0], &pool,
                                        &user_factors[0, 0], adagrad, sums, rule, <real>rate, <real>sharpness,
                                        <real>weight, n_factors, width, &scratch[0])
                at += n
            losses[block] = total
            if total - total != 0:
                cymf_publish(&diverged[0], 1)
                break
            end_block(&grid)


def contrast_exponentials(
    const real[::1] x,                  # IN  (n,) not positive, n a multiple of CONTRAST_BATCH
    real[::1] by_vectors,               # OUT (n,) e^x
    real[::1] one_by_one,               # OUT (n,)
):
    """The exponentials of softmax, for tests."""
    cdef Py_ssize_t s
    for s in range(x.shape[0]):
        one_by_one[s] = exponential(x[s])
    for s in range(0, x.shape[0], CONTRAST_BATCH):
        if real is float:
            exponentials_of_f32(&by_vectors[s], &x[s])
        else:
            exponentials_of_f64(&by_vectors[s], &x[s])
