//! Writing what connectors deliver, and ending runs that have been read to their end.

use std::collections::HashSet;
use std::time::Instant;

use cvx_sources::SourceError;

use super::Ingest;
use super::end::run_error;
use crate::catalog::run::{self, Counts};
use crate::catalog::{dead_letter, position, source};
use crate::ingest::delivery;
use crate::workers::backoff::{self, random};
use crate::workers::process::{self, Failure};
use crate::workers::run::{Kind, Replayed};
use crate::workers::shared::Exit;

/// What became of an attempt to write.
enum Stored {
    Yes(Counts),
    /// The source was changed, paused or dropped.
    Changed,
    NoExtension,
}

impl Ingest {
    /// Writes what is pending: rows, dead letters, watermark and counts in one transaction.
    pub(super) fn store(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let Some(delivery) = run.pending.take() else {
            return;
        };
        let progress = run.progress();
        let stored = process::transaction(|| {
            if !process::has_extension() {
                return Ok(Stored::NoExtension);
            }
            if !source::hold(run.source.source_id, run.source.revision)? {
                return Ok(Stored::Changed);
            }
            let counts = delivery::store(&mut run.target, &delivery)?;
            let total = run.counts.plus(&counts);
            run.rate.note(total.read);
            run::update(run.target.run_id, &total, &progress, run.rate.per_second())?;
            if !run.has_progressed || run.attempts > 0 {
                let set = "failures = 0, crashes = 0, next_attempt_at = NULL, status = 'running'";
                source::set_state(run.source.source_id, set, vec![])?;
            }
            Ok(Stored::Yes(counts))
        });
        match stored {
            Ok(Stored::Yes(counts)) => {
                run.counts = run.counts.plus(&counts);
                run.reported = (progress, Instant::now());
                run.has_progressed = true;
                run.attempts = 0;
                // A file that cannot be read is one dead letter and says nothing of records.
                let parts: HashSet<&str> = delivery.positions.iter().map(|it| it.part.as_str()).collect();
                let rejects = delivery.batch.rejects().iter();
                let lost = rejects.filter(|it| parts.contains(it.position.as_str())).count() as i64;
                let opened = run
                    .circuit
                    .count(counts.read - lost, counts.rejected - lost, false);
                if let Some(reading) = &run.reading {
                    reading.committed(delivery.positions);
                }
                if let Some((rejected, read)) = opened {
                    self.open_circuit(key, rejected, read);
                }
            }
            Ok(Stored::Changed) => self.stop(key, "the source was changed, paused or dropped"),
            Ok(Stored::NoExtension) => process::finish(self.index, Exit::NoExtension),
            Err(failure) => {
                run.pending = Some(delivery);
                self.write_failed(key, failure);
            }
        }
    }

    /// The database did not take what is pending: it is kept and offered again, unless that cannot help.
    pub(super) fn write_failed(&mut self, key: (i32, bool), failure: Failure) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        if !failure.may_pass() {
            if let Some(run) = self.runs.remove(&key) {
                self.fail(run, failure.into());
            }
            return;
        }
        run.attempts += 1;
        let delay = backoff::delay(run.attempts, random());
        run.not_before = Some(Instant::now() + delay);
        let source = run.source.clone();
        let error: SourceError = failure.into();
        self.note_state(&source, "backing off", &run_error(&error));
        self.log(&source, &error, delay);
    }

    /// The source has been read to its end.
    pub(super) fn finish_run(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        if run.kind == Kind::Replay {
            return self.finish_replay(key);
        }
        if let Some((rejected, read)) = run.circuit.count(0, 0, true) {
            return self.open_circuit(key, rejected, read);
        }
        let progress = run.progress();
        let done = process::transaction(|| {
            if !process::has_extension() {
                return Ok(false);
            }
            run::update(run.target.run_id, &run.counts, &progress, run.average_rate())?;
            let after = position::summary(&position::load(run.source.source_id)?);
            run::end(run.target.run_id, "done", Some(after), None)?;
            let set = "status = 'waiting', failures = 0, crashes = 0, next_attempt_at = NULL,
                last_success_at = pg_catalog.clock_timestamp()";
            source::set_state(run.source.source_id, set, vec![])?;
            Ok(true)
        });
        self.close(key, done);
    }

    /// All that was asked for has been answered: what waited is replaced by what came of it, in one transaction.
    pub(super) fn finish_replay(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let done = process::transaction(|| {
            if !process::has_extension() {
                return Ok(false);
            }
            if !source::hold(run.source.source_id, run.source.revision)? {
                return Ok(true);
            }
            let Replayed {
                ids,
                whole,
                deliveries,
            } = &run.replayed;
            dead_letter::delete(ids.clone())?;
            let mut total = Counts::default();
            for batch in whole.iter().chain(deliveries.iter().map(|it| &it.batch)) {
                total = total.plus(&delivery::store_batch(&mut run.target, batch)?);
            }
            total.bytes = deliveries.iter().map(|it| it.bytes as i64).sum();
            run::update(run.target.run_id, &total, &Default::default(), 0.0)?;
            run::end(run.target.run_id, "done", None, None)?;
            Ok(true)
        });
        if done.is_ok() {
            // There may be more than one run takes.
            if let Some(it) = self.sources.iter_mut().find(|it| it.source_id == key.0) {
                it.state.replay = true;
            }
        }
        self.close(key, done);
    }

    pub(super) fn close(&mut self, key: (i32, bool), done: Result<bool, Failure>) {
        match done {
            Ok(true) => {
                self.runs.remove(&key);
                self.looked_at = None;
            }
            Ok(false) => process::finish(self.index, Exit::NoExtension),
            Err(failure) if failure.may_pass() => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.attempts += 1;
                    run.not_before = Some(Instant::now() + backoff::delay(run.attempts, random()));
                    run.reading = None;
                }
            }
            Err(failure) => {
                if let Some(run) = self.runs.remove(&key) {
                    self.fail(run, failure.into());
                }
            }
        }
    }
}
