"""What there is after a run of monitors_chaos.py, against what has to be: computed anew from what is stored."""

import json
from collections import Counter, defaultdict

import monitors_world as world
import psycopg
from cluster import Cluster
from monitors_actors import Listener
from monitors_inbox import Inbox


class Verdict:
    """What there is at the end, against what has to be."""

    QUERY = """SELECT event_id::text AS id, alert_id, monitor, entity_id, ts, fired_at, value, is_test, deliveries
               FROM cvx.alert ORDER BY alert_id"""

    def __init__(self, cluster: Cluster, database: str, inbox: Inbox, listeners: list[Listener]):
        self.arrivals, self.listeners = list(inbox.arrivals), listeners
        with cluster.connect(database, options="-c statement_timeout=300s -c timezone=UTC") as conn:
            self.alerts = conn.cursor(row_factory=psycopg.rows.dict_row).execute(self.QUERY).fetchall()
            self.of = defaultdict(list)
            for alert in self.alerts:
                self.of[alert["monitor"]].append(alert)
            self.counts = {f"alerts of {name}": len(found) for name, found in sorted(self.of.items())}
            self.evidence_once()
            self.changes(conn)
            self.drift(conn)
            self.incidents(conn)
            self.silence()
            self.webhooks()
            self.listened()
            self.detectors(conn)
            self.states(conn)

    def evidence_once(self):
        for monitor in ("changes", "drift"):
            found = Counter((alert["entity_id"], alert["ts"]) for alert in self.of[monitor])
            twice = [evidence for evidence, count in found.items() if count > 1]
            assert not twice, f"{monitor}: alerted twice for the same: {twice[:5]}"
        ids = Counter(alert["id"] for alert in self.alerts)
        assert max(ids.values()) == 1, ids.most_common(3)

    def changes(self, conn):
        """In order: the reports, no more and no less. Revised: what is reported now, or something later, alerted."""
        reports = {(entity, ts): severity for entity, ts, _, severity in conn.execute(world.REPORTS).fetchall()}
        alerts = {(alert["entity_id"], alert["ts"]): alert["value"] for alert in self.of["changes"]}
        wanted = {key: value for key, value in reports.items() if key[0].startswith("feed")}
        found = {key: value for key, value in alerts.items() if key[0].startswith("feed")}
        assert not wanted.keys() - found.keys(), f"lost: {sorted(wanted.keys() - found.keys())[:5]}"
        assert not found.keys() - wanted.keys(), f"alerted for nothing: {sorted(found.keys() - wanted.keys())[:5]}"
        assert found == wanted, [(key, found[key], wanted[key]) for key in wanted if found[key] != wanted[key]][:5]
        latest = {}
        for entity, ts in alerts:
            latest[entity] = max(ts, latest.get(entity, ts))
        lost = [(entity, ts) for entity, ts in reports if entity not in latest or latest[entity] < ts]
        assert not lost, f"a change of a revised trajectory was lost: {lost[:5]}"
        self.counts["changes of trajectories in order"] = len(wanted)
        self.counts["changes of revised ones"] = len(reports) - len(wanted)

    def drift(self, conn):
        """The last evidence of each entity was alerted; and every evidence of those in order was as it says."""
        alerts = {(alert["entity_id"], alert["ts"]): alert["value"] for alert in self.of["drift"]}
        wanted = {(entity, ts): value for entity, ts, value in conn.execute(world.DRIFTED).fetchall()}
        assert not wanted.keys() - alerts.keys(), f"lost: {sorted(wanted.keys() - alerts.keys())[:5]}"
        wrong = [key for key, value in wanted.items() if abs(alerts[key] - value) > 1e-9 and key[0].startswith("feed")]
        assert not wrong, wrong[:5]
        in_order = [key for key in alerts if key[0].startswith("feed")]
        query = """SELECT u.e, u.t, cvx.drift(cvx.trajectory(u.e, 'm', NULL, u.t), 'l2')
                   FROM unnest(%s::text[], %s::timestamptz[]) u(e, t)"""
        entities, times = [entity for entity, _ in in_order], [ts for _, ts in in_order]
        for entity, ts, value in conn.execute(query, (entities, times)).fetchall():
            found = alerts[entity, ts]
            assert value is not None and abs(found - value) <= 1e-9, (entity, ts, found, value)

    def incidents(self, conn):
        stored = {name for (name,) in conn.execute("SELECT id FROM public.incidents").fetchall()}
        found = Counter(alert["entity_id"] for alert in self.of["incidents"])
        assert not stored - found.keys(), f"lost: {sorted(stored - found.keys())[:5]}"
        assert not found.keys() - stored, f"alerted for what was rolled back: {sorted(found.keys() - stored)[:5]}"
        assert max(found.values()) == 1, f"twice within the cooldown: {found.most_common(3)}"

    def silence(self):
        """As often as its cooldown lets it, and not more often."""
        last = {}
        for alert in self.of["silence"]:
            before = last.get(alert["entity_id"])
            gap = (alert["fired_at"] - before).total_seconds() if before else 9
            assert gap >= 2, f"{alert['entity_id']} alerted again after {gap} s"
            last[alert["entity_id"]] = alert["fired_at"]
        assert len(last) == 3, last

    def webhooks(self):
        bodies, taken = defaultdict(set), set()
        for arrival in self.arrivals:
            bodies[arrival.event_id].add((arrival.path, arrival.body))
            if arrival.mood == "ok":
                taken.add(arrival.event_id)
        known = {alert["id"]: alert for alert in self.alerts}
        unknown = [bodies[name] for name in bodies.keys() - known.keys()]
        assert not unknown, f"{len(unknown)} ids arrived that are no alert's: {unknown[:3]}"
        for name, sent in bodies.items():
            assert len(sent) == 1, f"{name} was sent in {len(sent)} forms: {sent}"
            ((path, body),) = sent
            event, alert = json.loads(body), known[name]
            for key in ("alert_id", "monitor", "entity_id", "value"):
                assert event[key] == alert[key], (key, event, alert)
            assert path == f"/{alert['monitor']}" and event["id"] == name, (path, event)
        wanted = {alert["id"] for alert in self.alerts if alert["monitor"] in world.WITH_WEBHOOK}
        lost = [known[name] for name in wanted - taken]
        assert not lost, f"{len(lost)} never taken: {lost[:3]}"
        assert not taken - wanted, f"sent without an action: {sorted(taken - wanted)[:3]}"
        for name in wanted:
            states = known[name]["deliveries"]
            assert [state["status"] for state in states] == ["delivered"], f"not said to be delivered: {known[name]}"
        self.counts |= {"alerts sent": len(wanted), "requests": len(self.arrivals)}
        self.counts["alerts sent more than once"] = sum(
            count > 1 for count in Counter(arrival.event_id for arrival in self.arrivals).values()
        )

    def listened(self):
        known = {alert["id"] for alert in self.alerts}
        for listener in self.listeners:
            unknown = [listener.heard[name] for name in listener.heard.keys() - known]
            assert not unknown, f"heard of what is no alert: {unknown[:3]}"
        self.counts["alerts that listeners had to hear of, and did"] = sum(it.checked for it in self.listeners)

    def detectors(self, conn):
        """Of some hundreds of entities: to make one anew takes a call a point."""
        query = """SELECT e.entity_id, d.state::text = public.folded(e.entity_id)::text
                   FROM (SELECT DISTINCT entity_id FROM cvx_space.m) e
                   LEFT JOIN (SELECT d.* FROM cvx.detector d JOIN cvx.monitor m USING (monitor_id)
                              WHERE m.name = 'changes') d USING (entity_id)
                   ORDER BY md5(e.entity_id) LIMIT 400"""
        found = conn.execute(query).fetchall()
        wrong = [entity for entity, same in found if same is not True]
        assert not wrong, f"{len(wrong)} detectors are not what their points make: {wrong[:5]}"
        self.counts["detectors looked at"] = len(found)

    def states(self, conn):
        query = "SELECT name, status, alerts, last_error FROM cvx.monitors ORDER BY 1"
        for name, status, alerts, last_error in conn.execute(query).fetchall():
            wanted = ("paused",) if name == "silence" else ("ok", "running", "disabled")
            assert status in wanted, (name, status, last_error)
            assert alerts == len(self.of[name]), (name, alerts, len(self.of[name]))
