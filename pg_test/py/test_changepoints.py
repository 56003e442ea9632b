"""Change points through SQL against ruptures, brute force and numpy."""

import os
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
import ruptures
import signals
from trajectories import DAY, Micros, Trajectory, one

SIGNALS = list(signals.random_signals())
FIND = "SELECT ts, index, severity, shift FROM cvx.changepoints(%s::cvx.trajectory, {}) ORDER BY index"
BREAKS = """SELECT coalesce(array_agg(index ORDER BY index), '{}')
            FROM cvx.changepoints(%s::cvx.trajectory, cost => %s, penalty => %s, min_size => %s, gamma => %s)"""


def evenly(x):
    return Trajectory(np.arange(len(x)) * DAY, x)


def breaks(conn, x, cost, penalty, min_size, gamma=None):
    return one(conn, BREAKS, evenly(x), cost, float(penalty), min_size, gamma)[0]


def changelogs():
    """(file, package, vectors): every trajectory of the repository's data, and of CVX_DATA's where it is set."""
    folders = [Path(os.environ.get("CVX_TEST_DATA", "")), Path(os.environ.get("CVX_DATA", ""))]
    for folder in folders:
        for file in sorted(folder.glob("changelog_v[123].parquet")):
            table = pq.read_table(file, columns=["package", "uploaded_at", "embedding"]).sort_by("uploaded_at")
            packages = table["package"].to_numpy()
            vectors = np.stack(table["embedding"].to_numpy())
            for package in np.unique(packages):
                yield file, package, vectors[packages == package]


def is_as_ruptures(found, x, cost, penalty, min_size, gamma, expected):
    """True when equal. Where min_size is 2 or more, ruptures drops a start as soon as it is beaten, though the start
    that beats it may not be used for min_size more points, and so misses the optimum now and then: there the server's
    answer has to cost less and be what a search without any pruning finds, and False is returned."""
    if found == expected:
        return True
    assert min_size > 1
    costs = signals.segment_costs(signals.kernel_matrix(x, cost, gamma))
    mine, theirs = (signals.objective(costs, b, penalty) for b in (found, expected))
    optimal, least = signals.optimal_breaks(costs, penalty, min_size)
    assert mine < theirs - 1e-9 * abs(theirs) and found == optimal, (cost, penalty, min_size, found, expected, optimal)
    return False


class TabulatedL2(ruptures.base.BaseCost):
    """ruptures' CostL2, looked up: its own computes a variance for every segment, which takes minutes."""

    model, min_size = "l2", 1

    def fit(self, signal):
        self.signal, self.costs = signal, signals.segment_costs(signals.kernel_matrix(signal, "l2"))
        return self

    def error(self, start, end):
        return self.costs[start, end]


def test_l2_equals_ruptures_pelt(typed):
    equal = 0
    for i, signal in enumerate(SIGNALS):
        x, penalty = signal["x"], signal["penalties"][0] * signal["noise"]
        for min_size in {1, signal["min_size"]}:
            if i % 10 == 0:
                expected = signals.expected_breaks(x, "l2", penalty, min_size)
            else:
                search = ruptures.Pelt(custom_cost=TabulatedL2(), jump=1, min_size=min_size)
                enough = len(x) >= 2 * min_size
                expected = search.fit_predict(x.astype(float), penalty)[:-1] if enough else []
            found = breaks(typed, x, "l2", penalty, min_size)
            equal += is_as_ruptures(found, x, "l2", penalty, min_size, None, expected)
    assert equal >= 0.96 * (len(SIGNALS) + sum(signal["min_size"] > 1 for signal in SIGNALS))


@pytest.mark.parametrize("cost", ["l2", "cosine", "rbf"])
def test_costs_equal_ruptures_kernel_cpd(typed, cost):
    equal = asked = 0
    for signal in SIGNALS:
        x = signal["x"]
        gamma = signals.median_gamma(x) if cost == "rbf" else None
        unit = signal["noise"] if cost == "l2" else signals.unit_penalty(x, cost)
        for share in signal["penalties"]:
            for min_size in {1, signal["min_size"]}:
                penalty = unit * share
                expected = signals.expected_breaks(x, cost, penalty, min_size, gamma, model="kernel")
                found = breaks(typed, x, cost, penalty, min_size, gamma)
                equal += is_as_ruptures(found, x, cost, penalty, min_size, gamma, expected)
                asked += 1
    assert asked > 1000 and equal >= 0.96 * asked


