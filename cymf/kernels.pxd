# The kernels at C level, for ``cimport``: pointers and scalars, no checks, no Python, no GIL.
#
#     from cymf.kernels cimport als_scratch_size, als_solve_row_f32
#
# The functions are those of the instruction-set level that cymf chose at import. Thread safety: all may be called from
# any number of threads at once, as long as no two write the same memory (row, bias, gradient, scratch, factors). What
# a sanctioned caller may rely on is here; names are added, signatures are not changed. Factors are rows of `width`
# elements, n_factors rounded up to a multiple of 64 bytes, padded by zeros.

from libc.stdint cimport int32_t, uint16_t

cdef Py_ssize_t als_scratch_size(Py_ssize_t n_factors, Py_ssize_t width) noexcept nogil
cdef float dot_f32(
    const float* x, const float* y, Py_ssize_t n) noexcept nogil
cdef void rank_k_update_f32(
    bint add, float* gram, const float* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil
cdef int als_solve_row_f32(
    Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* fixed,
    const float* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, float mean, double reg, double reg_bias,
    float* row, float* bias, float* scratch) noexcept nogil
cdef double sgd_block_f32(
    Py_ssize_t n, const uint16_t* users, const uint16_t* items, const float* values, const float* weights,
    float* user_factors, float* item_factors, float* user_bias, float* item_bias, const float* user_shrink,
    const float* item_shrink, float mean, float rate, Py_ssize_t width) noexcept nogil
cdef double row_residual_gradient_f32(
    Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* row,
    float offset, const float* other, const float* other_bias, Py_ssize_t width, float* gradient,
    double* bias_gradient) noexcept nogil
cdef double dot_f64(
    const double* x, const double* y, Py_ssize_t n) noexcept nogil
cdef void rank_k_update_f64(
    bint add, double* gram, const double* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil
cdef int als_solve_row_f64(
    Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* fixed,
    const double* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, double mean, double reg, double reg_bias,
    double* row, double* bias, double* scratch) noexcept nogil
cdef double sgd_block_f64(
    Py_ssize_t n, const uint16_t* users, const uint16_t* items, const double* values, const double* weights,
    double* user_factors, double* item_factors, double* user_bias, double* item_bias, const double* user_shrink,
    const double* item_shrink, double mean, double rate, Py_ssize_t width) noexcept nogil
cdef double row_residual_gradient_f64(
    Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* row,
    double offset, const double* other, const double* other_bias, Py_ssize_t width, double* gradient,
    double* bias_gradient) noexcept nogil
