"""What monitors find, beside the same computed in numpy or by the functions that they call; when that raises an alert, and
what is in it."""

import json
import threading
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest
import retrain
import versions
from cluster import until
from monitor_oracle import (
    EVENT,
    HOUR,
    SOON,
    above,
    alerts,
    alike,
    alter,
    benjamini_hochberg,
    clean,
    connect,
    create,
    drifts,
    evaluate,
    evaluated,
    fired,
    found,
    listening,
    middle,
    monitor_row,
    now,
    server,
    speeds,
    wait_detectors,
)
from psycopg import sql
from psycopg.types.json import Jsonb
from trajectories import DAY
from view_oracle import DIMS, create_view, model_source, refresh, space_source, timestamp, walk

# Queries here are a superuser's own; test_monitor_rights.py has those of others.
SETTINGS = {"cvx.superuser_monitors": "on", "cvx.webhook_allowed_hosts": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster():
    with server(SETTINGS) as it:
        yield it


@pytest.fixture
def conn(cluster):
    with connect(cluster) as it:
        yield it
    clean(cluster)


def recent(rng, entities: int, points: int = 12) -> dict:
    """Random walks whose last points are up to 20 days old; every second entity was last seen within 6."""
    data = {}
    for i in range(entities):
        t, x = walk(rng, points)
        age = rng.integers(1, 6 * DAY) if i % 2 else rng.integers(8 * DAY, 20 * DAY)
        data[f"e{i:02}"] = t - t[-1] + now() - age, x
    return data


@pytest.fixture
def source(conn):
    it = space_source(conn, "s")
    for entity, (t, x) in recent(np.random.default_rng(5), 40).items():
        it.write(entity, t, x)
    return it


def query_monitor(conn, query, name="q", **options):
    create(conn, name, {"type": "custom_query", "sql": query}, **options)
    return evaluate(conn, name)


class TestConditions:
    @pytest.mark.parametrize("metric", ["cosine", "l2", None])
    def test_drift(self, conn, source, metric):
        """Of the points within the window before an entity's last one; entities that are silent for longer are left out."""
        values = drifts(source.points(), 7 * DAY, metric or "cosine")
        threshold = middle(values)
        condition = {"type": "drift_exceeds", "threshold": threshold, "window": "7 days"}
        create(conn, "m", {**condition, "metric": metric} if metric else condition, space="s")
        alike(found(conn, "m"), above(values, threshold), threshold)

    def test_drift_of_a_model(self, conn):
        """Of canonical trajectories: an entity with points in both spaces is one."""
        source = model_source(conn, "m")
        shift = now() - HOUR - max(t[-1] for t, _ in source.points().values())
        rng = np.random.default_rng(3)
        for i in range(10):
            t, x = walk(rng, 6)
            source.write(f"new {i}", t + shift, x)
        values = drifts(source.points(), 30 * DAY)
        threshold = middle(values)
        create(conn, "m", {"type": "drift_exceeds", "threshold": threshold, "window": "30 days"}, model="m")
        alike(found(conn, "m"), above(values, threshold), threshold, 1e-6)

    @pytest.mark.parametrize("window", [None, "7 days"])
    def test_velocity(self, conn, source, window):
        source.write("once", [now() - HOUR], np.ones((1, DIMS)))
        values = speeds(source.points(), 7 * DAY if window else None)
        threshold = middle(values)
        condition = {"type": "velocity_exceeds", "threshold": threshold}
        create(conn, "m", {**condition, "window": window} if window else condition, space="s")
        alike(found(conn, "m"), above(values, threshold), threshold)

    def test_silence(self, conn, source):
        create(conn, "m", {"type": "silence_exceeds", "duration": "7 days"}, space="s")
        before = now()
        findings = found(conn, "m")
        last = {entity: int(t[-1]) for entity, (t, _) in source.points().items()}
        assert set(findings) == {entity for entity, ts in last.items() if ts < before - 7 * DAY}
        for entity, it in findings.items():
            assert it["ts"] == timestamp(last[entity]) and it["threshold"] == 7 * 86_400
            assert (before - last[entity]) / 1e6 <= it["value"] <= (now() - last[entity]) / 1e6

    def test_silence_of_a_source(self, conn):
        """Entities of the source, by the last point that it brought."""
        conn.execute("SELECT cvx.create_space('s', 2)")
        insert = "INSERT INTO cvx_space.s (entity_id, ts, vec, source) VALUES (%s, now() - %s * interval '1 hour', '[1,1]', %s)"
        for entity, hours, name in (("a", 5, "x"), ("a", 1, "y"), ("b", 1, "x"), ("c", 5, "y"), ("d", 9, None)):
            conn.execute(insert, (entity, hours, name))
        create(conn, "x", {"type": "silence_exceeds", "duration": "2 hours", "source": "x"}, space="s")
        assert set(found(conn, "x")) == {"a"}
        create(conn, "any", {"type": "silence_exceeds", "duration": "2 hours"}, space="s")
        assert set(found(conn, "any")) == {"c", "d"}

    def test_change_points(self, conn):
        """Those of the batch, from what was ingested since the monitor is there."""
        source = space_source(conn, "s")
        data = shifted(12)
        for entity, (t, x) in data.items():
            source.write(entity, t[:20], x[:20])
        create(conn, "m", {"type": "change_point_detected", "min_severity": 0.5}, space="s", paused=False)
        for entity, (t, x) in data.items():
            source.write(entity, t[20:], x[20:])
        wait_detectors(conn, "m", {entity: t[-1] for entity, (t, _) in data.items()})
        query = """SELECT e.entity_id, b.ts, b.severity
                   FROM (SELECT DISTINCT entity_id FROM cvx_space.s) e,
                        LATERAL cvx.bocpd(cvx.trajectory(e.entity_id, 's')) b
                   WHERE b.severity > 0.5"""
        expected = {(entity, ts): severity for entity, ts, severity in conn.execute(query)}
        assert len(expected) >= 6, "half of the entities shift"
        raised = {(it["entity_id"], it["ts"]): it["value"] for it in alerts(conn, "m")}
        assert raised.keys() == expected.keys()
        for key, severity in expected.items():
            np.testing.assert_allclose(raised[key], severity, rtol=1e-9)
        assert all(it["threshold"] == 0.5 and it["condition"] == "change_point_detected" for it in alerts(conn, "m"))

    def test_of_all_spaces(self, conn):
        """A monitor that names none looks at each; an entity has one alert whatever the spaces in which it is found."""
        for name, hours in (("s", 5), ("t", 1), ("u", 9)):
            source = space_source(conn, name)
            source.write("a", [now() - hours * HOUR], np.ones((1, DIMS)))
        create(conn, "m", {"type": "silence_exceeds", "duration": "2 hours"})
        findings = evaluate(conn, "m")
        assert [it["entity_id"] for it in findings] == ["a", "a"]
        (raised,) = alerts(conn, "m")
        assert raised["space"] in ("s", "u")

    def test_reject_ratio(self, conn):
        run = """INSERT INTO cvx.sync_run (source, space_id, kind, state, started_at, finished_at, records_read, records_rejected)
                 VALUES (%s, 1, 'sync', 'done', now() - %s * interval '1 hour', now() - %s * interval '1 hour', %s, %s)"""
        for name, hours, read, rejected in (
            ("a", 2, 100, 30),
            ("a", 3, 100, 0),
            ("a", 40, 1000, 1000),
            ("b", 2, 100, 15),
            ("c", 2, 0, 0),
            ("d", 30, 100, 90),
        ):
            conn.execute(run, (name, hours, hours, read, rejected))
        create(conn, "day", {"type": "reject_ratio_exceeds", "threshold": 0.149})
        findings = {it["details"]["source"]: it for it in evaluate(conn, "day")}
        assert {name: it["value"] for name, it in findings.items()} == {"a": 0.15, "b": 0.15}
        assert all(it["entity_id"] is None and it["threshold"] == 0.149 for it in findings.values())
        (last,) = conn.execute("SELECT max(finished_at) FROM cvx.sync_run WHERE source = 'a'").fetchone()
        assert findings["a"]["ts"] == last
        create(conn, "strict", {"type": "reject_ratio_exceeds", "threshold": 0.15})
        assert evaluate(conn, "strict") == []
        create(conn, "long", {"type": "reject_ratio_exceeds", "threshold": 0.2, "window": "2 days", "source": "d"})
        assert [it["details"]["source"] for it in evaluate(conn, "long")] == ["d"]
        create(conn, "each", {"type": "reject_ratio_exceeds", "threshold": 0.2, "window": "2 days"})
        assert {it["details"]["source"] for it in evaluate(conn, "each")} == {"a", "d"}

    def test_freshness(self, conn):
        for space in ("s", "t"):
            conn.execute("SELECT cvx.create_space(%s, 2)", (space,))
        insert = "INSERT INTO cvx_space.{} (entity_id, ts, vec, source) VALUES (%s, now() - %s * interval '1 hour', '[1,1]', %s)"
        for space, entity, hours, name in (("s", "a", 5, "x"), ("s", "b", 3, "x"), ("s", "c", 1, "y"), ("t", "a", 4, "y")):
            conn.execute(insert.format(space), (entity, hours, name))
        for name, options, expected in (
            ("of s", {"space": "s"}, []),
            ("of t", {"space": "t"}, [4]),
            ("of x", {"condition": {"source": "x"}}, [3]),
            ("of y", {"condition": {"source": "y"}}, []),
        ):
            condition = {"type": "freshness_exceeds", "duration": "2 hours", **options.pop("condition", {})}
            create(conn, name, condition, **options)
            values = [it["value"] for it in evaluate(conn, name)]
            np.testing.assert_allclose(values, [3600 * it for it in expected], atol=30, err_msg=name)

    @pytest.mark.parametrize("method", ["centroid", "mmd", "psi"])
    def test_population_drift(self, conn, method):
        """As the function says of the same two stretches of time."""
        source = space_source(conn, "s")
        rng = np.random.default_rng(8)
        hours = now() - HOUR * np.arange(24 * 12)[::-1] - HOUR // 2
        for i in range(4):
            x = rng.normal(size=(len(hours), DIMS))
            x[-24 * 3 :] += 1.5
            source.write(f"e{i}", hours + i, x)
        query = """SELECT statistic, p_value FROM cvx.population_drift('s', tstzrange(now() - interval '9 days', now() - interval '2 days'),
                                                                      tstzrange(now() - interval '2 days', now()), %s)"""
        statistic, p_value = conn.execute(query, (method,)).fetchone()
        assert statistic > 0 and p_value < 0.01
        condition = {"type": "population_drift_exceeds", "method": method, "baseline": "7 days", "window": "2 days"}
        create(conn, "below", {**condition, "threshold": statistic * 0.99}, space="s")
        (it,) = evaluate(conn, "below")
        np.testing.assert_allclose(it["value"], statistic, rtol=1e-9)
        np.testing.assert_allclose(it["p_value"], p_value, rtol=1e-9)
        assert it["entity_id"] is None and abs(it["ts"] - datetime.now(timezone.utc)) < timedelta(seconds=30)
        create(conn, "above", {**condition, "threshold": statistic * 1.01}, space="s")
        assert evaluate(conn, "above") == []
        fixed = f"[{timestamp(hours[0])},{timestamp(hours[24 * 4])})"
        create(conn, "fixed", {**condition, "baseline": fixed, "threshold": 1e-9}, space="s")
        (it,) = evaluate(conn, "fixed")
        query = "SELECT statistic FROM cvx.population_drift('s', %s::tstzrange, tstzrange(now() - interval '2 days', now()), %s)"
        np.testing.assert_allclose(it["value"], conn.execute(query, (fixed, method)).fetchone()[0], rtol=1e-9)

    def test_custom_query(self, conn):
        """Columns are taken by name, where they are there and have a type that fits; all are in the details."""
        query = """SELECT 'e' || i AS entity_id, timestamptz '2026-01-01' + i * interval '1 day' AS ts, i / 2.0 AS value,
                          CASE i WHEN 1 THEN 'critical' END AS severity, 'row ' || i AS message, i AS "Number",
                          NULL::int AS nothing, '{"a": [1, 2]}'::jsonb AS json
                   FROM generate_series(1, 2) i"""
        one, two = query_monitor(conn, query, severity="low")
        assert (one["entity_id"], one["value"], one["message"]) == ("e1", 0.5, "row 1")
        assert one["ts"] == datetime(2026, 1, 2, tzinfo=timezone.utc)
        assert (one["severity"], two["severity"]) == ("critical", "low")
        assert one["details"]["Number"] == 1 and one["details"]["json"] == {"a": [1, 2]}
        assert one["details"]["nothing"] is None and one["threshold"] is None
        assert query_monitor(conn, "SELECT 1 WHERE false", "none") == []
        (bare,) = query_monitor(conn, "SELECT 42 AS answer", "bare")
        assert bare["entity_id"] is None and bare["details"] == {"answer": 42} and bare["alert_id"] is not None
        assert bare["message"]

    @pytest.mark.parametrize("query", ["TABLE pg_am", "VALUES (1), (2)", "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
                                       "SELECT 1; ", "SELECT 1 -- a comment", "SELECT 1; -- a comment", "/* ; */ SELECT ';'"])  # fmt: skip
    def test_forms_of_a_query(self, conn, query):
        assert len(query_monitor(conn, query)) == len(conn.execute(query).fetchall())

    def test_more_rows_than_an_evaluation_takes(self, conn):
        query_monitor(conn, "SELECT i::text AS entity_id FROM generate_series(1, 2500) i")
        row = monitor_row(conn, "q")
        assert (row["findings"], row["alerts"], row["suppressed"]) == (2500, 1000, 1500)


def shifted(entities: int) -> dict:
    """60 points of each, of which every second entity shifts by four times the noise at its 35th."""
    rng = np.random.default_rng(11)
    data = {}
    for i in range(entities):
        x = 5 + rng.normal(size=(60, DIMS))
        if i % 2:
            direction = rng.normal(size=DIMS)
            x[34:] += 4 * np.sqrt(DIMS) * direction / np.linalg.norm(direction)
        data[f"e{i:02}"] = now() - 90 * HOUR + HOUR * np.arange(60), x.astype(np.float32)
    return data


class TestViews:
    """A view that holds what a condition needs is read; what comes out is the same."""

    FITTING = [
        ({"type": "drift_exceeds", "window": "7 days"}, {"features": ["drift"], "window": "7 days"}, "drift"),
        (
            {"type": "drift_exceeds", "window": "7 days", "metric": "l2"},
            {"features": ["drift"], "window": "7 days", "metric": "l2"},
            "drift",
        ),
        ({"type": "velocity_exceeds"}, {"features": ["speed"]}, "speed"),
    ]
    FITTING_NOT = [
        (FITTING[0][0], {"features": ["drift"], "window": "8 days"}),
        (FITTING[0][0], {"features": ["drift"]}),
        (FITTING[0][0], {"features": ["drift"], "window": "7 days", "metric": "l2"}),
        (FITTING[0][0], {"features": ["speed"], "window": "7 days"}),
        (FITTING[1][0], {"features": ["drift"], "window": "7 days"}),
        (FITTING[2][0], {"features": ["speed"], "unit": "1 hour"}),
        (FITTING[2][0], {"features": ["speed"], "window": "1 hour"}),
    ]

    @staticmethod
    def of(condition, source):
        values = drifts(source.points(), 7 * DAY, condition.get("metric", "cosine")) if "drift" in condition["type"] else speeds(source.points())
        threshold = middle(values)
        return {**condition, "threshold": threshold}, above(values, threshold), threshold

    @pytest.mark.parametrize("condition, config, column", FITTING)
    def test_the_same(self, conn, source, condition, config, column):
        condition, expected, threshold = self.of(condition, source)
        create(conn, "m", condition, space="s")
        alike(found(conn, "m"), expected, threshold)
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual", config=config)
        refresh(conn, "v")
        alike(found(conn, "m"), expected, threshold)
        # It is the view that is read: a value that stands there alone is found.
        entity = sorted(expected)[0]
        conn.execute(sql.SQL("UPDATE cvx_view_data.v SET {} = 12345 WHERE entity_id = %s").format(sql.Identifier(column)), (entity,))
        assert found(conn, "m")[entity]["value"] == 12345

    @pytest.mark.parametrize("condition, config, column", FITTING)
    def test_what_is_out_of_date_is_computed(self, conn, source, condition, config, column):
        """A row that is stale, an entity that the view does not know yet, one that is gone."""
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual", config=config)
        refresh(conn, "v")
        rng = np.random.default_rng(6)
        names = sorted(source.points())
        for i, entity in enumerate(names[:10]):
            if i % 2:
                source.write(entity, [now() - HOUR], rng.normal(0, 3, (1, DIMS)))
            else:
                source.delete(entity)
        for entity, (t, x) in recent(rng, 6).items():
            source.write(f"new {entity}", t, x)
        condition, expected, threshold = self.of(condition, source)
        create(conn, "m", condition, space="s")
        alike(found(conn, "m"), expected, threshold)

    @pytest.mark.parametrize("condition, config", FITTING_NOT)
    def test_a_view_of_something_else_is_not_read(self, conn, source, condition, config):
        condition, expected, threshold = self.of(condition, source)
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual", config=config)
        refresh(conn, "v")
        create(conn, "m", condition, space="s")
        alike(found(conn, "m"), expected, threshold)

    def test_a_filtered_view_is_not_all(self, conn, source):
        condition, expected, threshold = self.of(self.FITTING[2][0], source)
        some = sorted(expected)[:2]
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual",
                    config={"features": ["speed"]}, entity_filter={"entity_ids": some})  # fmt: skip
        refresh(conn, "v")
        create(conn, "m", condition, space="s")
        alike(found(conn, "m"), expected, threshold)

    def test_silence_by_a_view(self, conn, source):
        create(conn, "m", {"type": "silence_exceeds", "duration": "7 days"}, space="s")
        without = set(found(conn, "m"))
        create_view(conn, "v", "temporal_features", source, refresh_policy="manual", config={"features": ["drift"]})
        refresh(conn, "v")
        assert set(found(conn, "m")) == without
        silent = sorted(without)[0]
        source.write(silent, [now() - HOUR], np.ones((1, DIMS)))
        assert set(found(conn, "m")) == without - {silent}


