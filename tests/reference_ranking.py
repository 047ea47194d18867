"""Slow twins of the ranking kernels, straight from the formulas, in float64 and Python's integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_MASK = (1 << 64) - 1
_REJECTIONS = 64


def mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Stream:
    """SplitMix64 from a key of seed, epoch and block."""

    def __init__(self, seed: int, epoch: int, block: int) -> None:
        self.state = mixed((mixed((mixed(seed) + int(epoch)) & _MASK) + int(block)) & _MASK)

    def draw(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        return mixed(self.state)

    def below(self, n: int) -> int:
        return ((self.draw() >> 32) * n) >> 32

    def fraction(self) -> float:
        return (self.draw() >> 11) / 2**53


def deal(indptr, indices, user_order, user_start, item_stripe, seed, epoch):
    """Return (first of each block, users, items, entries): positives, block by block, each block shuffled."""
    stripes = len(user_start) - 1
    block_start, dealt = [], []
    for a in range(stripes):
        blocks = [[] for _ in range(stripes)]
        for user in user_order[user_start[a] : user_start[a + 1]]:
            for entry in range(indptr[user], indptr[user + 1]):
                blocks[item_stripe[indices[entry]]].append((user, indices[entry], entry))
        for b, block in enumerate(blocks):
            stream = Stream(seed, 2 * epoch, a * stripes + b)
            for s in range(len(block) - 1, 0, -1):
                t = stream.below(s + 1)
                block[s], block[t] = block[t], block[s]
            block_start.append(len(dealt))
            dealt += block
    users, items, entries = np.array(dealt, dtype=np.int64).reshape(-1, 3).T
    return np.array([*block_start, len(dealt)]), users, items, entries


def draw_negative(stream, positives, items, weights):
    """Return an item that is none of the positives, or -1."""
    total = np.cumsum(weights)
    for _ in range(_REJECTIONS):
        if (weights == 1).all():
            item = items[stream.below(len(items))]
        else:
            item = items[np.searchsorted(total, stream.fraction() * total[-1], side="right")]
        if item not in positives:
            return item
    return -1


def log_sigmoid(x: float) -> float:
    return -np.logaddexp(0, -x)


@dataclass
class Model:
    """Factors, biases and AdaGrad's sums, moved one step at a time."""

    users: np.ndarray
    items: np.ndarray
    user_bias: np.ndarray | None
    item_bias: np.ndarray | None
    rule: str  # "plain", "adagrad_row", "adagrad"
    rate: float
    reg: float
    reg_bias: float
    sums: dict = field(default_factory=dict)

    def score(self, user: int, item: int) -> float:
        x = self.users[user] @ self.items[item]
        return x if self.item_bias is None else x + self.user_bias[user] + self.item_bias[item]

    def move(self, name: str, row: int, gradient: np.ndarray) -> None:
        array = getattr(self, name)
        rate = self.rate
        if self.rule != "plain":
            squared = gradient**2 if self.rule == "adagrad" else np.mean(gradient**2)
            self.sums[name, row] = self.sums.get((name, row), 1.0) + squared
            rate = rate / np.sqrt(self.sums[name, row])
        array[row] = array[row] - rate * gradient

    def pairwise_step(self, user: int, item: int, negative: int, g: float) -> None:
        w, h, low = self.users[user].copy(), self.items[item].copy(), self.items[negative].copy()
        self.move("users", user, self.reg * w - g * (h - low))
        self.move("items", item, self.reg * h - g * w)
        self.move("items", negative, self.reg * low + g * w)
        if self.item_bias is not None:
            self.move("item_bias", item, self.reg_bias * self.item_bias[item] - g)
            self.move("item_bias", negative, self.reg_bias * self.item_bias[negative] + g)

    def pointwise_step(self, user: int, item: int, g: float) -> None:
        w, h = self.users[user].copy(), self.items[item].copy()
        self.move("users", user, self.reg * w - g * h)
        self.move("items", item, self.reg * h - g * w)
        if self.item_bias is not None:
            self.move("user_bias", user, self.reg_bias * self.user_bias[user] - g)
            self.move("item_bias", item, self.reg_bias * self.item_bias[item] - g)


