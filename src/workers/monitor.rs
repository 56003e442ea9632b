//! The process in which monitors are evaluated: started when one is due, gone when none is.
//!
//! cvx's own conditions are looked at in a session of the bootstrap superuser, with the rights of each monitor's owner. A
//! query of a user is looked at in a session of that user, one a process: whatever it does to its session ends with it.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::backoff::{self, random};
use super::process::{self, Failure, now};
use super::shared::{self, Evaluation, Exit};
use crate::catalog::monitor::{self, Monitor};
use crate::catalog::{activation, rights};
use crate::guc;
use crate::monitors::condition::Condition;
use crate::monitors::{custom, declare, evaluate};

/// A monitor whose evaluations end their process so often in a row is paused.
const MOST_CRASHES: i32 = 5;
/// STATEMENT_TIMEOUT of PostgreSQL's enum TimeoutId.
const STATEMENT_TIMEOUT: c_int = 3;

unsafe extern "C-unwind" {
    fn enable_timeout_after(id: c_int, milliseconds: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_monitor_main(argument: pg_sys::Datum) {
    let index = argument.value();
    let Some(slot) = shared::slot(index) else { return };
    let Some(evaluation) = slot.evaluation else { return };
    match evaluation {
        Evaluation::BuiltIn => process::begin(Some(slot.database)),
        Evaluation::Query { login, .. } => process::begin_as(Some(slot.database), login),
    }
    if process::enter_slot(index).is_none() {
        return;
    }
    process::set(c"lock_timeout", c"5s");
    process::set(c"default_transaction_isolation", c"read committed");
    process::set(c"default_transaction_read_only", c"off");
    match evaluation {
        Evaluation::BuiltIn => {
            while let Some(it) = next(index) {
                built_in(index, &it);
                process::take_signals();
            }
        }
        Evaluation::Query { monitor_id, .. } => {
            // Before PostgreSQL 16 a RESET of it is looked at by nobody: it leads here.
            process::set(c"transaction_read_only", c"on");
            let it = process::transaction(|| {
                if !process::has_extension() {
                    return Ok(None);
                }
                rights::as_extension_owner(|| match activation::is_enabled()? {
                    true => monitor::by_id(monitor_id),
                    false => Ok(None),
                })
            });
            // The launcher may have taken one wish for two.
            if let Ok(Some(it)) = it
                && is_due(&it)
            {
                query(index, &it);
            }
        }
    }
    process::finish(index, Exit::NotWanted)
}

/// Whether it is looked at by the clock and its time has come.
pub fn is_due(it: &Monitor) -> bool {
    !it.paused && it.state.next_check_at.is_none_or(|at| at <= now())
}

/// The built-in monitor that is due for longest, noted as running: if the process ends now, that stays.
fn next(index: usize) -> Option<Monitor> {
    let found = process::transaction(|| {
        if !process::has_extension() || !activation::is_enabled()? {
            return Ok(None);
        }
        let due = monitor::all()?.into_iter().filter(|it| {
            let condition = Condition::parse(&it.declared.condition);
            is_due(it) && !condition.is_ok_and(|it| it.is_query() || it.is_event_driven())
        });
        let Some(it) = due.min_by_key(|it| it.state.next_check_at) else {
            return Ok(None);
        };
        monitor::set_state(
            it.monitor_id,
            "running_since = pg_catalog.clock_timestamp()",
            vec![],
        )?;
        Ok(Some(it))
    });
    found.unwrap_or_else(|failure| {
        shared::update_slot(index, |slot| slot.error.set(&failure.message));
        None
    })
}

fn built_in(index: usize, it: &Monitor) {
    begin(index, it);
    let done = limited(|| {
        process::transaction(|| {
            evaluate::evaluate(it)?;
            schedule(it)
        })
    });
    if let Err(failure) = done {
        fail(index, it, &failure);
    }
}

/// First the query, in a transaction that is rolled back; then what comes of its rows.
fn query(index: usize, it: &Monitor) {
    begin(index, it);
    let started = Instant::now();
    let done = limited(|| {
        process::rolled_back(|| {
            let owner = declare::owner_of(it)?;
            custom::check_owner(owner)?;
            let condition = Condition::parse(&it.declared.condition)?;
            let findings = match &condition {
                Condition::Query { sql } => custom::collect(sql, owner)?,
                _ => Vec::new(),
            };
            Ok((condition, findings))
        })
    });
    let done = done.and_then(|(condition, findings)| {
        process::transaction(|| {
            evaluate::conclude(it, &condition, findings, started)?;
            schedule(it)
        })
    });
    if let Err(failure) = done {
        fail(index, it, &failure);
    }
}

fn begin(index: usize, it: &Monitor) {
    let limit = guc::monitor_timeout().as_micros() as i64;
    shared::update_slot(index, |slot| slot.deadline = now().saturating_add(limit));
    process::report(index, &format!("evaluating {:?}", it.declared.name), true);
}

/// Statements that take longer than cvx.monitor_timeout altogether are cancelled: the setting statement_timeout does
/// nothing in a background worker, and nothing that a query does sets this timer back.
fn limited<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let limit = guc::monitor_timeout().as_millis().min(i32::MAX as u128) as c_int;
    // SAFETY: PostgreSQL's timers, on the main thread; they raise no errors.
    unsafe { enable_timeout_after(STATEMENT_TIMEOUT, limit) };
    let done = body();
    // SAFETY: as above.
    unsafe { disable_timeout(STATEMENT_TIMEOUT, false) };
    done
}

fn schedule(it: &Monitor) -> Result<(), ErrorReport> {
    let next = TimestampWithTimeZone::try_from(declare::next_check(it)?).ok();
    rights::as_extension_owner(|| {
        monitor::set_state(
            it.monitor_id,
            "next_check_at = COALESCE($2, 'infinity')",
            vec![next.into()],
        )
    })
}

fn fail(index: usize, it: &Monitor, failure: &Failure) {
    shared::update_slot(index, |slot| slot.error.set(&failure.message));
    let noted = process::transaction(|| note_failure(it, &failure.message, false));
    if let Err(failure) = noted {
        shared::update_slot(index, |slot| slot.error.set(&failure.message));
    }
}

/// An evaluation failed: the monitor waits before it is tried again, longer each time. `crashed`: its process ended.
pub fn note_failure(it: &Monitor, message: &str, crashed: bool) -> Result<(), ErrorReport> {
    let failures = it.state.failures.saturating_add(1);
    let crashes = if crashed {
        it.state.crashes.saturating_add(1)
    } else {
        0
    };
    let delay = backoff::delay(failures.unsigned_abs(), random());
    let at = now().saturating_add(delay.as_micros() as i64);
    rights::as_extension_owner(|| {
        let set =
            "failures = $2, crashes = $3, last_error = $4, last_error_at = pg_catalog.clock_timestamp(),
            next_check_at = $5, running_since = NULL";
        let time = TimestampWithTimeZone::try_from(at).ok();
        let values = vec![failures.into(), crashes.into(), message.into(), time.into()];
        monitor::set_state(it.monitor_id, set, values)?;
        if crashes >= MOST_CRASHES {
            let reason = format!("Its evaluations ended their process {crashes} times in a row");
            monitor::set_paused(it.monitor_id, true, Some(&reason))?;
        }
        Ok(())
    })?;
    // One line for each doubling: a monitor that fails all night does not fill the log.
    if failures.count_ones() == 1 {
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "cvx: monitor {:?} could not be evaluated: {message}",
                it.declared.name
            ),
            format!(
                "It is tried again in {} s.",
                Duration::from_micros((at - now()).max(0) as u64).as_secs().max(1)
            )
        );
    }
    Ok(())
}
