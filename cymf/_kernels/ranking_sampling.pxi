# What ranking losses draw: blocks of positives, and negatives from the block's own items.
#
# Users and items are dealt into stripes; stripe x stripe is a grid of blocks, and the negatives of a block come from its
# own item stripe. So a block touches the rows of its two stripes and no others, blocks that share no stripe commute
# exactly, and the result is the same bits for any number of workers. Items are dealt anew every epoch, all partitions
# alike, so that over the epochs every item meets every other equally often; within an epoch a positive is compared with
# the items of one stripe. Random numbers come from streams of seed, epoch and block.

from libc.math cimport exp, log, sqrt
from libc.stdint cimport uint32_t

cdef enum:
    MOST_REJECTIONS = 64    # draws that hit a positive before a user is taken to have all of the stripe


include "random_streams.pxi"


cdef inline Py_ssize_t draw_below(uint64_t* stream, Py_ssize_t n) noexcept nogil:
    """A number below n < 2^31, each with probability 1 / n up to a relative 2^-32 n."""
    return <Py_ssize_t>(((draw64(stream) >> 32) * <uint64_t>n) >> 32)


cdef inline bint is_positive(
    const int64_t* indptr,      # IN  (N + 1,) known positives
    const int32_t* indices,     # IN  rising within a row
    Py_ssize_t user,
    int32_t item,
) noexcept nogil:
    cdef int64_t low = indptr[user], high = indptr[user + 1], half
    while low < high:
        half = (low + high) >> 1
        if indices[half] < item:
            low = half + 1
        else:
            high = half
    return low < indptr[user + 1] and indices[low] == item


cdef inline int32_t draw_negative(
    uint64_t* stream,           # IN/OUT
    const int64_t* indptr,      # IN  (N + 1,) known positives, no negatives
    const int32_t* indices,     # IN
    Py_ssize_t user,            # IN
    const int32_t* items,       # IN  (n,) items of the stripe
    const double* cumulative,   # IN  (n,) running sums of sampling weights within the stripe, or NULL for equal ones
    Py_ssize_t n,               # IN
) noexcept nogil:
    """An item of the stripe that is no positive of the user, or -1."""
    cdef Py_ssize_t attempt, low, high, half
    cdef double target
    cdef int32_t item
    for attempt in range(MOST_REJECTIONS):
        if cumulative == NULL:
            low = draw_below(stream, n)
        else:
            target = <double>(draw64(stream) >> 11) * (1.0 / 9007199254740992.0) * cumulative[n - 1]
            low = 0
            high = n - 1
            while low < high:
                half = (low + high) >> 1
                if cumulative[half] <= target:
                    low = half + 1
                else:
                    high = half
        item = items[low]
        if not is_positive(indptr, indices, user, item):
            return item
    return -1


cdef struct Grid:
    Py_ssize_t stripes
    const int64_t* strata       # (stripes,) diagonal taken as s-th stratum
    int64_t* counter            # next block, shared by the workers
    int64_t* user_clock         # (stripes * 8,) strata done, one cache line a stripe
    int64_t* item_clock
    int64_t* stop               # set when an epoch is given up
    Py_ssize_t stratum          # of the block at hand, and its stripes
    Py_ssize_t i
    Py_ssize_t j


cdef inline Py_ssize_t begin_block(Grid* grid) noexcept nogil:
    """Draw the next block and wait for its two stripes; -1 when there is none, or the epoch is given up."""
    cdef Py_ssize_t turn = cymf_draw(grid.counter)
    if turn >= grid.stripes * grid.stripes:
        return -1
    grid.stratum = turn // grid.stripes
    grid.i = turn % grid.stripes
    grid.j = (grid.i + grid.strata[grid.stratum]) % grid.stripes
    if (not cymf_wait(grid.user_clock + 8 * grid.i, grid.stratum, grid.stop)
            or not cymf_wait(grid.item_clock + 8 * grid.j, grid.stratum, grid.stop)):
        return -1
    return grid.i * grid.stripes + grid.j


cdef inline void end_block(Grid* grid) noexcept nogil:
    cymf_publish(grid.user_clock + 8 * grid.i, grid.stratum + 1)
    cymf_publish(grid.item_clock + 8 * grid.j, grid.stratum + 1)


def ranking_deal(
    const int64_t[::1] indptr,          # IN  (N + 1,) positives to visit
    const int32_t[::1] indices,         # IN  (nnz,)
    const real[::1] confidences,        # IN  (nnz,) or empty
    const int64_t[::1] user_order,      # IN  (N,) users, stripe after stripe
    const int64_t[::1] user_start,      # IN  (stripes + 1,)
    const int64_t[::1] stripe_begin,    # IN  (stripes + 1,) first positive of each user stripe
    const int32_t[::1] item_stripe,     # IN  (M,)
    uint64_t seed,                      # IN
    uint64_t epoch,                     # IN
    int64_t[::1] counter,               # IN/OUT (1,) next user stripe, shared by the workers
    int64_t[::1] block_start,           # OUT (stripes * stripes + 1,) row-major grid; the last entry is the caller's
    int32_t[::1] users,                 # OUT (nnz,)
    int32_t[::1] items,                 # OUT (nnz,)
    real[::1] block_confidences,        # OUT (nnz,) or empty
    int64_t[::1] taken,                 # SCRATCH (stripes + 1,) of this worker
):
    """One worker's share of dealing positives into blocks, each block in an order of its own."""
    cdef Py_ssize_t stripes = user_start.shape[0] - 1, a, b, row, user, first, s, t
    cdef bint weighted = confidences.shape[0] > 0
    cdef int64_t entry, slot
    cdef int32_t swapped
    cdef real confidence
    cdef uint64_t stream
    with nogil:
        while True:
            a = cymf_draw(&counter[0])
            if a >= stripes:
                break
            for b in range(stripes + 1):
                taken[b] = 0
            for row in range(user_start[a], user_start[a + 1]):
                user = user_order[row]
                for entry in range(indptr[user], indptr[user + 1]):
                    taken[item_stripe[indices[entry]] + 1] += 1
            taken[0] = stripe_begin[a]
            for b in range(stripes):
                taken[b + 1] += taken[b]
                block_start[a * stripes + b] = taken[b]
            for row in range(user_start[a], user_start[a + 1]):
                user = user_order[row]
                for entry in range(indptr[user], indptr[user + 1]):
                    b = item_stripe[indices[entry]]
                    slot = taken[b]
                    taken[b] = slot + 1
                    users[slot] = <int32_t>user
                    items[slot] = indices[entry]
                    if weighted:
                        block_confidences[slot] = confidences[entry]
            for b in range(stripes):
                first = block_start[a * stripes + b]
                stream = stream_of(seed, 2 * epoch, a * stripes + b)
                for s in range(taken[b] - 1, first, -1):
                    t = first + draw_below(&stream, s - first + 1)
                    swapped = users[s]
                    users[s] = users[t]
                    users[t] = swapped
                    swapped = items[s]
                    items[s] = items[t]
                    items[t] = swapped
                    if weighted:
                        confidence = block_confidences[s]
                        block_confidences[s] = block_confidences[t]
                        block_confidences[t] = confidence


def ranking_draws(
    uint64_t seed,              # IN  the stream's key
    uint64_t epoch,             # IN
    uint64_t block,             # IN
    Py_ssize_t below,           # IN
    int64_t[::1] draws,         # OUT numbers below `below`
):
    """The stream of one block, for tests."""
    cdef uint64_t stream = stream_of(seed, epoch, block)
    cdef Py_ssize_t s
    for s in range(draws.shape[0]):
        draws[s] = draw_below(&stream, below)
