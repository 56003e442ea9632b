//! Webhooks that are to be sent: cvx.delivery, and what became of them in cvx.alert.

use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::{Value, json};

use super::internal;

/// A webhook that is due.
pub struct Due {
    pub delivery_id: i64,
    pub alert_id: i64,
    /// Which of the monitor's actions.
    pub action: i32,
    /// The action itself: url, headers, secret.
    pub request: Value,
    pub body: String,
    pub event_id: String,
    pub owner: String,
    /// The role of that name, if there is one.
    pub owner_oid: Option<pg_sys::Oid>,
    pub attempts: i32,
    /// Microseconds since 2000.
    pub created_at: i64,
}

/// What becomes of a webhook after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    Failed,
    /// At this time, in microseconds since 2000.
    Again(i64),
}

/// An attempt, as it is noted on the alert.
pub struct Attempt<'a> {
    pub delivery_id: i64,
    pub alert_id: i64,
    pub action: i32,
    /// How many there have been with this one.
    pub attempts: i32,
    pub status: Option<u16>,
    pub error: Option<&'a str>,
    pub next: Next,
}

/// Has an action of alerts sent, with what is said of each, once this transaction commits.
pub fn queue(
    alerts: Vec<i64>,
    action: i32,
    request: Value,
    bodies: Vec<String>,
    owner: &str,
) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.delivery (alert_id, action, request, body, owner)
        SELECT q.alert_id, $3, $4, q.body, $5::pg_catalog.name
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) q(alert_id, body)";
    let arguments = [
        alerts.into(),
        bodies.into(),
        action.into(),
        JsonB(request).into(),
        owner.into(),
    ];
    Spi::run_with_args(insert, &arguments).map_err(internal)
}

/// Has the webhooks of an alert sent again that failed, under the same id. How many there are.
pub fn resend(alert_id: i64) -> Result<i64, ErrorReport> {
    let query = "WITH again AS (
            UPDATE cvx.delivery d SET next_attempt_at = pg_catalog.clock_timestamp(),
                created_at = pg_catalog.clock_timestamp(), attempts = 0
            WHERE d.alert_id OPERATOR(pg_catalog.=) $1 AND d.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'
            RETURNING d.action),
        noted AS (
            UPDATE cvx.alert a SET deliveries = (
                SELECT pg_catalog.jsonb_agg(
                    CASE WHEN EXISTS (SELECT FROM again g
                              WHERE g.action::pg_catalog.text OPERATOR(pg_catalog.=)
                                    (e.value OPERATOR(pg_catalog.->>) 'action'))
                         THEN e.value OPERATOR(pg_catalog.||) '{\"status\": \"pending\"}' ELSE e.value END
                    ORDER BY e.ordinality)
                FROM pg_catalog.jsonb_array_elements(a.deliveries) WITH ORDINALITY e)
            WHERE a.alert_id OPERATOR(pg_catalog.=) $1 AND EXISTS (SELECT FROM again))
        SELECT pg_catalog.count(*) FROM again";
    let found = Spi::connect_mut(|client| {
        client
            .update(query, None, &[alert_id.into()])?
            .first()
            .get_one::<i64>()
    });
    Ok(found.map_err(internal)?.unwrap_or_default())
}

/// The hosts that something waits for, by steps through the index: where thousands wait for one of them, they are
/// not in the way of the others.
const HOSTS: &str = "WITH RECURSIVE hosts AS (
        (SELECT d.host FROM cvx.delivery d ORDER BY d.host LIMIT 1)
        UNION ALL
        SELECT (SELECT d.host FROM cvx.delivery d WHERE d.host OPERATOR(pg_catalog.>) h.host ORDER BY d.host LIMIT 1)
        FROM hosts h WHERE h.host IS NOT NULL)";

