/* Body of sgd.h for one type REAL; see there. Deliberately without an include guard.
 *
 * A rating's step is two passes over its rows, the product w.h and the update, with a long chain of dependent
 * operations between them: lanes summed, error, step, broadcast. So the work is a pipeline of three ratings: while the
 * rows of rating s are updated, the product of rating s + 2 is summed in the same loop, and the error of rating s + 1
 * is taken. Ratings that share no row commute; where two of the three share one, the product waits for its turn.
 * Either way each rating sees its rows as all earlier ratings left them, and the same sums in the same order.
 */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* The arrays of one block; see sgd_block in sgd.pxi. */
typedef struct {
  const uint16_t *users, *items;
  const REAL *values, *weights;
  REAL *user_factors, *item_factors, *user_bias, *item_bias;
  const REAL *user_shrink, *item_shrink;
  REAL mean, rate;
} NAME(sgd_block_arrays);

/* One vector of an update, and of the product of two other rows:
 *   w <- shrink_w w + step h,   h <- shrink_h h + step w_old,   returns sum + x y */
CYMF_INLINE VEC NAME(sgd_vector)(REAL *w, REAL *h, VEC step, VEC shrink_w, VEC shrink_h, const REAL *x, const REAL *y,
                                 VEC sum) {
  const VEC a = NAME(load)(w), b = NAME(load)(h);
  sum = NAME(fma)(NAME(load)(x), NAME(load)(y), sum);
  NAME(store)(w, NAME(fma)(step, b, NAME(mul)(shrink_w, a)));
  NAME(store)(h, NAME(fma)(step, a, NAME(mul)(shrink_h, b)));
  return sum;
}

/* Update rows w and h, and return x.y in partial sums: even vectors, then odd ones. */
CYMF_INLINE VEC NAME(sgd_update)(REAL *w, REAL *h, REAL step, REAL shrink_w, REAL shrink_h, const REAL *x,
                                 const REAL *y, const ptrdiff_t n) {
  const VEC vs = NAME(splat)(step), vw = NAME(splat)(shrink_w), vh = NAME(splat)(shrink_h);
  VEC even = NAME(splat)(0), odd = even;
  ptrdiff_t f = 0;
  CYMF_UNROLL
  for (; f + 2 * LANES <= n; f += 2 * LANES) {
    even = NAME(sgd_vector)(w + f, h + f, vs, vw, vh, x + f, y + f, even);
    odd = NAME(sgd_vector)(w + f + LANES, h + f + LANES, vs, vw, vh, x + f + LANES, y + f + LANES, odd);
  }
  if (f < n) even = NAME(sgd_vector)(w + f, h + f, vs, vw, vh, x + f, y + f, even);
  return NAME(add)(even, odd);
}

/* The same partial sums, by themselves. */
CYMF_INLINE VEC NAME(sgd_product)(const REAL *x, const REAL *y, const ptrdiff_t n) {
  VEC even = NAME(splat)(0), odd = even;
  ptrdiff_t f = 0;
  for (; f + 2 * LANES <= n; f += 2 * LANES) {
    even = NAME(fma)(NAME(load)(x + f), NAME(load)(y + f), even);
    odd = NAME(fma)(NAME(load)(x + f + LANES), NAME(load)(y + f + LANES), odd);
  }
  if (f < n) even = NAME(fma)(NAME(load)(x + f), NAME(load)(y + f), even);
  return NAME(add)(even, odd);
}

/* Take the error of rating s, whose product is given; update its biases, add c e^2 to the total, return rate c e. */
CYMF_INLINE REAL NAME(sgd_error)(const NAME(sgd_block_arrays) *block, ptrdiff_t s, VEC product, double *total) {
  const ptrdiff_t u = block->users[s], v = block->items[s];
  REAL error = block->values[s] - block->mean, gradient;
  if (block->user_bias) error -= block->user_bias[u] + block->item_bias[v];
  error -= NAME(sum_lanes)(product);
  gradient = block->weights ? error * block->weights[s] : error;
  *total += (double)gradient * error;
  gradient *= block->rate;
  if (block->user_bias) {
    block->user_bias[u] = block->user_shrink[2 * u + 1] * block->user_bias[u] + gradient;
    block->item_bias[v] = block->item_shrink[2 * v + 1] * block->item_bias[v] + gradient;
  }
  return gradient;
}

/* All ratings of a block, one after the other. Inlined with a known width, the inner loop is unrolled. */
CYMF_INLINE double NAME(sgd_ratings)(const ptrdiff_t n, const NAME(sgd_block_arrays) *block, const ptrdiff_t width) {
  const uint16_t *const users = block->users, *const items = block->items;
  /* The user rows of a block come one after the other: if they exceed the second cache, they must be asked for. */
  const int far_apart = n > 0 && users[n - 1] * width * (ptrdiff_t)sizeof(REAL) > CYMF_SGD_NEAR_BYTES;
  double total = 0;
  VEC product = NAME(splat)(0);
  REAL step = 0, next_step = 0;
  int step_known = 0;    /* of rating s */
  int product_known = 0; /* of rating s + 1 */
  for (ptrdiff_t s = 0; s < n; ++s) {
    REAL *const w = block->user_factors + users[s] * width, *const h = block->item_factors + items[s] * width;
    if (!CYMF_LIKELY(step_known)) step = NAME(sgd_error)(block, s, NAME(sgd_product)(w, h, width), &total);
    if (CYMF_LIKELY(product_known)) next_step = NAME(sgd_error)(block, s + 1, product, &total);
    if (far_apart && s + CYMF_SGD_USER_AHEAD < n) {
      const ptrdiff_t u = users[s + CYMF_SGD_USER_AHEAD], v = items[s + CYMF_SGD_ITEM_AHEAD];
      cymf_prefetch_row(block->user_factors + u * width, width * (ptrdiff_t)sizeof(REAL));
      cymf_prefetch_row(block->item_factors + v * width, width * (ptrdiff_t)sizeof(REAL));
    }
    const int apart = s + 2 < n && ((users[s + 2] != users[s]) & (users[s + 2] != users[s + 1]) &
                                    (items[s + 2] != items[s]) & (items[s + 2] != items[s + 1]));
    const ptrdiff_t t = apart ? s + 2 : s; /* what is summed of s itself is not used */
    product = NAME(sgd_update)(w, h, step, block->user_shrink[2 * users[s]], block->item_shrink[2 * items[s]],
                               block->user_factors + users[t] * width, block->item_factors + items[t] * width, width);
    step = next_step;
    step_known = product_known;
    product_known = apart;
  }
  return total;
}

CYMF_FUNCTION double NAME(sgd_block)(ptrdiff_t n, const NAME(sgd_block_arrays) *block, ptrdiff_t width) {
  switch (width) {
    case 32: return NAME(sgd_ratings)(n, block, 32);
    case 64: return NAME(sgd_ratings)(n, block, 64);
    case 128: return NAME(sgd_ratings)(n, block, 128);
    default: return NAME(sgd_ratings)(n, block, width);
  }
}

#undef LANES
#undef VEC
