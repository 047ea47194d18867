# The solvers of Surprise in its own order of work: one rating after the other, grouped by user, in float64.
#
#   SVD     e = r - (mean + b_u + b_i + q_i.p_u)
#           b_u += lr_bu (e - reg_bu b_u)                 b_i += lr_bi (e - reg_bi b_i)
#           p_u += lr_pu (e q_i - reg_pu p_u)             q_i += lr_qi (e p_u - reg_qi q_i)      both from the old rows
#   SVD++   the same with p_u + s_u in place of p_u in the prediction and in q_i's step, s_u = |I_u|^-1/2 sum y_j,
#           y_j += lr_yj (e q_i |I_u|^-1/2 - reg_yj y_j)  for all j in I_u
#   NMF     numerators and denominators of the multiplicative step are summed over all ratings of an epoch
#
# Built without contraction of a * b + c into one rounding, and with sums in the order of their terms, so that results
# are Surprise's to the last digit. Sources: Koren 2008, "Factorization meets the neighborhood", section 3 and 4;
# Luo et al. 2014, "An efficient non-negative matrix-factorization-based approach to collaborative filtering".

from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t


def unpack_pairs(
    list rows,                      # IN  (n_runs,) lists of pairs (item, value): Surprise's trainset.ur
    int32_t[::1] indices,           # OUT (nnz,)
    double[::1] values,             # OUT (nnz,)
):
    """Write lists of pairs into arrays, one list after the other; the one kernel that needs the interpreter."""
    cdef Py_ssize_t s = 0
    cdef list row
    cdef tuple pair
    for row in rows:
        for pair in row:
            indices[s] = pair[0]
            values[s] = pair[1]
            s += 1


def svd_epoch(
    const int32_t[::1] users,       # IN  (n_runs,) users in Surprise's order
    const int64_t[::1] indptr,      # IN  (n_runs + 1,) their ratings
    const int32_t[::1] indices,     # IN  (nnz,) items
    const double[::1] values,       # IN  (nnz,)
    double[:, ::1] p,               # IN/OUT (n_users, n_factors)
    double[:, ::1] q,               # IN/OUT (n_items, n_factors)
    double[::1] bu,                 # IN/OUT (n_users,)
    double[::1] bi,                 # IN/OUT (n_items,)
    double mean,
    bint biased,
    const double[::1] rates,        # IN  of bu, bi, pu, qi
    const double[::1] regs,         # IN  of bu, bi, pu, qi
):
    """One epoch of SVD."""
    cdef Py_ssize_t n_factors = p.shape[1], run, u, i, f, s
    cdef double error, dot, pf, qf
    with nogil:
        for run in range(users.shape[0]):
            u = users[run]
            for s in range(indptr[run], indptr[run + 1]):
                i = indices[s]
                dot = 0
                for f in range(n_factors):
                    dot += q[i, f] * p[u, f]
                error = values[s] - (mean + bu[u] + bi[i] + dot)
                if biased:
                    bu[u] += rates[0] * (error - regs[0] * bu[u])
                    bi[i] += rates[1] * (error - regs[1] * bi[i])
                for f in range(n_factors):
                    pf = p[u, f]
                    qf = q[i, f]
                    p[u, f] += rates[2] * (error * qf - regs[2] * pf)
                    q[i, f] += rates[3] * (error * pf - regs[3] * qf)


def svdpp_epoch(
    const int32_t[::1] users,       # IN  (n_runs,)
    const int64_t[::1] indptr,      # IN  (n_runs + 1,)
    const int32_t[::1] indices,     # IN  (nnz,) items
    const double[::1] values,       # IN  (nnz,)
    double[:, ::1] p,               # IN/OUT (n_users, n_factors)
    double[:, ::1] q,               # IN/OUT (n_items, n_factors)
    double[:, ::1] y,               # IN/OUT (n_items, n_factors)
    double[::1] bu,                 # IN/OUT (n_users,)
    double[::1] bi,                 # IN/OUT (n_items,)
    double mean,
    const double[::1] rates,        # IN  of bu, bi, pu, qi, yj
    const double[::1] regs,         # IN  of bu, bi, pu, qi, yj
    double[::1] implied,            # SCRATCH (n_factors,) s_u
):
    """One epoch of SVD++, every y_j of the user updated after each of its ratings."""
    cdef Py_ssize_t n_factors = p.shape[1], run, u, i, j, f, s, t
    cdef double error, dot, pf, qf, root
    with nogil:
        for run in range(users.shape[0]):
            u = users[run]
            root = sqrt(<double>(indptr[run + 1] - indptr[run]))
            for s in range(indptr[run], indptr[run + 1]):
                i = indices[s]
                for f in range(n_factors):
                    implied[f] = 0
                for t in range(indptr[run], indptr[run + 1]):
                    j = indices[t]
                    for f in range(n_factors):
                        implied[f] += y[j, f] / root
                dot = 0
                for f in range(n_factors):
                    dot += q[i, f] * (p[u, f] + implied[f])
                error = values[s] - (mean + bu[u] + bi[i] + dot)
                bu[u] += rates[0] * (error - regs[0] * bu[u])
                bi[i] += rates[1] * (error - regs[1] * bi[i])
                for f in range(n_factors):
                    pf = p[u, f]
                    qf = q[i, f]
                    p[u, f] += rates[2] * (error * qf - regs[2] * pf)
                    q[i, f] += rates[3] * (error * (pf + implied[f]) - regs[3] * qf)
                    implied[f] = error * qf / root
                for t in range(indptr[run], indptr[run + 1]):
                    j = indices[t]
                    for f in range(n_factors):
                        y[j, f] += rates[4] * (implied[f] - regs[4] * y[j, f])