/// Those that are due at this time, in microseconds since 2000, the longest first, with their hosts: at most
/// `limit`, and of one host so many that with those that are under way they are `most_to_a_host`. `flights` are
/// those, with their hosts.
pub fn due(
    at: i64,
    limit: usize,
    most_to_a_host: usize,
    flights: (Vec<i64>, Vec<String>),
) -> Result<Vec<(i64, String)>, ErrorReport> {
    let query = format!(
        "{HOSTS}
        SELECT n.delivery_id, h.host FROM hosts h
        CROSS JOIN LATERAL (
            SELECT d.delivery_id, d.next_attempt_at FROM cvx.delivery d
            WHERE d.host OPERATOR(pg_catalog.=) h.host AND d.next_attempt_at OPERATOR(pg_catalog.<=) $3
              AND d.delivery_id OPERATOR(pg_catalog.<>) ALL ($1)
            ORDER BY d.next_attempt_at
            LIMIT {most_to_a_host} OPERATOR(pg_catalog.-) pg_catalog.cardinality(
                pg_catalog.array_positions($2, h.host COLLATE pg_catalog.\"C\"))) n
        ORDER BY n.next_attempt_at LIMIT {limit}"
    );
    let (ids, hosts) = flights;
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, &[ids.into(), hosts.into(), time(at).into()])?;
        rows.map(|row| Ok((row.get(1)?.unwrap_or_default(), row.get(2)?.unwrap_or_default())))
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// As a parameter: what changes while a statement runs cannot be looked up in an index.
fn time(at: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(at).ok()
}

/// All that is needed to send these.
pub fn load(delivery_ids: &[i64]) -> Result<Vec<Due>, ErrorReport> {
    let query = "SELECT d.delivery_id, d.alert_id, d.action, d.request, d.body, a.event_id::text, d.owner::text, r.oid,
            d.attempts, d.created_at
        FROM cvx.delivery d
        JOIN cvx.alert a ON a.alert_id OPERATOR(pg_catalog.=) d.alert_id
        LEFT JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) d.owner
        WHERE d.delivery_id OPERATOR(pg_catalog.=) ANY ($1)
        ORDER BY d.next_attempt_at";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[delivery_ids.to_vec().into()])?;
        rows.map(|row| read(&row)).collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

fn read(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Due> {
    let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
    let created_at = row.get::<TimestampWithTimeZone>(10)?;
    Ok(Due {
        delivery_id: row.get(1)?.unwrap_or_default(),
        alert_id: row.get(2)?.unwrap_or_default(),
        action: row.get(3)?.unwrap_or_default(),
        request: row.get::<JsonB>(4)?.map_or(Value::Null, |it| it.0),
        body: text(5)?,
        event_id: text(6)?,
        owner: text(7)?,
        owner_oid: row.get(8)?,
        attempts: row.get(9)?.unwrap_or_default(),
        created_at: created_at
            .map(TimestampWithTimeZone::into_inner)
            .unwrap_or_default(),
    })
}

/// When the next is due that is not due at this time; both in microseconds since 2000.
pub fn next_due(at: i64) -> Result<Option<i64>, ErrorReport> {
    let query = format!(
        "{HOSTS}
        SELECT pg_catalog.min(n.next_attempt_at) FROM hosts h
        CROSS JOIN LATERAL (
            SELECT d.next_attempt_at FROM cvx.delivery d
            WHERE d.host OPERATOR(pg_catalog.=) h.host AND d.next_attempt_at OPERATOR(pg_catalog.>) $1
              AND d.next_attempt_at OPERATOR(pg_catalog.<) 'infinity'
            ORDER BY d.next_attempt_at LIMIT 1) n"
    );
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), Some(1), &[time(at).into()])?;
        let next = rows.into_iter().next();
        next.map_or(Ok(None), |row| row.get::<TimestampWithTimeZone>(1))
    })
    .map(|next| next.map(TimestampWithTimeZone::into_inner))
    .map_err(internal)
}

