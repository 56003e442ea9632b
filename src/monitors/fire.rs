//! From findings to alerts: rows, NOTIFY and what webhooks are to send, in one transaction.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::Finding;
use super::condition::Condition;
use super::payload::{Alert, notification};
use crate::catalog::alert::{self, Fired, New};
use crate::catalog::monitor::{self, Monitor};
use crate::catalog::{delivery, rights};
use crate::workers::poke;

/// More at once and nobody reads them: the rest is counted.
pub const MOST_ALERTS: usize = 1000;
/// Findings that are looked up at a time.
const CHUNK: usize = 2000;

/// Raises the alerts that are due, and returns for each finding the id of its alert, if it has one. Others wait that raise
/// alerts of the same monitor.
pub fn fire(
    it: &Monitor,
    condition: &Condition,
    findings: &[Finding],
) -> Result<Vec<Option<i64>>, ErrorReport> {
    let mut ids = vec![None; findings.len()];
    rights::as_extension_owner(|| {
        if !monitor::lock(it.monitor_id)? || it.muted {
            return Ok(());
        }
        let mut left = MOST_ALERTS;
        for (number, chunk) in findings.chunks(CHUNK).enumerate() {
            if left == 0 {
                break;
            }
            let news: Vec<New<'_>> = chunk.iter().map(|finding| new(it, finding)).collect();
            let fired = alert::insert(
                it,
                condition.name(),
                &news,
                &pending(&it.declared.action),
                condition.alerts_once_a_point(),
                left,
            )?;
            left -= fired.len().min(left);
            for fired in &fired {
                ids[number * CHUNK + fired.place] = Some(fired.alert_id);
            }
            tell(it, condition, chunk, &fired, false)?;
        }
        Ok(())
    })?;
    Ok(ids)
}

/// Sends an alert that is marked as a test, whatever was sent before.
pub fn test(it: &Monitor, condition: &Condition) -> Result<i64, ErrorReport> {
    let findings = [Finding {
        message: format!("test of monitor {}", it.declared.name),
        details: json!({}),
        ..Finding::default()
    }];
    rights::as_extension_owner(|| {
        let new = New {
            is_test: true,
            ..new(it, &findings[0])
        };
        let fired = alert::insert(
            it,
            condition.name(),
            &[new],
            &pending(&it.declared.action),
            false,
            1,
        )?;
        tell(it, condition, &findings, &fired, true)?;
        Ok(fired.first().map_or(0, |fired| fired.alert_id))
    })
}

fn new<'a>(it: &'a Monitor, finding: &'a Finding) -> New<'a> {
    New {
        finding,
        severity: finding.severity.as_deref().unwrap_or(&it.declared.severity),
        space: finding.space.as_deref().or(it.declared.space.as_deref()),
        is_test: false,
    }
}

/// The actions of a monitor: one, or a list of them.
pub fn actions(action: &Value) -> Vec<&Value> {
    match action {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    }
}

fn kind(action: &Value) -> &str {
    action["type"].as_str().unwrap_or_default()
}

fn webhooks(action: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let numbered = actions(action).into_iter().enumerate();
    numbered.filter(|(_, action)| kind(action) == "webhook_post")
}

/// What an alert says of its webhooks at first.
fn pending(action: &Value) -> Value {
    webhooks(action)
        .map(|(number, action)| {
            json!({
                "action": number,
                "type": "webhook_post",
                "url": action["url"],
                "status": "pending",
                "attempts": 0,
                "http_status": null,
                "error": null,
                "at": null,
            })
        })
        .collect()
}

/// Has everybody told of alerts once this transaction commits.
fn tell(
    it: &Monitor,
    condition: &Condition,
    findings: &[Finding],
    fired: &[Fired],
    is_test: bool,
) -> Result<(), ErrorReport> {
    if fired.is_empty() {
        return Ok(());
    }
    // Whatever the session says: an alert that somebody was told of must not be lost by a crash, after which it would be
    // raised again under another id.
    // SAFETY: a flag of this transaction.
    unsafe { pg_sys::ForceSyncCommit() };
    let declared = &it.declared;
    let bodies = fired.iter().map(|fired| {
        Alert {
            alert_id: fired.alert_id,
            event_id: &fired.event_id,
            fired_at: &fired.fired_at,
            severity: &fired.severity,
            is_test,
            ts: fired.ts.as_deref(),
            monitor: declared,
            condition: condition.name(),
            finding: &findings[fired.place],
        }
        .body()
    });
    let bodies: Vec<_> = bodies.collect();
    for (number, action) in actions(&declared.action).into_iter().enumerate() {
        match kind(action) {
            "emit_event" => alert::notify(bodies.iter().map(|body| notification(body.clone())).collect())?,
            "webhook_post" => {
                let texts = bodies.iter().map(|body| Value::Object(body.clone()).to_string());
                let ids = fired.iter().map(|fired| fired.alert_id).collect();
                delivery::queue(ids, number as i32, action.clone(), texts.collect(), &it.owner)?;
                poke::workers();
            }
            _ => {
                let level = level(action["level"].as_str());
                for body in &bodies {
                    log(level, declared, body);
                }
            }
        }
    }
    Ok(())
}

fn level(name: Option<&str>) -> PgLogLevel {
    match name {
        Some("debug") => PgLogLevel::DEBUG1,
        Some("info") => PgLogLevel::INFO,
        Some("notice") => PgLogLevel::NOTICE,
        Some("warning") => PgLogLevel::WARNING,
        _ => PgLogLevel::LOG,
    }
}

fn log(level: PgLogLevel, it: &cvx_config::Monitor, body: &serde_json::Map<String, Value>) {
    let message = format!(
        "cvx: monitor {:?}: {}",
        it.name,
        body["message"].as_str().unwrap_or_default()
    );
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "cvx")
        .set_detail(notification(body.clone()))
        .report(level);
}

/// What an evaluation came to, for cvx.monitors.
pub fn note(it: &Monitor, findings: usize, alerts: usize, seconds: f64) -> Result<(), ErrorReport> {
    let set = "findings = $2, suppressed = $3, failures = 0, crashes = 0, last_error = NULL,
        last_evaluated_at = pg_catalog.clock_timestamp(), last_duration = pg_catalog.make_interval(secs => $4),
        running_since = NULL";
    let values: Vec<DatumWithOid<'_>> = vec![
        (findings as i64).into(),
        ((findings - alerts.min(findings)) as i64).into(),
        seconds.into(),
    ];
    rights::as_extension_owner(|| monitor::set_state(it.monitor_id, set, values))
}
