# Fills this level's table of pointers and offers it to cymf.kernels.

from cpython.pycapsule cimport PyCapsule_New

include "kernel_table.pxi"

cdef KernelTable _table
_table.als_scratch_size = scratch_size
_table.dot_f32 = dot[float]
_table.rank_k_update_f32 = rank_k_update[float]
_table.als_solve_row_f32 = als_solve_row[int32_t, float]
_table.sgd_block_f32 = sgd_block[float]
_table.row_residual_gradient_f32 = row_residual_gradient[int32_t, float]
_table.dot_f64 = dot[double]
_table.rank_k_update_f64 = rank_k_update[double]
_table.als_solve_row_f64 = als_solve_row[int32_t, double]
_table.sgd_block_f64 = sgd_block[double]
_table.row_residual_gradient_f64 = row_residual_gradient[int32_t, double]
kernel_table = PyCapsule_New(&_table, "cymf.kernel_table", NULL)
