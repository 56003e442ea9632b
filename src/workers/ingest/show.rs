//! Showing how far runs have come: in the database, and in the list of processes.

use std::time::Instant;

use super::{Ingest, REPORT_EVERY};
use crate::catalog::run;
use crate::workers::process;

impl Ingest {
    /// Shows how far all runs have come, in the database and in the list of processes.
    pub(super) fn report(&mut self) {
        if self.reported_at.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported_at = Instant::now();
        let keys: Vec<(i32, bool)> = self.runs.keys().copied().collect();
        for key in keys {
            if let Some(run) = self.runs.get_mut(&key) {
                run.rate.note(run.counts.read);
            }
            self.write_progress(key);
        }
        self.show();
    }

    /// Shows what goes on in the list of processes.
    pub(super) fn show(&self) {
        let mut parts: Vec<String> = self
            .runs
            .values()
            .map(|run| {
                let name = &run.source.declared.name;
                let (read, rate) = (run.counts.read, run.rate.per_second());
                let phase = run.progress().phase;
                // Until the connector has said anything.
                let phase = if phase.is_empty() { "initializing" } else { phase };
                format!("{name}: {phase}, {read} records, {rate:.0}/s")
            })
            .collect();
        parts.sort();
        process::report(self.index, &parts.join("; "), !self.runs.is_empty());
    }

    /// Writes down progress that no delivery has written.
    pub(super) fn write_progress(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let progress = run.progress();
        let rate = run.rate.per_second();
        let is_known = progress == run.reported.0 && (rate == run.reported_rate);
        if is_known || run.reported.1.elapsed() < REPORT_EVERY {
            return;
        }
        let written = process::transaction(|| {
            if process::has_extension() {
                run::update(run.target.run_id, &run.counts, &progress, rate)?;
            }
            Ok(())
        });
        run.reported = (progress, Instant::now());
        run.reported_rate = rate;
        if let Err(failure) = written {
            self.note_error(&failure.message);
        }
    }
}
