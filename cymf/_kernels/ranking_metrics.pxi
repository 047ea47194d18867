# Ranking metrics: how good the top of each user's list is, and the area under the ROC curve over all items.
#
# With g_r = 1 where the r-th listed item is held out, else 0, n held-out items and d_r = 1 / log2(r + 1):
#
#   recall@k           sum_{r<=k} g_r / n            truncated recall@k  sum_{r<=k} g_r / min(k, n)
#   precision@k        sum_{r<=k} g_r / k            hit rate@k          1 if any g_r = 1, r <= k
#   NDCG@k             sum_{r<=k} d_r g_r / sum_{r<=min(k,n)} d_r; graded: with the gains of the items for g_r, and the
#                      n gains in falling order in the denominator (Jarvelin and Kekalainen 2002)
#   MAP@k              sum_{r<=k} g_r precision@r / min(k, n)
#   MRR@k              1 / (rank of the first hit), 0 without one
#   novelty@k          mean of -log2 p_j over the listed items j, p_j the share of users who have it
#   AUC                share of the pairs (held out, other) in the right order, ties counting one half
#
# Cost: k log n a user and metric for lists; 2k flops and 2n compares an item and user for the area, which is found by
# scoring tiles of items for a few users at a time, never all scores of a user at once.

from libc.math cimport NAN
from libc.string cimport memcpy

cdef enum:
    AUC_USERS = 16      # users that share a tile while it is in the cache
    AUC_TILE = 128      # items of a tile, and of a group of held-out items

cdef enum:
    METRIC_RECALL = 0
    METRIC_TRUNCATED_RECALL = 1
    METRIC_PRECISION = 2
    METRIC_HIT_RATE = 3
    METRIC_NDCG = 4
    METRIC_GRADED_NDCG = 5
    METRIC_MAP = 6
    METRIC_MRR = 7
    METRIC_NOVELTY = 8


cdef inline Py_ssize_t lower_bound(const index* items, Py_ssize_t n, int64_t item) noexcept nogil:
    """First of n rising items that is not less than `item`."""
    cdef Py_ssize_t low = 0, middle
    while low < n:
        middle = (low + n) // 2
        if items[middle] < item:
            low = middle + 1
        else:
            n = middle
    return low


cdef double list_metric(
    int kind,                   # IN  METRIC_*
    Py_ssize_t k,               # IN  cutoff
    const int64_t* listed,      # IN  (>= k,) items, best first, -1 where they ran out
    const double* gain,         # IN  (>= k,) of the listed item, NaN if it is not held out
    Py_ssize_t n,               # IN  held-out items, at least 1
    const double* ideal,        # IN  (n,) their gains, falling
    const double* discount,     # IN  (>= k,)
    const double* information,  # IN  (n_items,) -log2 p or NULL
) noexcept nogil:
    cdef Py_ssize_t r, hits = 0, least = min(k, n)
    cdef double total = 0, best = 0
    if kind == METRIC_NOVELTY:
        for r in range(k):
            if listed[r] >= 0:
                total += information[listed[r]]
                hits += 1
        return total / hits if hits else NAN
    for r in range(k):
        if gain[r] == gain[r]:
            hits += 1
            if kind == METRIC_NDCG:
                total += discount[r]
            elif kind == METRIC_GRADED_NDCG:
                total += discount[r] * gain[r]
            elif kind == METRIC_MAP:
                total += hits / <double>(r + 1)
            elif kind == METRIC_MRR:
                return 1.0 / (r + 1)
    if kind == METRIC_RECALL:
        return hits / <double>n
    if kind == METRIC_TRUNCATED_RECALL:
        return hits / <double>least
    if kind == METRIC_PRECISION:
        return hits / <double>k
    if kind == METRIC_HIT_RATE:
        return 1.0 if hits else 0.0
    if kind == METRIC_MAP:
        return total / least
    if kind == METRIC_MRR:
        return 0
    for r in range(least):
        best += discount[r] if kind == METRIC_NDCG else discount[r] * ideal[r]
    return total / best


