# Exact top-N search. The score of query q and target t is
#
#   s(q, t) = ((q . t) + b_t) + o_q        each operation rounded once, in this order; q . t summed as in `product`
#
# and the answer is the n targets first by (-s, t). Every mode gives the same answers, to the bit, because a mode only
# decides which targets are *not* scored, and passes over one only if it is proved to be worse than the n-th best so far:
#
# - Panels: targets stand in the order of a bound on their scores, quantized to 8 bits, 64 to a panel (top_n.h). With
#   x = ||q||, q ~ Q and t ~ T the quantized rows, q . t = Q . T + q . (t - T) + (q - Q) . T, so that
#
#     s(q, t) <= Q . T + b_t + o_q + x ||t - T|| + ||q - Q|| ||T||        (filter: integer products, exact)
#     s(q, t) <= x ||t|| + b_t + o_q                                      (Cauchy-Schwarz: when the largest value of this
#                                                                          among all targets left is too small, stop)
#   both widened by more than rounding can amount to. NaN and infinities never prove anything, so they are scored.
# - Lists: only the listed targets are scored, one by one.
#
# Work: 7 / 128 n_targets n_factors instructions a query at most (AVX2); where norms differ, as trained ones do, the first few
# percent of the panels suffice. Sources: Teflioudi, Gemulla and Mykytiuk 2015, "LEMP: fast retrieval of large entries in a
# matrix product" (order by length); Li et al. 2017, "FEXIPRO" (integer bounds).

from libc.math cimport INFINITY, NAN, fabs
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

cdef extern from "top_n.h" nogil:
    const int CYMF_STRIP
    const int CYMF_PANEL_STRIPS
    const int CYMF_PANEL
    const int CYMF_TILE_QUERIES
    int cymf_lowest_bit(uint64_t bits)
    const int CYMF_TARGET_LEVELS
    const int CYMF_QUERY_LEVELS
    const int CYMF_QUERY_SHIFT
    void cymf_panel_reaching(int queries, const int8_t* panel, Py_ssize_t quads, const int32_t* start, const int8_t** query, const float* query_scale, const float* threshold, const float* scale, const float* offset, uint64_t* reaching)
    void quantize_f32(const float* row, Py_ssize_t n, int levels, int shift, int8_t* quantized, Py_ssize_t stride, float* scale, double* norm, double* error, int32_t* total)
    void quantize_f64(const double* row, Py_ssize_t n, int levels, int shift, int8_t* quantized, Py_ssize_t stride, float* scale, double* norm, double* error, int32_t* total)

cdef enum:
    TOP_N_BLOCK = 64        # queries that one panel meets while it is in the L1 cache
    TOP_N_TILE = 6          # the largest CYMF_TILE_QUERIES
    TOP_N_MARKS = 32        # 64-bit words that say of most targets that they are not excluded

# What is searched for one query.
cdef struct Query:
    int64_t row             # of the query factors, -1 for one of which nothing is known
    int64_t count           # answers so far
    double norm
    double error            # ||q - Q||
    double offset           # o_q
    double least            # a score without o_q below this is no answer: minus infinity until there are n
    double low_weight       # the bound at this norm, between two norms at which it is known
    double high_weight
    double norm_weight
    int64_t knot
    float scale
    uint64_t marks[TOP_N_MARKS] # a bit for target modulo 64 TOP_N_MARKS of every excluded one


cdef inline void quantize(const real* row, Py_ssize_t n, int levels, int shift, int8_t* quantized, Py_ssize_t stride, float* scale, double* norm, double* error, int32_t* total) noexcept nogil:
    if real is float:
        quantize_f32(row, n, levels, shift, quantized, stride, scale, norm, error, total)
    else:
        quantize_f64(row, n, levels, shift, quantized, stride, scale, norm, error, total)


cdef real product(
    const real* x,              # IN  (n,)
    const real* y,              # IN  (n,)
    Py_ssize_t n,               # IN
) noexcept nogil:
    """x . y for rows of any length: whole vectors by `dot`, then the rest one by one."""
    cdef Py_ssize_t lanes = CYMF_VECTOR_BYTES // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t whole = n - n % lanes, f
    cdef real total = dot(x, y, whole)
    for f in range(whole, n):
        total += x[f] * y[f]
    return total


cdef inline bint worse(real score, int64_t target, real other_score, int64_t other) noexcept nogil:
    return score < other_score or (score == other_score and target > other)


