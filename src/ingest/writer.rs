//! The one write path: a batch of valid records into a space.

use std::cmp::Ordering;
use std::collections::HashMap;

use cvx_sources::Record;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::copy::copy_from;
use crate::catalog::{embedding, rights, source, space::Space, subtransaction};

/// After this many attempts a key conflict is raised instead of resolved.
const ATTEMPTS: u32 = 3;

/// Writes batches into one space under one source's name.
pub struct Writer<'a> {
    space: &'a Space,
    partition: pg_sys::Oid,
    source: &'a str,
    priority: i32,
    /// Whether, of two equals, what this source says later holds; else what it said first.
    replaces: bool,
    /// Whether records that the table's own constraints and triggers refuse are put aside.
    bisects: bool,
    /// Whether the last batch met keys that were taken: then the next looks first.
    expect_conflicts: bool,
}

/// What became of a batch's records.
#[derive(Default)]
pub struct Written {
    pub written: usize,
    pub skipped: usize,
    pub refused: Vec<Refused>,
}

/// A record that the table refused.
pub struct Refused {
    /// Which of the records, from 0.
    pub record: usize,
    pub sqlstate: String,
    pub message: String,
}

/// What a COPY in a subtransaction came to. Unless it was copied, nothing was written.
enum Copied {
    Yes,
    /// A key was taken.
    Conflict,
    Refused {
        sqlstate: String,
        message: String,
    },
}

impl<'a> Writer<'a> {
    /// For a call that writes a source's records once.
    pub fn new(space: &'a Space, partition: pg_sys::Oid, source: &'a str) -> Self {
        Writer {
            space,
            partition,
            source,
            priority: source::DEFAULT_PRIORITY,
            replaces: false,
            bisects: false,
            expect_conflicts: false,
        }
    }

    /// For a declared source: what it says again holds, and a record that the table refuses does not stop the others.
    pub fn of_source(space: &'a Space, partition: pg_sys::Oid, source: &'a str, priority: i32) -> Self {
        Writer {
            priority,
            replaces: true,
            bisects: true,
            ..Self::new(space, partition, source)
        }
    }

    /// Told whether the batch before met keys that were taken, and tells whether this one did.
    pub fn expect_conflicts(&mut self) -> &mut bool {
        &mut self.expect_conflicts
    }

