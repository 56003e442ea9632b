//! Runs that end otherwise: left open by another worker, stopped, paused, failed; and when they go on.

use std::time::{Duration, Instant};

use cvx_sources::{ErrorKind, SourceError};
use pgrx::prelude::*;

use super::Ingest;
use crate::catalog::run;
use crate::catalog::source::{self, Source};
use crate::workers::backoff::{self, random};
use crate::workers::process::{self, Failure, now};
use crate::workers::run::{Kind, Run};
use crate::workers::shared;

/// Times in a row that this process may end in the middle of a source's run, without anything written.
const MOST_CRASHES: i32 = 20;
/// Between two lines in the server's log on one source.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// What waits for a user's change is tried again this often.
const RETRY_PERMANENT: u32 = 16;

impl Ingest {
    /// Closes the runs of a worker that ended in their middle, and has them begin again. Whether that succeeded.
    pub(super) fn recover(&mut self) -> bool {
        let asked = shared::slot(self.index).is_some_and(|slot| slot.after_asked);
        let recovered = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            let orphans = run::close_orphans()?;
            for it in source::all()? {
                let of_source = orphans
                    .iter()
                    .find(|orphan| orphan.source == it.declared.name && orphan.kind != "replay");
                let Some(orphan) = of_source else { continue };
                // An end that somebody asked for, or that of the whole server, is not the run's doing.
                let crashes = it.state.crashes + i32::from(orphan.of_this_server && !asked);
                let set = "status = 'waiting', crashes = $2, requested = COALESCE(requested, $3)";
                source::set_state(
                    it.source_id,
                    set,
                    vec![crashes.into(), orphan.kind.as_str().into()],
                )?;
                if crashes >= MOST_CRASHES {
                    let reason = format!(
                        "the worker crashed {MOST_CRASHES} times in the middle of a run of {:?}",
                        orphan.source
                    );
                    source::set_paused(it.source_id, true, Some(&reason))?;
                }
            }
            Ok(())
        });
        if let Err(failure) = &recovered {
            self.note_error(&failure.message);
        }
        recovered.is_ok()
    }

    /// Ends a run that nobody wants any more.
    pub(super) fn stop(&mut self, key: (i32, bool), why: &str) {
        let Some(run) = self.runs.remove(&key) else { return };
        let stopped = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            run::end(run.target.run_id, "stopped", None, Some(why))?;
            // One that was changed begins again, with what it was asked for.
            let update = "UPDATE cvx.source_state SET status = 'waiting', requested = COALESCE(requested, $2)
                WHERE source_id OPERATOR(pg_catalog.=) $1";
            if run.kind != Kind::Replay {
                Spi::run_with_args(update, &[run.source.source_id.into(), run.kind.name().into()])
                    .map_err(crate::catalog::internal)?;
            }
            Ok(())
        });
        if let Err(failure) = stopped {
            self.note_error(&failure.message);
        }
        self.looked_at = None;
    }

    /// Too much of what comes is refused.
    pub(super) fn open_circuit(&mut self, key: (i32, bool), rejected: i64, read: i64) {
        let Some(run) = self.runs.remove(&key) else { return };
        let name = &run.source.declared.name;
        let reason = format!(
            "{rejected} of {read} records were rejected, more than max_reject_ratio allows; see cvx.dead_letter, \
             mend the source or its configuration, then cvx.resume_source and cvx.replay_dead_letters"
        );
        ereport!(
            PgLogLevel::LOG,
            PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            format!("cvx: source {name:?} is paused: {reason}")
        );
        self.pause(&run, &reason);
    }

    pub(super) fn pause(&mut self, run: &Run, reason: &str) {
        let paused = process::transaction(|| {
            source::set_paused(run.source.source_id, true, Some(reason))?;
            run::end(run.target.run_id, "failed", None, Some(reason))?;
            let set = "status = 'waiting', last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
                requested = CASE WHEN $3 OPERATOR(pg_catalog.=) 'replay' THEN requested ELSE COALESCE(requested, $3) END";
            source::set_state(
                run.source.source_id,
                set,
                vec![reason.into(), run.kind.name().into()],
            )
        });
        if let Err(failure) = paused {
            self.note_error(&failure.message);
        }
        self.looked_at = None;
    }

    /// A run failed.
    pub(super) fn fail(&mut self, run: Run, error: SourceError) {
        if error.kind == ErrorKind::Gap {
            let reason = run_error(&error);
            return self.pause(&run, &reason);
        }
        self.fail_source(&run.source, run.kind, Some(&run), &error);
    }

    pub(super) fn fail_source(
        &mut self,
        source: &Source,
        kind: Kind,
        run: Option<&Run>,
        error: &SourceError,
    ) {
        let progressed = run.is_some_and(|run| run.has_progressed);
        let failures = if progressed {
            1
        } else {
            source.state.failures.max(0) as u32 + 1
        };
        let (status, delay) = if error.kind.is_transient() {
            ("backing off", backoff::delay(failures, random()))
        } else {
            ("error", backoff::delay(RETRY_PERMANENT, random()))
        };
        let text = run_error(error);
        let noted = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            if let Some(run) = run {
                run::end(run.target.run_id, "failed", None, Some(&text))?;
            }
            let next = now().saturating_add(delay.as_micros() as i64);
            let next = TimestampWithTimeZone::try_from(next).ok();
            let set = "status = $2, failures = $3, next_attempt_at = $4, last_error = $5,
                last_error_at = pg_catalog.clock_timestamp(),
                requested = CASE WHEN $6 OPERATOR(pg_catalog.=) 'replay' THEN requested ELSE COALESCE(requested, $6) END";
            let arguments = vec![
                status.into(),
                (failures as i32).into(),
                next.into(),
                text.as_str().into(),
                kind.name().into(),
            ];
            source::set_state(source.source_id, set, arguments)
        });
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
        self.log(source, error, delay);
        // The state on disk is what tells when to go on.
        self.looked_at = None;
        if let Some(it) = self
            .sources
            .iter_mut()
            .find(|it| it.source_id == source.source_id)
        {
            it.state.next_attempt_at = Some(now().saturating_add(delay.as_micros() as i64));
            it.state.failures = failures as i32;
        }
    }

    pub(super) fn note_state(&mut self, source: &Source, status: &str, error: &str) {
        let noted = process::transaction(|| {
            let set = "status = $2, last_error = $3, last_error_at = pg_catalog.clock_timestamp()";
            source::set_state(source.source_id, set, vec![status.into(), error.into()])
        });
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
    }

    pub(super) fn log(&mut self, source: &Source, error: &SourceError, delay: Duration) {
        self.note_error(&error.message);
        let last = self.logged.get(&source.source_id);
        if last.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged.insert(source.source_id, Instant::now());
        let name = &source.declared.name;
        let seconds = delay.as_secs_f64();
        ereport!(
            PgLogLevel::LOG,
            PgSqlErrorCode::ERRCODE_CONNECTION_EXCEPTION,
            format!(
                "cvx: source {name:?} failed and is tried again in {seconds:.0} s: {}",
                error.message
            )
        );
    }

    pub(super) fn note_error(&self, message: &str) {
        shared::update_slot(self.index, |slot| slot.error.set(message));
    }
}

/// An error as it is shown to users.
pub(super) fn run_error(error: &SourceError) -> String {
    let mut text = error.message.clone();
    if let Some(detail) = &error.detail {
        text = format!("{text}: {detail}");
    }
    if let Some(hint) = &error.hint {
        text = format!("{text} ({hint})");
    }
    text
}

impl Failure {
    /// Whether the same transaction may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        use PgSqlErrorCode::*;
        matches!(
            self.sqlstate,
            ERRCODE_LOCK_NOT_AVAILABLE
                | ERRCODE_QUERY_CANCELED
                | ERRCODE_T_R_SERIALIZATION_FAILURE
                | ERRCODE_T_R_DEADLOCK_DETECTED
                | ERRCODE_DISK_FULL
                | ERRCODE_OUT_OF_MEMORY
                | ERRCODE_TOO_MANY_CONNECTIONS
                | ERRCODE_INSUFFICIENT_RESOURCES
        )
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        let kind = if failure.may_pass() {
            ErrorKind::Io
        } else {
            ErrorKind::Config
        };
        SourceError {
            kind,
            message: failure.message,
            detail: failure.detail,
            hint: failure.hint,
        }
    }
}