class TestWhichEntities:
    def test_by_id_and_by_attrs(self, conn, source):
        last = "(SELECT max(ts) FROM cvx_space.s l WHERE l.entity_id = e.entity_id)"
        conn.execute(f"""UPDATE cvx_space.s e SET attrs = '{{"plan": "pro", "n": 1}}' WHERE entity_id < 'e10' AND ts = {last}""")
        conn.execute(f"""UPDATE cvx_space.s e SET attrs = '{{"plan": "pro"}}' WHERE entity_id > 'e30' AND ts < {last}""")
        everyone = {"type": "silence_exceeds", "duration": "1 microsecond"}
        names = sorted(source.points())
        for name, entity_filter, expected in (
            ("all", None, names),
            ("ids", {"entity_ids": ["e01", "e05", "nobody"]}, ["e01", "e05"]),
            ("attrs", {"attrs": {"plan": "pro"}}, [it for it in names if it < "e10"]),
            ("both", {"attrs": {"plan": "pro"}, "entity_ids": ["e01", "e20"]}, ["e01"]),
            ("neither", {"attrs": {"plan": "free"}}, []),
        ):
            create(conn, name, everyone, space="s", entity_filter=entity_filter)
            assert sorted(found(conn, name)) == expected, name

    def test_change_points_of_some(self, conn):
        source, data = space_source(conn, "s"), shifted(8)
        create(conn, "m", {"type": "change_point_detected", "min_severity": 0.5}, space="s", paused=False,
               entity_filter={"entity_ids": ["e01", "e02", "e03"]})  # fmt: skip
        create(conn, "all", {"type": "change_point_detected", "min_severity": 0.5}, space="s", paused=False)
        for entity, (t, x) in data.items():
            source.write(entity, t, x)
        wait_detectors(conn, "all", {entity: t[-1] for entity, (t, _) in data.items()})
        wait_detectors(conn, "m", {entity: data[entity][0][-1] for entity in ("e01", "e02", "e03")})
        assert {it["entity_id"] for it in alerts(conn, "m")} == {"e01", "e03"}
        assert {it["entity_id"] for it in alerts(conn, "all")} == {"e01", "e03", "e05", "e07"}

    def test_false_discoveries(self, conn):
        """Above the threshold by noise alone, and by more: with fdr the first are left out."""
        source = space_source(conn, "s")
        rng = np.random.default_rng(21)
        for i in range(60):
            x = rng.normal(size=(30, DIMS)) + 8
            x += np.linspace(0, 20 if i < 8 else 0, 30)[:, None] * np.eye(DIMS)[i % DIMS]
            source.write(f"e{i:02}", now() - HOUR * np.arange(1, 31)[::-1], x)
        p_values = dict(conn.execute(
            "SELECT entity_id, cvx.drift_p_value(cvx.trajectory(entity_id, 's'), 'l2') FROM cvx_space.s GROUP BY 1"
        ))  # fmt: skip
        values = drifts(source.points(), 7 * DAY, "l2")
        threshold = float(np.mean(sorted(value for _, value in values.values())[20:22]))
        condition = {"type": "drift_exceeds", "threshold": threshold, "window": "7 days", "metric": "l2"}
        create(conn, "plain", condition, space="s")
        everything = above(values, threshold)
        alike(found(conn, "plain"), everything, threshold)
        create(conn, "fdr", {**condition, "fdr": 0.05}, space="s")
        discovered = benjamini_hochberg(p_values, 0.05)
        kept = {entity: it for entity, it in everything.items() if entity in discovered}
        assert 0 < len(kept) < len(everything)
        findings = found(conn, "fdr")
        alike(findings, kept, threshold)
        for entity, it in findings.items():
            np.testing.assert_allclose(it["p_value"], p_values[entity], rtol=1e-9)


