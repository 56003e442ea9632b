"""cvx.population_drift against numpy and scipy, and the answers it refuses to give."""

from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
SPLIT = START + timedelta(days=100)
END = START + timedelta(days=200)
COMPARE = "SELECT method, statistic, p_value, baseline_points, current_points FROM cvx.population_drift({})"
RANGES = "'[2026-01-01,2026-04-11)', '[2026-04-11,2026-07-20)'"


def text(x):
    return "[" + ",".join(repr(float(value)) for value in x) + "]"


@pytest.fixture
def space(typed):
    """A function that makes a space of baseline and current points, and returns its name."""
    made = []

    def make(baseline, current):
        name = f"population_{len(made)}"
        made.append(name)
        typed.execute("SELECT cvx.create_space(%s, %s)", [name, baseline.shape[1]])
        with (
            typed.cursor() as cursor,
            cursor.copy(f'COPY cvx_space."{name}" (entity_id, ts, vec) FROM STDIN') as copy,
        ):
            for start, points in [(START, baseline), (SPLIT, current)]:
                for i, x in enumerate(points):
                    ts = start + timedelta(days=99) * (i // 40) / (len(points) // 40 + 1)
                    copy.write_row((f"e{i % 40}", ts, text(x)))
        return name

    yield make
    for name in made:
        typed.execute("SELECT cvx.drop_space(%s, cascade => true)", [name])


def compare(conn, name, method, ranges=RANGES):
    row = conn.execute(COMPARE.format(f"%s, {ranges}, %s"), [name, method]).fetchone()
    assert row[0] == method
    return row[1:]


def drawn(seed, n, m, dims, shift=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    deviations = 1 / np.sqrt(np.arange(1, dims + 1))
    baseline = 1 + rng.normal(size=(n, dims)) * deviations
    current = 1 + rng.normal(size=(m, dims)) * deviations * spread
    current[:, 0] += shift
    return baseline.astype(np.float32), current.astype(np.float32)


def scatter(x):
    """Trace of the sample covariance."""
    return x.astype(float).var(axis=0, ddof=1).sum()


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("n, m, dims", [(2, 3, 2), (80, 60, 3), (200, 500, 64)])
def test_centroid(typed, space, n, m, dims, shift):
    x, y = drawn([n, dims, 1], n, m, dims, shift)
    statistic, p_value, before, after = compare(typed, space(x, y), "centroid")
    assert (before, after) == (n, m)
    apart = ((x.astype(float).mean(axis=0) - y.astype(float).mean(axis=0)) ** 2).sum()
    sampling = scatter(x) / n + scatter(y) / m
    pooled = ((n - 1) * scatter(x) + (m - 1) * scatter(y)) / (n + m - 2)
    assert statistic == pytest.approx(np.sqrt(max(0, apart - sampling) / pooled), rel=1e-6, abs=1e-7)
    assert 0 <= p_value <= 1


def test_centroid_against_permutations(typed, space):
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.15, 0.3):
        x, y = drawn([4, int(100 * shift)], 80, 60, 3, shift)
        p_value = compare(typed, space(x, y), "centroid")[1]
        both = np.vstack([x, y])
        apart = [((both[i[:80]].mean(axis=0) - both[i[80:]].mean(axis=0)) ** 2).sum()
                 for i in [np.arange(140), *(rng.permutation(140) for _ in range(4000))]]
        permuted = np.mean(np.array(apart[1:]) >= apart[0])
        assert p_value == pytest.approx(permuted, abs=0.03)


def discrepancy(x, y):
    """Unbiased MMD² of Gretton and others (2012), equation 3, under a Gaussian kernel of median width."""
    n, m = len(x), len(y)
    distances = pdist(np.vstack([x, y]).astype(float))
    kernel = np.exp(-squareform(distances) ** 2 / (2 * np.median(distances) ** 2))
    np.fill_diagonal(kernel, 0)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()


@pytest.mark.parametrize("spread", [1.0, 2.0])
@pytest.mark.parametrize("n, m, dims", [(2, 2, 2), (50, 31, 3), (300, 400, 64)])
def test_mmd(typed, space, n, m, dims, spread):
    x, y = drawn([n, dims, 2], n, m, dims, spread=spread)
    statistic, p_value, before, after = compare(typed, space(x, y), "mmd")
    assert (before, after) == (n, m)
    assert statistic == pytest.approx(discrepancy(x, y), rel=1e-6, abs=1e-9)
    if n > 2:
        assert (p_value <= 0.01) == (spread == 2.0)
        assert p_value * 1000 == pytest.approx(round(p_value * 1000))


def stability(reference, scores):
    """Population stability index in the deciles of a reference, counts padded by one half."""
    edges = np.sort(reference)[[k * len(reference) // 10 for k in range(1, 10)]]
    counts = [np.bincount(np.searchsorted(edges, it, side="right"), minlength=10) for it in (reference, scores)]
    filled = (counts[0] + counts[1]) > 0
    expected, actual = [(c[filled] + 0.5) / (c.sum() + 0.5 * filled.sum()) for c in counts]
    return ((actual - expected) * np.log(actual / expected)).sum()


@pytest.mark.parametrize("shift", [0.0, 2.0])
@pytest.mark.parametrize("n, m, dims", [(20, 10, 2), (301, 200, 3), (800, 600, 64)])
def test_psi(typed, space, n, m, dims, shift):
    x, y = drawn([n, dims, 3], n, m, dims, shift)
    name = space(x, y)
    statistic, p_value, before, after = compare(typed, name, "psi")
    assert (before, after) == (n, m)
    in_order = typed.execute(
        f"""SELECT vec::real[] FROM cvx.embedding WHERE space_id = cvx.space_id(%s) AND ts < %s
            ORDER BY hashtextextended(entity_id, (date_part('epoch', ts) * 1e6)::int8), entity_id, ts""",
        [name, SPLIT],
    ).fetchall()
    baseline = np.array([row[0] for row in in_order], dtype=float)
    learned, rest = baseline[::2], baseline[1::2]
    mean = learned.mean(axis=0)
    axes = np.linalg.svd(learned - mean, full_matrices=False)[2][:5]
    # A component's direction is arbitrary, and deciles are not alike from both ends: the one that PCA of cvx takes is
    # the one in which the last of the learned points is not below the first.
    signs = np.sign((learned[-1] - learned[0]) @ axes.T)
    indexes = [stability((rest - mean) @ (a * s), (y - mean) @ (a * s)) for a, s in zip(axes, signs, strict=True)]
    assert statistic == pytest.approx(max(indexes), rel=1e-6)
    if n > 20:
        assert (statistic > 0.25 and p_value <= 0.001) == (shift == 2.0)


@pytest.mark.parametrize("method", ["centroid", "mmd", "psi"])
def test_levels(typed, space, method):
    """One population, compared with itself: the p-values are uniform numbers."""
    rng = np.random.default_rng(5)
    found = []
    typed.execute("SELECT cvx.create_space('levels', 4)")
    for k in range(60):
        typed.execute("TRUNCATE cvx_space.levels")
        points = rng.normal(size=(90, 4))
        with typed.cursor() as cursor, cursor.copy("COPY cvx_space.levels (entity_id, ts, vec) FROM STDIN") as copy:
            for i, x in enumerate(points):
                copy.write_row((f"e{i}", START if i < 50 else SPLIT, text(x)))
        found.append(compare(typed, "levels", method)[1])
    typed.execute("SELECT cvx.drop_space('levels', cascade => true)")
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_samples_are_bounded_and_the_same_again(typed, space):
    x, y = drawn(6, 12_000, 1500, 2, 0.4)
    name = space(x, y)
    for method in ("centroid", "mmd", "psi"):
        found = compare(typed, name, method)
        assert found[2:] == (12_000, 1500) and found[1] < 0.01
        assert compare(typed, name, method) == found
    statistic = compare(typed, name, "centroid")[0]
    assert statistic == pytest.approx(0.4 / np.sqrt(1.5), abs=0.05)


def test_unbounded_ranges(typed, space):
    x, y = drawn(7, 50, 40, 2)
    name = space(x, y)
    found = compare(typed, name, "centroid")
    assert compare(typed, name, "centroid", "'(,2026-04-11)', '[2026-04-11,)'") == found
    assert compare(typed, name, "centroid", "'[-infinity,2026-04-11)', '[2026-04-11,infinity]'") == found


def test_too_few_points(typed, space):
    x, y = drawn(8, 30, 1, 2)
    name = space(x, y)
    for method in ("centroid", "mmd", "psi"):
        assert compare(typed, name, method) == (None, None, 30, 1)
        assert compare(typed, name, method, "'[2020-01-01,2020-02-01)', '[2030-01-01,)'") == (None, None, 0, 0)
    assert typed.execute(COMPARE.format(f"'{name}', NULL, '[2026-01-01,)'")).fetchall() == []


@pytest.mark.parametrize(
    "arguments, state, message, hint",
    [
        ("'nowhere', '[2026-01-01,2026-02-01)', '[2026-03-01,)'", "42704", '"nowhere"', "cvx.space"),
        ("{}, '[2026-01-01,2026-02-01)', '[2026-03-01,)', 'ks'", "22023", '"ks"', "'centroid', 'mmd' or 'psi'"),
        ("{}, 'empty', '[2026-03-01,)'", "22023", "baseline: empty", "not empty"),
        ("{}, '[2026-01-01,2026-02-01)', '[2026-02-01,2026-02-01)'", "22023", "current: empty", "not empty"),
        ("{}, '[2026-01-01,2026-02-01]', '[2026-02-01,)'", "22023", "overlaps baseline", "no time in common"),
    ],
)
def test_refused(typed, space, arguments, state, message, hint):
    name = space(*drawn(9, 3, 3, 2))
    with pytest.raises(psycopg.Error) as raised:
        typed.execute(COMPARE.format(arguments.format(f"'{name}'")))
    assert raised.value.sqlstate == state
    assert message in raised.value.diag.message_primary and hint in raised.value.diag.message_hint


def test_row_security_holds(typed, space):
    name = space(*drawn(10, 60, 60, 2, 3.0))
    typed.execute("""
        CREATE ROLE population_reader;
        GRANT USAGE ON SCHEMA cvx TO population_reader;
        GRANT SELECT ON cvx.embedding, cvx.space TO population_reader;
        ALTER TABLE cvx.embedding ENABLE ROW LEVEL SECURITY;
        CREATE POLICY shown ON cvx.embedding TO population_reader USING (entity_id < 'e2')""")
    try:
        typed.execute("SET ROLE population_reader")
        seen = typed.execute("SELECT count(*) FILTER (WHERE ts < %s) FROM cvx.embedding", [SPLIT]).fetchone()[0]
        assert 0 < seen < 60
        assert compare(typed, name, "centroid")[2] == seen
    finally:
        typed.execute("RESET ROLE")
        typed.execute("""DROP POLICY shown ON cvx.embedding; ALTER TABLE cvx.embedding DISABLE ROW LEVEL SECURITY;
            DROP OWNED BY population_reader; DROP ROLE population_reader""")


def test_cancelled_in_time(typed, space):
    name = space(*drawn(11, 5000, 5000, 64))
    typed.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        compare(typed, name, "mmd")
    typed.execute("RESET statement_timeout")
