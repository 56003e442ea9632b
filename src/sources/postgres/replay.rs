//! Rows that were refused, read again by their keys.

use super::columns::FIELDS;
use super::config::Config;
use super::plan::Plan;
use super::position::asked;
use super::reader::empty_batch;
use super::rows::{Outcome, Rows};
use super::session::Session;
use crate::{Common, Connector, Delivery, ErrorKind, Payload, RejectReason, Request, SourceError, Step};
use std::collections::{HashMap, VecDeque};
use std::mem;

/// Positions that one query asks for.
const CHUNK: usize = 200;

pub(super) struct Replay {
    session: Session,
    plan: Plan,
    rows: Rows,
    positions: VecDeque<String>,
    request: Request,
    bytes: u64,
    spent: bool,
}

impl Replay {
    pub(super) fn open(
        config: &Config,
        common: &Common,
        request: Request,
        positions: Vec<String>,
    ) -> Result<Self, SourceError> {
        request.progress.update(|progress| progress.phase = "connecting");
        let mut session = Session::open(config, &request.secrets, &request.stop)?;
        // Where a row has moved out of the filter since, it is gone.
        let plan = Plan::new(config, common, &mut session)?;
        request.progress.update(|progress| {
            progress.phase = "reading rows";
            progress.current = config.table.clone();
            progress.rows_total = Some(positions.len() as u64);
        });
        Ok(Self {
            rows: Rows::new(&plan.columns, plan.from, plan.to),
            session,
            plan,
            positions: positions.into(),
            request,
            bytes: 0,
            spent: false,
        })
    }

    fn step(&mut self) -> Result<Step, SourceError> {
        if self.positions.is_empty() {
            return Ok(Step::End);
        }
        if self.request.stop.is_set() {
            return Ok(Step::Idle);
        }
        let chunk: Vec<String> = self.positions.drain(..self.positions.len().min(CHUNK)).collect();
        let mut batch = empty_batch(&self.request);
        let mut waiting: HashMap<String, VecDeque<String>> = HashMap::new();
        let mut conditions = Vec::new();
        let gone = |batch: &mut crate::Batch, position| {
            batch.reject(position, RejectReason::Gone, Payload::default());
        };
        for position in chunk {
            match asked(&position, &self.plan.columns) {
                Some((base, condition)) => {
                    let queue = waiting.entry(base).or_default();
                    if queue.is_empty() {
                        conditions.push(format!("({condition})"));
                    }
                    queue.push_back(position);
                }
                None => gone(&mut batch, position),
            }
        }
        if !conditions.is_empty() {
            let any = format!("({})", conditions.join(" OR "));
            let select = self.plan.select(&self.plan.columns.list, &[any], None);
            let rows = &mut self.rows;
            self.session.read_all(&select, FIELDS, |fields| {
                let base = rows.positions.base(fields);
                let Some(position) = waiting.get_mut(&base).and_then(VecDeque::pop_front) else {
                    return Ok(());
                };
                if rows.push(fields, Some(position.clone()), &mut batch)? == Outcome::Skipped {
                    gone(&mut batch, position);
                }
                Ok(())
            })?;
        }
        for position in waiting.into_values().flatten() {
            gone(&mut batch, position);
        }
        let bytes = self.session.bytes();
        let read = batch.rows_read() as u64;
        self.request
            .progress
            .update(|progress| progress.rows_read += read);
        Ok(Step::Delivery(Delivery {
            batch,
            bytes: bytes - mem::replace(&mut self.bytes, bytes),
            ..Delivery::default()
        }))
    }
}

impl Connector for Replay {
    fn next(&mut self) -> Result<Step, SourceError> {
        if self.spent {
            let what = "the connector has failed before".to_owned();
            return Err(self.session.reporter.say(ErrorKind::Internal, what));
        }
        let step = self.step();
        self.spent = step.is_err();
        step
    }
}
