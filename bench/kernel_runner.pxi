# Timed loops around the kernels, in C: a monotonic clock, no Python object between its two readings.
#
# Included, after the kernels, in one module per instruction-set level that runner.py writes and compiles with the flags
# of setup.py. Every function fills `seconds` with the time of one repetition, once per sample; the first,
# unrecorded sample warms up.

from libc.string cimport memcpy

cdef extern from "peaks.h" nogil:
    double seconds_now()
    double fma_chains_f32(Py_ssize_t turns, float factor, float summand, float* sink)
    double fma_chains_f64(Py_ssize_t turns, double factor, double summand, double* sink)
    void read_in_order(const float* x, Py_ssize_t n, float* sink)
    void read_rows(const float* table, const int32_t* rows, Py_ssize_t n, Py_ssize_t width, float* sink)
    void triad(float* a, const float* b, const float* c, float factor, Py_ssize_t n)

cdef extern from "counting.h" nogil:
    void cymf_start_counting "start_counting"()

cdef float sink32 = 0       # results go here, so that no loop is idle in the compiler's eyes
cdef double sink64 = 0


def start_counting():
    """Let callgrind count from here on; every reading of the clock ends a section."""
    cymf_start_counting()


def time_fma(bint single, Py_ssize_t turns, double[::1] seconds):
    """Multiply-adds on registers; returns the flops of one sample."""
    cdef Py_ssize_t s
    cdef double started, flops = 0
    global sink32, sink64
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            if single:
                flops = fma_chains_f32(turns, 0.5, 1, &sink32)
            else:
                flops = fma_chains_f64(turns, 0.5, 1, &sink64)
            if s >= 0:
                seconds[s] = seconds_now() - started
    return flops


