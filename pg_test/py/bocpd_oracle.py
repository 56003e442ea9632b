"""Bayesian online change-point detection (Adams and MacKay 2007, their algorithm 1) in plain numpy: every run is kept,
and every mean is computed anew from the points themselves. The noise is estimated from all that its definition names,
and what is told apart from outliers is told as cvx's documentation has it."""

from dataclasses import dataclass

import numpy as np

WINDOW, BURN_IN, TRIMMED, MOST_WEIGHT, PRIOR_PAIRS, REMEMBERED = 256, 12, 0.1, 8.0, 3.0, 1024
RAREST, OF_HAZARD = 26.0, 11.0


@dataclass
class Step:
    """What is known after a point: the probability of a change, the most probable run's length, the report if any."""

    probability: float
    run_length: int
    report: tuple | None


def trimmed_mean(squares):
    squares = np.sort(squares[-WINDOW:])
    return squares[: len(squares) - int(np.ceil(TRIMMED * len(squares)))].mean()


def noise(x):
    """(tr Sigma, effective dimensions, degrees of freedom) from the points so far; None while they are too few."""
    dims = x.shape[1]
    e = np.diff(x, axis=0)
    squares = (e * e).sum(axis=1)
    if len(squares) < BURN_IN:
        return None
    pairs = aligned = 0.0
    for t in range(2, len(e)):
        keep = 1 - 1 / REMEMBERED
        pairs, aligned = keep * pairs, keep * aligned
        # The scale is that of the differences before this one.
        scale = trimmed_mean(squares[:t])
        for lag in (2, 3, 4):
            if t >= lag and squares[t] * squares[t - lag] > 0 and scale > 0:
                weight = min(squares[t] / scale, MOST_WEIGHT) * min(squares[t - lag] / scale, MOST_WEIGHT)
                pairs += weight
                aligned += weight * min((e[t] @ e[t - lag]) ** 2 / (squares[t] * squares[t - lag]), 1.0)
    d = np.clip((PRIOR_PAIRS + pairs) / (PRIOR_PAIRS + aligned), 1, dims)
    kept_share = 1 - 0.2757 / np.sqrt(d) - 0.11 / d
    return trimmed_mean(squares) / 2 / kept_share, d, d * min(len(squares), WINDOW) * 2 / 3


def prior_weight(d, dims):
    a = 1 / dims + np.sqrt(max((1 / d - 1 / dims) * (1 - 1 / dims), 0))
    return min(np.exp(OF_HAZARD / d - 1 - a * (RAREST - 1)), 1.0)


def log_density(square, kappa, variance, d, freedom):
    """Student t with `freedom` degrees and scale variance / d * (1 + 1 / kappa), up to what all runs share."""
    spread = 1 + 1 / kappa
    return -d / 2 * np.log(spread) - (freedom + d) / 2 * np.log1p(square * d / (variance * spread) / freedom)


def detect(x, hazard=0.004, threshold=0.5):
    """A Step a point of x, (points, dims) of numbers that are exact in float4."""
    x = np.asarray(x, np.float64)
    n, dims = x.shape
    first, left_out = 0, []  # the run since the last report, and the outliers in it
    runs = {0: (0.0, None, 0.0)}  # start -> (prior weight, prior mean, sum of log density less the first run's)
    log_weight = {0: 0.0}
    suspects = 0  # how many of the last points are suspect
    steps = []

    def points_of(start, end):
        own = x[start:end]
        return np.delete(own, [i - start for i in left_out], axis=0) if start == first and left_out else own

    def posterior(start, end):
        weight, prior, _ = runs[start]
        own = points_of(start, end)
        kappa = weight + len(own)
        return kappa, (own.sum(axis=0) + (weight * prior if weight else 0)) / kappa

    for t in range(n):
        estimate = noise(x[:t]) if t > BURN_IN else None
        if estimate is None:
            steps.append(Step(0.0, t + 1, None))
            continue
        variance, d, freedom = estimate
        held = points_of(first, t - suspects)
        prior = prior_weight(d, dims)
        runs[t], log_weight[t] = (prior, held.mean(axis=0), 0.0), np.log(hazard) - np.log1p(-hazard)
        density = {}
        for start in runs:
            kappa, mean = posterior(start, t)
            density[start] = log_density(((x[t] - mean) ** 2).sum(), kappa, variance, d, freedom)
        for start, (weight, mean, bayes) in runs.items():
            runs[start] = (weight, mean, bayes + density[start] - density[first])
            log_weight[start] += density[start]
        most = max(log_weight.values())
        total = most + np.log(sum(np.exp(w - most) for w in log_weight.values()))
        log_weight = {start: w - total for start, w in log_weight.items()}

        probability = sum(np.exp(w) for start, w in log_weight.items() if start != first)
        likely = probability >= threshold
        best = max((start for start in runs if start != first), key=log_weight.get)
        report = None
        if likely and t + 1 - best >= 2 and runs[best][2] > 0:
            before = held.mean(axis=0) if suspects else points_of(first, best).mean(axis=0)
            square = ((x[best : t + 1].mean(axis=0) - before) ** 2).sum()
            report = (best, probability, t + 1 - best, square / (square + variance))
            first, left_out, suspects = best, [], 0
            runs, log_weight = {best: (0.0, None, 0.0)}, {best: 0.0}
        elif suspects:
            square = ((x[t] - held.mean(axis=0)) ** 2).sum()
            back = np.log1p(-hazard) + log_density(square, len(held), variance, d, freedom)
            if back >= np.log(hazard) + log_density(square, prior, variance, d, freedom):
                left_out += range(t - suspects, t)
                suspects = 0
                runs, log_weight = {first: (0.0, None, 0.0)}, {first: 0.0}
            else:
                suspects = suspects + 1 if likely else 0
        elif likely:
            suspects = 1
        change = sum(np.exp(w) for start, w in log_weight.items() if start != first)
        steps.append(Step(change, t + 1 - max(log_weight, key=log_weight.get), report))
    return steps
