"""Slow twins of the Bayesian kernels: draws of rows and set vectors, variances of products, from the formulas."""

from __future__ import annotations

import math

import numpy as np
from reference_ranking import Stream


def normals(seed, epoch, block, n):
    """The first n standard normal numbers of a stream, by Box and Muller."""
    stream, z = Stream(seed, epoch, block), []
    while len(z) < n:
        radius = math.sqrt(-2 * math.log(((stream.draw() >> 11) + 1) / 2**53))
        angle = 2 * math.pi * stream.fraction()
        z += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(z[:n])


def system(g, weights, prior):
    """A = P + sum d g g'."""
    return prior + (g.T * weights) @ g


def draw_row(g, y, weights, prior, pull, sigma, z):
    """U^-1 (U'^-1 (sum d y g + pull) + sigma z), A = U'U."""
    upper = np.linalg.cholesky(system(g, weights, prior)).T
    right = (g.T * weights) @ y + pull
    return np.linalg.solve(upper, np.linalg.solve(upper.T, right) + sigma * z)


def half_sweep(cells, fixed, offset, prior, pulls, sigma, seed, epoch):
    """All rows of one side; those without ratings are zero."""
    q = len(prior)
    rows = np.zeros((cells.shape[0], q))
    for i in range(cells.shape[0]):
        where = cells.users == i
        if not where.any():
            continue
        items = cells.items[where]
        pull = pulls[i if len(pulls) > 1 else 0]
        y = cells.values[where] - offset[items]
        z = normals(seed, epoch, i, q)
        rows[i] = draw_row(fixed[items], y, cells.weights[where], prior, pull, sigma, z)
    return rows


def set_sweep(members, scales, precision, residuals, vectors, seed, epoch, lanes):
    """Vectors in their order, each given all others; `members[j]` are the rows whose sets hold j."""
    residuals, vectors = residuals.copy(), vectors.copy()
    n_strips = -(-vectors.shape[1] // lanes)
    for j, rows in enumerate(members):
        if len(rows) == 0:
            continue
        s = scales[rows]
        d = np.sum(s**2)
        z = np.concatenate(
            [normals(seed, epoch, j * n_strips + strip, lanes) for strip in range(n_strips)]
        )[: vectors.shape[1]]
        total = precision + d
        new = (s @ residuals[rows] + d * vectors[j]) / total + z / np.sqrt(total)
        residuals[rows] -= s[:, None] * (new - vectors[j])
        vectors[j] = new
    return residuals, vectors