class TestWhenItAlerts:
    def test_the_same_evidence_alerts_once(self, conn, source):
        """Even without a cooldown; another point is other evidence."""
        threshold = middle(speeds(source.points()))
        create(conn, "m", {"type": "velocity_exceeds", "threshold": threshold}, space="s", cooldown="0")
        first = fired(conn, "m")
        assert first and fired(conn, "m") == set()
        assert set(found(conn, "m")) == first and monitor_row(conn, "m")["suppressed"] == len(first)
        entity = sorted(first)[0]
        source.write(entity, [now() - HOUR, now() - HOUR // 2], 100 * np.eye(DIMS)[:2])
        assert fired(conn, "m") == {entity}

    def test_cooldown(self, conn):
        query = "SELECT 'a' AS entity_id UNION ALL SELECT NULL"
        assert [it["alert_id"] is not None for it in query_monitor(conn, query, cooldown="1 hour")] == [True, True]
        assert [it["alert_id"] for it in evaluate(conn, "q")] == [None, None]
        conn.execute("UPDATE cvx.alert SET fired_at = fired_at - interval '59 minutes'")
        assert fired(conn, "q") == set()
        conn.execute("UPDATE cvx.alert SET fired_at = fired_at - interval '2 minutes' WHERE entity_id = 'a'")
        assert fired(conn, "q") == {"a"}
        query_monitor(conn, query, "always", cooldown="0")
        assert fired(conn, "always") == {"a", None} == fired(conn, "always")

    def test_one_entity_twice_in_an_evaluation(self, conn):
        findings = query_monitor(conn, "SELECT 'a' AS entity_id, i AS value FROM generate_series(1, 3) i")
        assert [it["alert_id"] is not None for it in findings] == [True, False, False]

    def test_muted(self, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, cooldown="0")
        conn.execute("SELECT cvx.mute_monitor('q')")
        assert [it["alert_id"] for it in evaluate(conn, "q")] == [None]
        row = monitor_row(conn, "q")
        assert (row["findings"], row["suppressed"], row["alerts"]) == (1, 1, 0)
        until_unmuted = "SELECT muted_until = 'infinity' FROM cvx.monitor WHERE name = 'q'"
        assert row["muted_until"] is None and conn.execute(until_unmuted).fetchone() == (True,)
        conn.execute("SELECT cvx.unmute_monitor('q')")
        assert [it["alert_id"] is not None for it in evaluate(conn, "q")] == [True]
        conn.execute("SELECT cvx.mute_monitor('q', interval '1 second')")
        assert [it["alert_id"] for it in evaluate(conn, "q")] == [None]
        time.sleep(1.1)
        assert [it["alert_id"] is not None for it in evaluate(conn, "q")] == [True]
        assert monitor_row(conn, "q")["muted_until"] is None

    def test_paused(self, conn):
        """Not by the worker; by hand all the same."""
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, cooldown="0", check_interval="1 s")
        create(conn, "beside", {"type": "custom_query", "sql": "SELECT 1"}, check_interval="1 s", paused=False)
        start = evaluated(conn, "beside")["last_evaluated_at"]
        evaluated(conn, "beside", start + timedelta(seconds=1))
        row = monitor_row(conn, "q")
        assert row["status"] == "paused" and row["last_evaluated_at"] is None and row["hint"]
        assert fired(conn, "q") == {None}
        conn.execute("SELECT cvx.resume_monitor('q')")
        evaluated(conn, "q", datetime.now(timezone.utc))

    def test_acknowledged(self, conn):
        (it,) = query_monitor(conn, "SELECT 1")
        assert monitor_row(conn, "q")["unacknowledged"] == 1
        conn.execute("SELECT cvx.acknowledge_alert(%s, 'seen to')", (it["alert_id"],))
        (row,) = alerts(conn, "q")
        assert (row["acknowledged_by"], row["acknowledged_note"]) == ("postgres", "seen to")
        assert abs(row["acknowledged_at"] - datetime.now(timezone.utc)) < timedelta(seconds=30)
        assert monitor_row(conn, "q")["unacknowledged"] == 0

    def test_a_test_alert(self, cluster, conn):
        """Through all actions, marked, whatever the cooldown; and no evidence for it."""
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, severity="critical")
        with listening(cluster) as arrived:
            ids = [conn.execute("SELECT cvx.test_monitor('q')").fetchone()[0] for _ in range(2)]
            payloads = arrived(2)
        assert [it["alert_id"] for it in payloads] == ids and all(it["test"] for it in payloads)
        assert [(it["is_test"], it["severity"]) for it in alerts(conn, "q")] == [(True, "critical")] * 2
        assert fired(conn, "q") == {None}, "a test alert starts no cooldown"

    def test_two_sessions_at_once(self, cluster, conn):
        """Each entity has one alert, whoever sees it first."""
        query = "SELECT i::text AS entity_id FROM generate_series(1, 50) i"
        for turn in range(8):
            create(conn, f"q{turn}", {"type": "custom_query", "sql": query})
            ready = threading.Barrier(3)
            results = []

            def run():
                with connect(cluster) as own:
                    ready.wait()
                    results.append(sum(it["alert_id"] is not None for it in evaluate(own, f"q{turn}")))

            sessions = [threading.Thread(target=run) for _ in range(3)]
            for it in sessions:
                it.start()
            for it in sessions:
                it.join()
            assert sum(results) == 50 == len(alerts(conn, f"q{turn}")), results

    def test_nothing_is_left_of_a_transaction_that_fails(self, cluster, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 'a' AS entity_id"})
        with listening(cluster) as arrived:
            with conn.transaction(force_rollback=True):
                assert fired(conn, "q") == {"a"}
            assert arrived(1, seconds=1) == []
        assert alerts(conn, "q") == [] and fired(conn, "q") == {"a"}


class TestChangePoints:
    CONDITION = {"type": "change_point_detected", "min_severity": 0.5}

    @pytest.fixture
    def one(self, conn):
        """An entity that shifts at its 35th point."""
        source = space_source(conn, "s")
        t, x = shifted(2)["e01"]
        (change,) = conn.execute("SELECT ts FROM cvx.bocpd(%s::cvx.trajectory)", (self.text(t, x),)).fetchone()
        return source, t, x, change

    @staticmethod
    def text(t, x):
        points = (f"[{','.join(map(str, row))}]@{timestamp(ts)}" for ts, row in zip(t, x))
        return "{" + ", ".join(points) + "}"

    def test_what_was_before_the_monitor_alerts_no_more(self, conn, one):
        source, t, x, _ = one
        source.write("e", t[:50], x[:50])
        create(conn, "m", self.CONDITION, space="s", paused=False)
        source.write("e", t[50:], x[50:])
        wait_detectors(conn, "m", {"e": t[-1]})
        assert alerts(conn, "m") == []

    def test_point_by_point(self, conn, one):
        source, t, x, change = one
        create(conn, "m", self.CONDITION, space="s", paused=False)
        for i in range(30, 60, 3):
            source.write("e", t[i - 30 if i == 30 else i - 3 : i], x[i - 30 if i == 30 else i - 3 : i])
            wait_detectors(conn, "m", {"e": t[i - 1]})
        assert [it["ts"] for it in alerts(conn, "m")] == [change]

    def test_late_points(self, conn, one):
        """A change that is late in coming alerts; the same change, fed anew with a late point, does not again."""
        source, t, x, change = one
        create(conn, "m", self.CONDITION, space="s", paused=False)
        odd = np.arange(60) % 2 == 1
        source.write("e", t[odd], x[odd])
        wait_detectors(conn, "m", {"e": t[-1]})
        before = [it["ts"] for it in alerts(conn, "m")]
        assert len(before) == 1
        # Points from before the change; each is a change of the past to the detector.
        for i in range(0, 20, 2):
            source.write("e", t[i : i + 1], x[i : i + 1])
        self.wait_state(conn, "m", "e")
        assert [it["ts"] for it in alerts(conn, "m")] == before
        source.write("e", t[~odd], x[~odd])
        self.wait_state(conn, "m", "e")
        assert [it["ts"] for it in alerts(conn, "m")] == before

    @staticmethod
    def wait_state(conn, monitor, entity):
        """Until the detector is what its points give, fed in the order of time."""
        conn.execute("""
            CREATE OR REPLACE FUNCTION public.folded(id text) RETURNS cvx.bocpd_state LANGUAGE plpgsql STABLE AS $$
            DECLARE state cvx.bocpd_state; point record;
            BEGIN
                FOR point IN SELECT ts, vec FROM cvx_space.s WHERE entity_id = id ORDER BY ts LOOP
                    state := cvx.bocpd_update(state, point.ts, point.vec);
                END LOOP;
                RETURN state;
            END $$""")
        query = """SELECT d.state::text = public.folded(d.entity_id)::text FROM cvx.detector d JOIN cvx.monitor USING (monitor_id)
                   WHERE name = %s AND entity_id = %s"""
        until(lambda: conn.execute(query, (monitor, entity)).fetchone() == (True,), SOON, "the detector holds every point")

    def test_a_change_that_comes_late(self, conn, one):
        """The points that show it arrive last, of a time before what was fed: it is news."""
        source, t, x, change = one
        create(conn, "m", self.CONDITION, space="s", paused=False)
        calm = np.concatenate([x[:34], x[:26]])
        source.write("e", t[:34], x[:34])
        source.write("e", t[50:], calm[:10])
        wait_detectors(conn, "m", {"e": t[-1]})
        assert alerts(conn, "m") == []
        source.write("e", t[34:], x[34:])
        self.wait_state(conn, "m", "e")
        assert [it["ts"] for it in alerts(conn, "m")] == [change]

    def test_deleted_and_changed_points(self, conn, one):
        source, t, x, change = one
        create(conn, "m", self.CONDITION, space="s", paused=False)
        source.write("e", t, x)
        wait_detectors(conn, "m", {"e": t[-1]})
        source.delete("e", t[40:45])
        self.wait_state(conn, "m", "e")
        source.write("e", t[5:6], x[6:7])
        self.wait_state(conn, "m", "e")
        assert [it["ts"] for it in alerts(conn, "m")] == [change]
        source.delete("e")
        gone = "SELECT count(*) FROM cvx.detector WHERE entity_id = 'e'"
        until(lambda: conn.execute(gone).fetchone() == (0,), SOON, "an entity that is gone has no detector")

    def test_a_retrain_does_not_alert(self, conn):
        """Entities go over from one model to the next; those that move there alert, the others do not, nearly all of them.
        Without the alignment everyone would."""
        simulation = retrain.synthetic_simulation(1, [0.0, 6.0], 12, noise=0.02, dims=32, points=40, overlap=200)
        shift = now() - HOUR - int(simulation.new.ts.max())
        old, new = (versions.rows(of.entity, of.ts + shift, of.x, of.hash) for of in (simulation.old, simulation.new))
        paired = np.char.startswith(new.entity.astype(str), "overlap")
        versions.load(conn, "old", old)
        versions.load(conn, "new", new[paired])
        versions.register(conn, "m", ("old", "old"), ("new", "new"))
        versions.align(conn, "m", "new", "procrustes")
        create(conn, "m", self.CONDITION, model="m", paused=False)
        versions.copy(conn, sql.Identifier("cvx_space", "new"), new[~paired])
        wait_detectors(conn, "m", {entity: new.ts[new.entity == entity].max() for entity in simulation.boundary})
        raised = {it["entity_id"] for it in alerts(conn, "m")}
        still = {entity for entity in simulation.boundary if entity.startswith("0.0")}
        moved = set(simulation.boundary) - still
        assert len(raised & still) <= 1 and len(raised & moved) >= 11, sorted(raised)
        assert raised <= set(simulation.boundary)


class TestNotification:
    def test_it_comes_with_the_row(self, cluster, conn):
        """Who hears of an alert can read it at once, and what he hears is what stands there."""
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 'é' AS entity_id, 1.5 AS value, now() - interval '1 h' AS ts"},
               description="of a test", check_interval="1 s", cooldown="0", paused=False)  # fmt: skip
        with listening(cluster) as arrived, connect(cluster) as reader:
            (payload,) = arrived(1, seconds=SOON)
            with reader.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                row = cursor.execute("SELECT * FROM cvx.alert WHERE alert_id = %s", (payload["alert_id"],)).fetchone()
        assert row is not None and str(row["event_id"]) == payload["id"]
        assert payload.keys() == {
            "id", "alert_id", "monitor", "description", "severity", "condition", "space", "model", "entity_id", "ts",
            "fired_at", "value", "threshold", "p_value", "message", "details", "test",
        }  # fmt: skip
        for key in ("monitor", "severity", "condition", "space", "model", "entity_id", "value", "threshold", "message", "details"):
            assert payload[key] == row[key], key
        for key in ("ts", "fired_at"):
            assert datetime.fromisoformat(payload[key]) == row[key]
        assert payload["description"] == "of a test" and payload["test"] is False

    HOSTILE = ['"', "\\", "\n", "\x01", "\x7f", "é", "\U0001f600", "\ufeff", "]}", "'", "$$", "%s", "\u2028", "a"]

    @pytest.mark.parametrize("size", [1, 100, 2000, 3950, 7000, 7900, 8000, 9000, 1_000_000])
    def test_it_fits(self, cluster, conn, size):
        """Below NOTIFY's 8000 bytes, JSON, whole characters, and said to be cut when it is; the row holds all of it."""
        rng = np.random.default_rng(size)
        message = "".join(rng.choice(self.HOSTILE, size))
        entity = "".join(rng.choice(self.HOSTILE, min(size, 500)))
        # What an entity is called is part of an index; a message is as long as it is.
        conn.execute("CREATE TABLE IF NOT EXISTS public.hostile (entity_id text, message text, more jsonb)")
        conn.execute("TRUNCATE public.hostile")
        conn.execute("INSERT INTO public.hostile VALUES (%s, %s, %s)", (entity, message, Jsonb({"x": message})))
        with listening(cluster) as arrived:
            (it,) = query_monitor(conn, "SELECT * FROM public.hostile", f"fits {size}")
            (payload,) = arrived(1)
        assert it["alert_id"] is not None
        (row,) = alerts(conn, f"fits {size}")
        assert (row["entity_id"], row["message"], row["details"]["more"]) == (entity, message, {"x": message})
        assert len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()) < 8000
        assert payload["alert_id"] == row["alert_id"] and payload["id"] == str(row["event_id"])
        whole = len(json.dumps([entity, message, row["details"]], ensure_ascii=False).encode()) < 7000
        if payload.get("truncated"):
            assert not whole and payload.get("details") in (None, {})
            for key in ("message", "entity_id"):
                kept = payload[key].removesuffix("...").removesuffix("…")
                assert row[key].startswith(kept), key
        else:
            assert payload["message"] == message and payload["details"] == row["details"]

    def test_an_entity_that_no_index_takes(self, conn):
        """An error with a SQLSTATE of its own, and no half of an alert."""
        query = "SELECT string_agg(md5(i::text), '') AS entity_id FROM generate_series(1, 1000) i"
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            query_monitor(conn, query)
        assert alerts(conn, "q") == []

    def test_lists_of_actions(self, cluster, conn):
        """One NOTIFY an alert, however often it is asked for; a log line for each level."""
        action = [EVENT, {"type": "log", "level": "warning"}, {"type": "log", "level": "log"}, EVENT]
        since = cluster.log_size()
        with listening(cluster) as arrived:
            create(conn, "loud", {"type": "custom_query", "sql": "SELECT 'someone' AS entity_id"}, action)
            evaluate(conn, "loud")
            payloads = arrived(3, seconds=2)
        assert 1 <= len(payloads) <= 2 and len({it["id"] for it in payloads}) == 1
        lines = [line for line in cluster.log(since).splitlines() if "loud" in line and "someone" in line]
        assert {"WARNING:", "LOG:"} <= {word for line in lines for word in line.split()}, lines

    @pytest.mark.parametrize("level", ["debug", "info", "notice", "warning", "log"])
    def test_levels_of_the_log(self, cluster, conn, level):
        conn.execute("SET log_min_messages = debug1")
        since = cluster.log_size()
        create(conn, "m", {"type": "custom_query", "sql": "SELECT 1 AS entity_id"}, {"type": "log", "level": level})
        evaluate(conn, "m")
        label = {"debug": "DEBUG:"}.get(level, level.upper() + ":")
        assert any(label in line and '"m"' in line for line in cluster.log(since).splitlines()), cluster.log(since)[-2000:]

    def test_only_a_log_says_nothing_to_listeners(self, cluster, conn):
        with listening(cluster) as arrived:
            create(conn, "quiet", {"type": "custom_query", "sql": "SELECT 1"}, {"type": "log"})
            evaluate(conn, "quiet")
            assert arrived(1, seconds=0.5) == []
        assert len(alerts(conn, "quiet")) == 1

    def test_prepared_transactions(self, conn):
        """NOTIFY cannot be part of one: whoever tries is told, and nothing is half done."""
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"})
        conn.execute("BEGIN")
        evaluate(conn, "q")
        with pytest.raises(psycopg.Error):
            conn.execute("PREPARE TRANSACTION 'x'")
        conn.execute("ROLLBACK")
        assert alerts(conn, "q") == []


