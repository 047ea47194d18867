# The kernels behind pointers, one table for each instruction-set level; kernels.pxd documents the functions.

from libc.stdint cimport int32_t, uint16_t

cdef struct KernelTable:
    Py_ssize_t (*als_scratch_size)(Py_ssize_t n_factors, Py_ssize_t width) noexcept nogil
    float (*dot_f32)(
        const float* x, const float* y, Py_ssize_t n) noexcept nogil
    void (*rank_k_update_f32)(
        bint add, float* gram, const float* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil
    int (*als_solve_row_f32)(
        Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* fixed,
        const float* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, float mean, double reg, double reg_bias,
        float* row, float* bias, float* scratch) noexcept nogil
    double (*sgd_block_f32)(
        Py_ssize_t n, const uint16_t* users, const uint16_t* items, const float* values, const float* weights,
        float* user_factors, float* item_factors, float* user_bias, float* item_bias, const float* user_shrink,
        const float* item_shrink, float mean, float rate, Py_ssize_t width) noexcept nogil
    double (*row_residual_gradient_f32)(
        Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* row,
        float offset, const float* other, const float* other_bias, Py_ssize_t width, float* gradient,
        double* bias_gradient) noexcept nogil
    double (*dot_f64)(
        const double* x, const double* y, Py_ssize_t n) noexcept nogil
    void (*rank_k_update_f64)(
        bint add, double* gram, const double* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil
    int (*als_solve_row_f64)(
        Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* fixed,
        const double* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, double mean, double reg, double reg_bias,
        double* row, double* bias, double* scratch) noexcept nogil
    double (*sgd_block_f64)(
        Py_ssize_t n, const uint16_t* users, const uint16_t* items, const double* values, const double* weights,
        double* user_factors, double* item_factors, double* user_bias, double* item_bias,
        const double* user_shrink, const double* item_shrink, double mean, double rate, Py_ssize_t width) noexcept nogil
    double (*row_residual_gradient_f64)(
        Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* row,
        double offset, const double* other, const double* other_bias, Py_ssize_t width, double* gradient,
        double* bias_gradient) noexcept nogil
