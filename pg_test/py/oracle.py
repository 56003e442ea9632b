"""Reference implementations of every trajectory formula, in numpy, float64.

`t` is an int64 array of microseconds, strictly increasing; `x` a float32 array of shape (n, D); `unit` the
length of a unit of time in microseconds. NULL is None. Written from the definitions, not from the Rust code:
where numpy or scipy has the function, it is called.

`python oracle.py FILE` writes the cases that the Rust tests of cvx-math read.
"""

import math
import sys

import numpy as np
from scipy.special import gammaln
from scipy.stats import linregress

DAY = 86_400_000_000


def _since_start(t):
    """Microseconds since the first point. A division by the unit here would cost digits of short gaps."""
    return np.array([int(v) - int(t[0]) for v in t], dtype=np.float64)


def _nearest(t, at):
    if at is None:
        return len(t) - 1
    return min(range(len(t)), key=lambda i: (abs(int(t[i]) - int(at)), i))


def velocity(t, x, at=None, unit=DAY):
    if len(t) < 2:
        return None
    return np.gradient(x.astype(np.float64), _since_start(t), axis=0)[_nearest(t, at)] * unit


def speed(t, x, at=None, unit=DAY):
    v = velocity(t, x, at, unit)
    return None if v is None else float(np.linalg.norm(v))


def steps(x):
    return np.diff(x.astype(np.float64), axis=0)


def path_length(t, x):
    return None if len(t) < 2 else float(np.linalg.norm(steps(x), axis=1).sum())


def mean_speed(t, x, unit=DAY):
    return None if len(t) < 2 else path_length(t, x) / float(_since_start(t)[-1]) * unit


def acceleration(t, x, at=None, unit=DAY):
    """Twice the leading coefficient of the parabola through three neighbours."""
    n = len(t)
    if n < 3:
        return None
    i = min(max(_nearest(t, at), 1), n - 2)
    s = np.array([int(v) - int(t[i]) for v in t[i - 1 : i + 2]], dtype=np.float64) / unit
    return 2.0 * np.linalg.solve(np.vander(s, 3), x[i - 1 : i + 2].astype(np.float64))[0]


def efficiency(t, x):
    length = path_length(t, x)
    if not length:
        return None
    return float(np.linalg.norm(x[-1].astype(np.float64) - x[0])) / length


def value_at(t, x, ts):
    if len(t) == 0 or not t[0] <= ts <= t[-1]:
        return None
    s, at = _since_start(t), float(int(ts) - int(t[0]))
    return np.array([np.interp(at, s, column) for column in x.T.astype(np.float64)])


