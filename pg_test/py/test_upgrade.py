"""Serving through an upgrade: queries embedded by a new model, projected into the old space, answered by its HNSW
index.

Recall@10 is the share of the ten texts that the query would find if everything were embedded anew. Half of the packages
overlap; queries are texts of the others. Texts that occur twice are in the corpus once: which of two equal vectors is
found is nobody's merit. `pytest -s` prints the figures; CVX_DATA names the large data.
"""

import align_oracle as oracle
import numpy as np
import psycopg
import pytest
import versions
from conftest import connect
from trajectories import Trajectory, one, register

METHODS = ("procrustes", "affine", "cca", "auto")
# Of pgvector: how many candidates an index scan keeps.
EF_SEARCH = 100
SERVE = """
    SELECT q.number, found.number
    FROM queries q CROSS JOIN LATERAL (
        SELECT c.attrs ->> 'n' AS number FROM cvx_space.old c
        ORDER BY c.vec::vector(384) <=> cvx.project(q.vec, 'new', 'old') LIMIT 11
    ) found
"""
# A text's place in the corpus, which is in this order.
NUMBER = """
    UPDATE cvx_space.old SET attrs = jsonb_build_object('n', place)
    FROM (SELECT entity_id AS e, ts AS t, row_number() OVER (ORDER BY entity_id COLLATE "C", ts) - 1 AS place
          FROM cvx_space.old) numbered
    WHERE entity_id = e AND ts = t
"""


