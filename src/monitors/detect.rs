//! Change points as they come: a detector for each entity of a monitor, fed in the order of time.
//!
//! What a detector holds follows from the entity's points alone: one that a late, changed or deleted point concerns is made
//! anew from the points that there are, the last `MOST_POINTS` at most. Reports made at points before the change are those
//! that were made then, and are not told again.

use std::collections::HashMap;
use std::time::Instant;

use cvx_math::bocpd::{Detector, Options, Report};
use cvx_math::fdr::benjamini_hochberg;
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::json;

use super::condition::Condition;
use super::evaluate::{Found, conclude};
use super::scope::Scope;
use super::{Finding, retrain};
use crate::align::canonical::Canonical;
use crate::catalog::detector::{self, Kept, Mark};
use crate::catalog::monitor::Monitor;
use crate::catalog::{embedding, internal, rights, snapshot, subtransaction, view};
use crate::error::Error;
use crate::types::TimestampTz;
use crate::views::compact;
use crate::views::definition::Points;
use crate::views::refresh::of_the_entity;

/// From how many of an entity's last points a detector is made.
pub const MOST_POINTS: usize = 2000;
/// Entities of one step at most: as many as one evaluation may raise alerts of.
pub const STEP: i64 = 1000;

/// What a step came to.
#[derive(Default)]
pub struct Step {
    pub found: Vec<Found>,
    pub more: bool,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Aim {
    pub min_severity: f64,
    pub options: Options,
    pub fdr: Option<f64>,
}

/// An entity that was followed up to its last point.
struct Outcome {
    mark: Mark,
    /// None: it has no points, or is none of the monitor's.
    detector: Option<Detector>,
    reports: Vec<Report>,
}

/// Whether a monitor is to be followed as embeddings come.
pub fn is_wanted(it: &Monitor) -> bool {
    !it.paused && Condition::parse(&it.declared.condition).is_ok_and(|it| it.is_event_driven())
}

/// All that has changed, at once.
pub fn evaluate(it: &Monitor, condition: &Condition, owner: pg_sys::Oid) -> Result<Vec<Found>, ErrorReport> {
    rights::as_extension_owner(|| compact::compact(None))?;
    let mut found = Vec::new();
    loop {
        let step = step(it, condition, owner, STEP, true)?;
        found.extend(step.found);
        if !step.more {
            return Ok(found);
        }
    }
}

/// Follows a batch of entities that have changed, and raises the alerts that come of it. `wait`: for somebody else who does
/// so; else the step is left to him.
pub fn step(
    it: &Monitor,
    condition: &Condition,
    owner: pg_sys::Oid,
    most: i64,
    wait: bool,
) -> Result<Step, ErrorReport> {
    let started = Instant::now();
    let Some(aim) = aim(condition) else {
        return Ok(Step::default());
    };
    let taken = rights::as_extension_owner(|| {
        if !view::lock(-it.monitor_id, wait)? {
            return Ok(None);
        }
        detector::absorb(it.monitor_id)?;
        let marks = detector::take_marks(it.monitor_id, most)?;
        let ids = marks.iter().map(|mark| mark.entity_id.clone()).collect();
        let kept = detector::load(it.monitor_id, ids)?;
        Ok(Some((marks, kept)))
    })?;
    let Some((marks, mut kept)) = taken.filter(|(marks, _)| !marks.is_empty()) else {
        return Ok(Step::default());
    };
    let more = marks.len() as i64 >= most;
    let mut reported: HashMap<String, TimestampTz> = HashMap::new();
    for (id, kept) in &kept {
        reported.extend(kept.reported_ts.map(|ts| (id.clone(), ts)));
    }
    // What the marks stand for may have been committed after this transaction began.
    let (outcomes, failures, findings) = snapshot::renewed(|| {
        let scope = rights::restricted_to(owner, || Scope::of(&it.declared))?;
        let (outcomes, failures) = follow_all(&scope, marks, &mut kept, aim, owner)?;
        let findings = findings(&scope, &outcomes, &mut reported, aim, owner)?;
        Ok((outcomes, failures, findings))
    })?;
    rights::as_extension_owner(|| {
        let rows = outcomes.iter().map(|it| {
            let id = it.mark.entity_id.as_str();
            (id, it.detector.as_ref(), reported.get(id).copied())
        });
        detector::store(it.monitor_id, rows)?;
        detector::put_aside(it.monitor_id, &failures)
    })?;
    let found = conclude(it, condition, findings, started)?;
    Ok(Step { found, more })
}

/// Follows entities, one by one; those that cannot be followed are put aside with the reason.
#[allow(clippy::type_complexity, reason = "both halves of what was marked")]
fn follow_all(
    scope: &Scope,
    marks: Vec<Mark>,
    kept: &mut HashMap<String, Kept>,
    aim: Aim,
    owner: pg_sys::Oid,
) -> Result<(Vec<Outcome>, Vec<(Mark, String)>), ErrorReport> {
    let (mut outcomes, mut failures) = (Vec::with_capacity(marks.len()), Vec::new());
    for mark in marks {
        pgrx::check_for_interrupts!();
        let before = kept.remove(&mark.entity_id);
        let mut memory = PgMemoryContexts::new("cvx detector");
        let done = subtransaction::attempt(
            || {
                // SAFETY: what comes out is on Rust's heap; the points, which are not, end with this memory.
                let found = rights::restricted_to(owner, || unsafe {
                    memory.switch_to(|_| follow(scope, &mark, before, aim))
                });
                found.map(Ok)
            },
            |error| match of_the_entity(&error) {
                Some(message) => Ok(Err(message)),
                None => error.rethrow(),
            },
        )?;
        match done {
            Ok((detector, reports)) => outcomes.push(Outcome {
                mark,
                detector,
                reports,
            }),
            Err(message) => failures.push((mark, message)),
        }
    }
    Ok((outcomes, failures))
}

pub fn aim(condition: &Condition) -> Option<Aim> {
    match *condition {
        Condition::ChangePoint {
            min_severity,
            hazard,
            threshold,
            fdr,
        } => Some(Aim {
            min_severity,
            options: Options { hazard, threshold },
            fdr,
        }),
        _ => None,
    }
}

/// The detector of an entity with all its points, and what it reported at those that are new. As the monitor's owner, in a
/// restricted context.
fn follow(
    scope: &Scope,
    mark: &Mark,
    before: Option<Kept>,
    aim: Aim,
) -> Result<(Option<Detector>, Vec<Report>), ErrorReport> {
    if !is_chosen(scope, &mark.entity_id)? {
        return Ok((None, Vec::new()));
    }
    // Without a time nobody knows what is new: nothing is told.
    let new_from = mark.from_ts.unwrap_or(TimestampTz::MAX);
    let going_on = before.filter(|kept| kept.last_ts < new_from && mark.from_ts.is_some());
    let (detector, after) = match going_on {
        Some(kept) => (Some(kept.detector), Some(kept.last_ts)),
        None => (None, None),
    };
    let fed = fed(scope, &mark.entity_id, after, detector, aim.options)?;
    let Some((detector, mut reports)) = fed else {
        return Ok((None, Vec::new()));
    };
    reports.retain(|report| report.detected_at >= new_from);
    Ok((Some(detector), reports))
}

/// Whether the monitor's filter takes the entity.
fn is_chosen(scope: &Scope, entity_id: &str) -> Result<bool, ErrorReport> {
    if !scope.is_filtered() {
        return Ok(true);
    }
    let query = format!(
        "SELECT {} FROM (SELECT $1::pg_catalog.text AS entity_id) n",
        scope.of_entity("n.entity_id")
    );
    let chosen = Spi::get_one_with_args::<bool>(&query, &[entity_id.into()]);
    Ok(chosen.map_err(internal)?.unwrap_or(false))
}

/// Feeds an entity's points after a time (None: its last `MOST_POINTS`) to a detector (None: a new one). None when
/// there are none and there is no detector.
fn fed(
    scope: &Scope,
    entity_id: &str,
    after: Option<TimestampTz>,
    detector: Option<Detector>,
    options: Options,
) -> Result<Option<(Detector, Vec<Report>)>, ErrorReport> {
    let from = after.map(|after| after.saturating_add(1));
    match &scope.points {
        Points::Table(it) => {
            let space_id = it.space_id.unwrap_or_default();
            let from = match from {
                Some(from) => from,
                None => embedding::nth_last(space_id, entity_id, MOST_POINTS)?.unwrap_or(TimestampTz::MIN),
            };
            let found = embedding::trajectory(space_id, entity_id, from, TimestampTz::MAX)?;
            match found {
                Some(found) => feed(found.open().path(), detector, options),
                None => Ok(detector.map(|detector| (detector, Vec::new()))),
            }
        }
        Points::Model(model) => {
            let found = Canonical::gather(model, entity_id, from, None)?;
            if found.is_empty() {
                return Ok(detector.map(|detector| (detector, Vec::new())));
            }
            let path = found.path();
            let first = match after {
                Some(_) => 0,
                None => path.len().saturating_sub(MOST_POINTS),
            };
            feed(path.slice(first..path.len()), detector, options)
        }
    }
}

pub fn feed(
    path: cvx_math::Path<'_>,
    detector: Option<Detector>,
    options: Options,
) -> Result<Option<(Detector, Vec<Report>)>, ErrorReport> {
    let mut detector = match detector {
        Some(detector) => detector,
        None => Detector::new(path.dims, options).map_err(Error::from)?,
    };
    let mut reports = Vec::new();
    for (place, &ts) in path.times.iter().enumerate() {
        if place % 64 == 0 {
            pgrx::check_for_interrupts!();
        }
        reports.extend(detector.update(ts, path.point(place)).map_err(Error::from)?);
    }
    Ok(Some((detector, reports)))
}

/// What is worth an alert, the newest change of an entity first; notes it in `reported`.
fn findings(
    scope: &Scope,
    outcomes: &[Outcome],
    reported: &mut HashMap<String, TimestampTz>,
    aim: Aim,
    owner: pg_sys::Oid,
) -> Result<Vec<Finding>, ErrorReport> {
    let significant = match aim.fdr {
        None => vec![true; outcomes.len()],
        Some(rate) => {
            // Every entity that was looked at is a test.
            let least = |it: &Outcome| it.reports.iter().map(p_value).fold(1.0, f64::min);
            benjamini_hochberg(&outcomes.iter().map(least).collect::<Vec<_>>(), rate)
        }
    };
    let mut found = Vec::new();
    for (outcome, significant) in outcomes.iter().zip(significant) {
        let id = &outcome.mark.entity_id;
        let known = reported.get(id).copied().unwrap_or(TimestampTz::MIN);
        for report in outcome.reports.iter().rev() {
            if !significant || report.severity < aim.min_severity || report.ts <= known {
                continue;
            }
            if let Points::Model(model) = &scope.points
                && rights::restricted_to(owner, || retrain::is_artifact(model, id, report.ts))?
            {
                continue;
            }
            let last = reported.entry(id.clone()).or_insert(report.ts);
            *last = report.ts.max(*last);
            found.push(finding(scope, id, report, aim, p_value(report)));
        }
    }
    Ok(found)
}

/// The probability of as much evidence without a change.
pub fn p_value(report: &Report) -> f64 {
    (-report.log_bayes_factor).exp().min(1.0)
}

pub fn finding(scope: &Scope, entity_id: &str, report: &Report, aim: Aim, p_value: f64) -> Finding {
    let time = |ts| TimestampWithTimeZone::try_from(ts).map(|it: TimestampWithTimeZone| it.to_iso_string());
    let when = time(report.ts).unwrap_or_default();
    Finding {
        entity_id: Some(entity_id.to_owned()),
        space: scope.space.clone(),
        ts: Some(report.ts),
        value: Some(report.severity),
        threshold: Some(aim.min_severity),
        p_value: Some(p_value),
        severity: None,
        message: format!(
            "{entity_id} changed at {when}: severity {:.3} (threshold {}), probability {:.3}",
            report.severity, aim.min_severity, report.probability
        ),
        details: json!({
            "index": report.index,
            "run_length": report.run_length,
            "probability": report.probability,
            "detected_at": time(report.detected_at).unwrap_or_default(),
        }),
    }
}
