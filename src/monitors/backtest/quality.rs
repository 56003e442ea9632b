//! Conditions on the data themselves: rejected records, freshness, populations.

use std::collections::BTreeMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;

use super::silence::{condition as points_of, gap, gaps, of_source, silent};
use super::trend::each_row;
use super::{Checks, Episode, Found, Subject};
use crate::catalog::internal;
use crate::monitors::condition::{Baseline, Condition};
use crate::monitors::scope::Scope;
use crate::types::TimestampTz;
use crate::views::definition::{Points, instant};

/// A run of a source: when it ended, records rejected and read.
type Run = (TimestampTz, i64, i64);

/// Sources of whose records too many were rejected.
pub fn rejects(condition: &Condition, checks: &Checks, found: &mut Found) -> Result<(), ErrorReport> {
    let Condition::RejectRatio {
        threshold,
        source,
        window,
    } = condition
    else {
        return Ok(());
    };
    let of_source = match source {
        Some(source) => format!("AND r.source OPERATOR(pg_catalog.=) {}", quote_literal(source)),
        None => String::new(),
    };
    let query = format!(
        "SELECT r.source, r.ended, r.records_rejected, r.records_read
         FROM (SELECT s.*, COALESCE(s.finished_at, s.updated_at) AS ended FROM cvx.sync_run s) r
         WHERE r.ended OPERATOR(pg_catalog.>=) {} AND r.ended OPERATOR(pg_catalog.<=) {} {of_source}
         ORDER BY r.ended",
        instant(checks.time(0).saturating_sub(*window)),
        instant(checks.time(checks.len() - 1)),
    );
    let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    each_row(&query, &mut |row| {
        let count =
            |place| Ok::<_, ErrorReport>(row.get::<i64>(place).map_err(internal)?.unwrap_or_default());
        let source: String = row.get(1).map_err(internal)?.unwrap_or_default();
        if let Some(ended) = row.get::<TimestampWithTimeZone>(2).map_err(internal)? {
            let run = (TimestampTz::from(ended), count(3)?, count(4)?);
            runs.entry(source).or_default().push(run);
        }
        Ok(())
    })?;
    for (source, runs) in runs {
        for episode in ratios(&runs, *window, *threshold, checks) {
            let subject = Subject::Of {
                space: None,
                source: Some(source.clone()),
            };
            found.push(subject, episode)?;
        }
    }
    Ok(())
}

/// The stretches of checks over which the same runs, in the order of time, are within the window, where their ratio is
/// beyond the threshold.
fn ratios(runs: &[Run], window: i64, threshold: f64, checks: &Checks) -> Vec<Episode> {
    let mut edges: Vec<usize> = runs
        .iter()
        .flat_map(|run| {
            [
                checks.at_or_after(run.0),
                checks.after(run.0.saturating_add(window)),
            ]
        })
        .chain([0, checks.len()])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    let (mut begun, mut ended, mut rejected, mut read) = (0, 0, 0, 0);
    let mut episodes = Vec::new();
    for pair in edges.windows(2) {
        let time = checks.time(pair[0]);
        while begun < runs.len() && runs[begun].0 <= time {
            (rejected, read) = (rejected + runs[begun].1, read + runs[begun].2);
            begun += 1;
        }
        while ended < begun && runs[ended].0 < time.saturating_sub(window) {
            (rejected, read) = (rejected - runs[ended].1, read - runs[ended].2);
            ended += 1;
        }
        let ratio = rejected as f64 / read as f64;
        if read > 0 && ratio > threshold {
            episodes.push(Episode {
                subject: 0,
                scope: 0,
                first: pair[0] as u32,
                end: pair[1] as u32,
                ts: runs[begun - 1].0,
                value: Some(ratio),
                p_value: None,
                records: (rejected, read),
            });
        }
    }
    episodes
}

/// A source, or spaces, of which nothing new came.
pub fn freshness(
    scopes: impl Fn() -> Result<Vec<Scope>, ErrorReport>,
    duration: i64,
    source: Option<&str>,
    checks: &Checks,
    found: &mut Found,
) -> Result<(), ErrorReport> {
    let mut of = |place: usize, points: &str, subject: Subject| {
        let query = gaps("NULL::pg_catalog.text", points, duration, checks);
        each_row(&query, &mut |row| match gap(row, duration, checks)? {
            Some((first, end, ts)) => found.push(subject.clone(), silent(place, first, end, ts)),
            None => Ok(()),
        })
    };
    if source.is_some() {
        let points = format!("FROM cvx.embedding s WHERE true {}", of_source(source));
        let subject = Subject::Of {
            space: None,
            source: source.map(str::to_owned),
        };
        return of(0, &points, subject);
    }
    for (place, scope) in scopes()?.iter().enumerate() {
        let points = format!(
            "FROM cvx.embedding s WHERE {} AND {}",
            points_of(scope),
            scope.of_entity("s.entity_id")
        );
        let subject = Subject::Of {
            space: scope.space.clone(),
            source: None,
        };
        of(place, &points, subject)?;
    }
    Ok(())
}

/// A space whose population has shifted. A check at which the window overlaps the baseline would have failed.
pub fn population(
    scope: &Scope,
    condition: &Condition,
    checks: &Checks,
    found: &mut Found,
) -> Result<(), ErrorReport> {
    let Condition::Population {
        method,
        threshold,
        baseline,
        window,
    } = condition
    else {
        return Ok(());
    };
    let (Points::Table(_), Some(space)) = (&scope.points, &scope.space) else {
        return Ok(());
    };
    for check in 0..checks.len() {
        pgrx::check_for_interrupts!();
        let time = checks.time(check);
        let since = time.saturating_sub(*window);
        let before = match baseline {
            Baseline::Before(span) => format!(
                "pg_catalog.tstzrange({}, {})",
                instant(since.saturating_sub(*span)),
                instant(since)
            ),
            Baseline::Range(range) => format!("{}::pg_catalog.tstzrange", quote_literal(range)),
        };
        // Of a NULL range there is no row.
        let query = format!(
            "SELECT d.statistic, d.p_value
             FROM (SELECT {before} AS before, pg_catalog.tstzrange({since}, {until}, '[]') AS during) w
             CROSS JOIN LATERAL cvx.population_drift({space},
                CASE WHEN NOT w.before OPERATOR(pg_catalog.&&) w.during THEN w.before END, w.during, {method}) d",
            since = instant(since),
            until = instant(time),
            space = quote_literal(space),
            method = quote_literal(method),
        );
        each_row(&query, &mut |row| {
            let statistic: Option<f64> = row.get(1).map_err(internal)?;
            let Some(value) = statistic.filter(|value| value > threshold) else {
                return Ok(());
            };
            let subject = Subject::Of {
                space: Some(space.clone()),
                source: None,
            };
            let episode = Episode {
                value: Some(value),
                p_value: row.get(2).map_err(internal)?,
                ..silent(0, check, check + 1, time)
            };
            found.push(subject, episode)
        })?;
    }
    Ok(())
}
