"""Alignment, projection and canonical trajectories through SQL against numpy and scipy on the same pairs."""

import align_oracle as oracle
import numpy as np
import pytest
import trajectories
import versions
from conftest import connect
from trajectories import DAY, Trajectory, one

TOLERANCE = 1e-4
# Of src/align/fit.rs.
ANCHORS = 128


def rotation(rng, dims):
    q, r = np.linalg.qr(rng.standard_normal((dims, dims)))
    return q * np.sign(np.diag(r))


def spectrum(dims):
    """Standard deviations along the axes that fall off as those of text encoders do."""
    return np.arange(1, dims + 1) ** -0.5


def related(rng, n, dims, to_dims=None, noise=0.1):
    """n vectors, and what another model might give the same things: rotated, stretched, moved, cut, and noisy."""
    to_dims = to_dims or dims
    x = rng.standard_normal((n, dims)) * spectrum(dims) @ rotation(rng, dims) + 0.3
    y = 1.7 * x @ rotation(rng, dims)[:, :to_dims]
    y += noise * y.std() * rng.standard_normal(y.shape) + rng.standard_normal(to_dims)
    return x, y


def in_pairs(rng, x, y, each=3):
    """Two spaces' rows whose pairs, by time, are (x, y), `each` an entity."""
    entity = [f"e{i // each:05}" for i in range(len(x))]
    ts = np.arange(len(x)) * DAY
    return versions.rows(entity, ts, x), versions.rows(entity, ts, y)


class Versions:
    """A model `name` whose version 'new' follows 'old', and the pairs that the server should find."""

    def __init__(self, conn, name, new, old, dims=None):
        self.conn, self.name = conn, name
        versions.load(conn, f"{name}-old", old)
        versions.load(conn, f"{name}-new", new)
        versions.register(conn, name, ("old", f"{name}-old"), ("new", f"{name}-new"))
        # Any collation may order the names.
        names = conn.execute(
            "SELECT entity_id FROM cvx.embedding WHERE space_id = cvx.space_id(%s) GROUP BY 1 ORDER BY 1",
            [f"{name}-new"],
        )
        self.pairs = oracle.pair_up(new, old, [entity for (entity,) in names])

    def align(self, method):
        return versions.align(self.conn, self.name, "new", method)

    def map(self, inverse=False):
        return versions.stored_map(self.conn, self.name, "new", inverse)


