"""cvx.space_report on real embeddings: one space, and two mixed in one column.

Bars: of 100 mixtures of v1 with v2 in subsets of 1000 rows at least 95 are told, of 100 subsets of v1 alone at most 5
are called mixed. `pytest -s` prints the counts; where CVX_DATA names the large data there are 100 subsets of each kind.
"""

import os

import numpy as np
import pytest
import versions
from conftest import connect
from psycopg import sql
from retrain import at_most

LARGE = bool(os.environ.get("CVX_DATA"))
SUBSETS = 100 if LARGE else 10
# The repository's data has 1606 rows: subsets of 1000 of those would all be one.
SIZE = 1000 if LARGE else 600
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
REPORT = (
    "SELECT mixed, statistic, threshold, second_share, mixed_since, sampled, false_alarm_rate FROM cvx.space_report"
)


@pytest.fixture(scope="module")
def server(create_database):
    with connect(create_database()) as conn:
        conn.execute("CREATE TABLE documents (entity_id text, ts timestamptz, vec vector(384), input_hash text)")
        yield conn


@pytest.fixture(scope="module")
def data():
    return versions.changelogs()


def report(conn, of, arguments="'documents', 'vec', 'ts', 'entity_id'"):
    conn.execute("TRUNCATE documents")
    versions.copy(conn, sql.Identifier("documents"), of)
    return conn.execute(f"{REPORT}({arguments})").fetchone()


def subset(data, rng, other, share, dated):
    """SIZE rows of v1, of which `share` are of `other`: any of them, or the latest."""
    chosen = np.sort(rng.choice(len(data["v1"]), SIZE, replace=False))
    count = round(share * SIZE)
    ts = data["v1"].ts[chosen]
    second = np.argsort(ts, kind="stable")[SIZE - count :] if dated else rng.choice(SIZE, count, replace=False)
    rows = data["v1"][chosen]
    x = rows.x.copy()
    x[second] = data[other].x[chosen[second]]
    since = ts[second].min() if dated and count else None
    return rows.with_vectors(x), since


def micros(timestamp) -> int:
    return int((np.datetime64(timestamp.replace(tzinfo=None), "us") - versions.POSTGRES_EPOCH).astype(np.int64))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_one_space_gives_no_alarm(server, data, version):
    rng = np.random.default_rng([1, int(version[1])])
    alarms = 0
    for _ in range(SUBSETS):
        rows, _ = subset({"v1": data[version]}, rng, "v1", 0, False)
        mixed, _, _, share, since, sampled, rate = report(server, rows)
        assert (sampled, rate) == (SIZE, 0.01)
        if mixed:
            alarms += 1
        else:
            assert since is None and not share
    print(f"\n{version} alone: {alarms} of {SUBSETS} called mixed")
    assert alarms <= 0.05 * SUBSETS if LARGE else at_most(alarms, SUBSETS, 0.05)


@pytest.mark.parametrize("other", ["v2", "v3"])
@pytest.mark.parametrize("dated", [False, True], ids=["at random", "from a date on"])
@pytest.mark.parametrize("share", SHARES)
def test_two_spaces_are_told(server, data, other, dated, share):
    rng = np.random.default_rng([int(other[1]), int(dated), int(100 * share)])
    missed = dated_well = dated_at_all = 0
    shares = []
    for _ in range(SUBSETS):
        rows, true_since = subset(data, rng, other, share, dated)
        mixed, statistic, threshold, found_share, since, _, _ = report(server, rows)
        if not mixed:
            missed += 1
            continue
        assert abs(statistic) < threshold
        shares.append(found_share)
        if since is not None:
            dated_at_all += 1
            # Rows between the two dates, as a share of all.
            low, high = sorted([micros(since), true_since or 0])
            dated_well += dated and np.sum((rows.ts >= low) & (rows.ts < high)) <= 0.02 * SIZE
    print(
        f"\nv1 with {share:.0%} of {other} {'from a date on' if dated else 'at random'}:"
        f" {SUBSETS - missed} of {SUBSETS} told, share {np.mean(shares):.3f} found,"
        f" dated {dated_at_all}, {dated_well} of them within 2 % of the rows"
    )
    assert missed <= 0.05 * SUBSETS if LARGE else at_most(missed, SUBSETS, 0.05)
    if dated:
        assert dated_well >= 0.9 * (SUBSETS - missed)
        assert abs(np.mean(shares) - share) <= 0.02
    else:
        assert dated_at_all == 0
        assert abs(np.mean(shares) - min(share, 1 - share)) <= 0.02


def clusters(rng, count, dims, groups, apart):
    """Groups far from each other that vary along the same directions, a falling spectrum."""
    spread = np.arange(1, dims + 1) ** -0.5
    centres = apart * rng.standard_normal((groups, dims)) * spread
    return centres[rng.integers(groups, size=count)] + rng.standard_normal((count, dims)) * spread


@pytest.mark.parametrize("groups, apart", [(2, 2), (2, 6), (3, 4), (8, 4), (30, 3)])
def test_natural_clusters_of_one_space_give_no_alarm(server, groups, apart):
    alarms = 0
    for seed in range(SUBSETS):
        rng = np.random.default_rng([groups, seed])
        x = clusters(rng, SIZE, 384, groups, apart)
        rows = versions.rows([f"e{i}" for i in range(SIZE)], np.arange(SIZE), x)
        alarms += report(server, rows)[0] is True
    print(f"\n{groups} clusters {apart} apart: {alarms} of {SUBSETS} called mixed")
    assert at_most(alarms, SUBSETS, 0.05)


def test_clusters_of_packages_give_no_alarm(server, data):
    """The packages with the most distinct vocabularies, by themselves."""
    of = data["v1"]
    names = versions.packages(of)
    centres = np.stack([of.x[of.entity == name].mean(axis=0) for name in names])
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    pairs = np.argsort(distances, axis=None)[::-1][::2][:SUBSETS]
    alarms = sum(
        report(server, of[np.isin(of.entity, names[list(divmod(int(pair), len(names)))])])[0] is True for pair in pairs
    )
    print(f"\ntwo packages far apart: {alarms} of {len(pairs)} called mixed")
    assert at_most(alarms, len(pairs), 0.05)


def test_without_time_or_entity_the_verdict_is_as_good(server, data):
    rng = np.random.default_rng(9)
    for share, expected in ((0, False), (0.3, True)):
        rows, _ = subset(data, rng, "v2", share, True)
        mixed, *_, since, _, _ = report(server, rows, "'documents', 'vec'")
        assert (mixed, since) == (expected, None)


def test_the_same_rows_in_another_order_give_the_same_report(server, data):
    rng = np.random.default_rng(10)
    rows, _ = subset(data, rng, "v3", 0.25, True)
    found = [report(server, rows[rng.permutation(SIZE)]) for _ in range(3)]
    assert found[0] == found[1] == found[2] and found[0][0] is True
