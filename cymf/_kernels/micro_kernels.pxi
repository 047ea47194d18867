# The micro-kernels of micro_kernels.h under one name for both types.

from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t

ctypedef fused real:
    float
    double

ctypedef fused index:
    int32_t
    int64_t

cdef extern from "micro_kernels.h" nogil:
    const int CYMF_VECTOR_BYTES
    void cymf_prefetch_row(const void* row, Py_ssize_t bytes)
    float dot_f32(const float* x, const float* y, Py_ssize_t n)
    double dot_f64(const double* x, const double* y, Py_ssize_t n)
    void dot4_f32(float* sums, const float** X, const float* y, Py_ssize_t n)
    void dot4_f64(double* sums, const double** X, const double* y, Py_ssize_t n)
    void axpy_f32(float* y, float a, const float* x, Py_ssize_t n)
    void axpy_f64(double* y, double a, const double* x, Py_ssize_t n)
    void axpy4_f32(float* y, const float* a, const float* x0, const float* x1, const float* x2, const float* x3, Py_ssize_t n)
    void axpy4_f64(double* y, const double* a, const double* x0, const double* x1, const double* x2, const double* x3, Py_ssize_t n)
    void scaled_copy_f32(float* y, float a, const float* x, Py_ssize_t n)
    void scaled_copy_f64(double* y, double a, const double* x, Py_ssize_t n)
    void scaled_transpose_f32(float* T, Py_ssize_t ldt, const float** row, const float* scale, Py_ssize_t n)
    void scaled_transpose_f64(double* T, Py_ssize_t ldt, const double** row, const double* scale, Py_ssize_t n)
    void sgd_step_f32(float* w, float* h, float step, float shrink_w, float shrink_h, Py_ssize_t n)
    void sgd_step_f64(double* w, double* h, double step, double shrink_w, double shrink_h, Py_ssize_t n)
    void rank_k_update_f32(int add, float* G, const float* X, Py_ssize_t n_rows, Py_ssize_t n, Py_ssize_t samples)
    void rank_k_update_f64(int add, double* G, const double* X, Py_ssize_t n_rows, Py_ssize_t n, Py_ssize_t samples)
    void rank_k_gathered_f32(int add, int n_right, float* G, float* R, Py_ssize_t n_rows, Py_ssize_t n, const float** X, const float* T, Py_ssize_t samples, const float** next, Py_ssize_t n_next)
    void combination_f32(int add, float* y, const float* a, const float** X, Py_ssize_t n, Py_ssize_t samples)
    void rank_k_right_f32(int add, int n_right, float* R, const float* T, const float* X, Py_ssize_t n, Py_ssize_t samples)
    void rank_k_gathered_f64(int add, int n_right, double* G, double* R, Py_ssize_t n_rows, Py_ssize_t n, const double** X, const double* T, Py_ssize_t samples, const double** next, Py_ssize_t n_next)
    void combination_f64(int add, double* y, const double* a, const double** X, Py_ssize_t n, Py_ssize_t samples)
    void rank_k_right_f64(int add, int n_right, double* R, const double* T, const double* X, Py_ssize_t n, Py_ssize_t samples)
    Py_ssize_t cholesky_f32(float* G, float* R, int n_right, Py_ssize_t n_rows, Py_ssize_t n, float* inverse_diagonal, float tolerance)
    Py_ssize_t cholesky_f64(double* G, double* R, int n_right, Py_ssize_t n_rows, Py_ssize_t n, double* inverse_diagonal, double tolerance)
    void back_substitute_f32(const float* G, float* x, Py_ssize_t n_rows, Py_ssize_t n, const float* inverse_diagonal)
    void back_substitute_f64(const double* G, double* x, Py_ssize_t n_rows, Py_ssize_t n, const double* inverse_diagonal)

