//! The one write path: a batch of valid records into a space.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use cvx_sources::Record;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::copy::copy_from;
use crate::catalog::{embedding, space::Space};

/// After this many attempts a key conflict is raised instead of resolved.
const ATTEMPTS: u32 = 3;

/// Writes batches into one space under one source's name.
pub struct Writer<'a> {
    space: &'a Space,
    partition: pg_sys::Oid,
    source: &'a str,
    /// Whether the last batch met keys that were taken: then the next looks first.
    expect_conflicts: bool,
}

/// What became of a batch's records.
pub struct Written {
    pub written: usize,
    pub skipped: usize,
}

impl<'a> Writer<'a> {
    pub fn new(space: &'a Space, partition: pg_sys::Oid, source: &'a str) -> Self {
        Writer {
            space,
            partition,
            source,
            expect_conflicts: false,
        }
    }

    /// Writes the records; of two with one key, and against a row that is there, the later produced one wins.
    pub fn write(&mut self, records: &[Record<'_>]) -> Result<Written, ErrorReport> {
        if records.is_empty() {
            return Ok(Written {
                written: 0,
                skipped: 0,
            });
        }
        if !self.expect_conflicts && self.copy_unless_conflict(records) {
            return Ok(Written {
                written: records.len(),
                skipped: 0,
            });
        }
        for _ in 1..ATTEMPTS {
            let (winners, replaced) = self.resolve(records)?;
            self.expect_conflicts = winners.len() < records.len() || !replaced.is_empty();
            if !replaced.is_empty() {
                embedding::delete(self.space.space_id, &replaced)?;
            }
            if self.copy_unless_conflict(&winners) {
                return Ok(Written {
                    written: winners.len(),
                    skipped: records.len() - winners.len(),
                });
            }
        }
        let (winners, replaced) = self.resolve(records)?;
        embedding::delete(self.space.space_id, &replaced)?;
        copy_from(self.partition, self.source, &winners);
        Ok(Written {
            written: winners.len(),
            skipped: records.len() - winners.len(),
        })
    }

    /// The records that go in, and those among them whose key a stored row holds that must go first.
    fn resolve<'r>(&self, records: &[Record<'r>]) -> Result<(Vec<Record<'r>>, Vec<Record<'r>>), ErrorReport> {
        // None sorts before any time: a record that does not say when it was produced replaces nothing.
        let mut best: HashMap<(&str, i64), usize> = HashMap::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let of_key = best.entry((record.entity_id, record.ts)).or_insert(i);
            if records[*of_key].produced_at < record.produced_at {
                *of_key = i;
            }
        }
        let mut chosen: Vec<usize> = best.into_values().collect();
        chosen.sort_unstable();
        let candidates: Vec<Record<'r>> = chosen.into_iter().map(|i| records[i]).collect();
        let mut keep = vec![true; candidates.len()];
        let mut replaced = Vec::new();
        for (i, produced_at) in embedding::existing(self.space.space_id, &candidates)? {
            if produced_at < candidates[i].produced_at {
                replaced.push(candidates[i]);
            } else {
                keep[i] = false;
            }
        }
        let winners = candidates
            .into_iter()
            .zip(keep)
            .filter_map(|(it, keep)| keep.then_some(it))
            .collect();
        Ok((winners, replaced))
    }

    /// COPY in a subtransaction; false, and nothing written, when a key was taken.
    fn copy_unless_conflict(&self, records: &[Record<'_>]) -> bool {
        if records.is_empty() {
            return true;
        }
        let copy = AssertUnwindSafe(|| {
            copy_from(self.partition, self.source, records);
            true
        });
        // SAFETY: the pattern of PL/pgSQL's exception blocks: context and resource owner are restored on both ways
        // out, and an error that is not ours to handle leaves with the subtransaction already undone.
        unsafe {
            let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
            let restore = || {
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
            };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::MemoryContextSwitchTo(context);
            let undo = || {
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                restore();
            };
            let copied = PgTryBuilder::new(copy)
                .catch_when(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION, |_| {
                    undo();
                    false
                })
                .catch_others(|error: CaughtError| {
                    undo();
                    error.rethrow()
                })
                .execute();
            if copied {
                pg_sys::ReleaseCurrentSubTransaction();
                restore();
            }
            copied
        }
    }
}
