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
///
/// The commit is synchronous whatever the session says: a receiver must not hear of an alert that a crash undoes, which
/// would be raised again under another id.
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
    Spi::run_with_args(insert, &arguments).map_err(internal)?;
    // SAFETY: a flag of this transaction.
    unsafe { pg_sys::ForceSyncCommit() };
    Ok(())
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

/// The host and port of a webhook's URL as they stand in it: cheap to compute for many rows, and good enough to be fair.
const HOST: &str =
    "pg_catalog.lower(pg_catalog.substring(d.request OPERATOR(pg_catalog.->>) 'url', '^[^:]*://([^/?#]*)'))";

/// Those that are due, the longest first, with their hosts: at most `limit`, none of these and none to these hosts.
pub fn due(limit: usize, except: &[i64], except_hosts: &[String]) -> Result<Vec<(i64, String)>, ErrorReport> {
    let query = format!(
        "SELECT d.delivery_id, COALESCE({HOST}, '') FROM cvx.delivery d
        WHERE d.next_attempt_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
          AND d.delivery_id OPERATOR(pg_catalog.<>) ALL ($1)
          AND (pg_catalog.cardinality($2) OPERATOR(pg_catalog.=) 0
               OR COALESCE({HOST}, '') OPERATOR(pg_catalog.<>) ALL ($2))
        ORDER BY d.next_attempt_at LIMIT {limit}"
    );
    Spi::connect(|client| {
        let arguments = [except.to_vec().into(), except_hosts.to_vec().into()];
        let rows = client.select(query.as_str(), None, &arguments)?;
        rows.map(|row| Ok((row.get(1)?.unwrap_or_default(), row.get(2)?.unwrap_or_default())))
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
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

/// When the next is due that is not due yet, in microseconds since 2000.
pub fn next_due() -> Result<Option<i64>, ErrorReport> {
    let query = "SELECT d.next_attempt_at FROM cvx.delivery d
        WHERE d.next_attempt_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
          AND d.next_attempt_at OPERATOR(pg_catalog.<) 'infinity'
        ORDER BY d.next_attempt_at LIMIT 1";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[])?;
        let next = rows.into_iter().next();
        next.map_or(Ok(None), |row| row.get::<TimestampWithTimeZone>(1))
    })
    .map(|next| next.map(TimestampWithTimeZone::into_inner))
    .map_err(internal)
}

/// Notes an attempt, in the queue and on the alert. False when somebody else holds the alert: nothing has been noted.
pub fn settle(it: &Attempt<'_>) -> Result<bool, ErrorReport> {
    let hold =
        "SELECT FROM cvx.alert a WHERE a.alert_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED";
    let is_held =
        Spi::connect_mut(|client| Ok(!client.update(hold, Some(1), &[it.alert_id.into()])?.is_empty()));
    if !is_held.map_err(internal)? {
        // One that is gone took its webhooks with it.
        return Ok(!exists(it.alert_id)?);
    }
    note(it)?;
    let end = "DELETE FROM cvx.delivery d WHERE d.delivery_id OPERATOR(pg_catalog.=) $1";
    let again =
        "UPDATE cvx.delivery d SET attempts = $2, next_attempt_at = COALESCE($3, 'infinity'), last_error = $4
        WHERE d.delivery_id OPERATOR(pg_catalog.=) $1";
    let done = match it.next {
        Next::Delivered => Spi::run_with_args(end, &[it.delivery_id.into()]),
        // One that failed stays, for resend.
        Next::Failed | Next::Again(_) => {
            let at = match it.next {
                Next::Again(at) => TimestampWithTimeZone::try_from(at).ok(),
                _ => None,
            };
            let arguments = [
                it.delivery_id.into(),
                it.attempts.into(),
                at.into(),
                it.error.into(),
            ];
            Spi::run_with_args(again, &arguments)
        }
    };
    done.map(|()| true).map_err(internal)
}

fn exists(alert_id: i64) -> Result<bool, ErrorReport> {
    let query = "SELECT EXISTS (SELECT FROM cvx.alert a WHERE a.alert_id OPERATOR(pg_catalog.=) $1)";
    let found = Spi::get_one_with_args::<bool>(query, &[alert_id.into()]);
    Ok(found.map_err(internal)?.unwrap_or(false))
}

/// Writes an attempt into the alert's list of deliveries.
fn note(it: &Attempt<'_>) -> Result<(), ErrorReport> {
    let status = match it.next {
        Next::Delivered => "delivered",
        Next::Failed => "failed",
        Next::Again(_) => "pending",
    };
    let now = json!({
        "status": status,
        "attempts": it.attempts,
        "http_status": it.status,
        "error": it.error,
    });
    let update = "UPDATE cvx.alert a SET deliveries = (
            SELECT pg_catalog.jsonb_agg(
                CASE WHEN e.value OPERATOR(pg_catalog.->>) 'action' OPERATOR(pg_catalog.=) $2
                     THEN e.value OPERATOR(pg_catalog.||) $3
                          OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('at', pg_catalog.clock_timestamp())
                     ELSE e.value END ORDER BY e.ordinality)
            FROM pg_catalog.jsonb_array_elements(a.deliveries) WITH ORDINALITY e)
        WHERE a.alert_id OPERATOR(pg_catalog.=) $1 AND a.deliveries OPERATOR(pg_catalog.<>) '[]'";
    let action = it.action.to_string();
    Spi::run_with_args(update, &[it.alert_id.into(), action.into(), JsonB(now).into()]).map_err(internal)
}