cdef extern from "threads.h" nogil:
    int64_t cymf_draw(int64_t* counter)
    int64_t cymf_read(const int64_t* clock)
    void cymf_publish(int64_t* clock, int64_t time)
    int cymf_wait(const int64_t* clock, int64_t time, const int64_t* stop)


cdef inline real dot(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    if real is float:
        return dot_f32(x, y, n)
    else:
        return dot_f64(x, y, n)


cdef inline void dot4(real* sums, const real** rows, const real* y, Py_ssize_t n) noexcept nogil:
    if real is float:
        dot4_f32(sums, rows, y, n)
    else:
        dot4_f64(sums, rows, y, n)


cdef inline void axpy(real* y, real a, const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        axpy_f32(y, a, x, n)
    else:
        axpy_f64(y, a, x, n)


cdef inline void axpy4(real* y, const real* a, const real* x0, const real* x1, const real* x2, const real* x3, Py_ssize_t n) noexcept nogil:
    if real is float:
        axpy4_f32(y, a, x0, x1, x2, x3, n)
    else:
        axpy4_f64(y, a, x0, x1, x2, x3, n)


cdef inline void scaled_copy(real* y, real a, const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        scaled_copy_f32(y, a, x, n)
    else:
        scaled_copy_f64(y, a, x, n)


cdef inline void scaled_transpose(real* columns, Py_ssize_t ldt, const real** rows, const real* scale, Py_ssize_t n) noexcept nogil:
    if real is float:
        scaled_transpose_f32(columns, ldt, rows, scale, n)
    else:
        scaled_transpose_f64(columns, ldt, rows, scale, n)


cdef inline void sgd_step(real* w, real* h, real step, real shrink_w, real shrink_h, Py_ssize_t n) noexcept nogil:
    if real is float:
        sgd_step_f32(w, h, step, shrink_w, shrink_h, n)
    else:
        sgd_step_f64(w, h, step, shrink_w, shrink_h, n)


cdef inline void rank_k_update(bint add, real* gram, const real* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    if real is float:
        rank_k_update_f32(add, gram, rows, n_rows, width, samples)
    else:
        rank_k_update_f64(add, gram, rows, n_rows, width, samples)


cdef inline void rank_k_right(bint add, int n_right, real* right, const real* targets, const real* rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    if real is float:
        rank_k_right_f32(add, n_right, right, targets, rows, width, samples)
    else:
        rank_k_right_f64(add, n_right, right, targets, rows, width, samples)


cdef inline void rank_k_gathered(bint add, int n_right, real* gram, real* right, Py_ssize_t n_rows, Py_ssize_t width, const real** rows, const real* targets, Py_ssize_t samples, const real** next_rows, Py_ssize_t n_next) noexcept nogil:
    if real is float:
        rank_k_gathered_f32(add, n_right, gram, right, n_rows, width, rows, targets, samples, next_rows, n_next)
    else:
        rank_k_gathered_f64(add, n_right, gram, right, n_rows, width, rows, targets, samples, next_rows, n_next)


cdef inline void combination(bint add, real* y, const real* a, const real** rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    if real is float:
        combination_f32(add, y, a, rows, width, samples)
    else:
        combination_f64(add, y, a, rows, width, samples)


cdef inline Py_ssize_t cholesky(real* gram, real* right, int n_right, Py_ssize_t n_rows, Py_ssize_t width, real* inverse_diagonal, real tolerance) noexcept nogil:
    if real is float:
        return cholesky_f32(gram, right, n_right, n_rows, width, inverse_diagonal, tolerance)
    else:
        return cholesky_f64(gram, right, n_right, n_rows, width, inverse_diagonal, tolerance)


cdef inline void back_substitute(const real* gram, real* x, Py_ssize_t n_rows, Py_ssize_t width, const real* inverse_diagonal) noexcept nogil:
    if real is float:
        back_substitute_f32(gram, x, n_rows, width, inverse_diagonal)
    else:
        back_substitute_f64(gram, x, n_rows, width, inverse_diagonal)