def resample(t, x, step):
    if len(t) == 0:
        return np.empty(0, np.int64), np.empty((0, x.shape[1]))
    times = [int(t[0]) + k * step for k in range((int(t[-1]) - int(t[0])) // step + 1)]
    return np.array(times, np.int64), np.array([value_at(t, x, ts) for ts in times])


def drift(t, x, metric="cosine"):
    if len(t) < 2:
        return None
    a, b = x[0].astype(np.float64), x[-1].astype(np.float64)
    if metric == "l2":
        return float(np.linalg.norm(b - a))
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return None if norms == 0 else float(1.0 - a @ b / norms)


def drift_trend(t, x, metric="cosine", unit=DAY):
    if len(t) < 2:
        return None
    distances = [0.0] + [drift(t[[0, i]], x[[0, i]], metric) for i in range(1, len(t))]
    if None in distances:
        return None
    return float(linregress(_since_start(t) / unit, distances).slope)


def volatility(t, x, unit=DAY):
    if len(t) < 3:
        return None
    scaled = steps(x) / np.sqrt(np.diff(_since_start(t)) / unit)[:, None]
    return float(np.sqrt(scaled.var(axis=0, ddof=1).sum()))


def drift_entropy(t, x):
    if len(t) < 2:
        return None
    moved = (x[-1].astype(np.float64) - x[0]) ** 2
    if moved.sum() == 0:
        return None
    if x.shape[1] == 1:
        return 0.0
    p = moved[moved > 0] / moved.sum()
    return float(-(p * np.log(p)).sum() / math.log(x.shape[1]))


def stability_score(t, x):
    norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    if len(t) == 0 or (norms == 0).any():
        return None
    return float(np.linalg.norm((x / norms).mean(axis=0)))


def hurst_of_series(s):
    """Rescaled range with the correction of Anis and Lloyd; windows 8 * 2**(k/2) up to half the series."""
    s = np.asarray(s, np.float64)
    if len(s) < 32:
        return None
    points = []
    k = 0
    while (w := round(8 * 2 ** (k / 2))) <= len(s) // 2:
        k += 1
        windows = s[: len(s) // w * w].reshape(-1, w)
        deviation = windows.std(axis=1)
        usable = deviation > 1e-12 * np.abs(windows.mean(axis=1))
        if not usable.any():
            continue
        walk = np.cumsum(windows - windows.mean(axis=1, keepdims=True), axis=1)
        span = np.maximum(walk.max(axis=1), 0) - np.minimum(walk.min(axis=1), 0)
        r = np.arange(1, w)
        gammas = math.exp(gammaln((w - 1) / 2) - gammaln(w / 2)) / math.sqrt(math.pi)
        expected = gammas * np.sqrt((w - r) / r).sum()
        points.append((math.log(w), math.log((span[usable] / deviation[usable]).mean() / expected)))
    if len(points) < 3:
        return None
    slope = np.polyfit(*zip(*points), 1)[0]
    return float(np.clip(0.5 + slope, 0, 1))


def hurst(t, x):
    return hurst_of_series(np.linalg.norm(steps(x), axis=1))


def drift_report(t, x, top=10):
    """(l2, cosine, dimensions from 0, change)."""
    if len(t) < 2:
        return None
    change = x[-1].astype(np.float64) - x[0]
    dims = np.lexsort((np.arange(len(change)), -np.abs(change)))[:top]
    return drift(t, x, "l2"), drift(t, x), dims, change[dims]


def pca_ratios(x, components):
    """Shares of variance of the leading components, zeros where there are fewer."""
    centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    variance = np.linalg.svd(centred, compute_uv=False) ** 2
    total = variance.sum()
    shares = variance / total if total > 0 else np.zeros_like(variance)
    return np.resize(np.append(shares[:components], np.zeros(components)), components)


def cases():
    """Random walks on uneven times, of the sizes that matter, seeded."""
    rng = np.random.default_rng(2026)
    for n, dims in [(2, 1), (3, 2), (5, 3), (40, 1), (60, 96), (200, 8), (700, 3)]:
        gaps = np.exp(rng.normal(0, 2, n)) * DAY
        t = np.cumsum(np.maximum(gaps, 1).astype(np.int64)) - 40 * 365 * DAY
        scale = np.exp(np.repeat(rng.normal(0, 0.5, n // 8 + 1), 8)[:n])
        x = np.cumsum(rng.normal(0, 1, (n, dims)) * scale[:, None], axis=0) + rng.normal(0, 3, dims)
        yield t, x.astype(np.float32)


def write_cases(path):
    """One line a quantity: its name, then its numbers, in full precision; `none` is NULL."""

    def line(name, value):
        if value is None:
            return f"{name} none\n"
        flat = np.asarray(value).ravel()
        return name + "".join(f" {v!s}" if flat.dtype.kind == "i" else f" {float(v)!r}" for v in flat) + "\n"

    with open(path, "w") as out:
        for t, x in cases():
            unit = 3600 * 1_000_000
            middle = int(t[len(t) // 2])
            between = (int(t[0]) + int(t[-1])) // 2
            report = drift_report(t, x, 5)
            out.write(f"case {x.shape[1]}\n" + line("times", t))
            out.write("values " + " ".join(str(v) for v in x.ravel()) + "\n")
            out.write(f"unit {unit}\nmiddle {middle}\nbetween {between}\n")
            out.write(line("velocity_end", velocity(t, x, None, unit)))
            out.write(line("velocity_middle", velocity(t, x, middle, unit)))
            out.write(line("speed_between", speed(t, x, between, unit)))
            out.write(line("mean_speed", mean_speed(t, x, unit)))
            out.write(line("acceleration_end", acceleration(t, x, None, unit)))
            out.write(line("acceleration_middle", acceleration(t, x, middle, unit)))
            out.write(line("path_length", path_length(t, x)))
            out.write(line("efficiency", efficiency(t, x)))
            out.write(line("value_between", value_at(t, x, between)))
            step = max((int(t[-1]) - int(t[0])) // 7, 1)
            times, values = resample(t, x, step)
            out.write(f"step {step}\n" + line("resample_times", times) + line("resample_values", values))
            out.write(line("drift_cosine", drift(t, x)) + line("drift_l2", drift(t, x, "l2")))
            out.write(line("volatility", volatility(t, x, unit)))
            out.write(line("drift_entropy", drift_entropy(t, x)))
            out.write(line("stability_score", stability_score(t, x)))
            out.write(line("hurst", hurst(t, x)))
            out.write(line("report_dims", report[2]) + line("report_change", report[3]))
            out.write(line("pca_ratios", pca_ratios(x, 3)))


if __name__ == "__main__":
    write_cases(sys.argv[1])