cdef void sift_down(
    int64_t* targets,           # IN/OUT (n,) a heap with the worst answer at its root
    real* scores,               # IN/OUT (n,)
    Py_ssize_t n,               # IN
    Py_ssize_t place,           # IN  where to put
    int64_t target,             # IN  this target
    real score,                 # IN
) noexcept nogil:
    cdef Py_ssize_t child
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and worse(scores[child + 1], targets[child + 1], scores[child], targets[child]):
            child += 1
        if not worse(scores[child], targets[child], score, target):
            break
        scores[place] = scores[child]
        targets[place] = targets[child]
        place = child
    scores[place] = score
    targets[place] = target


cdef bint contains(const index* sorted_values, Py_ssize_t n, int64_t value) noexcept nogil:
    cdef Py_ssize_t half
    cdef const index* base = sorted_values
    if n == 0:
        return False
    while n > 1:
        half = n // 2
        base += half if base[half] <= value else 0
        n -= half
    return base[0] == value


cdef void consider(
    Query* query,               # IN/OUT
    int64_t target,             # IN
    const real* query_factors,  # IN  (n_factors,) of this query
    const real* target_factors, # IN  (n_factors,) of this target
    Py_ssize_t n_factors,       # IN
    real target_offset,         # IN
    const index* excluded,      # IN  (n_excluded,) rising
    Py_ssize_t n_excluded,      # IN
    Py_ssize_t n,               # IN  answers wanted
    int64_t* targets,           # IN/OUT (n,) answers so far
    real* scores,               # IN/OUT (n,)
) noexcept nogil:
    """Score one target and keep it if it is among the best so far."""
    cdef real score = 0
    cdef Py_ssize_t place, parent
    cdef double least
    if marked(query, target) and contains(excluded, n_excluded, target):
        return
    if query.row >= 0:
        score = product(query_factors, target_factors, n_factors)
    score += target_offset
    score += <real>query.offset
    if not score - score == 0 and not score > 0:
        return  # NaN, or minus infinity
    if query.count == n and not worse(scores[0], targets[0], score, target):
        return
    if query.count < n:
        place = query.count
        query.count += 1
        while place > 0:
            parent = (place - 1) // 2
            if not worse(score, target, scores[parent], targets[parent]):
                break
            scores[place] = scores[parent]
            targets[place] = targets[parent]
            place = parent
        scores[place] = score
        targets[place] = target
    else:
        sift_down(targets, scores, n, 0, target, score)
    if query.count == n:
        # What reaches this score has at least the sum s - o_q, less the rounding of that sum.
        least = <double>scores[0]
        query.least = least - query.offset - 8 * (6e-8 if sizeof(real) == 4 else 1.2e-16) * (fabs(least) + fabs(query.offset))


cdef void finish(
    Py_ssize_t count,           # IN  answers found
    Py_ssize_t n,               # IN  answers wanted
    int64_t* targets,           # IN/OUT (n,) a heap of `count`; then the best first, padded by -1
    real* scores,               # IN/OUT (n,) padded by NaN
) noexcept nogil:
    cdef Py_ssize_t last
    cdef int64_t target
    cdef real score
    for last in range(count - 1, 0, -1):
        target = targets[last]
        score = scores[last]
        targets[last] = targets[0]
        scores[last] = scores[0]
        sift_down(targets, scores, last, 0, target, score)
    for last in range(count, n):
        targets[last] = -1
        scores[last] = <real>NAN


cdef inline bint marked(const Query* query, int64_t target) noexcept nogil:
    return (query.marks[(target >> 6) % TOP_N_MARKS] >> (target & 63)) & 1


cdef inline void begin(
    Query* query,               # OUT
    int64_t row,                # IN
    double offset,              # IN
    const index* excluded,      # IN  (n_excluded,)
    Py_ssize_t n_excluded,      # IN
) noexcept nogil:
    cdef Py_ssize_t e
    query.row = row
    query.count = 0
    query.offset = offset
    query.least = -INFINITY
    memset(query.marks, 0, sizeof(query.marks))
    for e in range(n_excluded):
        query.marks[(excluded[e] >> 6) % TOP_N_MARKS] |= <uint64_t>1 << (excluded[e] & 63)


