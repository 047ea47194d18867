"""The compiled kernels at C level; ``kernels.pxd`` beside this module is their documentation for ``cimport``.

From Python this module has only ``get_include()``.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer

include "_kernels/kernel_table.pxi"

from cymf._kernels import kernels as _chosen

cdef KernelTable* _table = <KernelTable*>PyCapsule_GetPointer(_chosen.kernel_table, "cymf.kernel_table")


def get_include() -> str:
    """Return the folder to give to Cython's include path, the one that holds the package ``cymf``."""
    from pathlib import Path

    return str(Path(__file__).parents[1])


cdef Py_ssize_t als_scratch_size(Py_ssize_t n_factors, Py_ssize_t width) noexcept nogil:
    """Elements of scratch that als_solve_row needs."""
    return _table.als_scratch_size(n_factors, width)


cdef float dot_f32(
    const float* x, const float* y, Py_ssize_t n) noexcept nogil:
    """x . y; n is a multiple of the vector width (any multiple of 64 bytes will do)"""
    return _table.dot_f32(x, y, n)


cdef void rank_k_update_f32(
    bint add, float* gram, const float* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    """Upper triangle of gram (=, += if add) X'X for rows X (samples, width).

    gram is (n_rows, width), n_rows a multiple of four and width of the vector width; entries left of the diagonal within
    the first vector of a row are written too.
    """
    _table.rank_k_update_f32(add, gram, rows, n_rows, width, samples)


cdef int als_solve_row_f32(
    Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* fixed,
    const float* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, float mean, double reg, double reg_bias,
    float* row, float* bias, float* scratch) noexcept nogil:
    """Least squares of one row: factors and bias from its n > 0 ratings, the other side fixed.

    Solves (X'X + reg I) w = X'y, bordered by the bias, with y_j = values_j - mean - fixed_bias_j and the rows of X taken
    from `fixed` (m, width) at `indices`, padded by zeros. `reg` and `reg_bias` are already multiplied by n^nu. NULL
    weights are all 1, NULL fixed_bias means no biases (bias is then not touched). Returns 0, 1 where the system is
    singular to working precision (row is then not to be used), 2 where the solution is not finite. `scratch` holds
    als_scratch_size(n_factors, width) elements.
    """
    return _table.als_solve_row_f32(
        n, indices, values, weights, fixed, fixed_bias, n_factors, width, mean, reg, reg_bias, row, bias, scratch)


cdef double sgd_block_f32(
    Py_ssize_t n, const uint16_t* users, const uint16_t* items, const float* values, const float* weights,
    float* user_factors, float* item_factors, float* user_bias, float* item_bias, const float* user_shrink,
    const float* item_shrink, float mean, float rate, Py_ssize_t width) noexcept nogil:
    """SGD steps, one rating after the other; returns the sum of c e^2, e taken before each update.

    Both rows and both biases from their old values: w <- shrink_w w + rate c e h, and so on. `users` and `items` are row
    numbers within `user_factors` and `item_factors` (rows, width), padded by zeros; `user_shrink` and `item_shrink`
    (rows, 2) hold 1 - rate * penalty of factors and of bias. NULL user_bias means no biases, NULL weights are all 1.
    """
    return _table.sgd_block_f32(
        n, users, items, values, weights, user_factors, item_factors, user_bias, item_bias, user_shrink,
        item_shrink, mean, rate, width)


cdef double row_residual_gradient_f32(
    Py_ssize_t n, const int32_t* indices, const float* values, const float* weights, const float* row,
    float offset, const float* other, const float* other_bias, Py_ssize_t width, float* gradient,
    double* bias_gradient) noexcept nogil:
    """One row's share of EV: gradient += sum_j c_j e_j v_j with e_j = offset + row.v_j + other_bias_j - values_j.

    `offset` is the mean plus the row's bias. `bias_gradient` gets sum_j c_j e_j. Returns sum_j c_j e_j^2.
    """
    return _table.row_residual_gradient_f32(
        n, indices, values, weights, row, offset, other, other_bias, width, gradient, bias_gradient)


cdef double dot_f64(
    const double* x, const double* y, Py_ssize_t n) noexcept nogil:
    """x . y; n is a multiple of the vector width (any multiple of 64 bytes will do)"""
    return _table.dot_f64(x, y, n)


cdef void rank_k_update_f64(
    bint add, double* gram, const double* rows, Py_ssize_t n_rows, Py_ssize_t width, Py_ssize_t samples) noexcept nogil:
    """Upper triangle of gram (=, += if add) X'X for rows X (samples, width).

    gram is (n_rows, width), n_rows a multiple of four and width of the vector width; entries left of the diagonal within
    the first vector of a row are written too.
    """
    _table.rank_k_update_f64(add, gram, rows, n_rows, width, samples)


cdef int als_solve_row_f64(
    Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* fixed,
    const double* fixed_bias, Py_ssize_t n_factors, Py_ssize_t width, double mean, double reg, double reg_bias,
    double* row, double* bias, double* scratch) noexcept nogil:
    """Least squares of one row: factors and bias from its n > 0 ratings, the other side fixed.

    Solves (X'X + reg I) w = X'y, bordered by the bias, with y_j = values_j - mean - fixed_bias_j and the rows of X taken
    from `fixed` (m, width) at `indices`, padded by zeros. `reg` and `reg_bias` are already multiplied by n^nu. NULL
    weights are all 1, NULL fixed_bias means no biases (bias is then not touched). Returns 0, 1 where the system is
    singular to working precision (row is then not to be used), 2 where the solution is not finite. `scratch` holds
    als_scratch_size(n_factors, width) elements.
    """
    return _table.als_solve_row_f64(
        n, indices, values, weights, fixed, fixed_bias, n_factors, width, mean, reg, reg_bias, row, bias, scratch)


cdef double sgd_block_f64(
    Py_ssize_t n, const uint16_t* users, const uint16_t* items, const double* values, const double* weights,
    double* user_factors, double* item_factors, double* user_bias, double* item_bias, const double* user_shrink,
    const double* item_shrink, double mean, double rate, Py_ssize_t width) noexcept nogil:
    """SGD steps, one rating after the other; returns the sum of c e^2, e taken before each update.

    Both rows and both biases from their old values: w <- shrink_w w + rate c e h, and so on. `users` and `items` are row
    numbers within `user_factors` and `item_factors` (rows, width), padded by zeros; `user_shrink` and `item_shrink`
    (rows, 2) hold 1 - rate * penalty of factors and of bias. NULL user_bias means no biases, NULL weights are all 1.
    """
    return _table.sgd_block_f64(
        n, users, items, values, weights, user_factors, item_factors, user_bias, item_bias, user_shrink,
        item_shrink, mean, rate, width)


cdef double row_residual_gradient_f64(
    Py_ssize_t n, const int32_t* indices, const double* values, const double* weights, const double* row,
    double offset, const double* other, const double* other_bias, Py_ssize_t width, double* gradient,
    double* bias_gradient) noexcept nogil:
    """One row's share of EV: gradient += sum_j c_j e_j v_j with e_j = offset + row.v_j + other_bias_j - values_j.

    `offset` is the mean plus the row's bias. `bias_gradient` gets sum_j c_j e_j. Returns sum_j c_j e_j^2.
    """
    return _table.row_residual_gradient_f64(
        n, indices, values, weights, row, offset, other, other_bias, width, gradient, bias_gradient)
