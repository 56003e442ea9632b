use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::internal;
use super::monitor::Monitor;
use crate::monitors::Finding;

/// A finding of which an alert may be due.
pub struct New<'a> {
    pub finding: &'a Finding,
    pub severity: &'a str,
    pub space: Option<&'a str>,
    pub is_test: bool,
}

/// An alert that was raised.
pub struct Fired {
    /// Which of the findings it is of.
    pub place: usize,
    pub alert_id: i64,
    pub event_id: String,
    /// Times as PostgreSQL writes them in JSON.
    pub fired_at: String,
    pub ts: Option<String>,
    pub severity: String,
}

/// Raises alerts of those findings that none is known of: within the monitor's cooldown, or with `once_a_point` ever of
/// the same point. An entity has one at most, unless there is no cooldown; tests have theirs always.
pub fn insert(
    it: &Monitor,
    condition: &str,
    news: &[New<'_>],
    deliveries: &Value,
    once_a_point: bool,
    most: usize,
) -> Result<Vec<Fired>, ErrorReport> {
    let query = "WITH given AS MATERIALIZED (
            SELECT g.*, $12::pg_catalog.interval OPERATOR(pg_catalog.<=) '0'::pg_catalog.interval
                OR pg_catalog.row_number() OVER (PARTITION BY g.entity_id ORDER BY g.n) OPERATOR(pg_catalog.=) 1
                AS is_first
            FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),
                pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9),
                pg_catalog.unnest($10), pg_catalog.unnest($11)) WITH ORDINALITY
            g(entity_id, space, ts, value, threshold, p_value, severity, message, details, is_test, n)),
        due AS MATERIALIZED (
            SELECT g.*, pg_catalog.gen_random_uuid() AS event_id FROM given g
            WHERE g.is_test
               OR g.entity_id IS NOT NULL AND g.is_first AND NOT EXISTS (
                    SELECT FROM cvx.alert a
                    WHERE a.monitor_id OPERATOR(pg_catalog.=) $1 AND a.entity_id OPERATOR(pg_catalog.=) g.entity_id
                      AND NOT a.is_test
                      AND (a.fired_at OPERATOR(pg_catalog.>)
                                (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) $12::pg_catalog.interval)
                           OR $13 AND a.ts OPERATOR(pg_catalog.=) g.ts))
               OR g.entity_id IS NULL AND NOT EXISTS (
                    SELECT FROM cvx.alert a
                    WHERE a.monitor_id OPERATOR(pg_catalog.=) $1 AND a.entity_id IS NULL AND NOT a.is_test
                      AND a.space IS NOT DISTINCT FROM g.space
                      AND (a.details OPERATOR(pg_catalog.->>) 'source') IS NOT DISTINCT FROM
                          (g.details::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'source')
                      AND a.fired_at OPERATOR(pg_catalog.>)
                          (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) $12::pg_catalog.interval))
            ORDER BY g.n LIMIT $14),
        raised AS (
            INSERT INTO cvx.alert AS a (event_id, monitor_id, monitor, owner, severity, condition, space, model, entity_id,
                ts, value, threshold, p_value, message, details, is_test, deliveries)
            SELECT d.event_id, $1, $15, $16::pg_catalog.name, d.severity, $17, d.space, $18, d.entity_id,
                d.ts, d.value, d.threshold, d.p_value, d.message, d.details::pg_catalog.jsonb, d.is_test, $19
            FROM due d ORDER BY d.n
            RETURNING a.alert_id, a.event_id, a.fired_at)
        SELECT d.n, r.alert_id, r.event_id::pg_catalog.text,
            pg_catalog.to_json(r.fired_at) OPERATOR(pg_catalog.#>>) '{}',
            pg_catalog.to_json(d.ts) OPERATOR(pg_catalog.#>>) '{}', d.severity
        FROM raised r JOIN due d ON d.event_id OPERATOR(pg_catalog.=) r.event_id ORDER BY d.n";
    let of = |get: &dyn Fn(&New<'_>) -> Option<String>| news.iter().map(get).collect::<Vec<_>>();
    let number =
        |get: &dyn Fn(&Finding) -> Option<f64>| news.iter().map(|new| get(new.finding)).collect::<Vec<_>>();
    let times: Vec<Option<TimestampWithTimeZone>> = news
        .iter()
        .map(|new| {
            new.finding
                .ts
                .and_then(|ts| TimestampWithTimeZone::try_from(ts).ok())
        })
        .collect();
    let details = |new: &New<'_>| match &new.finding.details {
        Value::Null => Some(String::from("{}")),
        details => Some(details.to_string()),
    };
    let arguments: Vec<DatumWithOid<'_>> = vec![
        it.monitor_id.into(),
        of(&|new| new.finding.entity_id.clone()).into(),
        of(&|new| new.space.map(str::to_owned)).into(),
        times.into(),
        number(&|finding| finding.value).into(),
        number(&|finding| finding.threshold).into(),
        number(&|finding| finding.p_value).into(),
        of(&|new| Some(new.severity.to_owned())).into(),
        of(&|new| Some(new.finding.message.clone())).into(),
        of(&details).into(),
        news.iter().map(|new| new.is_test).collect::<Vec<bool>>().into(),
        it.declared.cooldown.as_str().into(),
        once_a_point.into(),
        (most as i64).into(),
        it.declared.name.as_str().into(),
        it.owner.as_str().into(),
        condition.into(),
        it.declared.model.as_deref().into(),
        JsonB(deliveries.clone()).into(),
    ];
    Spi::connect_mut(|client| {
        let rows = client.update(query, None, &arguments)?;
        rows.into_iter()
            .map(|row| {
                let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
                Ok(Fired {
                    place: row.get::<i64>(1)?.unwrap_or(1).unsigned_abs() as usize - 1,
                    alert_id: row.get(2)?.unwrap_or_default(),
                    event_id: text(3)?,
                    fired_at: text(4)?,
                    ts: row.get(5)?,
                    severity: text(6)?,
                })
            })
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Has listeners told when this transaction commits.
pub fn notify(payloads: Vec<String>) -> Result<(), ErrorReport> {
    let query = "SELECT pg_catalog.count(pg_catalog.pg_notify('cvx_alert', p)) FROM pg_catalog.unnest($1) p";
    Spi::run_with_args(query, &[payloads.into()]).map_err(internal)
}

/// Whose alert it is; None: there is none with this id.
pub fn owner(alert_id: i64) -> Result<Option<String>, ErrorReport> {
    let query = "SELECT a.owner::pg_catalog.text FROM cvx.alert a WHERE a.alert_id OPERATOR(pg_catalog.=) $1";
    Spi::connect(|client| {
        let mut rows = client.select(query, Some(1), &[alert_id.into()])?;
        rows.next().map_or(Ok(None), |row| row.get::<String>(1))
    })
    .map_err(internal)
}

pub fn acknowledge(alert_id: i64, role: &str, note: Option<&str>) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.alert a SET acknowledged_at = pg_catalog.clock_timestamp(),
            acknowledged_by = $2::pg_catalog.name, acknowledged_note = $3
        WHERE a.alert_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(update, &[alert_id.into(), role.into(), note.into()]).map_err(internal)
}
