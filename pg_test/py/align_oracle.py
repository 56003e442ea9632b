"""What src/math/align and src/catalog/pairs.rs say they do, done again in numpy and scipy, in float64."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from versions import Rows

# The constants of affine.rs: powers of ten in quarters.
EXPONENTS = np.arange(-36, 13) / 4


@dataclass
class Pairs:
    """`x` (n, p) of the new model and `y` (n, q) of the old one, float64; whose they are; the pairs of each tier."""

    x: np.ndarray
    y: np.ndarray
    entity: np.ndarray
    tiers: tuple[int, int, int]

    def __getitem__(self, which):
        return self.x[which], self.y[which]


def pair_up(new: Rows, old: Rows, names: list[str]) -> Pairs:
    """All pairs of the entities `names`, which are in the server's order: by input, else by time, else means."""
    x, y, entity, tiers = [], [], [], [0, 0, 0]
    number = 0
    for name in names:
        a, b = new[new.entity == name], old[old.entity == name]
        if not len(a) or not len(b):
            continue
        found, tier = by_input(a, b), 0
        if not found:
            found, tier = by_time(a, b), 1
        if not found:
            found, tier = by_mean(a, b), 2
        for left, right in found:
            x.append(left)
            y.append(right)
            entity.append(number)
        tiers[tier] += len(found)
        number += bool(found)
    return Pairs(np.array(x, np.float64), np.array(y, np.float64), np.array(entity), tuple(tiers))


def by_input(a: Rows, b: Rows) -> list:
    first = [{}, {}]
    for side, of in zip(first, (a, b)):
        for i in np.argsort(of.ts):
            if of.hash[i] is not None:
                side.setdefault(of.hash[i], i)
    shared = [(first[0][h], first[1][h]) for h in first[0].keys() & first[1].keys()]
    shared.sort(key=lambda it: (a.ts[it[0]], b.ts[it[1]]))
    return [(a.x[i], b.x[j]) for i, j in shared]


def by_time(a: Rows, b: Rows) -> list:
    shared, i, j = np.intersect1d(a.ts, b.ts, return_indices=True)
    return [(a.x[i], b.x[j]) for i, j in zip(i, j)]


def by_mean(a: Rows, b: Rows) -> list:
    first, last = max(a.ts.min(), b.ts.min()), min(a.ts.max(), b.ts.max())
    parts = [of.x[(of.ts >= first) & (of.ts <= last)].astype(np.float64) for of in (a, b)]
    if not all(map(len, parts)):
        return []
    # The server's avg(vector) is float32.
    return [tuple(part.mean(axis=0).astype(np.float32) for part in parts)]