def time_read(const float[::1] x, Py_ssize_t repetitions, double[::1] seconds):
    """Read an array in order."""
    cdef Py_ssize_t s, r
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                read_in_order(&x[0], x.shape[0], &sink32)
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_triad(float[::1] a, const float[::1] b, const float[::1] c, Py_ssize_t repetitions, double[::1] seconds):
    """STREAM's triad."""
    cdef Py_ssize_t s, r
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                triad(&a[0], &b[0], &c[0], <float>(s + 2), a.shape[0])
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_gather(const float[:, ::1] table, const int32_t[::1] rows, Py_ssize_t repetitions, double[::1] seconds):
    """Read rows of a table in the order given."""
    cdef Py_ssize_t s, r
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                read_rows(&table[0, 0], &rows[0], rows.shape[0], table.shape[1], &sink32)
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_dot(
    const float[:, ::1] table,      # IN  (m, width)
    const int32_t[::1] rows,        # IN  (n,) rows to multiply with the first
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """n dot products with gathered rows."""
    cdef Py_ssize_t s, r, t, width = table.shape[1]
    cdef double started
    cdef float total
    global sink32
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                total = 0
                for t in range(rows.shape[0]):
                    total += dot(&table[0, 0], &table[rows[t], 0], width)
                sink32 += total
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_rank_k(
    float[:, ::1] gram,             # IN/OUT (n_rows, width)
    const float[:, ::1] batch,      # IN  (samples, width) gathered rows
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """One triangle of G += X'X for one batch of rows in the L1 cache."""
    cdef Py_ssize_t s, r
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                rank_k_update(True, &gram[0, 0], &batch[0, 0], gram.shape[0], gram.shape[1], batch.shape[0])
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_cholesky(
    bint solve,                     # IN  False: only the copies, to be taken off
    const float[:, ::1] system,     # IN  (n_rows, width) positive definite
    float[:, ::1] gram,             # SCRATCH the same
    const float[:, ::1] given,      # IN  (2, width) right-hand sides
    float[:, ::1] right,            # SCRATCH the same
    float[::1] inverse_diagonal,    # SCRATCH (n_rows,)
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """Factor a system with two right-hand sides, and solve for one."""
    cdef Py_ssize_t s, r, n_rows = gram.shape[0], width = gram.shape[1]
    cdef double started
    global sink32
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                memcpy(&gram[0, 0], &system[0, 0], n_rows * width * sizeof(float))
                memcpy(&right[0, 0], &given[0, 0], 2 * width * sizeof(float))
                sink32 += gram[r % n_rows, 0]
                if solve:
                    cholesky(&gram[0, 0], &right[0, 0], 2, n_rows, width, &inverse_diagonal[0], <float>1e-6)
                    back_substitute(&gram[0, 0], &right[0, 0], n_rows, width, &inverse_diagonal[0])
                    sink32 += right[0, 0]
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_als_rows(
    Py_ssize_t length,              # IN  ratings of each row
    const int32_t[::1] indices,     # IN  (rows * length,)
    const float[::1] values,        # IN  (rows * length,)
    const float[:, ::1] fixed,      # IN  (m, width)
    const float[::1] fixed_bias,    # IN  (m,)
    Py_ssize_t n_factors,
    float[:, ::1] solved,           # OUT (rows, width)
    float[::1] solved_bias,         # OUT (rows,)
    float[::1] scratch,
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """Solve all rows."""
    cdef Py_ssize_t s, r, i, failed = 0
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                for i in range(solved.shape[0]):
                    failed += als_solve_row(
                        length, &indices[i * length], &values[i * length], NULL, &fixed[0, 0], &fixed_bias[0],
                        n_factors, fixed.shape[1], <float>0, 10.0, 10.0, &solved[i, 0], &solved_bias[i], &scratch[0])
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions
    return failed


def time_als_cg_rows(
    Py_ssize_t length,              # IN  ratings of each row
    const int32_t[::1] indices,     # IN  (rows * length,)
    const float[::1] values,        # IN  (rows * length,)
    const float[:, ::1] fixed,      # IN  (m, width)
    const float[::1] fixed_bias,    # IN  (m,)
    const float[::1] mean_squares,  # IN  (width,) of the fixed side
    Py_ssize_t steps,
    float[:, ::1] solved,           # OUT (rows, width)
    float[::1] solved_bias,         # OUT (rows,)
    float[::1] scratch,
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """Move all rows a few conjugate gradient steps from zero."""
    cdef Py_ssize_t s, r, i, failed = 0
    cdef double started
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                for i in range(solved.shape[0]):
                    memset(&solved[i, 0], 0, solved.shape[1] * sizeof(float))
                    solved_bias[i] = 0
                    failed += als_cg_row(
                        length, &indices[i * length], &values[i * length], <const float*>NULL, &fixed[0, 0],
                        &fixed_bias[0], &mean_squares[0], steps, fixed.shape[1], <float>0, 10.0, 10.0, &solved[i, 0],
                        &solved_bias[i], &scratch[0])
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions
    return failed


def time_predict(
    const int64_t[::1] users,           # IN  (n,)
    const int64_t[::1] items,           # IN  (n,)
    const float[:, ::1] user_factors,   # IN  (N, k)
    const float[:, ::1] item_factors,   # IN  (M, k)
    const float[::1] user_bias,         # IN  (N,)
    const float[::1] item_bias,         # IN  (M,)
    float[::1] predictions,             # OUT (n,)
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """Predict pairs of rows."""
    cdef Py_ssize_t s, r
    cdef double started
    for s in range(-1, seconds.shape[0]):
        started = seconds_now()
        for r in range(repetitions):
            predict_pairs(users, items, user_factors, item_factors, user_bias, item_bias, 3.5, predictions)
        if s >= 0:
            seconds[s] = (seconds_now() - started) / repetitions


def time_call(
    work,                       # IN  called without arguments; what it costs beside the kernel is some microseconds
    int64_t[::1] counter,       # OUT (1,) becomes zero before each call: the next chunk to draw
    float[:, ::1] solved,       # OUT becomes zero before each call
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """A driver of the installed package that does all its chunks in one call."""
    cdef Py_ssize_t s, r
    cdef double started
    for s in range(-1, seconds.shape[0]):
        started = seconds_now()
        for r in range(repetitions):
            counter[0] = 0
            memset(&solved[0, 0], 0, solved.shape[0] * solved.shape[1] * sizeof(float))
            work()
        if s >= 0:
            seconds[s] = (seconds_now() - started) / repetitions


def time_sgd_block(
    const uint16_t[::1] sorted_users,   # IN  (n,)
    const uint16_t[::1] sorted_items,   # IN  (n,)
    const float[::1] values,            # IN  (n,)
    float[:, ::1] user_factors,         # IN/OUT (rows, width)
    float[:, ::1] item_factors,         # IN/OUT (m, width)
    float[::1] user_bias,               # IN/OUT
    float[::1] item_bias,               # IN/OUT
    const float[:, ::1] user_shrink,    # IN  (rows, 2)
    const float[:, ::1] item_shrink,    # IN  (m, 2)
    uint16_t[::1] users,                # SCRATCH (n,)
    uint16_t[::1] items,                # SCRATCH (n,)
    int64_t[::1] order,                 # SCRATCH (n,)
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """All ratings of a block, in the order that cymf gives them."""
    cdef Py_ssize_t s, r, t, n = sorted_users.shape[0]
    cdef double started
    global sink64
    with nogil:
        take_turns(&sorted_users[0], n, &order[0])
        for t in range(n):
            users[t] = sorted_users[order[t]]
            items[t] = sorted_items[order[t]]
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                sink64 += sgd_block(
                    n, &users[0], &items[0], &values[0], NULL, &user_factors[0, 0], &item_factors[0, 0],
                    &user_bias[0], &item_bias[0], &user_shrink[0, 0], &item_shrink[0, 0], <float>0, <float>1e-6,
                    user_factors.shape[1])
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions


def time_residual_gradient(
    Py_ssize_t length,              # IN  ratings of each row
    const int32_t[::1] indices,     # IN  (rows * length,)
    const float[::1] values,        # IN  (rows * length,)
    const float[:, ::1] factors,    # IN  (rows, width)
    const float[:, ::1] other,      # IN  (m, width)
    const float[::1] other_bias,    # IN  (m,)
    float[:, ::1] gradient,         # OUT (rows, width)
    Py_ssize_t repetitions,
    double[::1] seconds,
):
    """One direction's gradient of all rows."""
    cdef Py_ssize_t s, r, i
    cdef double started, bias_gradient
    global sink64
    with nogil:
        for s in range(-1, seconds.shape[0]):
            started = seconds_now()
            for r in range(repetitions):
                for i in range(factors.shape[0]):
                    memset(&gradient[i, 0], 0, gradient.shape[1] * sizeof(float))
                    sink64 += row_residual_gradient(
                        length, &indices[i * length], &values[i * length], <const float*>NULL, &factors[i, 0], <float>0,
                        &other[0, 0], &other_bias[0], factors.shape[1], &gradient[i, 0], &bias_gradient)
            if s >= 0:
                seconds[s] = (seconds_now() - started) / repetitions
