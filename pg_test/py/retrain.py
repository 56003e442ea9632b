"""A retrain in the middle of history, simulated: what cvx.model_changepoints says, and what a judge says that knows how
the same trajectory looks when its model is never replaced."""

from dataclasses import dataclass, field

import numpy as np
import scipy.stats
import versions
from trajectories import DAY
from versions import Rows

# A break this many points from where it was planted is the same break: noise decides between neighbours.
NEAR = 1
MIN_POINTS = 2


@dataclass
class Simulation:
    """What the server is given, and what the judge sees. `boundary`: for each judged entity the points before it."""

    old: Rows
    new: Rows
    truth: Rows
    boundary: dict[str, int]
    overlap_entities: int


@dataclass
class Outcome:
    """Counts over judged entities; `verdicts` are (whether a real change is said, with what confidence, whether the
    judge sees one)."""

    quiet: int = 0
    false_alarms: int = 0
    changed: int = 0
    caught: int = 0
    away: int = 0
    kept: int = 0
    invented: int = 0
    verdicts: list = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self):
        share = lambda part, whole: f"{part}/{whole} = {100 * part / max(1, whole):.1f} %"
        return (
            f"no change: {share(self.false_alarms, self.quiet)} real_change; change: {share(self.caught, self.changed)}"
            f" real_change; elsewhere: {share(self.kept, self.away)} kept, {self.invented} invented"
        )


