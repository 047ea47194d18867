# Implicit sets: what a row's set says about it, drawn vector by vector.
#
# A row x_i has the mean m + s_i sum_{j in S_i} v_j beforehand, s_i = |S_i|^-1/2 (SVD++: Koren 2008, "Factorization meets the
# neighborhood", section 3.3, with the row's whole mean instead of its factors' alone). Given the rows, the v_j are the coefficients of a
# linear regression. In coordinates in which both the rows around their means have the unit covariance and the v_j have the
# diagonal precision D, columns are independent, and with the residuals r_i = x_i - m - s_i sum v_j a coefficient is
#
#   v_jf ~ N((sum_{i: j in S_i} s_i r_if + d_j v_jf) / (D_f + d_j), 1 / (D_f + d_j)),      d_j = sum_{i: j in S_i} s_i^2
#
# after which the residuals of its rows change by s_i times its change. Cost: 4 flops a member and column. A worker takes
# a strip of columns, one cache line wide, through all vectors; so the result does not depend on who takes which.


def bayesian_set_sweep(
    const int64_t[::1] indptr,      # IN  (vectors + 1,) members of each vector: the rows i with j in S_i
    const index[::1] members,       # IN  (nnz,)
    const real[::1] scales,         # IN  (rows,) s
    const double[::1] sums,         # IN  (vectors,) d
    const double[::1] precision,    # IN  (width,) D; infinite in padding
    uint64_t seed,                  # IN  the stream of vector j, strip c is that of (seed, epoch, j * strips + c)
    uint64_t epoch,                 # IN
    int64_t[::1] counter,           # IN/OUT (1,) next strip, shared by the workers
    real[:, ::1] residuals,         # IN/OUT (rows, width) r
    real[:, ::1] vectors,           # IN/OUT (vectors, width) v; those without members stay as they are
):
    """One worker's share of a sweep over all vectors."""
    cdef Py_ssize_t lanes = 64 // sizeof(real), width = residuals.shape[1], n_strips = width // lanes
    cdef Py_ssize_t strip, j, f, t, first
    cdef int64_t begin, end
    cdef real change[16]
    cdef double z[16]
    cdef double total, d, drawn
    cdef real* rows = &residuals[0, 0]
    cdef real* v
    with nogil:
        while True:
            strip = cymf_draw(&counter[0])
            if strip >= n_strips:
                break
            first = strip * lanes
            for j in range(vectors.shape[0]):
                begin = indptr[j]
                end = indptr[j + 1]
                if begin == end:
                    continue
                for f in range(lanes):
                    change[f] = 0
                for t in range(begin, end):
                    axpy(change, scales[members[t]], rows + members[t] * width + first, lanes)
                standard_normals(stream_of(seed, epoch, j * n_strips + strip), z, lanes)
                v = &vectors[j, 0] + first
                d = sums[j]
                for f in range(lanes):
                    total = precision[first + f] + d
                    drawn = (change[f] + d * v[f]) / total + z[f] / sqrt(total)
                    change[f] = <real>drawn - v[f]
                    v[f] = <real>drawn
                for t in range(begin, end):
                    axpy(rows + members[t] * width + first, -scales[members[t]], change, lanes)
