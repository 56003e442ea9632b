"""Seeded test signals for change points, shared by the oracle tests.

Every signal is float32, as cvx stores it; an oracle gets the same values in float64.
"""

import numpy as np

DIMS = (1, 2, 64, 384)


def piecewise(rng, n, dims, breaks, delta):
    """Gaussian noise of unit variance; at each break the mean moves by `delta` times the noise length."""
    x = rng.standard_normal((n, dims))
    for b in breaks:
        step = rng.standard_normal(dims)
        x[b:] += step / np.linalg.norm(step) * delta * np.sqrt(dims)
    return x.astype(np.float32)


def random_signals(count=300, seed=20240607):
    """`count` signals with what to ask of each: dicts of x, min_size, and penalties relative to the trace
    of the covariance (multiply by `noise` to get the one to use). Half of them have planted changes."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        dims = DIMS[i % len(DIMS)]
        n = int(rng.integers(4, 301))
        planted = int(rng.integers(0, 6)) if i % 2 else 0
        breaks = np.sort(rng.choice(np.arange(1, n), size=min(planted, n - 1), replace=False))
        x = piecewise(rng, n, dims, breaks, delta=float(rng.uniform(0.3, 4.0)))
        if i % 3 == 2:
            x += rng.standard_normal(dims).astype(np.float32) * 10
        yield {
            "x": x,
            "min_size": int(rng.integers(1, 6)),
            "noise": float(dims),
            "penalties": [float(p) for p in rng.choice([2.0, 3.5, 6.0, 12.0, 25.0], 2, replace=False)],
        }


def unit_penalty(x, cost):
    """A penalty of the size of one point's cost, for costs whose scale is not the signal's."""
    return {"cosine": max(1.0 - mean_cosine(x), 0.05), "rbf": 0.6}[cost]


def mean_cosine(x):
    y = x.astype(np.float64)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return float(np.linalg.norm(y.mean(axis=0)) ** 2)


def median_gamma(x):
    """ruptures' median heuristic, as a number that both sides can be given."""
    from scipy.spatial.distance import pdist

    median = float(np.median(pdist(x.astype(np.float64), "sqeuclidean")))
    return 1.0 / median if median > 0 else 1.0


def expected_breaks(x, cost, penalty, min_size, gamma=None, model="pelt"):
    """What ruptures answers, without the trailing n. `model` 'kernel' uses KernelCPD for l2 as well."""
    import ruptures

    signal = x.astype(np.float64)
    if len(signal) < 2 * min_size:
        return []
    if cost == "l2" and model == "pelt":
        found = ruptures.Pelt(model="l2", jump=1, min_size=min_size).fit_predict(signal, penalty)
    else:
        kernel = {"l2": "linear"}.get(cost, cost)
        params = {"gamma": gamma} if cost == "rbf" else None
        found = ruptures.KernelCPD(kernel=kernel, min_size=min_size, params=params).fit(signal).predict(pen=penalty)
    return [int(b) for b in found[:-1]]


def kernel_matrix(x, cost, gamma=None):
    """The kernel whose segment costs all three models are."""
    y = x.astype(np.float64)
    if cost == "cosine":
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
        return y @ y.T
    if cost == "l2":
        y = y - y.mean(axis=0)
        return y @ y.T
    square = ((y[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-np.clip((gamma * square).astype(np.float32), 0.01, 100).astype(np.float64))


def segment_costs(kernel):
    """`c[a, b]`: the cost of points a..b-1, for a < b."""
    n = len(kernel)
    integral = np.zeros((n + 1, n + 1))
    integral[1:, 1:] = kernel.cumsum(0).cumsum(1)
    trace = np.concatenate([[0.0], np.cumsum(np.diag(kernel))])
    a, b = np.triu_indices(n + 1, 1)
    costs = np.full((n + 1, n + 1), np.inf)
    block = integral[b, b] - integral[a, b] - integral[b, a] + integral[a, a]
    costs[a, b] = trace[b] - trace[a] - block / (b - a)
    return costs


def optimal_breaks(costs, penalty, min_size):
    """Optimal partitioning without any pruning: the exact answer, with its objective."""
    n = len(costs) - 1
    best = np.full(n + 1, np.inf)
    best[0], last = -penalty, np.zeros(n + 1, dtype=int)
    for end in range(min_size, n + 1):
        value = best[: end - min_size + 1] + costs[: end - min_size + 1, end] + penalty
        last[end] = int(np.argmin(value))
        best[end] = value[last[end]]
    breaks, end = [], last[n]
    while end > 0:
        breaks.append(int(end))
        end = last[end]
    return breaks[::-1], float(best[n])


def objective(costs, breaks, penalty):
    """Cost of a given segmentation plus a penalty a break."""
    bounds = [0, *breaks, len(costs) - 1]
    return float(sum(costs[a, b] for a, b in zip(bounds, bounds[1:])) + penalty * len(breaks))


def verdict(x, cost, ours, penalty, min_size, gamma=None):
    """'equal' to ruptures; 'better', the unpruned optimum where ruptures is not (it prunes a start `min_size` - 1
    points too early when min_size > 1, which shows at penalties below the noise); 'tied' with it to rounding; else
    'wrong'."""
    theirs = expected_breaks(x, cost, penalty, min_size, gamma)
    if ours == theirs:
        return "equal"
    costs = segment_costs(kernel_matrix(x, cost, gamma))
    _, best = optimal_breaks(costs, penalty, min_size)
    slack = 1e-9 * max(1.0, abs(best))
    if objective(costs, ours, penalty) > best + slack:
        return "wrong"
    return "better" if objective(costs, theirs, penalty) > best + slack else "tied"