@pytest.mark.parametrize("cost", ["l2", "cosine", "rbf"])
def test_real_trajectories_equal_ruptures(typed, cost):
    seen = 0
    for file, package, x in changelogs():
        gamma = signals.median_gamma(x) if cost == "rbf" else None
        unit = signals.unit_penalty(x, cost) if cost == "rbf" else signals.unit_penalty(x, "cosine")
        for share in (0.5, 1.5, 3.0):
            for min_size in (1, 2, 5):
                expected = signals.expected_breaks(x, cost, unit * share, min_size, gamma, model="kernel")
                found = breaks(typed, x, cost, unit * share, min_size, gamma)
                equal = is_as_ruptures(found, x, cost, unit * share, min_size, gamma, expected)
                assert equal or min_size > 2, (file, package)
        seen += 1
    assert seen >= 75


def test_real_trajectories_equal_ruptures_pelt(typed, data_dir):
    for file, package, x in changelogs():
        if file.parent == data_dir and file.name == "changelog_v1.parquet":
            expected = signals.expected_breaks(x, "l2", 1.5, 2)
            assert breaks(typed, x, "l2", 1.5, 2) == expected, package


def test_median_gamma_is_ruptures_default(typed):
    for signal in SIGNALS[::25]:
        x, penalty = signal["x"], 0.6 * signal["penalties"][0]
        if len(x) < 4:
            continue
        expected = ruptures.KernelCPD(kernel="rbf", min_size=2).fit(x.astype(float)).predict(pen=penalty)[:-1]
        assert breaks(typed, x, "rbf", penalty, 2) == expected


def test_severity_shift_and_time(typed):
    for signal in SIGNALS:
        x, n = signal["x"].astype(np.float64), len(signal["x"])
        walk = Trajectory(np.cumsum(np.arange(1, n + 1) ** 2) * 1_000_003, signal["x"])
        penalty = signal["penalties"][0] * signal["noise"]
        rows = typed.execute(FIND.format("penalty => %s"), (walk, penalty), binary=True).fetchall()
        bounds = [0, *(index for _, index, _, _ in rows), n]
        steps = (np.diff(x, axis=0) ** 2).sum(axis=1)
        inside = np.delete(steps, [b - 1 for b in bounds[1:-1]])
        noise = inside.mean() / 2
        for i, (ts, index, severity, shift) in enumerate(rows, 1):
            assert ts == walk.t[index]
            moved = x[index : bounds[i + 1]].mean(axis=0) - x[bounds[i - 1] : index].mean(axis=0)
            np.testing.assert_allclose(shift, moved, rtol=2.0**-22, atol=1e-12 * np.abs(x).max())
            delta = moved @ moved / noise
            np.testing.assert_allclose(severity, delta / (1 + delta), rtol=1e-9)


def test_default_penalty_finds_a_planted_change_and_says_how_large(typed):
    rng = np.random.default_rng(8)
    for dims, delta in [(2, 4.0), (64, 2.0), (384, 1.0)]:
        x = signals.piecewise(rng, 80, dims, [50], delta)
        rows = typed.execute(FIND.format("alpha => 0.05"), (evenly(x),), binary=True).fetchall()
        ts, index, severity, shift = max(rows, key=lambda row: row[2])
        assert abs(index - 50) <= 1 and ts == Micros(index * DAY)
        assert severity == pytest.approx(delta**2 / (1 + delta**2), abs=0.1)
        assert np.linalg.norm(shift) == pytest.approx(delta * np.sqrt(dims), rel=0.25)


def draws(kind, rng, n, dims):
    """A signal without change."""
    if kind == "anisotropic":
        return rng.standard_normal((n, dims)) * np.arange(1, dims + 1) ** -0.7
    if kind == "student":
        return rng.standard_t(5, (n, dims))
    if kind == "unit norm":
        x = rng.standard_normal((n, dims)) + 3
        return x / np.linalg.norm(x, axis=1, keepdims=True)
    return rng.standard_normal((n, dims))


# Seeds are fixed, so a count never changes by itself; binomial(80, 0.05) exceeds 11 once in 2000.
DRAWS, MOST = 80, 11


@pytest.mark.parametrize(
    "kind, dims, n",
    [
        ("isotropic", 2, 30),
        ("isotropic", 64, 60),
        ("anisotropic", 64, 30),
        ("student", 2, 60),
        ("unit norm", 384, 40),
    ],
)
@pytest.mark.parametrize("cost", ["l2", "cosine"])
def test_calibrated_penalty_keeps_false_alarms_at_alpha(typed, kind, dims, n, cost):
    rng = np.random.default_rng([dims, n, len(kind)])
    signals_without_change = [evenly(draws(kind, rng, n, dims)) for _ in range(DRAWS)]
    query = "SELECT count(*) FROM cvx.changepoints(%s::cvx.trajectory, cost => %s)"
    alarms = sum(one(typed, query, walk, cost)[0] > 0 for walk in signals_without_change)
    assert alarms <= MOST


