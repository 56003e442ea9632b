"""Drift and the statistics of movement against numpy and scipy."""

import numpy as np
import oracle
import pytest
from test_calculus import HOUR, assert_scalar, walks
from trajectories import DAY, Trajectory, one


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_statistics(typed, dims):
    query = """SELECT cvx.drift(t, 'l2'), cvx.drift(t), cvx.volatility(t), cvx.volatility(t, '1 hour'),
                      cvx.drift_entropy(t), cvx.stability_score(t)
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    for _, walk in walks(dims):
        l2, cosine, daily, hourly, entropy, stability = one(typed, query, walk)
        assert_scalar(l2, oracle.drift(walk.t, walk.x, "l2"))
        expected = oracle.drift(walk.t, walk.x)
        # 1 - cos of nearly parallel vectors: what matters is the error of the cosine.
        assert cosine is None if expected is None else abs(cosine - expected) < 1e-14
        rates = oracle.steps(walk.x) / np.sqrt(np.diff(walk.t)[:, None])
        for found, unit in [(daily, DAY), (hourly, HOUR)]:
            assert_scalar(found, oracle.volatility(walk.t, walk.x, unit), np.abs(rates).max(initial=0) * unit**0.5)
        assert_scalar(entropy, oracle.drift_entropy(walk.t, walk.x))
        assert_scalar(stability, oracle.stability_score(walk.t, walk.x))


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_drift_trend(typed, dims):
    query = """SELECT cvx.drift_trend(t, 'l2'), cvx.drift_trend(t, 'l2', '1 hour'), cvx.drift_trend(t)
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    for _, walk in walks(dims):
        daily, hourly, cosine = one(typed, query, walk)
        # The slope of a walk that comes back is small beside its terms.
        size = np.linalg.norm(walk.x, axis=1).max() * DAY / max(int(walk.t[-1] - walk.t[0]), 1)
        assert_scalar(daily, oracle.drift_trend(walk.t, walk.x, "l2"), size)
        assert_scalar(hourly, oracle.drift_trend(walk.t, walk.x, "l2", HOUR), size / 24)
        assert_scalar(cosine, oracle.drift_trend(walk.t, walk.x), size)


def test_drift_trend_is_regr_slope(typed):
    query = """SELECT cvx.drift_trend(t, 'l2'),
                      (SELECT regr_slope(coalesce(cvx.drift(cvx.slice(t, NULL, ts), 'l2'), 0),
                              extract(epoch FROM ts - cvx.start_ts(t)) / 86400) FROM cvx.points(t))
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    for _, walk in walks(8):
        trend, slope = one(typed, query, walk)
        np.testing.assert_allclose(*[[np.nan if v is None else v] for v in (trend, slope)], rtol=1e-8)


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_hurst(typed, dims):
    rng = np.random.default_rng([dims, 5])
    for n in [32, 33, 40, 64, 65, 100, 200, 500, 1000]:
        walk = Trajectory(np.arange(n) * DAY, np.cumsum(rng.normal(size=(n, dims)), axis=0))
        (found,) = one(typed, "SELECT cvx.hurst(%s::cvx.trajectory)", walk)
        expected = oracle.hurst(walk.t, walk.x)
        if expected is None:
            assert found is None
        else:
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_hurst_of_long_memory_is_larger_than_of_noise(typed):
    rng = np.random.default_rng(11)
    query = "SELECT cvx.hurst(%s::cvx.trajectory)"
    found = {}
    for name, exponent in [("white", 0.0), ("pink", 0.4)]:
        spectrum = np.fft.rfft(rng.normal(size=4096))
        frequency = np.maximum(np.fft.rfftfreq(4096), 1 / 4096)
        lengths = np.abs(10 + np.fft.irfft(spectrum * frequency**-exponent))
        walk = Trajectory(np.arange(4096) * DAY, np.cumsum(lengths)[:, None] % 1000)
        steps = np.linalg.norm(oracle.steps(walk.x), axis=1)
        found[name] = one(typed, query, walk)[0]
        np.testing.assert_allclose(found[name], oracle.hurst_of_series(steps), atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_drift_report(typed, dims):
    query = "SELECT l2, cosine, dimensions, changes FROM cvx.drift_report(%s::cvx.trajectory, %s)"
    for _, walk in walks(dims, count=10):
        for top in (0, 1, 10, 1000):
            rows = typed.execute(query, (walk, top), binary=True).fetchall()
            expected = oracle.drift_report(walk.t, walk.x, top)
            if expected is None:
                assert rows == []
                continue
            ((l2, cosine, dimensions, changes),) = rows
            assert_scalar(l2, expected[0])
            assert abs(cosine - expected[1]) < 1e-14
            assert dimensions == [int(d) + 1 for d in expected[2]]
            np.testing.assert_allclose(changes, expected[3], rtol=1e-12)


def test_report_defaults_to_ten_dimensions(typed):
    walk = Trajectory([0, DAY], [[0.0] * 12, [1, -2, 3, -4, 5, 6, 7, 8, 9, 10, -11, 12]])
    dimensions, changes = one(typed, "SELECT dimensions, changes FROM cvx.drift_report(%s::cvx.trajectory)", walk)
    assert dimensions == [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    assert changes == [12, -11, 10, 9, 8, 7, 6, 5, -4, 3]


def test_entropy_extremes(typed):
    def entropy(end):
        return one(
            typed, "SELECT cvx.drift_entropy(%s::cvx.trajectory)", Trajectory([0, DAY], [np.zeros(len(end)), end])
        )[0]

    assert entropy([0, 3, 0, 0]) == 0
    assert entropy([2, -2, 2, 2]) == pytest.approx(1, abs=1e-12)
    assert entropy([5]) == 0


def test_extreme_magnitudes_do_not_overflow(typed):
    huge = Trajectory([0, DAY, 2 * DAY], np.array([[3e38, -3e38], [-3e38, 3e38], [3e38, 3e38]]))
    tiny = Trajectory([0, DAY, 2 * DAY], np.array([[1e-45, 0], [0, 1e-45], [1e-45, 1e-45]]))
    query = """SELECT cvx.drift(t, 'l2'), cvx.drift(t), cvx.path_length(t), cvx.stability_score(t),
                      cvx.efficiency(t), cvx.drift_entropy(t), cvx.volatility(t)
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    for walk in (huge, tiny):
        found = one(typed, query, walk)
        functions = ["path_length", "stability_score", "efficiency", "drift_entropy", "volatility"]
        expected = [oracle.drift(walk.t, walk.x, "l2"), oracle.drift(walk.t, walk.x)]
        expected += [getattr(oracle, name)(walk.t, walk.x) for name in functions]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