def svdpp_epoch_by_user(
    const int32_t[::1] users,       # IN  the arguments of svdpp_epoch
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const double[::1] values,
    double[:, ::1] p,
    double[:, ::1] q,
    double[:, ::1] y,
    double[::1] bu,
    double[::1] bi,
    double mean,
    const double[::1] rates,
    const double[::1] regs,
    double[::1] implied,            # SCRATCH (2 n_factors,) s_u, and the sum of its steps
):
    """The same epoch of SVD++ but for rounding, in O(nnz k) instead of O(sum |I_u|^2 k).

    All y_j of a user take the same steps y <- (1 - lr reg) y + lr g_t, g_t = e_t q_t |I_u|^-1/2, so that they need not be
    touched before its last rating: y <- (1 - lr reg)^n y + lr sum_t (1 - lr reg)^(n - t) g_t. Meanwhile their sum goes by
    s <- s + lr (e_t q_t - reg s).
    """
    cdef Py_ssize_t n_factors = p.shape[1], run, u, i, j, f, s, n
    cdef double error, dot, pf, qf, root, shrink
    cdef double* steps = &implied[n_factors]
    with nogil:
        for run in range(users.shape[0]):
            u = users[run]
            n = indptr[run + 1] - indptr[run]
            if n == 0:
                continue
            root = sqrt(<double>n)
            for f in range(n_factors):
                implied[f] = 0
                steps[f] = 0
            for s in range(indptr[run], indptr[run + 1]):
                j = indices[s]
                for f in range(n_factors):
                    implied[f] += y[j, f]
            for f in range(n_factors):
                implied[f] /= root
            shrink = (1 - rates[4] * regs[4]) ** n
            for s in range(indptr[run], indptr[run + 1]):
                i = indices[s]
                dot = 0
                for f in range(n_factors):
                    dot += q[i, f] * (p[u, f] + implied[f])
                error = values[s] - (mean + bu[u] + bi[i] + dot)
                bu[u] += rates[0] * (error - regs[0] * bu[u])
                bi[i] += rates[1] * (error - regs[1] * bi[i])
                for f in range(n_factors):
                    pf = p[u, f]
                    qf = q[i, f]
                    p[u, f] += rates[2] * (error * qf - regs[2] * pf)
                    q[i, f] += rates[3] * (error * (pf + implied[f]) - regs[3] * qf)
                    implied[f] += rates[4] * (error * qf - regs[4] * implied[f])
                    steps[f] += error * qf / root - regs[4] * steps[f] * rates[4]
            for s in range(indptr[run], indptr[run + 1]):
                j = indices[s]
                for f in range(n_factors):
                    y[j, f] = shrink * y[j, f] + rates[4] * steps[f]


def nmf_sums(
    const int32_t[::1] users,       # IN  (n_runs,)
    const int64_t[::1] indptr,      # IN  (n_runs + 1,)
    const int32_t[::1] indices,     # IN  (nnz,) items
    const double[::1] values,       # IN  (nnz,)
    const double[:, ::1] p,         # IN  (n_users, n_factors)
    const double[:, ::1] q,         # IN  (n_items, n_factors)
    double[::1] bu,                 # IN/OUT (n_users,)
    double[::1] bi,                 # IN/OUT (n_items,)
    double mean,
    bint biased,
    const double[::1] rates,        # IN  of bu, bi
    const double[::1] regs,         # IN  of bu, bi
    double[:, ::1] p_above,         # OUT (n_users, n_factors) numerators, sum of r q
    double[:, ::1] p_below,         # OUT denominators, sum of (predicted r) q
    double[:, ::1] q_above,         # OUT (n_items, n_factors)
    double[:, ::1] q_below,         # OUT
):
    """The sums of one epoch of NMF, added to arrays of zeros; biases are updated on the way."""
    cdef Py_ssize_t n_factors = p.shape[1], run, u, i, f, s
    cdef double error, dot, estimate, r
    with nogil:
        for run in range(users.shape[0]):
            u = users[run]
            for s in range(indptr[run], indptr[run + 1]):
                i = indices[s]
                r = values[s]
                dot = 0
                for f in range(n_factors):
                    dot += q[i, f] * p[u, f]
                estimate = mean + bu[u] + bi[i] + dot
                error = r - estimate
                if biased:
                    bu[u] += rates[0] * (error - regs[0] * bu[u])
                    bi[i] += rates[1] * (error - regs[1] * bi[i])
                for f in range(n_factors):
                    p_above[u, f] += q[i, f] * r
                    p_below[u, f] += q[i, f] * estimate
                    q_above[i, f] += p[u, f] * r
                    q_below[i, f] += p[u, f] * estimate
