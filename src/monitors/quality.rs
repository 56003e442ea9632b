//! Conditions on the data themselves: sources that are refused too much or have nothing new, populations that shift.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::condition::Baseline;
use super::scope::Scope;
use super::{Finding, payload};
use crate::catalog::internal;
use crate::types::TimestampTz;

/// Sources of whose records more than `threshold` were rejected in the last `window` microseconds.
pub fn rejects(threshold: f64, source: Option<&str>, window: i64) -> Result<Vec<Finding>, ErrorReport> {
    let query = "SELECT r.source, pg_catalog.sum(r.records_rejected)::pg_catalog.int8,
            pg_catalog.sum(r.records_read)::pg_catalog.int8,
            pg_catalog.max(COALESCE(r.finished_at, r.updated_at))
        FROM cvx.sync_run r
        WHERE COALESCE(r.finished_at, r.updated_at) OPERATOR(pg_catalog.>=)
              (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2))
          AND ($1 IS NULL OR r.source OPERATOR(pg_catalog.=) $1)
        GROUP BY r.source
        HAVING pg_catalog.sum(r.records_read) OPERATOR(pg_catalog.>) 0
           AND pg_catalog.sum(r.records_rejected)::pg_catalog.float8 OPERATOR(pg_catalog./)
               pg_catalog.sum(r.records_read)::pg_catalog.float8 OPERATOR(pg_catalog.>) $3
        ORDER BY r.source";
    let arguments = [source.into(), (window as f64 / 1e6).into(), threshold.into()];
    rows(query, &arguments, |row| {
        let name: String = row.get(1)?.unwrap_or_default();
        let (rejected, read) = (
            row.get::<i64>(2)?.unwrap_or_default(),
            row.get::<i64>(3)?.unwrap_or_default(),
        );
        let ratio = rejected as f64 / read as f64;
        Ok(Finding {
            message: rejects_message(&name, (rejected, read), window, threshold),
            ts: time(row, 4)?,
            value: Some(ratio),
            threshold: Some(threshold),
            details: json!({ "source": name, "rejected": rejected, "read": read }),
            ..Finding::default()
        })
    })
}

/// A source, or spaces, whose newest point is older than `duration`.
pub fn staleness(scopes: &[Scope], duration: i64, source: Option<&str>) -> Result<Vec<Finding>, ErrorReport> {
    if let Some(name) = source {
        let query = "SELECT f.last_ts, pg_catalog.date_part('epoch', f.age) FROM cvx.freshness($1) f
            WHERE f.source IS NOT NULL";
        let details = json!({ "source": name });
        return aged(query, name, duration, &format!("source {name}"), &details, None);
    }
    let mut found = Vec::new();
    for scope in scopes {
        let ends = scope.ends(None);
        let query = format!(
            "SELECT l.ts, pg_catalog.date_part('epoch', pg_catalog.now() OPERATOR(pg_catalog.-) l.ts)
             FROM (SELECT pg_catalog.max(e.end_ts) AS ts FROM ({ends}) e WHERE $1 IS NOT NULL) l
             WHERE l.ts IS NOT NULL"
        );
        let (what, details) = match (&scope.space, &scope.points) {
            (Some(space), _) => (format!("space {space}"), json!({ "space": space })),
            (None, crate::views::definition::Points::Model(model)) => {
                (format!("model {model}"), json!({ "model": model }))
            }
            _ => continue,
        };
        found.extend(aged(&query, "", duration, &what, &details, scope.space.clone())?);
    }
    Ok(found)
}

fn aged(
    query: &str,
    argument: &str,
    duration: i64,
    what: &str,
    details: &Value,
    space: Option<String>,
) -> Result<Vec<Finding>, ErrorReport> {
    let found = rows(query, &[argument.into()], |row| {
        let seconds: f64 = row.get(2)?.unwrap_or_default();
        Ok(Finding {
            message: staleness_message(what, seconds, duration),
            space: space.clone(),
            ts: time(row, 1)?,
            value: Some(seconds),
            threshold: Some(duration as f64 / 1e6),
            details: details.clone(),
            ..Finding::default()
        })
    })?;
    let is_beyond = |it: &Finding| it.value > it.threshold;
    Ok(found.into_iter().filter(is_beyond).collect())
}

/// The space, when its points of the last `window` are not like those before.
pub fn population(
    scope: &Scope,
    method: &str,
    threshold: f64,
    baseline: &Baseline,
    window: i64,
) -> Result<Vec<Finding>, ErrorReport> {
    let Some(space) = &scope.space else {
        return Ok(Vec::new());
    };
    let seconds = |micros: i64| micros as f64 / 1e6;
    let (before, range) = match baseline {
        Baseline::Before(before) => (Some(seconds(*before)), None),
        Baseline::Range(range) => (None, Some(range.as_str())),
    };
    let query = "SELECT d.statistic, d.p_value, d.baseline_points, d.current_points, pg_catalog.now()
        FROM (SELECT pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $3) AS since) w
        CROSS JOIN LATERAL cvx.population_drift($1,
            CASE WHEN $5 IS NULL
                THEN pg_catalog.tstzrange(w.since OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $4), w.since)
                ELSE $5::pg_catalog.tstzrange END,
            pg_catalog.tstzrange(w.since, pg_catalog.now(), '[]'), $2) d
        WHERE d.statistic OPERATOR(pg_catalog.>) $6";
    let arguments = [
        space.as_str().into(),
        method.into(),
        seconds(window).into(),
        before.into(),
        range.into(),
        threshold.into(),
    ];
    rows(query, &arguments, |row| {
        let value: f64 = row.get(1)?.unwrap_or_default();
        Ok(Finding {
            message: population_message(space, method, value, window, threshold),
            space: Some(space.clone()),
            ts: time(row, 5)?,
            value: Some(value),
            threshold: Some(threshold),
            p_value: row.get(2)?,
            details: json!({
                "space": space,
                "method": method,
                "baseline_points": row.get::<i64>(3)?,
                "current_points": row.get::<i64>(4)?,
            }),
            ..Finding::default()
        })
    })
}

type Row<'a> = pgrx::spi::SpiHeapTupleData<'a>;

fn time(row: &Row<'_>, place: usize) -> pgrx::spi::Result<Option<TimestampTz>> {
    row.get::<TimestampWithTimeZone>(place)
        .map(|it| it.map(TimestampTz::from))
}

fn rows(
    query: &str,
    arguments: &[DatumWithOid<'_>],
    read: impl Fn(&Row<'_>) -> pgrx::spi::Result<Finding>,
) -> Result<Vec<Finding>, ErrorReport> {
    Spi::connect(|client| {
        let found = client.select(query, None, arguments)?;
        found.map(|row| read(&row)).collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

pub fn rejects_message(source: &str, (rejected, read): (i64, i64), window: i64, threshold: f64) -> String {
    format!(
        "{rejected} of {read} records of source {source} were rejected within {} (threshold {threshold})",
        payload::interval(window)
    )
}

pub fn staleness_message(what: &str, seconds: f64, duration: i64) -> String {
    format!(
        "the newest point of {what} is {} old (threshold {})",
        payload::interval((seconds * 1e6) as i64),
        payload::interval(duration)
    )
}

pub fn population_message(space: &str, method: &str, value: f64, window: i64, threshold: f64) -> String {
    format!(
        "the points of space {space} of the last {} differ from the baseline by {value:.4} ({method}, threshold {threshold})",
        payload::interval(window)
    )
}
