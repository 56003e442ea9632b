"""Derivatives, lengths and interpolation against numpy, on uneven spacing."""

import numpy as np
import oracle
import psycopg
import pytest
from trajectories import DAY, Micros, Trajectory, one, random_walk

HOUR = DAY // 24
# float8 results differ from numpy's in the order of summation only; vectors are float4.
SCALAR = 1e-10
VECTOR = 2.0**-23
# Share of the largest term that numpy.gradient itself may lose to cancellation.
GRADIENT = 1e-12


def assert_vector(found, expected, terms=0.0):
    """Equal in float4; `terms` is the size of the terms that the float64 reference subtracted."""
    if expected is None:
        assert found is None
        return
    np.testing.assert_allclose(found, expected, rtol=VECTOR, atol=GRADIENT * terms + 1e-37)


def assert_scalar(found, expected, terms=0.0):
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, rtol=SCALAR, atol=GRADIENT * terms)


def walks(dims, count=40):
    """Trajectories of 1, 2, 3 and then random numbers of points up to 200."""
    rng = np.random.default_rng([dims, 71])
    for n in [1, 2, 3, 200, *rng.integers(4, 200, count)]:
        yield rng, random_walk(rng, int(n), dims)


def instants(rng, t):
    """A point, a time between two points, times before and after all, and the default."""
    lo, hi = int(t[0]), int(t[-1])
    return [None, int(rng.choice(t)), int(rng.integers(lo, hi + 1)), lo - DAY, hi + DAY]


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_derivatives(typed, dims):
    query = """SELECT cvx.velocity(t, at, unit), cvx.speed(t, at, unit), cvx.acceleration(t, at, unit)
               FROM (SELECT %s::cvx.trajectory, %s::timestamptz, %s * interval '1 microsecond') q(t, at, unit)"""
    for rng, walk in walks(dims):
        for at in instants(rng, walk.t):
            for unit in (DAY, HOUR):
                argument = None if at is None else Micros(at)
                velocity, speed, acceleration = one(typed, query, walk, argument, unit)
                size = float(np.abs(walk.x).max()) / float(np.diff(walk.t).min(initial=DAY)) * unit
                assert_vector(velocity, oracle.velocity(walk.t, walk.x, at, unit), size)
                assert_scalar(speed, oracle.speed(walk.t, walk.x, at, unit), size)
                expected = oracle.acceleration(walk.t, walk.x, at, unit)
                assert_vector(acceleration, expected, 0 if expected is None else np.abs(expected).max())


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_lengths(typed, dims):
    query = """SELECT cvx.path_length(t), cvx.efficiency(t), cvx.mean_speed(t), cvx.mean_speed(t, '1 hour')
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    for _, walk in walks(dims):
        length, efficiency, mean_speed, hourly = one(typed, query, walk)
        assert_scalar(length, oracle.path_length(walk.t, walk.x))
        assert_scalar(efficiency, oracle.efficiency(walk.t, walk.x))
        assert_scalar(mean_speed, oracle.mean_speed(walk.t, walk.x))
        assert_scalar(hourly, oracle.mean_speed(walk.t, walk.x, HOUR))


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_value_at(typed, dims):
    for rng, walk in walks(dims):
        lo, hi = int(walk.t[0]), int(walk.t[-1])
        inside = sorted({lo, hi, *map(int, rng.integers(lo, hi + 1, 8)), *map(int, rng.choice(walk.t, 3))})
        for ts in [lo - 1, *inside, hi + 1]:
            (found,) = one(typed, "SELECT cvx.value_at(%s::cvx.trajectory, %s)", walk, Micros(ts))
            assert_vector(found, oracle.value_at(walk.t, walk.x, ts), float(np.abs(walk.x).max()))
            if ts in walk.t:
                np.testing.assert_array_equal(found, walk.x[np.searchsorted(walk.t, ts)])


@pytest.mark.parametrize("dims", [1, 2, 64, 384])
def test_resample(typed, dims):
    query = "SELECT cvx.resample(%s::cvx.trajectory, %s * interval '1 microsecond')"
    for rng, walk in walks(dims, count=15):
        step = max(int(walk.t[-1] - walk.t[0]) // int(rng.integers(1, 60)), 1)
        (found,) = one(typed, query, walk, step)
        t, x = oracle.resample(walk.t, walk.x, step)
        np.testing.assert_array_equal(found.t, t)
        np.testing.assert_allclose(found.x, x, rtol=VECTOR, atol=GRADIENT * float(np.abs(walk.x).max()))


def test_gradient_of_evenly_spaced_points_is_numpys_default(typed):
    x = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    walk = Trajectory(np.arange(50) * DAY, x)
    expected = np.gradient(x.astype(float), axis=0)
    for i in range(50):
        (found,) = one(typed, "SELECT cvx.velocity(%s::cvx.trajectory, %s)", walk, Micros(i * DAY))
        np.testing.assert_allclose(found, expected[i], rtol=VECTOR, atol=1e-12)


def test_acceleration_of_a_parabola_is_exact(typed):
    t = np.array([0, 1, 5, 6, 20, 21]) * DAY
    days = t / DAY
    walk = Trajectory(t, np.stack([days**2, 3 - days, 0.5 * days**2 + days], axis=1))
    for ts in t:
        (found,) = one(typed, "SELECT cvx.acceleration(%s::cvx.trajectory, %s)", walk, Micros(ts))
        np.testing.assert_allclose(found, [2, 0, 1], atol=1e-6)


def test_nearest_point_is_the_earlier_of_two_equally_near(typed):
    walk = Trajectory([0, 2 * DAY, 4 * DAY], [[0], [1], [5]])
    query = "SELECT cvx.velocity(%s::cvx.trajectory, %s)"
    for at, expected in [(DAY, 0.5), (DAY + 1, 1.25), (3 * DAY, 1.25), (3 * DAY + 1, 2.0), (4 * DAY, 2.0)]:
        np.testing.assert_allclose(one(typed, query, walk, Micros(at))[0], [expected])


FUNCTIONS = {
    "velocity": 2,
    "speed": 2,
    "acceleration": 3,
    "path_length": 2,
    "efficiency": 2,
    "mean_speed": 2,
    "drift": 2,
    "drift_trend": 2,
    "volatility": 3,
    "drift_entropy": 2,
    "stability_score": 1,
    "hurst": 33,
}  # the fewest points each has a value for


@pytest.mark.parametrize("function", FUNCTIONS)
def test_too_few_points_give_null(typed, function):
    rng = np.random.default_rng(2)
    least = FUNCTIONS[function]
    query = f"SELECT cvx.{function}(%s::cvx.trajectory)"
    for n in range(least):
        assert one(typed, query, random_walk(rng, n, 3)) == (None,), n
    assert one(typed, query, random_walk(rng, least, 3))[0] is not None


@pytest.mark.parametrize("function", [*FUNCTIONS, "num_points", "dims", "start_ts", "end_ts", "duration", "slice"])
def test_null_gives_null(typed, function):
    assert one(typed, f"SELECT cvx.{function}(NULL::cvx.trajectory)") == (None,)


def test_undefined_values_are_null(typed):
    still = Trajectory([0, DAY, 3 * DAY], np.ones((3, 2)))
    query = "SELECT cvx.efficiency(t), cvx.drift_entropy(t), cvx.path_length(t), cvx.drift(t, 'l2') FROM (SELECT %s::cvx.trajectory) q(t)"
    assert one(typed, query, still) == (None, None, 0.0, 0.0)
    from_zero = Trajectory([0, DAY, 3 * DAY], [[0, 0], [1, 2], [2, 2]])
    query = "SELECT cvx.drift(t), cvx.stability_score(t), cvx.drift(t, 'l2') FROM (SELECT %s::cvx.trajectory) q(t)"
    assert one(typed, query, from_zero) == (None, None, pytest.approx(8**0.5))
    report = "SELECT l2, cosine FROM cvx.drift_report(%s::cvx.trajectory)"
    assert one(typed, report, from_zero) == (pytest.approx(8**0.5), None)


def test_empty_trajectory(typed):
    empty = Trajectory([], np.empty((0, 0)))
    query = """SELECT cvx.num_points(t), cvx.dims(t), cvx.start_ts(t), cvx.end_ts(t), cvx.duration(t),
                      cvx.value_at(t, now()), cvx.slice(t), cvx.resample(t, '1 day'), t || t
               FROM (SELECT %s::cvx.trajectory) q(t)"""
    typed.execute("SET search_path = public, cvx")
    assert one(typed, query, empty) == (0, None, None, None, None, None, empty, empty, empty)


@pytest.mark.parametrize(
    "call, code",
    [
        ("cvx.velocity(t, NULL, '0')", "22023"),
        ("cvx.speed(t, NULL, '-1 day')", "22023"),
        ("cvx.mean_speed(t, '1 month -30 days')", "22023"),
        ("cvx.volatility(t, '-1 us')", "22023"),
        ("cvx.resample(t, '0')", "22023"),
        ("cvx.resample(t, '-1 hour')", "22023"),
        ("cvx.resample(t, '1 month')", "0A000"),
        ("cvx.resample(t, '1 us')", "54000"),
        ("cvx.drift(t, 'manhattan')", "22023"),
        ("cvx.drift_trend(t, 'manhattan')", "22023"),
        ("cvx.drift_trend(t, 'l2', '0')", "22023"),
        ("cvx.drift_report(t, -1)", "22023"),
    ],
)
def test_bad_arguments(typed, call, code):
    walk = Trajectory([0, 10**6 * DAY], [[0, 1], [1, 0]])
    with pytest.raises(psycopg.Error) as error:
        one(typed, f"SELECT {call} FROM (SELECT %s::cvx.trajectory) q(t)", walk)
    assert error.value.sqlstate == code
    assert error.value.diag.message_hint


def test_velocity_beyond_float4(typed):
    walk = Trajectory([0, 1], [[0, 0], [1, 1e30]])
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="velocity: element 2 of the result"):
        one(typed, "SELECT cvx.velocity(%s::cvx.trajectory)", walk)
    (speed,) = one(typed, "SELECT cvx.speed(%s::cvx.trajectory)", walk)
    np.testing.assert_allclose(speed, float(np.float32(1e30)) * DAY)