def folds(entity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of training, validation and held-out pairs, as folds.rs splits them."""
    ids = np.unique(entity).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    shuffled = ids[np.lexsort((ids, z))].astype(int)
    held = -(-len(ids) // 5) if len(ids) > 1 else 0
    others = shuffled[held:]
    in_held = np.isin(entity, shuffled[:held])
    in_validation = np.isin(entity, others[3::4])
    return ~in_held & ~in_validation, in_validation, in_held


def centred(x, y):
    return x - x.mean(axis=0), y - y.mean(axis=0)


def about(b, x, y):
    """(B, c) of the map with linear part B that takes the mean of x to that of y."""
    return b, y.mean(axis=0) - x.mean(axis=0) @ b


def procrustes(x, y, *_):
    """(B, c) and the scale, of pairs that leave the rotation no choice."""
    xc, yc = centred(x, y)
    rotation, total = scipy.linalg.orthogonal_procrustes(xc, yc)
    scale = total / (xc**2).sum()
    return (*about(scale * rotation, x, y), scale)


def completed_procrustes(x, y):
    """(B, c), scale and rank, where pairs span fewer directions than there are: on what they have not seen the rotation
    is the one nearest to the identity."""
    xc, yc = centred(x, y)
    u, s, vt = np.linalg.svd(xc.T @ yc)
    rank = int((s > s[0] * 4 * len(s) * np.finfo(float).eps).sum())
    rotation = u[:, :rank] @ vt[:rank]
    left, right = u[:, rank:], vt[rank:].T
    nearest, _, other = np.linalg.svd(left.T @ right)
    rotation += left @ (nearest @ other) @ right.T
    scale = s.sum() / (xc**2).sum()
    return (*about(scale * rotation, x, y), scale, rank)


def ridge(x, y, penalty):
    xc, yc = centred(x, y)
    b = np.linalg.solve(xc.T @ xc + penalty * np.eye(x.shape[1]), xc.T @ yc)
    return about(b, x, y)


def penalties(x) -> np.ndarray:
    """The grid from which the server takes the penalty of an affine map trained on x."""
    xc = x - x.mean(axis=0)
    return (xc**2).sum() / x.shape[1] * 10**EXPONENTS


def validation_errors(pairs: Pairs, backward: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The grid, and the squared error on the validation pairs of the ridge map from the training pairs."""
    training, validation, _ = folds(pairs.entity)
    x, y = (pairs.y, pairs.x) if backward else (pairs.x, pairs.y)
    grid = penalties(x[training])
    at = lambda penalty: ridge(x[training], y[training], penalty)
    errors = [((x[validation] @ b + c - y[validation]) ** 2).sum() for b, c in map(at, grid)]
    return grid, np.array(errors)


def symmetric_power(a, power):
    w, v = np.linalg.eigh(a)
    return (v * w**power) @ v.T


def cca(x, y, kappa):
    """Canonical matching S^-1/2 P T^1/2, with the canonical ridge of kappa pairs."""
    xc, yc = centred(x, y)
    ridged = lambda a: a.T @ a + kappa * (a**2).sum() / a.size * np.eye(a.shape[1])
    s, t = ridged(xc), ridged(yc)
    u, _, vt = np.linalg.svd(symmetric_power(s, -0.5) @ xc.T @ yc @ symmetric_power(t, -0.5), full_matrices=False)
    return about(symmetric_power(s, -0.5) @ u @ vt @ symmetric_power(t, 0.5), x, y)


def canonical_correlations(x, y):
    """Singular values of Qx'Qy; of pairs that outnumber the dimensions."""
    qx, qy = (np.linalg.qr(a)[0] for a in centred(x, y))
    return np.linalg.svd(qx.T @ qy, compute_uv=False)


def nearest_ten(queries, x, own):
    """Cosines closer than 2^-20 are a tie, which the order of the pairs decides: the same text under two names. `own` is
    the place of each query itself in x, -1 where it is not there."""
    scores = (queries.astype(np.float32) @ x.astype(np.float32).T * 2**20).astype(np.int32)
    there = np.flatnonzero(own >= 0)
    scores[there, own[there]] = -(2**30)
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]


def unit(x):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def recall_at_10(projected, x, y, held) -> float | None:
    """Of the held-out pairs (indexes) the share of the ten nearest others of each x, among all x, that are among those
    of its projection among all y. Of more than 2000 pairs that many are searched, of more than 1000 held-out ones that
    many looked for, evenly chosen."""
    if len(x) < 50:
        return None
    evenly = lambda count, most: np.arange(min(count, most)) * count // min(count, most)
    searched, chosen = evenly(len(x), 2000), evenly(len(held), 1000)
    place = {pair: at for at, pair in enumerate(searched)}
    own = np.array([place.get(pair, -1) for pair in held[chosen]])
    truth = nearest_ten(unit(x[held[chosen]]), unit(x[searched]), own)
    found = nearest_ten(unit(projected[chosen]), unit(y[searched]), own)
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found)])


def quality(pairs: Pairs, fit, parameter=None) -> dict:
    """The figures that cvx.alignment keeps: of the map fitted to four fifths of the entities, on the others."""
    _, _, held = folds(pairs.entity)
    b, c, *_ = fit(*pairs[~held], parameter)
    x, y = pairs[held]
    projected = x @ b + c
    lengths = np.linalg.norm(projected - y, axis=1)
    return {
        "held_out_entities": len(np.unique(pairs.entity[held])),
        "held_out_pairs": int(held.sum()),
        "mean_residual": lengths.mean(),
        "p95_residual": np.quantile(lengths, 0.95),
        "p99_residual": np.quantile(lengths, 0.99),
        "mean_cosine": (unit(projected) * unit(y)).sum(axis=1).mean(),
        "recall_at_10": recall_at_10(projected, pairs.x, pairs.y, np.flatnonzero(held)),
    }


FITS = {"procrustes": procrustes, "affine": ridge, "cca": cca}