    /// Writes the records. Of two with one key, and against a row that is there: the source with the lower priority
    /// number wins, then the later produced.
    pub fn write(&mut self, records: &[Record<'_>]) -> Result<Written, ErrorReport> {
        let mut done = Written::default();
        self.write_part(records, 0, &mut done)?;
        Ok(done)
    }

    fn write_part(
        &mut self,
        records: &[Record<'_>],
        first: usize,
        done: &mut Written,
    ) -> Result<(), ErrorReport> {
        if records.is_empty() {
            return Ok(());
        }
        match self.write_all(records)? {
            Ok(written) => {
                done.written += written;
                done.skipped += records.len() - written;
            }
            Err((sqlstate, message)) if records.len() == 1 => done.refused.push(Refused {
                record: first,
                sqlstate,
                message,
            }),
            Err(_) => {
                let (left, right) = records.split_at(records.len() / 2);
                self.write_part(left, first, done)?;
                self.write_part(right, first + left.len(), done)?;
            }
        }
        Ok(())
    }

    /// Writes all of the records, and returns how many won, or none of them, and returns what the table said.
    #[allow(clippy::type_complexity, reason = "an SQLSTATE and a message")]
    fn write_all(&mut self, records: &[Record<'_>]) -> Result<Result<usize, (String, String)>, ErrorReport> {
        for attempt in 0..=ATTEMPTS {
            let blind = attempt == 0 && !self.expect_conflicts;
            let last = attempt == ATTEMPTS;
            let copied = if blind {
                self.copy(records, last, &[])
                    .map(|copied| (copied, records.len()))?
            } else {
                let (winners, replaced) = self.resolve(records)?;
                self.expect_conflicts = winners.len() < records.len() || !replaced.is_empty();
                self.copy(&winners, last, &replaced)
                    .map(|copied| (copied, winners.len()))?
            };
            match copied {
                (Copied::Yes, written) => return Ok(Ok(written)),
                (Copied::Refused { sqlstate, message }, _) => return Ok(Err((sqlstate, message))),
                (Copied::Conflict, _) => {}
            }
        }
        unreachable!("the last attempt raises a conflict")
    }

    /// The records that go in, and those among them whose key a stored row holds that must go first.
    fn resolve<'r>(&self, records: &[Record<'r>]) -> Result<(Vec<Record<'r>>, Vec<Record<'r>>), ErrorReport> {
        // None sorts before any time: a record that does not say when it was produced replaces no other's.
        let mut best: HashMap<(&str, i64), usize> = HashMap::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let of_key = best.entry((record.entity_id, record.ts)).or_insert(i);
            match records[*of_key].produced_at.cmp(&record.produced_at) {
                Ordering::Less => *of_key = i,
                Ordering::Equal if self.replaces => *of_key = i,
                _ => {}
            }
        }
        let mut chosen: Vec<usize> = best.into_values().collect();
        chosen.sort_unstable();
        let candidates: Vec<Record<'r>> = chosen.into_iter().map(|i| records[i]).collect();
        let existing = embedding::existing(self.space.space_id, &candidates)?;
        let priorities = if existing.is_empty() {
            HashMap::new()
        } else {
            rights::as_extension_owner(source::priorities)?
        };
        let mut keep = vec![true; candidates.len()];
        let mut replaced = Vec::new();
        for row in existing {
            let is_ours = row.source.as_deref() == Some(self.source);
            let priority = match &row.source {
                Some(_) if is_ours => self.priority,
                Some(other) => *priorities.get(other).unwrap_or(&source::DEFAULT_PRIORITY),
                None => source::DEFAULT_PRIORITY,
            };
            let theirs = row.produced_at;
            let ours = candidates[row.record].produced_at;
            let wins = match priority.cmp(&self.priority) {
                Ordering::Equal => theirs < ours || (theirs == ours && is_ours && self.replaces),
                order => order == Ordering::Greater,
            };
            if wins {
                replaced.push(candidates[row.record]);
            } else {
                keep[row.record] = false;
            }
        }
        let winners = candidates
            .into_iter()
            .zip(keep)
            .filter_map(|(it, keep)| keep.then_some(it))
            .collect();
        Ok((winners, replaced))
    }

    /// Deletes the rows that give way and copies, in a subtransaction. A conflict is raised when there is no further
    /// attempt.
    fn copy(
        &self,
        records: &[Record<'_>],
        last: bool,
        replaced: &[Record<'_>],
    ) -> Result<Copied, ErrorReport> {
        if records.is_empty() {
            return Ok(Copied::Yes);
        }
        let bisects = self.bisects;
        subtransaction::attempt(
            || {
                if !replaced.is_empty() {
                    embedding::delete(self.space.space_id, replaced)?;
                }
                copy_from(self.partition, self.source, records);
                Ok(Copied::Yes)
            },
            |error| match refusal(&error) {
                Some((PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION, _)) if !last => Ok(Copied::Conflict),
                Some((code, message)) if bisects && is_of_the_record(code) => Ok(Copied::Refused {
                    sqlstate: sqlstate_text(code),
                    message,
                }),
                _ => error.rethrow(),
            },
        )
    }
}

/// What PostgreSQL said, unless Rust itself broke down.
fn refusal(error: &CaughtError) -> Option<(PgSqlErrorCode, String)> {
    match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
            Some((report.sql_error_code(), report.message().to_owned()))
        }
        CaughtError::RustPanic { .. } => None,
    }
}

/// Whether an error is about what a record holds, so that other records may pass: classes 22 (data exception), 23
/// (integrity constraint violation), 44 (with check option) and what PL/pgSQL raises.
fn is_of_the_record(code: PgSqlErrorCode) -> bool {
    let text = sqlstate_text(code);
    ["22", "23", "44"].contains(&&text[..2]) || code == PgSqlErrorCode::ERRCODE_RAISE_EXCEPTION
}

/// An SQLSTATE's five characters.
fn sqlstate_text(code: PgSqlErrorCode) -> String {
    let code = code as i32;
    (0..5)
        .map(|i| char::from(b'0' + ((code >> (6 * i)) & 0x3F) as u8))
        .collect()
}