def top_n_pack(
    const real[:, ::1] factors,     # IN  (n_targets, n_factors)
    const int64_t[::1] order,       # IN  (n_ordered,) targets in the order of the panels
    int8_t[:, :, ::1] panels,       # OUT (n_strips, quads, 4 * CYMF_STRIP), zeroed; quads is even
    int32_t[:, ::1] starts,         # OUT (n_strips, CYMF_STRIP), zeroed: what undoes the shift of the queries
    float[:, ::1] scale,            # OUT (n_strips, CYMF_STRIP), zeroed: t ~ scale T
    double[::1] errors,             # OUT (n_ordered,) ||t - scale T||
):
    """Quantize targets into panels."""
    cdef Py_ssize_t n_factors = factors.shape[1], position, p, l
    cdef const real* rows = &factors[0, 0] if factors.shape[0] and n_factors else NULL
    cdef double norm
    cdef int32_t total
    cdef int8_t nothing
    with nogil:
        for position in range(order.shape[0]):
            p = position // CYMF_STRIP
            l = position % CYMF_STRIP
            quantize(rows + order[position] * n_factors, n_factors, CYMF_TARGET_LEVELS, 0,
                     &panels[0, 0, 0] + (p * panels.shape[1] * CYMF_STRIP + l) * 4 if n_factors else &nothing,
                     4 * CYMF_STRIP, &scale[p, l], &norm, &errors[position], &total)
            starts[p, l] = -CYMF_QUERY_SHIFT * total


def top_n_search(
    const real[:, ::1] query_factors,   # IN  (n_queries, n_factors)
    const int64_t[::1] query_rows,      # IN  (n_rows,) the queries to answer, -1 for one of which nothing is known
    const real[::1] query_offset,       # IN  (n_rows,) or empty
    const real[:, ::1] target_factors,  # IN  (n_targets, n_factors)
    const real[::1] target_offset,      # IN  (n_targets,) or empty
    const int64_t[::1] order,           # IN  (n_ordered,) targets in the order of the panels
    const int8_t[:, :, ::1] panels,     # IN  of top_n_pack
    const int32_t[:, ::1] starts,       # IN  of top_n_pack
    const float[:, ::1] scale,          # IN  of top_n_pack
    const float[:, ::1] panel_offset,   # IN  (n_strips, CYMF_STRIP) target_offset, minus infinity past the last target
    const double[:, ::1] slack,         # IN  (n_panels, 3) largest error, norm and rounding error of a panel, see _serving_index
    const double[:, ::1] bound,         # IN  (n_panels, n_knots) upper bounds of all panels from here on, by norm of the query
    double knot_distance,               # IN  between the norms of `bound`; the last column is its slope beyond the last norm
    const int64_t[::1] excluded_rows,   # IN  (n_rows,) or empty: row of the exclusions of each query, -1 for none
    const int64_t[::1] excluded_indptr, # IN
    const index[::1] excluded_indices,  # IN  rising in each row
    const uint8_t[::1] allowed,         # IN  (n_targets,) 1 for what may be an answer; or empty
    int64_t[:, ::1] targets,            # OUT (n_rows, n)
    real[:, ::1] scores,                # OUT (n_rows, n)
    int64_t[::1] counter,               # IN/OUT (1,) next block of queries, shared by the workers
    int8_t[::1] scratch,                # SCRATCH TOP_N_BLOCK * 4 * quads elements of this worker
):
    """One worker's share of a search through panels: draws blocks of queries until none is left."""
    cdef Py_ssize_t n_rows = query_rows.shape[0], start
    cdef const index* indices = &excluded_indices[0] if excluded_indices.shape[0] else NULL
    with nogil:
        while True:
            start = cymf_draw(&counter[0]) * TOP_N_BLOCK
            if start >= n_rows:
                break
            search_block(start, min(n_rows - start, <Py_ssize_t>TOP_N_BLOCK), query_factors, query_rows, query_offset,
                         target_factors, target_offset, order, panels, starts, scale, panel_offset, slack, bound, knot_distance,
                         excluded_rows, excluded_indptr, indices, allowed, targets, scores, &scratch[0])