def list_metrics(
    const int64_t[:, ::1] lists,        # IN  (n_users, >= largest cutoff) items, best first, -1 where they ran out
    const int64_t[::1] indptr,          # IN  (n_users + 1,)
    const index[::1] items,             # IN  (nnz,) held-out items of each user, rising; negative: unknown
    const double[::1] gains,            # IN  (nnz,) positive
    const double[::1] ideal,            # IN  (nnz,) the gains of each user, falling
    const double[::1] discount,         # IN  (>= largest cutoff,)
    const double[::1] information,      # IN  (n_items,) or empty
    const int64_t[::1] kinds,           # IN  (n_metrics,) METRIC_*
    const int64_t[::1] cutoffs,         # IN  (n_metrics,)
    const int64_t[::1] chunks,          # IN  (n_chunks + 1,) borders of users
    int64_t[::1] counter,               # IN/OUT (1,)
    double[:, ::1] values,              # OUT (n_metrics, n_users)
    double[::1] gain,                   # SCRATCH (lists' columns,)
):
    """One worker's share of the metrics of lists."""
    cdef Py_ssize_t u, r, m, n, begin, place, chunk, n_chunks = chunks.shape[0] - 1, longest = lists.shape[1]
    cdef const double* information_pointer = &information[0] if information.shape[0] else NULL
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            for u in range(chunks[chunk], chunks[chunk + 1]):
                begin = indptr[u]
                n = indptr[u + 1] - begin
                for r in range(longest):
                    gain[r] = NAN
                    if lists[u, r] >= 0:
                        place = lower_bound(&items[begin], n, lists[u, r])
                        if place < n and items[begin + place] == lists[u, r]:
                            gain[r] = gains[begin + place]
                for m in range(kinds.shape[0]):
                    values[m, u] = list_metric(
                        <int>kinds[m], cutoffs[m], &lists[u, 0], &gain[0], n, &ideal[begin], &discount[0],
                        information_pointer)


cdef inline void score_tile(
    const real* panel,      # IN  (width, AUC_TILE) factors of the items
    const real* bias,       # IN  (AUC_TILE,)
    const real* user,       # IN  (width,) or NULL: zeros
    Py_ssize_t width,       # IN  a multiple of four
    real* scores,           # OUT (AUC_TILE,) bias + products, factor after factor: the same bits in any column
) noexcept nogil:
    cdef Py_ssize_t f
    memcpy(scores, bias, AUC_TILE * sizeof(real))
    if user != NULL:
        for f in range(0, width, 4):
            axpy4(scores, user + f, panel + f * AUC_TILE, panel + (f + 1) * AUC_TILE,
                  panel + (f + 2) * AUC_TILE, panel + (f + 3) * AUC_TILE, AUC_TILE)


cdef inline double share_below(const real* scores, real value) noexcept nogil:
    """How many of a tile's scores are below a value, equal ones counting one half; NaN counts nothing."""
    cdef int32_t below = 0, equal = 0
    cdef Py_ssize_t t
    for t in range(AUC_TILE):
        below += scores[t] < value
        equal += scores[t] == value
    return below + 0.5 * equal


cdef inline int64_t leave_out(
    const index* items, Py_ssize_t n, Py_ssize_t* cursor, int64_t first, real* scores
) noexcept nogil:
    """Overwrite by NaN the scores of a tile that are in a rising list of items; return how many became NaN."""
    cdef int64_t left_out = 0
    cdef Py_ssize_t t
    while cursor[0] < n and items[cursor[0]] < first + AUC_TILE:
        t = items[cursor[0]] - first
        if t >= 0 and scores[t] == scores[t]:
            scores[t] = <real>NAN
            left_out += 1
        cursor[0] += 1
    return left_out


