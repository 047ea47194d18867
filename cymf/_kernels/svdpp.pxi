# SVD++ by SGD, one user after the other, reproducible for any number of threads.
#
#   e = r - (mean + b_u + b_i + q_i.v_u),     v_u = p_u + s_u,     s_u = |N(u)|^-1/2 sum_{j in N(u)} y_j
#   b_u += rate (c e - reg_bias b_u)          b_i += rate (c e - reg_bias b_i)
#   p_u += rate (c e q_i - reg p_u)           q_i += rate (c e v_u - reg q_i)                both from their old values
#   y_j += rate (c e q_i |N(u)|^-1/2 - reg y_j)                                             for all j in N(u)
#
# All y_j of a user take the same steps, so they need not be touched before its last rating. With k = 1 - rate reg and
# A <- k A + rate c e q over the n ratings of a user, p = k^n p_0 + A, s = k^n s_0 + A and y_j = k^n y_j0 + |N|^-1/2 A;
# so v <- k v + 2 rate c e q is all that a rating updates, and A = (v - k^n v_0) / 2. O(nnz k) an epoch.
#
# Users are taken in batches. A user of a batch sees all items as they were when the batch began; a user rates an item
# once, so that it does not miss a change of its own. What its ratings change is kept, and when all users of the batch
# are done, added in the order of the users: items are dealt into stripes, and each stripe's changes are one task. So
# every row sees the same changes in the same order whoever does them. A batch of one user is plain SGD by user.
# Source: Koren 2008, "Factorization meets the neighborhood", section 4 (equation 15).

from libc.math cimport pow, sqrt
from libc.string cimport memcpy

cdef extern from "svdpp_steps.h" nogil:
    void svdpp_step_f32(float* v, float* change, const float* q, float step, float shrink, Py_ssize_t n)
    void svdpp_step_f64(double* v, double* change, const double* q, double step, double shrink, Py_ssize_t n)
    void shrink_and_add_f32(float* y, float shrink, const float* x, Py_ssize_t n)
    void shrink_and_add_f64(double* y, double shrink, const double* x, Py_ssize_t n)

cdef enum:
    SVDPP_AHEAD = 3         # ratings whose item's row is fetched ahead


cdef inline void svdpp_step(real* v, real* change, const real* q, real step, real shrink, Py_ssize_t n) noexcept nogil:
    if real is float:
        svdpp_step_f32(v, change, q, step, shrink, n)
    else:
        svdpp_step_f64(v, change, q, step, shrink, n)


