# Non-negative rows where zeros are data: all rows of one side have the Gram matrix of the other in common.
#
#   minimize over w >= 0:  1/2 w'(G + reg I) w - (r - reg_l1 1)'w,   G = H'H,   r = sum_j a_j h_j over the cells that are not zero
#
# Zeros enter through G alone, so that the products r cost 2k flops a stored cell, however large the matrix. Rows are then
# solved four vectors of them at a time, one row a lane: 2k^2 flops a row and pass. The objective's data term needs nothing more:
#
#   1/2 |A - W H'|^2 = 1/2 |A|^2 - sum_i w_i.r_i + 1/2 <W'W, G>.

cdef extern from "nonnegative.h" nogil:
    const int CYMF_BLOCK_VECTORS
    void descend_block_f32(const float* G, Py_ssize_t ldg, const float* inverse, float l1, float* W, const float* R, Py_ssize_t k, Py_ssize_t passes, float precision)
    void descend_block_f64(const double* G, Py_ssize_t ldg, const double* inverse, double l1, double* W, const double* R, Py_ssize_t k, Py_ssize_t passes, double precision)
    void multiply_block_f32(const float* G, Py_ssize_t ldg, float l1, float* W, const float* R, float* denominators, Py_ssize_t k)
    void multiply_block_f64(const double* G, Py_ssize_t ldg, double l1, double* W, const double* R, double* denominators, Py_ssize_t k)
    void into_lanes_f32(float* T, const float* A, Py_ssize_t lda, Py_ssize_t n_rows, Py_ssize_t k)
    void into_lanes_f64(double* T, const double* A, Py_ssize_t lda, Py_ssize_t n_rows, Py_ssize_t k)
    void out_of_lanes_f32(float* A, Py_ssize_t lda, const float* T, Py_ssize_t n_rows, Py_ssize_t k)
    void out_of_lanes_f64(double* A, Py_ssize_t lda, const double* T, Py_ssize_t n_rows, Py_ssize_t k)


cdef inline void descend_block(const real* G, Py_ssize_t ldg, const real* inverse, real l1, real* W, const real* R, Py_ssize_t k, Py_ssize_t passes, real precision) noexcept nogil:
    if real is float:
        descend_block_f32(G, ldg, inverse, l1, W, R, k, passes, precision)
    else:
        descend_block_f64(G, ldg, inverse, l1, W, R, k, passes, precision)


cdef inline void multiply_block(const real* G, Py_ssize_t ldg, real l1, real* W, const real* R, real* denominators, Py_ssize_t k) noexcept nogil:
    if real is float:
        multiply_block_f32(G, ldg, l1, W, R, denominators, k)
    else:
        multiply_block_f64(G, ldg, l1, W, R, denominators, k)


cdef inline void into_lanes(real* T, const real* A, Py_ssize_t lda, Py_ssize_t n_rows, Py_ssize_t k) noexcept nogil:
    if real is float:
        into_lanes_f32(T, A, lda, n_rows, k)
    else:
        into_lanes_f64(T, A, lda, n_rows, k)


cdef inline void out_of_lanes(real* A, Py_ssize_t lda, const real* T, Py_ssize_t n_rows, Py_ssize_t k) noexcept nogil:
    if real is float:
        out_of_lanes_f32(A, lda, T, n_rows, k)
    else:
        out_of_lanes_f64(A, lda, T, n_rows, k)


def nonnegative_products(
    const int64_t[::1] indptr,      # IN  (rows + 1,)
    const index[::1] indices,       # IN  (nnz,) rows of the fixed side
    const real[::1] values,         # IN  (nnz,)
    const real[:, ::1] fixed,       # IN  (m, width)
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    real[:, ::1] products,          # OUT (rows, width) r_i
):
    """One worker's share of the products of a sparse matrix and the fixed factors."""
    cdef Py_ssize_t width = fixed.shape[1], chunk, n_chunks = chunks.shape[0] - 1, i, s, r, size
    cdef const real* rows[ROWS_AT_ONCE]
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for i in range(chunks[chunk], chunks[chunk + 1]):
                if indptr[i] == indptr[i + 1]:
                    memset(&products[i, 0], 0, width * sizeof(real))
                s = indptr[i]
                while s < indptr[i + 1]:
                    size = min(<Py_ssize_t>ROWS_AT_ONCE, indptr[i + 1] - s)
                    for r in range(size):
                        rows[r] = &fixed[indices[s + r], 0]
                    combination(s > indptr[i], &products[i, 0], &values[s], rows, width, size)
                    s += size


cdef Py_ssize_t lanes_at_once(Py_ssize_t itemsize) noexcept nogil:
    return CYMF_BLOCK_VECTORS * (CYMF_VECTOR_BYTES // itemsize)


def nonnegative_shared_scratch_size(Py_ssize_t n_factors, Py_ssize_t itemsize):
    """Elements of scratch one worker needs: rows, products and denominators of a block, and a diagonal."""
    return 3 * n_factors * lanes_at_once(itemsize) + n_factors


def nonnegative_shared_rows(
    const real[:, ::1] products,    # IN  (rows, width) r_i
    const real[:, ::1] gram,        # IN  (n_factors, n_factors) G + reg I
    double reg_l1,                  # IN
    Py_ssize_t max_passes,          # IN  of coordinate descent; 0 is one multiplicative update
    double precision,               # IN
    real[:, ::1] solved,            # IN/OUT (rows, width), >= 0
    const int64_t[::1] chunks,      # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,           # IN/OUT (1,) next chunk, shared by the workers
    double[::1] sums,               # OUT (n_chunks,) sum_i w_i.r_i
    real[::1] scratch,              # SCRATCH of this worker
):
    """One worker's share of the rows, solved from where they are."""
    cdef Py_ssize_t k = gram.shape[0], width = solved.shape[1], lanes = lanes_at_once(sizeof(real))
    cdef Py_ssize_t chunk, n_chunks = chunks.shape[0] - 1, i, start, size, f
    cdef real* rows = &scratch[0]
    cdef real* right = rows + k * lanes
    cdef real* denominators = right + k * lanes
    cdef real* inverse = denominators + k * lanes
    cdef double total
    for f in range(k):
        inverse[f] = 1 / gram[f, f] if gram[f, f] > 0 else 0
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            total = 0
            start = chunks[chunk]
            while start < chunks[chunk + 1]:
                size = min(lanes, chunks[chunk + 1] - start)
                into_lanes(rows, <const real*>&solved[start, 0], width, size, k)
                into_lanes(right, &products[start, 0], width, size, k)
                if max_passes == 0:
                    multiply_block(&gram[0, 0], k, <real>reg_l1, rows, right, denominators, k)
                else:
                    descend_block(&gram[0, 0], k, inverse, <real>reg_l1, rows, right, k, max_passes, <real>precision)
                out_of_lanes(&solved[start, 0], width, <const real*>rows, size, k)
                for i in range(start, start + size):
                    total += dot(<const real*>&solved[i, 0], &products[i, 0], width)
                start += size
            sums[chunk] = total
