"""p-values of drift against the same formulas in numpy and scipy, and against uniform numbers where nothing drifts."""

import math

import numpy as np
import psycopg
import pytest
from scipy import special, stats
from trajectories import DAY, Trajectory, one

QUERY = """SELECT cvx.drift_p_value(t, 'l2'), cvx.drift_p_value(t), cvx.velocity_p_value(t)
           FROM (SELECT %s::cvx.trajectory) q(t)"""


def trimming(freedom, kept):
    """Factor on the expectation, and relative precision, of the mean of the smallest `kept` of chi-squares."""
    if kept == 1:
        return 1.0, 1.0
    law = stats.chi2(freedom)
    cut = law.ppf(kept)
    # Integrals of x and of its square, over the root of x, in which the density is smooth.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    root = (nodes + 1) / 2 * np.sqrt(cut)
    density = weights / 2 * np.sqrt(cut) * law.pdf(root**2) * 2 * root
    mean = (density * root**2).sum()
    winsorised = mean + cut * (1 - kept)
    square = (density * root**4).sum() + cut**2 * (1 - kept)
    return mean / kept / freedom, 2 / freedom / ((square - winsorised**2) / mean**2)


def shape(x):
    """Effective dimension, shift and degrees of freedom from the eigenvalues of the scatter matrix."""
    chosen = x if len(x) <= 32 else x[[i * (len(x) - 1) // 31 for i in range(32)]]
    centred = chosen - chosen.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    n = len(chosen) - 1
    values *= n / values.sum()
    second, third = (values**2).sum(), (values**3).sum()
    share = second / n**2
    dimension = np.clip((n + 1 - 2 * share) / max(n * share - 1, 1e-300), 1, x.shape[1])
    square = 1 / dimension
    cube = n * (third - 3 * second + 2 * n) / ((n - 1) * (n - 2) * (n + 2) * (n + 4))
    cube = np.clip(cube, square**2, square**1.5)
    return dimension, 1 - square**2 / cube, square**3 / cube**2


def p_value(x, step, apart):
    moved = ((x[step[1]] - x[step[0]]) ** 2).sum() / 2
    noise = np.sort((np.diff(x[apart], axis=0) ** 2).sum(axis=1) / 2)
    kept = len(noise) - len(noise) // 10
    if moved < 1e-14 or noise[:kept].max() < 1e-14:
        return float(moved < 1e-14)
    dimension, shift, freedom = shape(x)
    bias, efficiency = trimming(freedom, kept / len(noise))
    ratio = moved * (shift + (1 - shift) * bias) / noise[:kept].mean()
    if ratio <= shift:
        return 1.0
    points = len(noise) + 1
    worth = 2 * (points - 1) ** 2 / (3 * points - 4) * efficiency
    return stats.f.sf((ratio - shift) / (1 - shift), freedom, dimension * worth * (1 - shift / ratio) ** 2)


def expected(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    ends, inner = (0, -1), slice(1, -1)
    return p_value(x, ends, inner), p_value(unit, ends, inner), p_value(x, (-2, -1), slice(None, -2))


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
@pytest.mark.parametrize("points", [4, 5, 9, 30, 32, 33, 200])
def test_formulas(typed, dims, points):
    rng = np.random.default_rng([dims, points])
    for k in range(12):
        spread = np.ones(dims) if k % 2 else 1 / np.sqrt(np.arange(1, dims + 1))
        x = 2 + rng.normal(size=(points, dims)) * spread + 0.3 * k * np.linspace(0, 1, points)[:, None]
        x = x.astype(np.float32)
        found = one(typed, QUERY, Trajectory(np.arange(points) * DAY, x))
        for a, b in zip(found, expected(x.astype(float)), strict=True):
            assert math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-290), (a, b)


@pytest.mark.parametrize("dims, points", [(2, 30), (64, 12), (384, 50)])
def test_uniform_without_drift(typed, dims, points):
    rng = np.random.default_rng([dims, points, 1])
    drawn = [one(typed, QUERY, Trajectory(np.arange(points) * DAY, 9 + rng.normal(size=(points, dims))))
             for _ in range(600)]
    for p in np.array(drawn).T:
        assert stats.kstest(p, "uniform", alternative="greater").pvalue > 1e-3
        assert stats.binomtest(int((p < 0.01).sum()), len(p), 0.012, "greater").pvalue > 1e-3


def test_no_answer(conn):
    row = conn.execute(
        """SELECT cvx.drift_p_value('{}'), cvx.velocity_p_value('{}'), cvx.drift_p_value(NULL::cvx.trajectory),
                  cvx.drift_p_value('{[1]@2026-01-01,[2]@2026-01-02,[3]@2026-01-03}', 'l2'),
                  cvx.velocity_p_value('{[1]@2026-01-01,[2]@2026-01-02,[3]@2026-01-03}'),
                  cvx.drift_p_value('{[1]@2026-01-01,[2]@2026-01-02,[0]@2026-01-03,[3]@2026-01-04}')"""
    ).fetchone()
    assert row == (None,) * 6


def test_without_noise(conn):
    query = "SELECT cvx.drift_p_value(%s, 'l2'), cvx.drift_p_value(%s), cvx.velocity_p_value(%s)"
    still = "{[1,1]@2026-01-01,[1,1]@2026-01-02,[1,1]@2026-01-03,[1,1]@2026-01-04}"
    moved = "{[1,1]@2026-01-01,[1,1]@2026-01-02,[1,1]@2026-01-03,[1,2]@2026-01-04}"
    assert conn.execute(query, [still] * 3).fetchone() == (1, 1, 1)
    assert conn.execute(query, [moved] * 3).fetchone() == (0, 0, 0)


def test_unknown_metric(conn):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
        conn.execute("SELECT cvx.drift_p_value('{}', 'manhattan')")
    assert '"manhattan"' in raised.value.diag.message_primary and "cosine" in raised.value.diag.message_hint


def test_closed_form_of_the_oracle():
    """The oracle's trimming against closed forms, so that a shared mistake would show."""
    bias, _ = trimming(2, 0.9)
    cut = -2 * math.log(0.1)
    assert math.isclose(bias, (1 - (1 + cut / 2) * 0.1) / 0.9, rel_tol=1e-9)
    assert math.isclose(special.gammainc(1, cut / 2), 0.9, rel_tol=1e-12)