class Upgrade:
    """A corpus in the old space, indexed; its overlap in the new one; and queries of the new model."""

    def __init__(self, conn, data, version):
        self.conn = conn
        old, new = data["v1"], data[version]
        _, first = np.unique(old.hash.astype(str), return_index=True)
        first.sort()
        self.old, self.new = old[first], new[first]
        names = np.random.default_rng(5).permutation(versions.packages(old))
        self.overlap = np.isin(self.old.entity, names[: len(names) // 2])
        self.queries = np.flatnonzero(~self.overlap)
        versions.load(conn, "old", self.old)
        versions.load(conn, "new", self.new[self.overlap])
        assert [*zip(self.old.entity, self.old.ts)] == sorted(zip(self.old.entity, self.old.ts))
        conn.execute(NUMBER)
        conn.execute("SELECT cvx.create_index('old', 'cosine')")
        versions.register(conn, "m", ("old", "old"), ("new", "new"))
        conn.execute("CREATE TABLE queries (number int, vec vector(384))")
        with conn.cursor().copy("COPY queries FROM STDIN") as copy:
            for number in self.queries:
                copy.write_row([int(number), "[" + ",".join(map(str, self.new.x[number])) + "]"])
        conn.execute("VACUUM ANALYZE")
        self.truth = self.nearest(self.new.x[self.queries], self.new.x)

    def nearest(self, queries, corpus):
        """The ten texts nearest to each query but for its own, exactly."""
        scores = oracle.unit(queries.astype(np.float64)) @ oracle.unit(corpus.astype(np.float64)).T
        scores[np.arange(len(queries)), self.queries] = -np.inf
        return np.argpartition(-scores, 10, axis=1)[:, :10]

    def recalls(self, found) -> np.ndarray:
        """Of each query."""
        return np.array([len(set(map(int, a)) & set(map(int, b))) / 10 for a, b in zip(found, self.truth)])

    def projected(self) -> np.ndarray:
        (t,) = one(
            self.conn,
            "SELECT cvx.project(%s::cvx.trajectory, 'new', 'old')",
            Trajectory(np.arange(len(self.queries)), self.new.x[self.queries]),
        )
        return t.x

    def exact(self) -> np.ndarray:
        return self.recalls(self.nearest(self.projected(), self.old.x))

    def served(self) -> np.ndarray:
        found = {int(number): [] for number in self.queries}
        with self.conn.transaction():
            self.conn.execute(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}")
            for query, number in self.conn.execute(SERVE):
                if int(number) != query:
                    found[query].append(int(number))
        return self.recalls([found[int(number)][:10] for number in self.queries])

    def ridge(self) -> dict[float, np.ndarray]:
        """Recalls of numpy's ridge solution for every penalty of a grid, chosen with no regard to what is fair."""
        x, y = self.new.x[self.overlap].astype(np.float64), self.old.x[self.overlap].astype(np.float64)
        queries = self.new.x[self.queries].astype(np.float64)
        found = {}
        for penalty in np.trace(np.cov(x.T)) * len(x) / 384 * 10 ** np.arange(-6, 3.25, 0.25):
            b, c = oracle.ridge(x, y, penalty)
            found[penalty] = self.recalls(self.nearest(queries @ b + c, self.old.x))
        return found


@pytest.fixture(scope="module", params=["v2", "v3"])
def upgrade(request, create_database):
    with connect(create_database()) as conn:
        register(conn)
        yield request.param, Upgrade(conn, versions.changelogs(), request.param)


def plan(conn) -> str:
    return "\n".join(line for (line,) in conn.execute("EXPLAIN " + SERVE))


def test_queries_of_the_new_model_are_served_by_the_old_index(upgrade):
    version, it = upgrade
    packages = len(np.unique(it.old.entity[it.overlap].astype(str)))
    print(
        f"\n{version} into v1: {len(it.old)} texts, {it.overlap.sum()} pairs of {packages} packages,"
        f" {len(it.queries)} queries"
    )
    recalls = {}
    for method in METHODS:
        row = versions.align(it.conn, "m", "new", method)
        assert "Index Scan using" in (found := plan(it.conn)) and "<=> cvx.project" in found, found
        exact, served = it.exact(), it.served()
        recalls[method] = exact
        print(
            f"  {method} ({row['method']}): recall@10 {exact.mean():.3f} exact, {served.mean():.3f} by the index;"
            f" cvx.alignment says {row['recall_at_10']:.3f}"
        )
        # The index loses next to nothing beside the map.
        assert served.mean() >= exact.mean() - 0.01
    ridges = it.ridge()
    best = max(ridges, key=lambda penalty: ridges[penalty].mean())
    print(f"  numpy's ridge at the best of {len(ridges)} penalties: {ridges[best].mean():.3f}")
    for method, others in recalls.items():
        assert recalls["auto"].mean() >= others.mean() - 0.01, method
    assert recalls["auto"].mean() >= ridges[best].mean()
    # And without a projection the new model's queries find nothing in the old space.
    blind = it.recalls(it.nearest(it.new.x[it.queries], it.old.x))
    print(f"  without projection: {blind.mean():.3f}")
    assert blind.mean() < 0.2 < recalls["auto"].mean()


def test_one_query_as_an_application_asks_it(upgrade):
    _, it = upgrade
    versions.align(it.conn, "m", "new", "auto")
    number = int(it.queries[3])
    vector = "[" + ",".join(map(str, it.new.x[number])) + "]"
    with it.conn.transaction():
        it.conn.execute(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}")
        query = """SELECT entity_id, attrs ->> 'n' FROM cvx_space.old
                   ORDER BY vec::vector(384) <=> cvx.project(%s::vector, 'new', 'old') LIMIT 11"""
        lines = [line for (line,) in it.conn.execute("EXPLAIN " + query, [vector])]
        assert any("Index Scan using" in line for line in lines)
        found = [int(n) for _, n in it.conn.execute(query, [vector]) if int(n) != number][:10]
    b, c = versions.stored_map(it.conn, "m", "new")
    scores = oracle.unit((it.new.x[number] @ b + c)[None]) @ oracle.unit(it.old.x.astype(float)).T
    scores[0, number] = -np.inf
    exact = set(np.argsort(-scores[0])[:10].tolist())
    assert len(exact & set(found)) >= 9


def test_an_unaligned_version_serves_nothing(upgrade):
    _, it = upgrade
    with it.conn.transaction(force_rollback=True):
        it.conn.execute("SELECT cvx.drop_model('m')")
        versions.register(it.conn, "m", ("old", "old"), ("new", "new"))
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            it.conn.execute("SELECT cvx.project(vec, 'new', 'old') FROM queries LIMIT 1")