@pytest.mark.parametrize("dims, delta", [(2, 1.5), (64, 0.6), (384, 0.5)])
def test_calibrated_penalty_finds_a_shift_in_the_middle(typed, dims, delta):
    rng = np.random.default_rng([dims, 60])
    query = "SELECT coalesce(array_agg(index), '{}') FROM cvx.changepoints(%s::cvx.trajectory)"
    found = 0
    for _ in range(60):
        (indexes,) = one(typed, query, evenly(signals.piecewise(rng, 60, dims, [30], delta)))
        found += any(abs(i - 30) <= 2 for i in indexes)
    assert found >= 54


def autoregressive(rng, n, dims, phi):
    x = rng.standard_normal((n + 50, dims))
    for i in range(1, len(x)):
        x[i] = phi * x[i - 1] + np.sqrt(1 - phi**2) * x[i]
    return x[50:]


def test_autocorrelated_accounts_for_noise_that_follows_itself(typed):
    rng = np.random.default_rng(50)
    walks = [evenly(autoregressive(rng, 100, 64, 0.5)) for _ in range(60)]
    query = "SELECT count(*) FROM cvx.changepoints(%s::cvx.trajectory, autocorrelated => %s)"
    alarms = {flag: sum(one(typed, query, walk, flag)[0] > 0 for walk in walks) for flag in (False, True)}
    assert alarms[True] <= 9 < alarms[False]


def test_alpha_orders_penalties(typed):
    rng = np.random.default_rng(4)
    walk = evenly(signals.piecewise(rng, 120, 8, [20, 50, 90], 0.9))
    query = "SELECT count(*) FROM cvx.changepoints(%s::cvx.trajectory, alpha => %s)"
    counts = [one(typed, query, walk, alpha)[0] for alpha in (1e-6, 0.001, 0.05, 0.5)]
    assert counts == sorted(counts) and counts[-1] >= 3


def test_too_short_has_none(typed):
    for n in range(4):
        assert breaks(typed, np.eye(4)[:n] * 9, "l2", 0.0, 2) == []
    assert breaks(typed, np.eye(4) * 9, "l2", 0.0, 2) == [2]
    assert breaks(typed, np.eye(4) * 9, "l2", 0.0, 1) == [1, 2, 3]
    assert breaks(typed, np.eye(4), "l2", 0.0, 2**31 - 1) == []


def test_a_step_without_noise_is_of_severity_one(typed):
    x = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20, axis=0)
    ((_, index, severity, shift),) = typed.execute(FIND.format("alpha => 0.05"), (evenly(x),), binary=True).fetchall()
    assert (index, severity, shift.tolist()) == (20, 1.0, [-1.0, 1.0])


def test_constant_trajectory_has_none(typed):
    for cost in ("l2", "cosine", "rbf"):
        assert one(
            typed,
            "SELECT count(*) FROM cvx.changepoints(%s::cvx.trajectory, cost => %s)",
            evenly(np.ones((50, 3))),
            cost,
        ) == (0,)


@pytest.mark.parametrize(
    "argument",
    [
        "method => 'binseg'",
        "method => ''",
        "cost => 'l1'",
        "penalty => -1",
        "penalty => 'NaN'",
        "penalty => 'Infinity'",
        "min_size => 0",
        "min_size => -2147483648",
        "alpha => 0",
        "alpha => 1",
        "alpha => 'NaN'",
        "cost => 'rbf', gamma => 0",
        "cost => 'rbf', gamma => 'NaN'",
    ],
)
def test_bad_arguments(typed, argument):
    for n in (0, 1, 10):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
            typed.execute(FIND.format(argument), (evenly(np.ones((n, 2)) if n else np.empty((0, 0))),))
        assert error.value.diag.message_hint


@pytest.mark.parametrize("argument", ["method", "cost", "min_size", "alpha", "autocorrelated"])
def test_null_arguments_give_no_rows(typed, argument):
    assert typed.execute(FIND.format(f"{argument} => NULL"), (evenly(np.eye(9)),)).fetchall() == []


def test_a_long_search_can_be_cancelled(typed):
    rng = np.random.default_rng(3)
    walk = evenly(rng.standard_normal((20_000, 16)))
    typed.execute("SET statement_timeout = 300")
    with pytest.raises(psycopg.errors.QueryCanceled):
        typed.execute(FIND.format("penalty => 1e9"), (walk,))
