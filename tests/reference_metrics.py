"""Slow twins of the ranking metrics: one user at a time, straight from the formulas, in plain Python."""

from __future__ import annotations

import math


def ranked(scores, listable, seen):
    """Items by falling score, equal ones by number."""
    return [
        j
        for _, j in sorted((-float(s), j) for j, s in enumerate(scores))
        if listable[j] and j not in seen
    ]


def list_metric(kind, k, listed, gains, information):
    """One user's metric; `gains` maps the held-out items, unknown ones under negative keys, to their gains."""
    top = listed[:k]
    hits = [j in gains for j in top]
    n = len(gains)
    if kind == "recall":
        return sum(hits) / n
    if kind == "truncated_recall":
        return sum(hits) / min(k, n)
    if kind == "precision":
        return sum(hits) / k
    if kind == "hit_rate":
        return float(any(hits))
    if kind in ("ndcg", "graded_ndcg"):
        gain = (lambda j: 1.0) if kind == "ndcg" else gains.get
        dcg = sum(gain(j) / math.log2(r + 2) for r, j in enumerate(top) if j in gains)
        best = sorted((gain(j) for j in gains), reverse=True)[:k]
        return dcg / sum(g / math.log2(r + 2) for r, g in enumerate(best))
    if kind == "map":
        precisions = [sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit]
        return sum(precisions) / min(k, n)
    if kind == "mrr":
        return 1 / (hits.index(True) + 1) if any(hits) else 0.0
    assert kind == "novelty"
    return sum(information[j] for j in top) / len(top) if top else math.nan


def area_under_curve(scores, listable, seen, held_out):
    """Share of the pairs (held out, other) in the right order; what cannot be listed is below all others."""
    others = [j for j in range(len(scores)) if listable[j] and j not in seen and j not in held_out]
    wins = 0.0
    for p in held_out:
        if p >= 0 and listable[p] and p not in seen:
            wins += sum(
                1.0 if scores[j] < scores[p] else 0.5 if scores[j] == scores[p] else 0.0
                for j in others
            )
    return wins / (len(others) * len(held_out)) if others else math.nan