def areas_under_curve(
    const int64_t[::1] users,           # IN  (n_users,) rows of the user factors, or -1 for unknown
    const real[:, ::1] user_factors,    # IN  (N, width), width a multiple of four, padded by zeros
    const real[:, ::1] item_factors,    # IN  (M, width)
    const real[:, :, ::1] panels,       # IN  (n_tiles, width, AUC_TILE) the same in tiles, transposed
    const real[::1] item_bias,          # IN  (n_tiles * AUC_TILE,) NaN where an item cannot be listed, and behind the last
    const int64_t[::1] indptr,          # IN  (n_users + 1,)
    const index[::1] items,             # IN  (nnz,) held-out items of each user, rising; negative: unknown
    const int64_t[::1] seen_rows,       # IN  (n_users,) rows of the next two, or -1 for none
    const int64_t[::1] seen_indptr,     # IN
    const index[::1] seen,              # IN  items to leave out, rising in each row
    const int64_t[::1] chunks,          # IN  (n_chunks + 1,) borders of users
    int64_t[::1] counter,               # IN/OUT (1,)
    real[::1] positive,                 # OUT (nnz,) scores of the held-out items, NaN for those that cannot be listed
    double[::1] wins,                   # OUT (nnz,) other items below each
    double[::1] values,                 # OUT (n_users,) NaN where there is no other item
    real[::1] scratch,                  # SCRATCH ((width + 2) * AUC_TILE,)
):
    """One worker's share of the areas under the ROC curve."""
    cdef Py_ssize_t width = user_factors.shape[1], n_tiles = panels.shape[0], n_chunks = chunks.shape[0] - 1
    cdef Py_ssize_t chunk, first, last, u, s, t, f, p, begin, size, tile, place, n_seen
    cdef Py_ssize_t cursor[AUC_USERS]
    cdef Py_ssize_t seen_cursor[AUC_USERS]
    cdef int64_t others[AUC_USERS]
    cdef int64_t listable
    cdef double total
    cdef real* panel = &scratch[0]
    cdef real* bias = panel + width * AUC_TILE
    cdef real* scores = bias + AUC_TILE
    cdef const real* factors
    cdef const index* seen_items
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= n_chunks:
                break
            last = chunks[chunk]
            while last < chunks[chunk + 1]:
                first = last
                last = min(first + AUC_USERS, <Py_ssize_t>chunks[chunk + 1])
                for u in range(first, last):
                    cursor[u - first] = seen_cursor[u - first] = 0
                    others[u - first] = 0
                    factors = &user_factors[users[u], 0] if users[u] >= 0 else NULL
                    n_seen = 0
                    seen_items = NULL
                    if seen_rows[u] >= 0:
                        n_seen = seen_indptr[seen_rows[u] + 1] - seen_indptr[seen_rows[u]]
                        seen_items = &seen[0] + seen_indptr[seen_rows[u]]
                    begin = indptr[u]
                    while begin < indptr[u + 1]:
                        size = min(<Py_ssize_t>AUC_TILE, <Py_ssize_t>indptr[u + 1] - begin)
                        for t in range(AUC_TILE):
                            bias[t] = <real>NAN
                        for t in range(size):
                            p = items[begin + t]
                            place = lower_bound(seen_items, n_seen, p)
                            if p < 0 or (place < n_seen and seen_items[place] == p):
                                continue
                            bias[t] = item_bias[p]
                            for f in range(width):
                                panel[f * AUC_TILE + t] = item_factors[p, f]
                        score_tile(panel, bias, factors, width, scores)
                        for t in range(size):
                            positive[begin + t] = scores[t]
                            wins[begin + t] = 0
                        begin += size
                for tile in range(n_tiles):
                    listable = 0
                    for t in range(AUC_TILE):
                        listable += item_bias[tile * AUC_TILE + t] == item_bias[tile * AUC_TILE + t]
                    for u in range(first, last):
                        s = u - first
                        factors = &user_factors[users[u], 0] if users[u] >= 0 else NULL
                        score_tile(&panels[tile, 0, 0], &item_bias[tile * AUC_TILE], factors, width, scores)
                        others[s] += listable - leave_out(
                            &items[0] + indptr[u], <Py_ssize_t>(indptr[u + 1] - indptr[u]), &cursor[s],
                            tile * AUC_TILE, scores)
                        if seen_rows[u] >= 0:
                            others[s] -= leave_out(
                                &seen[0] + seen_indptr[seen_rows[u]],
                                <Py_ssize_t>(seen_indptr[seen_rows[u] + 1] - seen_indptr[seen_rows[u]]),
                                &seen_cursor[s], tile * AUC_TILE, scores)
                        for p in range(indptr[u], indptr[u + 1]):
                            wins[p] += share_below(scores, positive[p])
                for u in range(first, last):
                    total = 0
                    for p in range(indptr[u], indptr[u + 1]):
                        total += wins[p]
                    values[u] = NAN
                    if others[u - first] > 0:
                        values[u] = total / (<double>others[u - first] * (indptr[u + 1] - indptr[u]))