cdef inline void shrink_and_add(real* y, real shrink, const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        shrink_and_add_f32(y, shrink, x, n)
    else:
        shrink_and_add_f64(y, shrink, x, n)


cdef void add_implied(
    real* v,                    # IN/OUT (width,)
    Py_ssize_t n,               # IN  |N(u)|
    const int32_t* members,     # IN  (n,) N(u)
    const real* items,          # IN  (M, 2 width) rows q_j, y_j
    Py_ssize_t width,           # IN
) noexcept nogil:
    """v += |N(u)|^-1/2 sum y_j, four rows at a time."""
    cdef real scale[4]
    cdef Py_ssize_t t = 0, f
    cdef const real* implied = items + width
    if n == 0:
        return
    for f in range(4):
        scale[f] = <real>(1 / sqrt(<double>n))
    while t + 4 <= n:
        if t + 8 <= n:
            for f in range(4, 8):
                cymf_prefetch_row(implied + 2 * width * members[t + f], width * sizeof(real))
        axpy4(v, scale, implied + 2 * width * members[t], implied + 2 * width * members[t + 1],
              implied + 2 * width * members[t + 2], implied + 2 * width * members[t + 3], width)
        t += 4
    while t < n:
        axpy(v, scale[0], implied + 2 * width * members[t], width)
        t += 1


cdef double svdpp_user(
    Py_ssize_t n,               # IN  ratings of this user, > 0
    const int32_t* rated,       # IN  (n,) items
    const real* values,         # IN  (n,)
    const real* weights,        # IN  (n,) or NULL
    Py_ssize_t turn,            # IN  the rating to begin with
    Py_ssize_t n_members,       # IN  |N(u)|
    const int32_t* members,     # IN  (n_members,)
    const real* items,          # IN  (M, 2 width)
    const real* item_bias,      # IN  (M,)
    real* p,                    # IN/OUT (width,)
    real* bias,                 # IN/OUT (1,)
    real* changes,              # OUT (n, width) what q_i gets
    real* bias_changes,         # OUT (n,) what b_i gets
    real* move,                 # OUT (width,) |N|^-1/2 A, what y_j gets
    real* shrink_all,           # OUT (1,) k^n, by which y_j shrinks
    real mean,                  # IN
    real rate,                  # IN
    real reg,                   # IN
    real reg_bias,              # IN
    Py_ssize_t width,           # IN
    real* v,                    # SCRATCH (width,)
) noexcept nogil:
    """All ratings of one user. Returns the sum of c e^2, e taken before each step."""
    cdef Py_ssize_t r, t = turn, ahead = (turn + SVDPP_AHEAD) % n, f
    cdef real error, step, shrink = 1 - rate * reg, shrink_bias = 1 - rate * reg_bias, all_steps, root
    cdef const real* q
    cdef double total = 0
    memcpy(v, p, width * sizeof(real))
    add_implied(v, n_members, members, items, width)
    memcpy(move, v, width * sizeof(real))
    for r in range(n):
        cymf_prefetch_row(items + 2 * width * rated[ahead], width * sizeof(real))
        q = items + 2 * width * rated[t]
        error = values[t] - mean - bias[0] - item_bias[rated[t]] - dot(q, v, width)
        step = error * weights[t] if weights != NULL else error
        total += <double>step * error
        step = rate * step
        bias[0] = shrink_bias * bias[0] + step
        bias_changes[t] = step
        svdpp_step(v, changes + t * width, q, step, shrink, width)
        t = t + 1 if t + 1 < n else 0
        ahead = ahead + 1 if ahead + 1 < n else 0
    all_steps = <real>pow(<double>shrink, <double>n)
    root = <real>(1 / sqrt(<double>n_members)) if n_members else 0
    for f in range(width):
        move[f] = (v[f] - all_steps * move[f]) / 2
        p[f] = all_steps * p[f] + move[f]
        move[f] = root * move[f]
    shrink_all[0] = all_steps
    return total


def svdpp_epoch(
    const int64_t[::1] order,           # IN  (n,) the users with ratings, as this epoch takes them
    const int64_t[::1] turns,           # IN  (n,) the rating that each begins with
    const int64_t[::1] kept_at,         # IN  (n,) where in `changes` each keeps those of its items
    Py_ssize_t batch,                   # IN  users of a batch
    const int64_t[::1] rated_border,    # IN  (N * stripes + 1,) ratings by user and stripe of their item
    const int32_t[::1] rated,           # IN  (nnz,) items
    const real[::1] values,             # IN  (nnz,)
    const real[::1] weights,            # IN  (nnz,) or empty
    const int64_t[::1] member_border,   # IN  (N * stripes + 1,) members of N(u) by user and stripe
    const int32_t[::1] members,         # IN  items
    real[:, ::1] users,                 # IN/OUT (N, width) p_u
    real[:, ::1] items,                 # IN/OUT (M, 2 width) q_i, y_i
    real[::1] user_bias,                # IN/OUT (N,)
    real[::1] item_bias,                # IN/OUT (M,)
    double mean,                        # IN
    double rate,                        # IN
    double reg,                         # IN
    double reg_bias,                    # IN
    real[:, ::1] changes,               # SCRATCH (ratings of the fullest batch, width), shared
    real[::1] bias_changes,             # SCRATCH (ratings of the fullest batch,), shared
    real[:, ::1] moves,                 # SCRATCH (batch, width), shared
    real[::1] shrinks,                  # SCRATCH (batch,), shared
    real[::1] scratch,                  # SCRATCH (width,) of this worker
    int64_t[::1] counter,               # IN/OUT (1,) next task, shared by the workers
    int64_t[::1] user_clock,            # IN/OUT (batch * 8,) batches done, one cache line a place in the batch
    int64_t[::1] stripe_clock,          # IN/OUT (stripes * 8,)
    int64_t[::1] diverged,              # IN/OUT (1,) set when a user's error is not finite or above the limit
    double limit,                       # IN  largest plausible mean squared error of a user
    double[::1] squared_error,          # OUT (n,) sum of c e^2 of each user of `order`
):
    """One worker's share of an epoch: the users of a batch, then its stripes, then the next batch."""
    cdef Py_ssize_t n = order.shape[0], width = users.shape[1], stripes = stripe_clock.shape[0] // 8, n_ratings
    cdef Py_ssize_t n_batches = (n + batch - 1) // batch, task, number, place, at, stripe, s, t, begin
    cdef int64_t user
    cdef double total
    cdef const int32_t* rated_pointer = &rated[0] if rated.shape[0] else NULL
    cdef const int32_t* member_pointer = &members[0] if members.shape[0] else NULL
    cdef const real* value_pointer = &values[0] if values.shape[0] else NULL
    cdef const real* weight_pointer = &weights[0] if weights.shape[0] else NULL
    cdef real* changes_of
    cdef real shrink = <real>(1 - rate * reg), shrink_bias = <real>(1 - rate * reg_bias)
    with nogil:
        while True:
            task = cymf_draw(&counter[0])
            number = task // (batch + stripes)
            place = task % (batch + stripes)
            if number >= n_batches:
                break
            if place < batch:
                for s in range(stripes):
                    if not cymf_wait(&stripe_clock[8 * s], number, &diverged[0]):
                        break
                at = number * batch + place
                if at < n and not cymf_read(&diverged[0]):
                    user = order[at]
                    begin = rated_border[user * stripes]
                    n_ratings = rated_border[(user + 1) * stripes] - begin
                    total = svdpp_user(
                        n_ratings, rated_pointer + begin, value_pointer + begin,
                        weight_pointer + begin if weight_pointer != NULL else NULL,
                        turns[at], member_border[(user + 1) * stripes] - member_border[user * stripes],
                        member_pointer + member_border[user * stripes], &items[0, 0], &item_bias[0], &users[user, 0],
                        &user_bias[user], &changes[kept_at[at], 0], &bias_changes[kept_at[at]], &moves[place, 0],
                        &shrinks[place], <real>mean, <real>rate, <real>reg, <real>reg_bias, width, &scratch[0])
                    squared_error[at] = total
                    if not total <= limit * n_ratings or total - total != 0:
                        cymf_publish(&diverged[0], 1)
                cymf_publish(&user_clock[8 * place], number + 1)
            else:
                stripe = place - batch
                for s in range(batch):
                    if not cymf_wait(&user_clock[8 * s], number + 1, &diverged[0]):
                        break
                if cymf_read(&diverged[0]):
                    break
                for place in range(min(batch, n - number * batch)):
                    at = number * batch + place
                    user = order[at]
                    begin = rated_border[user * stripes]
                    changes_of = &changes[kept_at[at], 0]
                    for t in range(rated_border[user * stripes + stripe], rated_border[user * stripes + stripe + 1]):
                        shrink_and_add(&items[rated[t], 0], shrink, changes_of + (t - begin) * width, width)
                        item_bias[rated[t]] = shrink_bias * item_bias[rated[t]] + bias_changes[kept_at[at] + t - begin]
                    for t in range(member_border[user * stripes + stripe], member_border[user * stripes + stripe + 1]):
                        shrink_and_add(&items[members[t], 0] + width, shrinks[place], &moves[place, 0], width)
                cymf_publish(&stripe_clock[8 * stripe], number + 1)
            if cymf_read(&diverged[0]):
                break


def svdpp_whole_users(
    const int64_t[::1] member_border,   # IN  (N * stripes + 1,) members of N(u) by user and stripe
    const int32_t[::1] members,         # IN  items
    Py_ssize_t stripes,                 # IN
    const real[:, ::1] users,           # IN  (N, width) p_u
    const real[:, ::1] items,           # IN  (M, 2 width) q_i, y_i
    const int64_t[::1] chunks,          # IN  (n_chunks + 1,) row borders
    int64_t[::1] counter,               # IN/OUT (1,) next chunk, shared by the workers
    real[:, ::1] whole,                 # OUT (N, width) v_u = p_u + |N(u)|^-1/2 sum y_j
):
    """One worker's share of the users' whole rows, summed as an epoch sums them."""
    cdef Py_ssize_t width = users.shape[1], chunk, u, begin
    cdef const int32_t* member_pointer = &members[0] if members.shape[0] else NULL
    with nogil:
        while True:
            chunk = cymf_draw(&counter[0])
            if chunk >= chunks.shape[0] - 1:
                break
            for u in range(chunks[chunk], chunks[chunk + 1]):
                begin = member_border[u * stripes]
                memcpy(&whole[u, 0], &users[u, 0], width * sizeof(real))
                add_implied(&whole[u, 0], member_border[(u + 1) * stripes] - begin, member_pointer + begin,
                            &items[0, 0], width)
