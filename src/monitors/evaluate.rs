//! One evaluation of a monitor: what it finds, and the alerts that come of it.

use std::time::Instant;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::condition::Condition;
use super::scope::Scope;
use super::trend::{self, Measure};
use super::{Finding, custom, declare, detect, fire, quality, silence};
use crate::catalog::monitor::Monitor;
use crate::catalog::rights;

/// A finding, and its alert if one was due.
pub struct Found {
    pub finding: Finding,
    pub alert_id: Option<i64>,
}

/// Evaluates a monitor in the transaction of the caller.
pub fn evaluate(it: &Monitor) -> Result<Vec<Found>, ErrorReport> {
    let started = Instant::now();
    let owner = declare::owner_of(it)?;
    let condition = Condition::parse(&it.declared.condition)?;
    if condition.is_event_driven() {
        return detect::evaluate(it, &condition, owner);
    }
    let findings = match &condition {
        Condition::Query { sql } => custom::in_session(it, sql, owner)?,
        _ => rights::restricted_to(owner, || find(it, &condition, owner))?,
    };
    conclude(it, &condition, findings, started)
}

/// Raises the alerts of an evaluation and notes how it went.
pub fn conclude(
    it: &Monitor,
    condition: &Condition,
    findings: Vec<Finding>,
    started: Instant,
) -> Result<Vec<Found>, ErrorReport> {
    let ids = fire::fire(it, condition, &findings)?;
    let alerts = ids.iter().flatten().count();
    fire::note(it, findings.len(), alerts, started.elapsed().as_secs_f64())?;
    let found = findings.into_iter().zip(ids);
    Ok(found
        .map(|(finding, alert_id)| Found { finding, alert_id })
        .collect())
}

/// What a condition finds that is looked at by the clock. As the monitor's owner, in a restricted context.
fn find(it: &Monitor, condition: &Condition, owner: pg_sys::Oid) -> Result<Vec<Finding>, ErrorReport> {
    let scopes = || Scope::all_of(&it.declared);
    let each = |find: &dyn Fn(&Scope) -> Result<Vec<Finding>, ErrorReport>| {
        let mut found = Vec::new();
        for scope in scopes()? {
            found.extend(find(&scope)?);
        }
        Ok(found)
    };
    match condition {
        Condition::Drift {
            threshold,
            window,
            metric,
            fdr,
        } => {
            let measure = Measure::drift(*threshold, *window, metric, *fdr);
            each(&|scope| trend::find(scope, &measure, owner))
        }
        Condition::Velocity {
            threshold,
            window,
            fdr,
        } => {
            let measure = Measure::velocity(*threshold, *window, *fdr);
            each(&|scope| trend::find(scope, &measure, owner))
        }
        Condition::Silence { duration, source } => {
            each(&|scope| silence::find(scope, *duration, source.as_deref(), owner))
        }
        Condition::RejectRatio {
            threshold,
            source,
            window,
        } => quality::rejects(*threshold, source.as_deref(), *window),
        Condition::Freshness { duration, source } => {
            quality::staleness(&scopes()?, *duration, source.as_deref())
        }
        Condition::Population {
            method,
            threshold,
            baseline,
            window,
        } => each(&|scope| quality::population(scope, method, *threshold, baseline, *window)),
        // These are not found by the clock, and not here.
        Condition::ChangePoint { .. } | Condition::Query { .. } => Ok(Vec::new()),
    }
}