class TestBackground:
    def test_by_interval(self, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, cooldown="0", check_interval="1 s", paused=False)
        until(lambda: len(alerts(conn, "q")) >= 4, SOON, "four alerts")
        times = [it["fired_at"] for it in alerts(conn, "q")][:4]
        gaps = [(b - a).total_seconds() for a, b in zip(times, times[1:])]
        assert all(0.8 < gap < 3 for gap in gaps), gaps
        row = monitor_row(conn, "q")
        assert row["status"] in ("ok", "running") and row["last_duration"] < timedelta(seconds=1) and row["last_error"] is None

    def test_by_cron(self, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, schedule="*/5 * * * *", paused=False)
        due = until(lambda: monitor_row(conn, "q")["next_check_at"], SOON, "it is planned")
        at = datetime.now(timezone.utc)
        assert due > at - timedelta(seconds=5) and due - at <= timedelta(minutes=5, seconds=5)
        assert due.minute % 5 == 0 == due.second and alerts(conn, "q") == []

    def test_by_the_minute(self, conn):
        """The only monitor that waits for the clock to come to a minute."""
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, schedule="* * * * *", cooldown="0", paused=False)
        (it,) = until(lambda: alerts(conn, "q"), 70, "a minute is full")
        assert it["fired_at"].second < 3

    def test_cron_in_a_time_zone(self, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, schedule="30 4 * * *", time_zone="Asia/Kolkata", paused=False)
        due = until(lambda: monitor_row(conn, "q")["next_check_at"], SOON, "it is planned")
        assert (due.astimezone(timezone.utc).hour, due.minute) == (23, 0)

    def test_an_error_is_shown_and_goes_away(self, conn):
        conn.execute("CREATE TABLE public.later (entity_id text)")
        create(conn, "q", {"type": "custom_query", "sql": "TABLE public.later"}, check_interval="1 s", paused=False)
        evaluated(conn, "q")
        conn.execute("DROP TABLE public.later")
        row = until(lambda: (it := monitor_row(conn, "q"))["status"] == "error" and it, SOON, "an error")
        assert "later" in row["last_error"] and row["last_error_at"] is not None
        conn.execute("CREATE TABLE public.later (entity_id text)")
        until(lambda: monitor_row(conn, "q")["last_error"] is None, SOON, "it works again")
        assert monitor_row(conn, "q")["status"] in ("ok", "running")
        conn.execute("DROP TABLE public.later")

    def test_dropped_while_it_runs(self, cluster, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT pg_sleep(5)"}, paused=False)
        until(lambda: monitor_row(conn, "q")["status"] == "running", SOON, "it runs")
        start = time.monotonic()
        conn.execute("SELECT cvx.drop_monitor('q')")
        assert time.monotonic() - start < 7
        time.sleep(0.5)
        assert alerts(conn, "q") == [] and monitor_row(conn, "q") is None
        until(lambda: cluster.workers("monitor", "d") == [], SOON, "its process has ended")

    def test_alerts_stay_when_their_monitor_goes(self, conn):
        query_monitor(conn, "SELECT 'a' AS entity_id")
        conn.execute("SELECT cvx.drop_monitor('q')")
        (row,) = alerts(conn, "q")
        conn.execute("SELECT cvx.acknowledge_alert(%s)", (row["alert_id"],))
        # Another monitor of that name has a history of its own.
        assert [it["alert_id"] is not None for it in query_monitor(conn, "SELECT 'a' AS entity_id")] == [True]

    def test_many_at_once(self, conn):
        """None starves: all are evaluated in each second, or nearly."""
        for i in range(40):
            create(conn, f"q{i:02}", {"type": "custom_query", "sql": f"SELECT 1 WHERE {i} < 0"}, check_interval="2 s", paused=False)
        for i in range(40):
            evaluated(conn, f"q{i:02}")
        start = datetime.now(timezone.utc)
        for i in range(40):
            evaluated(conn, f"q{i:02}", start)
        assert datetime.now(timezone.utc) - start < timedelta(seconds=10)


class TestAlter:
    def test_each_part(self, conn, source):
        threshold = middle(speeds(source.points()))
        create(conn, "m", {"type": "velocity_exceeds", "threshold": 1e9}, space="s", description="before")
        before = monitor_row(conn, "m")
        conn.execute("SELECT cvx.alter_monitor('m')")
        assert {**monitor_row(conn, "m"), "next_check_at": None} == {**before, "next_check_at": None}
        alter(conn, "m", condition={"type": "velocity_exceeds", "threshold": threshold})
        alike(found(conn, "m"), above(speeds(source.points()), threshold), threshold)
        alter(conn, "m", entity_filter={"entity_ids": ["e01"]}, severity="high", description="after", cooldown="5 minutes",
              schedule="@hourly", time_zone="Europe/Berlin", action={"type": "log"})  # fmt: skip
        row = monitor_row(conn, "m")
        assert (row["severity"], row["description"], row["cooldown"]) == ("high", "after", timedelta(minutes=5))
        assert (row["schedule"], row["time_zone"], row["action"]) == ("@hourly", "Europe/Berlin", {"type": "log"})
        assert row["entity_filter"] == {"entity_ids": ["e01"]} and row["space"] == "s"
        assert set(found(conn, "m")) <= {"e01"}
        alter(conn, "m", entity_filter=None, schedule="", description="")
        row = monitor_row(conn, "m")
        assert (row["entity_filter"], row["schedule"], row["description"]) == (None, None, "")
        assert row["check_interval"] == before["check_interval"] and row["owner"] == before["owner"]

    def test_a_shorter_interval_counts_at_once(self, conn):
        create(conn, "q", {"type": "custom_query", "sql": "SELECT 1"}, cooldown="0", check_interval="1 day", paused=False)
        first = evaluated(conn, "q")["last_evaluated_at"]
        alter(conn, "q", check_interval="1 s")
        evaluated(conn, "q", first)

    def test_by_toml(self, conn, source):
        """What apply_config declares is evaluated as what create_monitor makes."""
        threshold = middle(speeds(source.points()))
        toml = f"""
            [[monitors]]
            name = "m"
            space = "s"
            condition = {{ type = "velocity_exceeds", threshold = {threshold!r} }}
            action = {{ type = "emit_event" }}
            entity_filter = {{ entity_ids = {sorted(source.points())[:30]} }}
            check_interval = "1s"
            severity = "high"
        """
        assert conn.execute("SELECT * FROM cvx.apply_config(%s)", (toml,)).fetchall() == [("monitor", "m", "created")]
        evaluated(conn, "m")
        expected = above({k: v for k, v in speeds(source.points()).items() if k in sorted(source.points())[:30]}, threshold)
        assert {it["entity_id"] for it in alerts(conn, "m")} == set(expected)
        assert all(it["severity"] == "high" for it in alerts(conn, "m"))
        printed = conn.execute("SELECT cvx.dump_config()").fetchone()[0]
        assert conn.execute("SELECT * FROM cvx.apply_config(%s)", (printed,)).fetchall() == [("monitor", "m", "unchanged")]
        assert conn.execute("SELECT * FROM cvx.apply_config('')").fetchall() == [("monitor", "m", "dropped")]
        assert monitor_row(conn, "m") is None