cdef void search_block(
    Py_ssize_t start,                   # IN  first row of the block
    Py_ssize_t size,                    # IN  rows of the block; the rest as top_n_search
    const real[:, ::1] query_factors,
    const int64_t[::1] query_rows,
    const real[::1] query_offset,
    const real[:, ::1] target_factors,
    const real[::1] target_offset,
    const int64_t[::1] order,
    const int8_t[:, :, ::1] panels,
    const int32_t[:, ::1] starts,
    const float[:, ::1] scale,
    const float[:, ::1] panel_offset,
    const double[:, ::1] slack,
    const double[:, ::1] bound,
    double knot_distance,
    const int64_t[::1] excluded_rows,
    const int64_t[::1] excluded_indptr,
    const index* excluded_indices,
    const uint8_t[::1] allowed,
    int64_t[:, ::1] targets,
    real[:, ::1] scores,
    int8_t* scratch,
) noexcept nogil:
    cdef Query queries[TOP_N_BLOCK]
    cdef int active[TOP_N_BLOCK]
    cdef const index* excluded[TOP_N_BLOCK]
    cdef Py_ssize_t n_excluded[TOP_N_BLOCK]
    cdef const int8_t* rows[TOP_N_TILE]
    cdef float query_scale[TOP_N_TILE]
    cdef float threshold[TOP_N_TILE]
    cdef uint64_t reaching[TOP_N_TILE]
    cdef Py_ssize_t n_factors = query_factors.shape[1], width = 4 * panels.shape[1], n = targets.shape[1]
    cdef Py_ssize_t n_knots = bound.shape[1], n_active = size, kept, tile, p, strip, a, r, q, position
    cdef const real* factors = &query_factors[0, 0] if query_factors.shape[0] and query_factors.shape[1] else NULL
    cdef const real* others = &target_factors[0, 0] if target_factors.shape[0] and target_factors.shape[1] else NULL
    cdef const int8_t* panel
    cdef int32_t total
    cdef Query* query
    cdef double limit
    cdef int64_t target
    cdef uint64_t bits
    for r in range(size):
        query = &queries[r]
        n_excluded[r] = 0
        excluded[r] = NULL
        if excluded_rows.shape[0] and excluded_rows[start + r] >= 0:
            excluded[r] = excluded_indices + excluded_indptr[excluded_rows[start + r]]
            n_excluded[r] = excluded_indptr[excluded_rows[start + r] + 1] - excluded_indptr[excluded_rows[start + r]]
        begin(query, query_rows[start + r], <double>query_offset[start + r] if query_offset.shape[0] else 0,
              excluded[r], n_excluded[r])
        query.norm = query.error = query.scale = 0
        memset(scratch + width * r, CYMF_QUERY_SHIFT, width)
        if query.row >= 0:
            quantize(factors + query.row * n_factors, n_factors, CYMF_QUERY_LEVELS, CYMF_QUERY_SHIFT, scratch + width * r, 4,
                     &query.scale, &query.norm, &query.error, &total)
        place_between_knots(query, n_knots, knot_distance)
        active[r] = <int>r

    for p in range(slack.shape[0]):
        kept = 0
        for a in range(n_active):
            query = &queries[active[a]]
            limit = (query.low_weight * bound[p, query.knot] + query.high_weight * bound[p, query.knot + 1]
                     + query.norm_weight * bound[p, n_knots - 1])
            active[kept] = active[a]
            kept += not limit < query.least
        n_active = kept
        if n_active == 0:
            break
        strip = p * CYMF_PANEL_STRIPS
        panel = &panels[strip, 0, 0] if width else NULL
        if p + 1 < slack.shape[0]:
            cymf_prefetch_row(panel + CYMF_PANEL * width, CYMF_PANEL * width)
        tile = 0
        while tile < n_active:
            kept = min(n_active - tile, <Py_ssize_t>CYMF_TILE_QUERIES)
            for q in range(kept):
                r = active[tile + q]
                query = &queries[r]
                rows[q] = scratch + width * r
                query_scale[q] = query.scale
                limit = query.least - (query.norm * slack[p, 0] + query.error * slack[p, 1] + slack[p, 2])
                threshold[q] = <float>(limit - 1.2e-7 * fabs(limit))
            cymf_panel_reaching(<int>kept, panel, width // 4, &starts[strip, 0], rows, query_scale, threshold, &scale[strip, 0],
                                &panel_offset[strip, 0], reaching)
            for q in range(kept):
                r = active[tile + q]
                query = &queries[r]
                bits = reaching[q]
                while bits:  # their factors are asked for at once, so that the waiting is done once
                    position = p * CYMF_PANEL + cymf_lowest_bit(bits)
                    bits &= bits - 1
                    if position < order.shape[0] and not marked(query, order[position]):
                        cymf_prefetch_row(others + order[position] * n_factors, n_factors * sizeof(real))
                while reaching[q]:
                    position = p * CYMF_PANEL + cymf_lowest_bit(reaching[q])
                    reaching[q] &= reaching[q] - 1
                    if position >= order.shape[0]:
                        break
                    target = order[position]
                    if allowed.shape[0] and not allowed[target]:
                        continue
                    consider(query, target, factors + query.row * n_factors, others + target * n_factors, n_factors,
                             target_offset[target] if target_offset.shape[0] else 0, excluded[r], n_excluded[r], n,
                             &targets[start + r, 0], &scores[start + r, 0])
            tile += kept
    for r in range(size):
        finish(queries[r].count, n, &targets[start + r, 0], &scores[start + r, 0])