/// Notes attempts, in the queue and on the alerts; returns the webhooks of which it did. It does not where somebody
/// else holds the alert.
pub fn settle(attempts: &[Attempt<'_>]) -> Result<Vec<i64>, ErrorReport> {
    let alerts: Vec<i64> = attempts.iter().map(|it| it.alert_id).collect();
    let held = ids(
        "SELECT a.alert_id FROM cvx.alert a WHERE a.alert_id OPERATOR(pg_catalog.=) ANY ($1)
        ORDER BY a.alert_id FOR NO KEY UPDATE SKIP LOCKED",
        alerts.clone(),
    )?;
    let mut locked: Vec<i64> = alerts.into_iter().filter(|it| !held.contains(it)).collect();
    if !locked.is_empty() {
        // One that is gone took its webhooks with it.
        let query = "SELECT a.alert_id FROM cvx.alert a WHERE a.alert_id OPERATOR(pg_catalog.=) ANY ($1)";
        locked = ids(query, locked)?;
    }
    let free = attempts.iter().filter(|it| !locked.contains(&it.alert_id));
    let noted: Vec<&Attempt<'_>> = free.collect();
    note(&noted)?;
    let (done, again): (Vec<&Attempt<'_>>, Vec<_>) = noted.iter().partition(|it| it.next == Next::Delivered);
    if !done.is_empty() {
        let end = "DELETE FROM cvx.delivery d WHERE d.delivery_id OPERATOR(pg_catalog.=) ANY ($1)";
        let done: Vec<i64> = done.iter().map(|it| it.delivery_id).collect();
        Spi::run_with_args(end, &[done.into()]).map_err(internal)?;
    }
    if !again.is_empty() {
        postpone(&again)?;
    }
    Ok(noted.iter().map(|it| it.delivery_id).collect())
}

fn ids(query: &str, of: Vec<i64>) -> Result<Vec<i64>, ErrorReport> {
    Spi::connect_mut(|client| {
        let rows = client.update(query, None, &[of.into()])?;
        rows.map(|row| Ok(row.get(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Writes attempts into the alerts' lists of deliveries.
fn note(attempts: &[&Attempt<'_>]) -> Result<(), ErrorReport> {
    let notes = attempts.iter().map(|it| {
        let status = match it.next {
            Next::Delivered => "delivered",
            Next::Failed => "failed",
            Next::Again(_) => "pending",
        };
        json!({
            "alert_id": it.alert_id,
            "action": it.action,
            "note": {
                "status": status,
                "attempts": it.attempts,
                "http_status": it.status,
                "error": it.error,
            },
        })
    });
    let notes = JsonB(notes.collect());
    let update = "UPDATE cvx.alert a SET deliveries = COALESCE((
            SELECT pg_catalog.jsonb_agg(
                CASE WHEN n.note IS NULL THEN e.value
                     ELSE e.value OPERATOR(pg_catalog.||) n.note
                          OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('at', pg_catalog.clock_timestamp())
                END ORDER BY e.ordinality)
            FROM pg_catalog.jsonb_array_elements(a.deliveries) WITH ORDINALITY e
            LEFT JOIN pg_catalog.jsonb_to_recordset($2) n(alert_id bigint, action text, note jsonb)
                ON n.alert_id OPERATOR(pg_catalog.=) a.alert_id
                AND n.action OPERATOR(pg_catalog.=) (e.value OPERATOR(pg_catalog.->>) 'action')), a.deliveries)
        WHERE a.alert_id OPERATOR(pg_catalog.=) ANY ($1)";
    let alerts: Vec<i64> = attempts.iter().map(|it| it.alert_id).collect();
    Spi::run_with_args(update, &[alerts.into(), notes.into()]).map_err(internal)
}

/// Puts off what has not been delivered: until its time, or, if it failed, until somebody asks for it.
fn postpone(attempts: &[&Attempt<'_>]) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.delivery d
        SET attempts = n.attempts, next_attempt_at = COALESCE(n.at, 'infinity'), last_error = n.error
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))
            n(delivery_id, attempts, at, error)
        WHERE d.delivery_id OPERATOR(pg_catalog.=) n.delivery_id";
    let ids: Vec<i64> = attempts.iter().map(|it| it.delivery_id).collect();
    let counts: Vec<i32> = attempts.iter().map(|it| it.attempts).collect();
    let at = attempts.iter().map(|it| match it.next {
        Next::Again(at) => time(at),
        Next::Delivered | Next::Failed => None,
    });
    let at: Vec<Option<TimestampWithTimeZone>> = at.collect();
    let errors: Vec<Option<&str>> = attempts.iter().map(|it| it.error).collect();
    Spi::run_with_args(update, &[ids.into(), counts.into(), at.into(), errors.into()]).map_err(internal)
}