def epoch(model, kind, n_negatives, blocks, known, stripes, strata, weights, seed, number):
    """Do one epoch in the order of the strata; return the losses and the number of negatives of each block.

    ``blocks`` is (block_start, users, items, confidences), ``known`` a list of sets, ``stripes`` the items of each item
    stripe, ``weights`` their sampling weights.
    """
    block_start, users, items, confidences = blocks
    n = len(strata)
    losses, drawn = np.zeros(n * n), np.zeros(n * n, np.int64)
    n_items = sum(map(len, stripes))
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, max(n_items, 2)))])
    for diagonal in strata:
        for i in range(n):
            j = (i + diagonal) % n
            block = i * n + j
            stream = Stream(seed, 2 * number + 1, block)
            for s in range(block_start[block], block_start[block + 1]):
                user, item = users[s], items[s]
                c = confidences[s] if len(confidences) else 1.0
                if kind == "warp":
                    positive_score = model.score(user, item)
                    for attempt in range(n_negatives):
                        other = draw_negative(stream, known[user], stripes[j], weights[j])
                        if other < 0:
                            break
                        drawn[block] += 1
                        violation = 1 - positive_score + model.score(user, other)
                        if violation > 0:
                            rank = max((n_items - 1) // (attempt + 1), 1)
                            weight = c * harmonic[rank] / harmonic[n_items - 1]
                            losses[block] += weight * violation
                            model.pairwise_step(user, item, other, weight)
                            break
                    continue
                for turn in range(n_negatives):
                    other = draw_negative(stream, known[user], stripes[j], weights[j])
                    if kind == "pointwise" and turn == 0:
                        x = model.score(user, item)
                        losses[block] -= c * log_sigmoid(x)
                        model.pointwise_step(user, item, c / (1 + np.exp(x)))
                    if other < 0:
                        continue
                    drawn[block] += 1
                    if kind == "pointwise":
                        x = model.score(user, other)
                        losses[block] -= log_sigmoid(-x)
                        model.pointwise_step(user, other, -1 / (1 + np.exp(-x)))
                    else:
                        x = model.score(user, item) - model.score(user, other)
                        losses[block] -= c * log_sigmoid(x)
                        model.pairwise_step(user, item, other, c / (1 + np.exp(x)))
    return losses, drawn


def sphere_step(model: Model, name: str, row: int, gradient: np.ndarray) -> None:
    """Go down a gradient along the sphere."""
    x = getattr(model, name)[row]
    model.move(name, row, gradient - (gradient @ x) * x)
    getattr(model, name)[row] /= np.linalg.norm(getattr(model, name)[row])


def contrast_loss(kind, users, items, positives, pool, masks, confidences, settings):
    """Return the sum of the losses of a batch: rows of users, of their positives, and of the pool, in float64."""
    sharpness, weight = settings
    total = 0.0
    for w, h, mask, c in zip(users, positives, masks, confidences, strict=True):
        negatives = items[pool[~mask]] @ w
        if kind == "softmax":
            logits = np.concatenate([[h @ w], negatives]) * sharpness
            total += c * (np.logaddexp.reduce(logits) - logits[0])
        else:
            over = np.maximum(negatives - sharpness, 0)
            total += c * (1 - h @ w + weight * over.sum() / max(len(negatives), 1))
    return total


def contrast_gradients(kind, model, users, items, pool, masks, confidences, settings):
    """Return the gradients of the loss by each row of the pool, by each positive's item, and by its user."""
    sharpness, weight = settings
    by_pool = np.zeros((len(pool), model.items.shape[1]))
    by_item, by_user = np.zeros((2, len(users), model.items.shape[1]))
    for b, (user, item, mask, c) in enumerate(zip(users, items, masks, confidences, strict=True)):
        w, h = model.users[user], model.items[item]
        rows = model.items[pool]
        if kind == "softmax":
            logits = np.concatenate([[h @ w], np.where(mask, -np.inf, rows @ w)]) * sharpness
            shares = np.exp(logits - np.logaddexp.reduce(logits))
            push, pull = c * sharpness * shares[1:], c * sharpness * (1 - shares[0])
        else:
            active = (rows @ w > sharpness) & ~mask
            push, pull = c * weight / max((~mask).sum(), 1) * active, c
        by_pool += np.outer(push, w)
        by_item[b] = -pull * w
        by_user[b] = push @ rows - pull * h
    return by_pool, by_item, by_user


def contrast_epoch(
    model, kind, n_negatives, blocks, known, stripes, strata, settings, seed, number
):
    """Do one epoch of a contrastive loss in the order of the strata; return the losses of each block."""
    block_start, users, items, confidences = blocks
    n = len(strata)
    losses = np.zeros(n * n)
    for diagonal in strata:
        for i in range(n):
            j = (i + diagonal) % n
            block = i * n + j
            stream = Stream(seed, 2 * number + 1, block)
            stripe = stripes[j]
            for at in range(block_start[block], block_start[block + 1], 32):
                batch = slice(at, min(at + 32, block_start[block + 1]))
                size = min(n_negatives, len(stripe))
                pool = np.resize(np.roll(stripe, -stream.below(len(stripe))), size)
                who, what = users[batch], items[batch]
                masks = [np.isin(pool, list(known[user])) for user in who]
                c = confidences[batch] if len(confidences) else np.ones(len(who))
                args = who, what, pool, masks, c, settings
                losses[block] += contrast_loss(
                    kind, model.users[who], model.items, model.items[what], *args[2:]
                )
                by_pool, by_item, by_user = contrast_gradients(kind, model, *args)
                for item, gradient in zip(pool, by_pool, strict=True):
                    sphere_step(model, "items", item, gradient)
                for b in range(len(who)):
                    sphere_step(model, "items", what[b], by_item[b])
                    sphere_step(model, "users", who[b], by_user[b])
    return losses