def near(found, expected, tolerance=TOLERANCE):
    """Relative Frobenius distance at most `tolerance`."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    distance = np.linalg.norm(found - expected)
    assert distance <= tolerance * np.linalg.norm(expected), distance / np.linalg.norm(expected)


def near_maps(found, expected, at):
    """Equal matrices, and equal images of the vectors `at`, which counts the offsets."""
    near(found[0], expected[0])
    near(at @ found[0] + found[1], at @ expected[0] + expected[1])


@pytest.fixture(scope="module")
def data():
    return versions.changelogs()


@pytest.fixture(scope="module")
def loaded():
    return {}


@pytest.fixture
def changelog(typed, data, loaded):
    """A function that gives the model of v1 and a later version of the changelogs, all of which overlap."""

    def model(new):
        if new not in loaded:
            loaded[new] = Versions(typed, f"changelog-{new}", data[new], data["v1"])
        loaded[new].conn = typed
        return loaded[new]

    return model


@pytest.mark.parametrize("dims, n", [(8, 60), (64, 500), (384, 1200)])
def test_procrustes_equals_scipy(typed, dims, n):
    rng = np.random.default_rng([dims, n])
    model = Versions(typed, f"procrustes-{dims}", *in_pairs(rng, *related(rng, n, dims)))
    row = model.align("procrustes")
    x, y = model.pairs.x, model.pairs.y
    b, c, scale = oracle.procrustes(x, y)
    near_maps(model.map(), (b, c), x)
    assert row["scale"] == pytest.approx(scale, rel=TOLERANCE)
    assert (row["rank"], row["pairs"], row["pairs_by_time"], row["overlap_entities"]) == (dims, n, n, -(-n // 3))
    near_maps(model.map(inverse=True), (np.linalg.inv(b), -c @ np.linalg.inv(b)), y)


@pytest.mark.parametrize("dims, n", [(8, 4), (64, 30), (384, 150)])
def test_procrustes_of_few_pairs_is_orthogonal_and_nearest_to_the_identity_elsewhere(typed, dims, n):
    rng = np.random.default_rng([dims, n])
    model = Versions(typed, f"few-{dims}", *in_pairs(rng, *related(rng, n, dims)))
    row = model.align("procrustes")
    x, y = model.pairs.x, model.pairs.y
    b, c, scale, rank = oracle.completed_procrustes(x, y)
    found = model.map()
    assert (row["rank"], rank) == (n - 1, n - 1)
    assert row["scale"] == pytest.approx(scale, rel=TOLERANCE)
    near(found[0] @ found[0].T / scale**2, np.eye(dims))
    seen = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:rank]
    near(seen @ found[0], seen @ b)
    near_maps(found, (b, c), x)


def test_real_versions_equal_scipy(changelog):
    for new in ("v2", "v3"):
        model = changelog(new)
        row = model.align("procrustes")
        assert row["pairs_by_input"] == row["pairs"] == len(model.pairs.x)
        x, y = model.pairs.x, model.pairs.y
        xc, yc = oracle.centred(x, y)
        left, strength, _ = np.linalg.svd(xc.T @ yc)
        # The old encoder's vectors do not vary in three directions, where scipy's rotation is any.
        seen = left[:, strength > 1e-7 * strength[0]]
        assert seen.shape[1] == 381
        b, c, scale = oracle.procrustes(x, y)
        found = model.map()
        near(seen.T @ found[0], seen.T @ b)
        assert row["scale"] == pytest.approx(scale, rel=TOLERANCE)
        b, c, scale, rank = oracle.completed_procrustes(x, y)
        assert row["rank"] == rank
        near_maps(found, (b, c), x)


def on_the_grid(pairs, penalty, backward=False):
    """The penalty is of the grid, and no other of it errs less on the validation entities."""
    grid, errors = oracle.validation_errors(pairs, backward)
    place = np.argmin(np.abs(np.log(grid / penalty)))
    assert penalty == pytest.approx(grid[place], rel=1e-6)
    assert errors[place] <= errors.min() * (1 + 1e-6)


@pytest.mark.parametrize(
    "dims, to_dims, n", [(8, 8, 60), (64, 32, 500), (32, 64, 300), (384, 384, 1200), (64, 64, 40), (48, 96, 30)]
)
def test_affine_equals_ridge(typed, dims, to_dims, n):
    rng = np.random.default_rng([dims, to_dims, n])
    made = related(rng, n, max(dims, to_dims), min(dims, to_dims))
    x, y = made if dims >= to_dims else made[::-1]
    model = Versions(typed, f"affine-{dims}-{to_dims}-{n}", *in_pairs(rng, x, y))
    row = model.align("affine")
    x, y = model.pairs.x, model.pairs.y
    near_maps(model.map(), oracle.ridge(x, y, row["ridge"]), x)
    on_the_grid(model.pairs, row["ridge"])
    # The way back is a regression of its own, with a penalty of its own.
    back = model.map(inverse=True)[0]
    grid, errors = oracle.validation_errors(model.pairs, backward=True)
    away = [np.linalg.norm(back - oracle.ridge(y, x, penalty)[0]) for penalty in grid]
    chosen = int(np.argmin(away))
    near(back, oracle.ridge(y, x, grid[chosen])[0])
    assert errors[chosen] <= errors.min() * (1 + 1e-6)


@pytest.mark.parametrize(
    "dims, to_dims, n", [(8, 8, 60), (64, 64, 500), (64, 32, 500), (32, 64, 300), (384, 384, 1200)]
)
def test_cca_equals_numpy(typed, dims, to_dims, n):
    rng = np.random.default_rng([dims, to_dims, n])
    made = related(rng, n, max(dims, to_dims), min(dims, to_dims), noise=0.5)
    x, y = made if dims >= to_dims else made[::-1]
    model = Versions(typed, f"cca-{dims}-{to_dims}", *in_pairs(rng, x, y))
    row = model.align("cca")
    x, y = model.pairs.x, model.pairs.y
    expected = oracle.canonical_correlations(x, y)
    assert len(row["correlations"]) == min(dims, to_dims)
    np.testing.assert_allclose(row["correlations"], expected, atol=TOLERANCE)
    near_maps(model.map(), oracle.cca(x, y, row["ridge"]), x)
    near_maps(model.map(inverse=True), oracle.cca(y, x, row["ridge"]), y)


def test_inverse_undoes(changelog):
    model = changelog("v3")
    x = model.pairs.x[:100]
    for method in ("procrustes", "cca"):
        model.align(method)
        (b, c), (back, d) = model.map(), model.map(inverse=True)
        near((x @ b + c) @ back + d, x)


@pytest.mark.parametrize("method", ["procrustes", "affine", "cca"])
def test_quality_is_that_of_held_out_entities(changelog, method):
    for new in ("v2", "v3"):
        model = changelog(new)
        row = model.align(method)
        expected = oracle.quality(model.pairs, oracle.FITS[method], row["ridge"])
        for name in ("held_out_entities", "held_out_pairs"):
            assert row[name] == expected[name]
        for name in ("mean_residual", "p95_residual", "p99_residual", "mean_cosine"):
            assert row[name] == pytest.approx(expected[name], rel=1e-3), name
        # Single precision breaks ties of neighbours otherwise now and then.
        assert row["recall_at_10"] == pytest.approx(expected["recall_at_10"], abs=0.003)


def test_auto_is_one_of_the_methods(changelog):
    for new in ("v2", "v3"):
        model = changelog(new)
        rows = {method: model.align(method) for method in oracle.FITS}
        chosen = model.align("auto")
        same = rows[chosen["method"]]
        for name in ("mean_residual", "recall_at_10", "p99_residual", "mean_cosine", "pairs", "rank"):
            assert chosen[name] == pytest.approx(same[name], rel=1e-9), name


def test_pairs_by_input_by_time_and_by_mean(typed):
    rng = np.random.default_rng(7)
    x, y = related(rng, 400, 8)
    entity = np.array([f"e{i // 4:03}" for i in range(400)], object)
    ts = np.tile(np.arange(4), 100) * DAY
    hashes = np.array([f"h{i % 4}" for i in range(400)], object)
    number = np.arange(400) // 4
    new, old = versions.rows(entity, ts, x, hashes), versions.rows(entity, ts, y, hashes)
    # Of the first 20 the same inputs stand at other times, and one of them twice.
    old.ts[number < 20] += DAY // 2
    new.hash[(number < 20) & (ts == 3 * DAY)] = "h0"
    # The next 20 share two times and no input, the next 20 neither but a stretch of time.
    new.hash[(number >= 20) & (number < 60)] = None
    old.ts[(number >= 20) & (number < 40) & (ts >= 2 * DAY)] += DAY // 2
    old.ts[(number >= 40) & (number < 60)] += DAY + DAY // 2
    # The next 20 share none of these, and the rest are in one space only.
    old.hash[(number >= 60) & (number < 80)] = "other"
    old.ts[(number >= 60) & (number < 80)] += 40 * DAY
    new, old = new[number < 90], old[(number < 80) | (number >= 90)]
    model = Versions(typed, "tiers", new, old)
    row = model.align("procrustes")
    assert model.pairs.tiers == (60, 40, 20)
    assert tuple(row[name] for name in ("pairs_by_input", "pairs_by_time", "pairs_by_mean")) == model.pairs.tiers
    assert (row["pairs"], row["overlap_entities"], row["status"]) == (120, 60, "low_confidence")
    near_maps(model.map(), oracle.procrustes(model.pairs.x, model.pairs.y)[:2], model.pairs.x)


@pytest.fixture(scope="module")
def tree(create_database):
    """A connection to a model 'm' whose versions b and c follow a, and d follows b, and their vectors; c has fewer
    dimensions."""
    rng = np.random.default_rng(11)
    base, _ = related(rng, 300, 24)
    spaces = {"a": base}
    for name, before in (("b", "a"), ("c", "a"), ("d", "b")):
        moved = spaces[before] @ rotation(rng, 24) * rng.uniform(0.5, 2)
        spaces[name] = moved + 0.05 * rng.standard_normal(moved.shape) + rng.standard_normal(24)
    spaces["c"] = spaces["c"][:, :16]
    with connect(create_database()) as conn:
        trajectories.register(conn)
        for name, x in spaces.items():
            versions.load(conn, name, in_pairs(rng, x, x)[0])
        conn.execute("SELECT cvx.create_model('m', 'a', 'a')")
        for name, before, method in (("b", "a", "procrustes"), ("c", "a", "affine"), ("d", "b", "cca")):
            conn.execute("SELECT cvx.create_model('m', %s, %s, %s, auto_align => false)", [name, name, before])
            versions.align(conn, "m", name, method)
        yield conn, spaces


STEPS = {"b": ["b"], "c": ["c"], "d": ["d", "b"], "a": []}


def path_of_maps(conn, start, end):
    """The stored maps from one version of the tree to another, in order."""
    up, down = STEPS[start], STEPS[end]
    shared = [step for step in up if step in down]
    forward = [versions.stored_map(conn, "m", step) for step in up if step not in shared]
    return forward + [versions.stored_map(conn, "m", step, True) for step in reversed(down) if step not in shared]


@pytest.mark.parametrize("start", "abcd")
@pytest.mark.parametrize("end", "abcd")
def test_a_chain_is_its_maps_one_after_the_other(tree, start, end):
    conn, spaces = tree
    x = spaces[start][:20].astype(np.float32)
    expected = x.astype(np.float64)
    for b, c in path_of_maps(conn, start, end):
        expected = expected @ b + c
    whole = one(conn, "SELECT cvx.project(%s::cvx.trajectory, %s, %s)", Trajectory(np.arange(20), x), start, end)[0]
    near(whole.x, expected, 1e-5)
    assert whole.t.tolist() == list(range(20))
    text = [str(row.tolist()) for row in x]
    rows = conn.execute(
        "SELECT cvx.project(v::vector, %s, %s) FROM unnest(%s::text[]) WITH ORDINALITY u(v, i) ORDER BY i",
        [start, end, text],
        binary=True,
    ).fetchall()
    near(np.stack([row[0] for row in rows]), expected, 1e-5)
    if start == end:
        assert np.array_equal(whole.x, x)


def test_projection_equals_a_product_of_matrices(typed, changelog):
    model = changelog("v2")
    model.align("affine")
    b, c = model.map()
    for n in (1, 3, 4097):
        x = np.resize(model.pairs.x.astype(np.float32), (n, 384))
        query = "SELECT cvx.project(%s::cvx.trajectory, %s, %s)"
        (found,) = one(typed, query, Trajectory(np.arange(n), x), f"{model.name}-new", f"{model.name}-old")
        near(found.x, x.astype(np.float64) @ b + c, 1e-5)


CANONICAL = """SELECT ts, vec, original_space, model_version, alignment_residual, alignment_error
               FROM cvx.canonical_trajectory(%s, %s) ORDER BY ts"""


def expected_errors(at, anchors, errors):
    """The mean error of the eight anchors nearest to each point."""
    distances = np.linalg.norm(at[:, None] - anchors[None], axis=2)
    return np.take_along_axis(errors[None].repeat(len(at), 0), np.argsort(distances, axis=1)[:, :8], 1).mean(axis=1)


def anchors_of(pairs, fit, parameter=None):
    """At most ANCHORS held-out vectors of the new model, and the residual of each under the map fitted without it."""
    _, _, held = oracle.folds(pairs.entity)
    b, c, *_ = fit(*pairs[~held], parameter)
    x, y = pairs[held]
    step = -(-len(x) // ANCHORS)
    return x[::step], np.linalg.norm(x @ b + c - y, axis=1)[::step]


def test_canonical_trajectory_over_a_chain(typed, data):
    """v1, then v2, then v3: residuals and expected errors of all points recomputed, with pairs and without."""
    cut = [int(np.quantile(data["v1"].ts, share)) for share in (0.4, 0.7)]
    names = versions.packages(data["v1"])
    overlap = np.isin(data["v1"].entity, names[::2])
    early, late = data["v1"].ts < cut[0], data["v1"].ts >= cut[1]
    parts = {
        "c1": data["v1"][early | overlap],
        "c2": data["v2"][(~early & ~late) | overlap],
        "c3": data["v3"][late | overlap],
    }
    # One text of the third version has its pair in the second, at another time: one step is measured there.
    watched = names[1]
    last = np.flatnonzero(data["v1"].entity == watched)[-1]
    assert late[last]
    parts["c2"] = versions.concatenate(parts["c2"], moved(data["v2"][last : last + 1]))
    for space, of in parts.items():
        versions.load(typed, space, of)
    versions.register(typed, "chain", *((space, space) for space in parts))
    maps, anchors = {}, {}
    for new, old, method in (("c2", "c1", "procrustes"), ("c3", "c2", "affine")):
        row = versions.align(typed, "chain", new, method)
        order = typed.execute(
            "SELECT entity_id FROM cvx.embedding WHERE space_id = cvx.space_id(%s) GROUP BY 1 ORDER BY 1", [new]
        )
        pairs = oracle.pair_up(parts[new], parts[old], [name for (name,) in order])
        assert row["pairs"] == len(pairs.x)
        maps[new] = versions.stored_map(typed, "chain", new)
        fit = {"procrustes": few_procrustes, "affine": oracle.ridge}[method]
        anchors[new] = anchors_of(pairs, fit, row["ridge"])
    (b2, c2), (b3, c3) = maps["c2"], maps["c3"]
    onto_first = {
        "c1": lambda x: x,
        "c2": lambda x: x @ b2 + c2,
        "c3": lambda x: (x @ b3 + c3) @ b2 + c2,
    }
    gain = np.sqrt((b2**2).sum() / 384)
    second = onto_first["c2"](anchors["c2"][0]), anchors["c2"][1]
    third = onto_first["c3"](anchors["c3"][0]), anchors["c3"][1] * gain
    seen = {"c1": 0, "c2": 0, "c3": 0}
    for name in [watched, *names[3:40:8]]:
        found = typed.execute(CANONICAL, [name, "chain"], binary=True).fetchall()
        own = {space: of[of.entity == name] for space, of in parts.items()}
        first_of = {}
        for space in ("c3", "c2", "c1"):
            first_of |= {ts: (space, i) for i, ts in enumerate(own[space].ts)}
        assert [int(row[0]) for row in found] == sorted(first_of)
        for ts, vec, space, version, residual, error in found:
            source, i = first_of[int(ts)]
            assert (space, version) == (source, source)
            original = own[space].x[i].astype(np.float64)
            canonical = onto_first[space](original)
            near(vec, canonical, 1e-5)
            assert residual == pytest.approx(np.linalg.norm(original - canonical), rel=1e-4, abs=1e-6)
            assert error == pytest.approx(expected_error(space, own, i, canonical, onto_first, second, third), rel=5e-3)
            seen[space] += 1
        assert one(typed, "SELECT cvx.canonical(%s, 'chain')", name)[0] == Trajectory(
            [int(row[0]) for row in found], np.stack([row[1] for row in found])
        )
    assert min(seen.values()) >= 10, seen


def moved(of):
    """The same texts at another time, long before."""
    return versions.Rows(of.entity, of.ts - 20_000 * DAY, of.x, of.hash)


def few_procrustes(x, y, _):
    return oracle.completed_procrustes(x, y)[:2]


def expected_error(space, own, i, canonical, onto_first, second, third):
    """Of a point: the distance to its pair in the predecessor's space, else what anchors say; steps are independent."""
    if space == "c1":
        return 0.0
    before = {"c2": "c1", "c3": "c2"}[space]
    at = canonical[None]
    beyond = 0.0 if space == "c2" else expected_errors(at, *second)[0]
    same = np.flatnonzero(own[before].hash == own[space].hash[i])
    if len(same):
        pair = onto_first[before](own[before].x[same[0]].astype(np.float64))
        return np.hypot(np.linalg.norm(canonical - pair), beyond)
    return np.hypot(expected_errors(at, *(second if space == "c2" else third))[0], beyond)
