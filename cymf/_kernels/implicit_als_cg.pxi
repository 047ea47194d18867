# Implicit ALS, inexact: a few steps of preconditioned conjugate gradients a row, from where the row is.
#
# The system of implicit_als.pxi, A x = r with A = B + sum_obs d g g', is never formed. The fixed side being rotated, the
# base B is a diagonal, so that a step is one pass over the rated rows, 4 q flops a rating, and no product with G.
# Preconditioner: the diagonal B + (sum_obs d) m, m the mean square of each rotated factor over the fixed side's
# observed cells. A row's quadratic never rises, so neither does the objective.
# Sources: Hestenes and Stiefel 1952; Takacs, Pilaszy and Tikk 2011, "Applications of the conjugate gradient method for
# implicit feedback collaborative filtering".
#
# The last step needs no residual after it, so that its pass is one of products alone.

cdef inline real rated_product(
    Py_ssize_t n,               # IN
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r, or NULL
    const real* fixed,          # IN  (m, width)
    Py_ssize_t width,           # IN
    const real* direction,      # IN  (width,) p
    real* product,              # IN/OUT (width,) += sum d (g.p) g - r g; or NULL
) noexcept nogil:
    """Returns sum d (g.p)^2."""
    cdef const real* rated[IMPLICIT_BATCH]
    cdef real along[IMPLICIT_BATCH]
    cdef Py_ssize_t start = 0, size = 0, t
    cdef real total = 0
    while start + size < n:
        start += size
        size = min(<Py_ssize_t>IMPLICIT_BATCH, n - start)
        for t in range(size):
            rated[t] = fixed + indices[start + t] * width
        products(along, rated, direction, width, size)
        for t in range(size):
            total += weights[start + t] * along[t] * along[t]
        if product == NULL:
            continue
        if pulls == NULL:
            for t in range(size):
                along[t] = weights[start + t] * along[t]
        else:
            for t in range(size):
                along[t] = weights[start + t] * along[t] - pulls[start + t]
        combination(True, product, along, rated, width, size)
    return total


cdef int implicit_cg_row(
    Py_ssize_t n,               # IN  observed cells of this row
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d
    const real* pulls,          # IN  (n,) r
    const real* fixed,          # IN  (m, width), padded by zeros
    const real* mean_squares,   # IN  (width,) m
    Py_ssize_t steps,           # IN
    Py_ssize_t width,           # IN
    const real* eigenvalues,    # IN  (width,) of G
    const real* constant,       # IN  (width,) t, or NULL
    double base,                # IN  s
    double reg,                 # IN
    real* row,                  # IN/OUT (width,)
    real* scratch,              # SCRATCH 5 width elements
) noexcept nogil:
    cdef real* residual = scratch
    cdef real* direction = residual + width
    cdef real* product = direction + width
    cdef real* inverse = product + width
    cdef real* diagonal = inverse + width
    cdef Py_ssize_t f, t, step
    cdef real s = <real>base, penalty = <real>reg, total = 0, size, before, curvature, ratio
    for t in range(n):
        total += weights[t]
    for f in range(width):
        diagonal[f] = s * eigenvalues[f] + penalty
        inverse[f] = 1 / (diagonal[f] + total * mean_squares[f])
        residual[f] = diagonal[f] * row[f]
    if constant != NULL:
        axpy(residual, s, constant, width)
    rated_product(n, indices, weights, pulls, fixed, width, row, residual)
    for f in range(width):
        residual[f] = -residual[f]
        direction[f] = inverse[f] * residual[f]
    size = dot(residual, direction, width)
    for step in range(steps):
        if not size > 0:
            break
        for f in range(width):
            product[f] = diagonal[f] * direction[f]
        curvature = dot(direction, product, width)
        curvature += rated_product[index, real](n, indices, weights, NULL, fixed, width, direction,
                                                product if step + 1 < steps else NULL)
        if not curvature > 0:
            break
        ratio = size / curvature
        axpy(row, ratio, direction, width)
        if step + 1 == steps:
            break
        axpy(residual, -ratio, product, width)
        for f in range(width):
            product[f] = inverse[f] * residual[f]
        before = size
        size = dot(residual, product, width)
        ratio = size / before
        for f in range(width):
            direction[f] = product[f] + ratio * direction[f]
    if size - size != 0:
        return ROW_NOT_FINITE
    return finite_status(row, width)