def changelog_simulation(data: dict[str, Rows], version: str, seed: int, share: float) -> Simulation:
    """v1 before the date that parts the embeddings in `share` and the rest, `version` after it. Half of the packages
    overlap: both versions know their points after the date. Of the others each is judged as it is, and again with a
    planted change: from the date on it continues as another of them. Judged texts have no input_hash, so that the fit
    learns nothing from a text that one of them repeats."""
    rng = np.random.default_rng(seed)
    old, new = data["v1"], data[version]
    date = np.quantile(old.ts, share)
    late = old.ts >= date
    names = rng.permutation(versions.packages(old))
    overlapping, others = names[: len(names) // 2], names[len(names) // 2 :]
    overlap = np.isin(old.entity, overlapping)
    parts = {"old": [old[overlap]], "new": [new[overlap & late]], "truth": []}
    boundary = {}
    for name, other in zip(others, rng.permutation(others)):
        for continuation in {name, other}:
            before = (old.entity == name) & ~late
            after = (old.entity == continuation) & late
            if before.sum() < MIN_POINTS or after.sum() < MIN_POINTS:
                continue
            entity = name if continuation == name else f"{name}, then {continuation}"
            boundary[entity] = int(before.sum())
            parts["old"].append(renamed(old[before], entity))
            parts["new"].append(renamed(new[after], entity))
            parts["truth"] += [renamed(old[before], entity), renamed(old[after], entity)]
    return Simulation(
        **{side: versions.concatenate(*of) for side, of in parts.items()},
        boundary=boundary,
        overlap_entities=len(np.unique(old.entity[overlap & late].astype(str))),
    )


def renamed(of: Rows, entity: str) -> Rows:
    return versions.rows([entity] * len(of), of.ts, of.x)


def synthetic_simulation(
    seed: int, deltas: list[float], each: int, noise=0.02, dims=384, points=30, overlap=300, pairs=4
) -> Simulation:
    """Entities around centres of their own, both with a spectrum that falls off. The new model rotates, scales and
    moves its vectors, and adds noise of length `noise` times theirs. `each` entities move at the boundary by every one
    of `deltas`, in standard deviations of the points, sqrt(tr Sigma), towards where another entity is."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, dims + 1) ** -0.5
    spread /= np.linalg.norm(spread)
    rotation = np.linalg.qr(rng.standard_normal((dims, dims)))[0]
    scale, shift = rng.uniform(0.5, 2), rng.standard_normal(dims) / np.sqrt(dims)

    def centres(count):
        return rng.standard_normal((count, dims)) * spread

    def around(centre, count):
        return centre + 0.5 * rng.standard_normal((count, dims)) * spread

    def remade(x):
        error = rng.standard_normal(x.shape)
        error *= noise * np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(error, axis=1, keepdims=True)
        return scale * (x + error) @ rotation + shift

    after = np.arange(points, 2 * points) * DAY
    parts = {"old": [], "new": [], "truth": []}
    for i, centre in enumerate(centres(overlap)):
        x = around(centre, pairs)
        hashes = [f"{i}:{j}" for j in range(pairs)]
        parts["old"].append(versions.rows([f"overlap {i:04}"] * pairs, after[:pairs], x, hashes))
        parts["new"].append(versions.rows([f"overlap {i:04}"] * pairs, after[:pairs], remade(x), hashes))
    boundary = {}
    for delta in deltas:
        for i, (centre, other) in enumerate(zip(centres(each), centres(each))):
            away = (other - centre) / np.linalg.norm(other - centre)
            x = np.concatenate([around(centre, points), around(centre + 0.5 * delta * away, points)])
            entity = f"{delta} {i:04}"
            boundary[entity] = points
            whole = versions.rows([entity] * (2 * points), np.arange(2 * points) * DAY, x)
            parts["old"].append(whole[:points])
            parts["new"].append(whole[points:].with_vectors(remade(x[points:])))
            parts["truth"].append(whole)
    concatenated = {side: versions.concatenate(*of) for side, of in parts.items()}
    return Simulation(**concatenated, boundary=boundary, overlap_entities=overlap)


class Server:
    """The spaces and the model of a simulation, in a database of its own."""

    def __init__(self, conn, simulation: Simulation):
        self.conn, self.simulation = conn, simulation
        for space in ("old", "new", "truth"):
            versions.load(conn, space, getattr(simulation, space))
        versions.register(conn, "m", ("old", "old"), ("new", "new"))
        self.seen_by_judge = dict(
            conn.execute(
                "SELECT entity_id, ARRAY(SELECT index FROM cvx.changepoints(t)) FROM ("
                " SELECT entity_id, cvx.trajectory_agg(ts, vec) AS t FROM cvx_space.truth GROUP BY 1) s"
            )
        )

    def close(self):
        self.conn.execute("SELECT cvx.drop_model('m')")
        for space in ("old", "new", "truth"):
            self.conn.execute("SELECT cvx.drop_space(%s, cascade => true)", [space])

    def unaligned(self) -> int:
        """How many judged trajectories break at the boundary when both models' vectors are taken for one's."""
        found = self.conn.execute(
            "SELECT entity_id, ARRAY(SELECT index FROM cvx.changepoints(t)) FROM ("
            " SELECT entity_id, cvx.trajectory_agg(ts, vec) AS t FROM cvx.embedding"
            " WHERE space_id IN (cvx.space_id('old'), cvx.space_id('new')) AND entity_id = ANY (%s) GROUP BY 1) s",
            [list(self.simulation.boundary)],
        )
        return sum(is_near(self.simulation.boundary[entity], breaks) for entity, breaks in found)

    def verdicts(self, method: str) -> dict[str, list]:
        """For each judged entity (index, is real_change, confidence, is at a boundary) of its rows."""
        versions.align(self.conn, "m", "new", method)
        rows = self.conn.execute(
            "SELECT j.entity_id,"
            " (SELECT count(*) FROM cvx_space.truth t WHERE t.entity_id = j.entity_id AND t.ts < c.ts),"
            " c.classification, c.confidence, c.model_boundary IS NOT NULL"
            " FROM unnest(%s::text[]) j(entity_id), cvx.model_changepoints(j.entity_id, 'm') c",
            [list(self.simulation.boundary)],
        )
        found = {entity: [] for entity in self.simulation.boundary}
        for entity, index, classification, confidence, at_boundary in rows:
            assert classification in ("real_change", "model_artifact") and 0.5 <= confidence <= 1
            real = classification == "real_change"
            found[entity].append((index, real, confidence, at_boundary))
        return found

    def outcomes(self, method: str) -> dict[str, Outcome]:
        return {
            entity: outcome(self.simulation.boundary[entity], self.seen_by_judge[entity], rows)
            for entity, rows in self.verdicts(method).items()
        }


def is_near(index: int, breaks) -> bool:
    return any(abs(index - other) <= NEAR for other in breaks)


def outcome(boundary: int, judge: list[int], rows: list) -> Outcome:
    at = [row for row in rows if row[3]]
    assert [row[0] for row in at] == [boundary]
    real = [index for index, is_real, _, _ in rows if is_real]
    there, seen = is_near(boundary, real), is_near(boundary, judge)
    away = [index for index in judge if abs(index - boundary) > NEAR]
    return Outcome(
        quiet=int(not seen),
        false_alarms=int(there and not seen),
        changed=int(seen),
        caught=int(there and seen),
        away=len(away),
        kept=sum(is_near(index, real) for index in away),
        invented=sum(not is_near(index, [*judge, boundary]) for index in real),
        verdicts=[(at[0][1], at[0][2], seen)],
    )


def total(outcomes) -> Outcome:
    return sum(outcomes, Outcome())


def at_most(part: int, whole: int, bar: float) -> bool:
    """Whether a share of at most `bar` could give this count: not when it or a larger one has a chance under 0.001."""
    return scipy.stats.binom.sf(part - 1, whole, bar) >= 0.001


def binned(stated, right, low: float, fewest: int) -> list[tuple[float, float, int]]:
    stated, right = np.asarray(stated, float), np.asarray(right, float)
    fifth = np.minimum(((stated - low) / (1 - low) * 5).astype(int), 4)
    bins = [fifth == k for k in range(5)]
    return [(stated[b].mean(), right[b].mean(), int(b.sum())) for b in bins if b.sum() >= fewest]


def calibration(verdicts: list, fewest: int = 20) -> list[tuple[float, float, int]]:
    """(mean confidence, share of verdicts that the judge confirms, cases) of the fifths of [0.5, 1] with enough."""
    real, confidence, seen = np.array(verdicts, float).T
    return binned(confidence, real == seen, 0.5, fewest)


def chances(verdicts: list, fewest: int = 20) -> list[tuple[float, float, int]]:
    """(mean probability of a change as stated, share that the judge sees, cases) of the fifths of [0, 1]."""
    real, confidence, seen = np.array(verdicts, float).T
    return binned(np.where(real, confidence, 1 - confidence), seen, 0, fewest)


def text_of(verdicts: list) -> str:
    def text(bins):
        return ", ".join(f"{stated:.2f} is {right:.2f} ({count})" for stated, right, count in bins)

    return f"confidence {text(calibration(verdicts))}; chance of a change {text(chances(verdicts))}"
