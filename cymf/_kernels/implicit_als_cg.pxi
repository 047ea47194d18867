# Implicit ALS, inexact: a few steps of preconditioned conjugate gradients a row, from where the row is.
#
# The system of implicit_als.pxi, A x = r with A = B + sum_obs d g g', is never formed. The fixed side being rotated, the
# base B is a diagonal, so that a step is one pass over the rated rows, 4 q flops a rating, and no product with G.
# Preconditioner: the diagonal B + (sum_obs d) m, m the mean square of each rotated factor over the fixed side's
# observed cells. A row's quadratic never rises, so neither does the objective.
# Sources: Hestenes and Stiefel 1952; Takacs, Pilaszy and Tikk 2011, "Applications of the conjugate gradient method for
# implicit feedback collaborative filtering".

cdef enum:
    CG_GATHERED = 128       # rows with at most so many ratings are copied once and read from the first-level caches


cdef inline void rated_product(
    Py_ssize_t n,               # IN
    const index* indices,       # IN  (n,)
    const real* weights,        # IN  (n,) d, or NULL
    const real* pulls,          # IN  (n,) r, or NULL
    const real* fixed,          # IN  (m, width)
    Py_ssize_t width,           # IN
    const real* direction,      # IN  (width,) p
    real* product,              # IN/OUT (width,) += sum d (g.p) g - r g
) noexcept nogil:
    cdef Py_ssize_t t, i
    cdef real a[4]
    cdef const real* g[4]
    for t in range(0, n, 4):
        for i in range(4):
            if t + i < n:
                g[i] = fixed + indices[t + i] * width
                a[i] = weights[t + i] * dot(g[i], direction, width)
                if pulls != NULL:
                    a[i] -= pulls[t + i]
            else:
                g[i] = g[0]
                a[i] = 0
        axpy4(product, a, g[0], g[1], g[2], g[3], width)


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
    cdef double total = 0, size, before, curvature, a
    cdef real b
    for t in range(n):
        total += weights[t]
    for f in range(width):
        diagonal[f] = <real>(base * eigenvalues[f] + reg)
        b = diagonal[f] + <real>total * mean_squares[f]
        inverse[f] = 1 / b if b > 0 else 0
        residual[f] = diagonal[f] * row[f]
    if constant != NULL:
        axpy(residual, <real>base, constant, width)
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
        rated_product[index, real](n, indices, weights, NULL, fixed, width, direction, product)
        curvature = dot(direction, product, width)
        if not curvature > 0:
            break
        a = size / curvature
        axpy(row, <real>a, direction, width)
        axpy(residual, <real>-a, product, width)
        for f in range(width):
            product[f] = inverse[f] * residual[f]
        before = size
        size = dot(residual, product, width)
        for f in range(width):
            direction[f] = product[f] + <real>(size / before) * direction[f]
    if size - size != 0:
        return ROW_NOT_FINITE
    return finite_status(row, width)
