//! Change points, as a detector that was there from the beginning would have reported them.

use std::collections::HashMap;

use cvx_math::Path;
use cvx_math::bocpd::{Options, Report};
use cvx_math::fdr::benjamini_hochberg;
use pgrx::pg_sys::panic::ErrorReport;

use super::trend::{each_path, each_row};
use super::{Alert, MOST_ALERTS, silence, too_many};
use crate::catalog::internal;
use crate::catalog::monitor::Monitor;
use crate::monitors::condition::Condition;
use crate::monitors::detect::{self, Aim};
use crate::monitors::retrain;
use crate::monitors::scope::Scope;
use crate::types::TimestampTz;
use crate::views::definition::{Points, instant};

/// Reports of a stretch of time, and the entities that they are of.
#[derive(Default)]
struct Reports {
    entities: Vec<String>,
    /// By when they were made.
    all: Vec<(usize, Report)>,
}

pub fn backtest(
    it: &Monitor,
    condition: &Condition,
    (from, to): (TimestampTz, TimestampTz),
    cooldown: i64,
) -> Result<Vec<Alert>, ErrorReport> {
    let Some(aim) = detect::aim(condition) else {
        return Ok(Vec::new());
    };
    let mut alerts = Vec::new();
    for scope in Scope::all_of(&it.declared)? {
        let mut reports = Reports::default();
        each_path(&scope, (None, to), &mut |id, path| {
            follow(id, path, from, aim.options, &mut reports)
        })?;
        reports
            .all
            .sort_by_key(|(entity, report)| (report.detected_at, *entity));
        let significant = significant(&scope, &reports, aim.fdr)?;
        raise(&scope, &reports, &significant, &aim, cooldown, &mut alerts)?;
    }
    alerts.sort_by_key(|it| it.fired_at);
    Ok(alerts)
}

/// Feeds an entity's points to a detector and keeps what it reports at `from` or later.
fn follow(
    id: &str,
    path: Path<'_>,
    from: TimestampTz,
    options: Options,
    reports: &mut Reports,
) -> Result<(), ErrorReport> {
    let before = path.times.partition_point(|&time| time < from);
    let path = path.slice(before.saturating_sub(detect::MOST_POINTS)..path.len());
    let Some((_, mut found)) = detect::feed(path, None, options)? else {
        return Ok(());
    };
    found.retain(|report| report.detected_at >= from);
    if !found.is_empty() {
        let entity = reports.entities.len();
        reports.entities.push(id.to_owned());
        reports
            .all
            .extend(found.into_iter().map(|report| (entity, report)));
    }
    Ok(())
}

/// Which reports are discoveries. Entities with a point at one time are tested together.
fn significant(scope: &Scope, reports: &Reports, rate: Option<f64>) -> Result<Vec<bool>, ErrorReport> {
    let Some(rate) = rate else {
        return Ok(vec![true; reports.all.len()]);
    };
    let mut significant = Vec::with_capacity(reports.all.len());
    for batch in reports.all.chunk_by(|a, b| a.1.detected_at == b.1.detected_at) {
        let query = format!(
            "SELECT pg_catalog.count(DISTINCT s.entity_id) FROM cvx.embedding s
             WHERE {} AND {} AND s.ts OPERATOR(pg_catalog.=) {}",
            silence::condition(scope),
            scope.of_entity("s.entity_id"),
            instant(batch[0].1.detected_at)
        );
        let mut tests = 0;
        each_row(&query, &mut |row| {
            tests = row.get::<i64>(1).map_err(internal)?.unwrap_or_default();
            Ok(())
        })?;
        let mut p: Vec<f64> = batch.iter().map(|(_, report)| detect::p_value(report)).collect();
        p.resize(p.len().max(tests.unsigned_abs() as usize), 1.0);
        significant.extend(&benjamini_hochberg(&p, rate)[..batch.len()]);
    }
    Ok(significant)
}

/// Makes alerts of reports, as `detect` does of those that come.
fn raise(
    scope: &Scope,
    reports: &Reports,
    significant: &[bool],
    aim: &Aim,
    cooldown: i64,
    alerts: &mut Vec<Alert>,
) -> Result<(), ErrorReport> {
    let mut known: HashMap<usize, TimestampTz> = HashMap::new();
    let mut last: HashMap<usize, TimestampTz> = HashMap::new();
    for ((entity, report), significant) in reports.all.iter().zip(significant) {
        pgrx::check_for_interrupts!();
        let id = &reports.entities[*entity];
        let is_known = known.get(entity).is_some_and(|&ts| report.ts <= ts);
        if !significant || report.severity < aim.min_severity || is_known {
            continue;
        }
        if let Points::Model(model) = &scope.points
            && retrain::is_artifact(model, id, report.ts)?
        {
            continue;
        }
        known.insert(*entity, report.ts);
        let free = last.get(entity).map(|fired_at| fired_at.saturating_add(cooldown));
        if free.is_some_and(|free| free > report.detected_at) {
            continue;
        }
        last.insert(*entity, report.detected_at);
        if alerts.len() == MOST_ALERTS {
            return Err(too_many(
                format!("the monitor would have raised more than {MOST_ALERTS} alerts"),
                "Give a shorter stretch of time, or the monitor a higher min_severity.",
            ));
        }
        let finding = detect::finding(scope, id, report, *aim, detect::p_value(report));
        alerts.push(Alert {
            fired_at: report.detected_at,
            entity_id: finding.entity_id,
            ts: finding.ts,
            value: report.severity,
            threshold: aim.min_severity,
            p_value: finding.p_value,
            message: finding.message,
        });
    }
    Ok(())
}