cdef inline void place_between_knots(Query* query, Py_ssize_t n_knots, double distance) noexcept nogil:
    """Weights of the bounds at this query's norm: the chord of a convex function lies above it."""
    cdef Py_ssize_t last = n_knots - 2  # the last knot; the last column of the bounds is the slope beyond it
    cdef double at = query.norm / distance if distance > 0 else 0
    query.knot = 0
    query.low_weight = 1
    query.high_weight = 0
    query.norm_weight = query.norm
    if last > 0:
        if at < last:
            query.knot = <int64_t>at
            query.high_weight = at - query.knot
            query.norm_weight = 0
        else:  # and where the norm is not a number
            query.knot = last - 1
            query.high_weight = 1
            query.norm_weight = query.norm - last * distance
        query.low_weight = 1 - query.high_weight


def top_n_listed(
    const real[:, ::1] query_factors,   # IN  (n_queries, n_factors)
    const int64_t[::1] query_rows,      # IN  (n_rows,) the queries to answer, -1 for one of which nothing is known
    const real[::1] query_offset,       # IN  (n_rows,) or empty
    const real[:, ::1] target_factors,  # IN  (n_targets, n_factors)
    const real[::1] target_offset,      # IN  (n_targets,) or empty
    const int64_t[::1] list_rows,       # IN  (n_rows,) row of the list of each query, -1 for an empty one
    const int64_t[::1] list_indptr,     # IN
    const int64_t[::1] list_indices,    # IN  targets, each once in a row
    const int64_t[::1] excluded_rows,   # IN  (n_rows,) or empty: row of the exclusions of each query, -1 for none
    const int64_t[::1] excluded_indptr, # IN
    const index[::1] excluded_indices,  # IN  rising in each row
    const uint8_t[::1] allowed,         # IN  (n_targets,) 1 for what may be an answer; or empty
    int64_t[:, ::1] targets,            # OUT (n_rows, n)
    real[:, ::1] scores,                # OUT (n_rows, n)
    int64_t[::1] counter,               # IN/OUT (1,) next query, shared by the workers
):
    """One worker's share of a search through lists of targets: draws queries until none is left."""
    cdef Py_ssize_t n_factors = query_factors.shape[1], n = targets.shape[1], n_excluded, r, entry
    cdef const real* factors = &query_factors[0, 0] if query_factors.shape[0] and query_factors.shape[1] else NULL
    cdef const real* others = &target_factors[0, 0] if target_factors.shape[0] and target_factors.shape[1] else NULL
    cdef const index* indices = &excluded_indices[0] if excluded_indices.shape[0] else NULL
    cdef const index* excluded
    cdef Query query
    cdef int64_t target
    with nogil:
        while True:
            r = cymf_draw(&counter[0])
            if r >= query_rows.shape[0]:
                break
            excluded = NULL
            n_excluded = 0
            if excluded_rows.shape[0] and excluded_rows[r] >= 0:
                excluded = indices + excluded_indptr[excluded_rows[r]]
                n_excluded = excluded_indptr[excluded_rows[r] + 1] - excluded_indptr[excluded_rows[r]]
            begin(&query, query_rows[r], <double>query_offset[r] if query_offset.shape[0] else 0, excluded, n_excluded)
            if list_rows[r] >= 0:
                for entry in range(list_indptr[list_rows[r]], list_indptr[list_rows[r] + 1]):
                    target = list_indices[entry]
                    if allowed.shape[0] and not allowed[target]:
                        continue
                    consider(&query, target, factors + query.row * n_factors, others + target * n_factors, n_factors,
                             target_offset[target] if target_offset.shape[0] else 0, excluded, n_excluded, n,
                             &targets[r, 0], &scores[r, 0])
            finish(query.count, n, &targets[r, 0], &scores[r, 0])
