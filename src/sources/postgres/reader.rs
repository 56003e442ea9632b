//! The connector: the phases of a run one after the other, rows into batches.

use super::columns::FIELDS;
use super::config::Config;
use super::decode::{Fields, Malformed, Tuples};
use super::error::Reporter;
use super::plan::{After, KEY_FIELDS, Phase, Plan};
use super::rows::{Outcome, Rows};
use super::session::{Copy, Pumped, Session};
use super::watermark::{Mark, PART, Ties, Tracker};
use crate::{Batch, Common, Connector, Delivery, ErrorKind, Position, Request, SourceError, Step, Work};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest wait for a row before the caller is told that there is none yet.
const IDLE: Duration = Duration::from_millis(800);

/// Reads one table, view or query of another PostgreSQL.
pub(super) struct PostgresConnector {
    session: Session,
    plan: Plan,
    rows: Rows,
    tracker: Tracker,
    phases: VecDeque<Phase>,
    running: Option<Running>,
    request: Request,
    /// The bytes of the deliveries so far.
    bytes: u64,
    spent: bool,
}

struct Running {
    phase: Phase,
    copy: Copy,
    tuples: Tuples,
}

/// What goes on inside of a delivery.
enum Broken {
    Copy(Malformed),
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::Copy(malformed)
    }
}

impl PostgresConnector {
    pub(super) fn open(config: &Config, common: &Common, request: Request) -> Result<Self, SourceError> {
        request.progress.update(|progress| progress.phase = "connecting");
        let mut session = Session::open(config, &request.secrets, &request.stop)?;
        let plan = Plan::new(config, common, &mut session)?;
        let mark = match (&request.work, request.watermark.get(PART)) {
            (Work::Incremental, Some(position)) => Some(Mark::parse(position)?),
            _ => None,
        }
        .filter(|mark| mark.column == plan.incremental_name);
        let phases = plan.phases(mark.as_ref(), &mut session)?;
        let rows_total = Plan::estimate(&phases, &mut session)?;
        request.progress.update(|progress| {
            progress.phase = "reading rows";
            progress.current = config.table.clone();
            progress.rows_total = rows_total;
        });
        Ok(Self {
            rows: Rows::new(&plan.columns, plan.from, plan.to),
            tracker: Tracker::new(&plan.incremental_name, plan.columns.incremental.kind),
            session,
            plan,
            phases: phases.into(),
            running: None,
            request,
            bytes: 0,
            spent: false,
        })
    }

    fn step(&mut self) -> Result<Step, SourceError> {
        let limits = self.request.limits;
        let mut delivery = Delivery {
            batch: empty_batch(&self.request),
            ..Delivery::default()
        };
        let mut until = Instant::now() + IDLE;
        let mut mark = None;
        let end = loop {
            let Some(running) = &mut self.running else {
                let Some(phase) = self.phases.pop_front() else {
                    break true;
                };
                let copy = self.session.copy(&phase.select);
                let tuples = Tuples::default();
                self.running = Some(Running { phase, copy, tuples });
                continue;
            };
            let Running { phase, copy, tuples } = running;
            let (rows, tracker, batch) = (&mut self.rows, &mut self.tracker, &mut delivery.batch);
            let (skipped, reporter) = (&mut delivery.skipped, self.session.reporter.clone());
            let pumped = self.session.pump(copy, until, |bytes| {
                let empty = batch.rows_read() == 0;
                tuples
                    .feed(bytes, FIELDS, |fields| -> Result<(), Broken> {
                        let outcome = rows.push(fields, None, batch)?;
                        *skipped += u64::from(outcome == Outcome::Skipped);
                        if let Some(order) = phase.tracked {
                            tracker.add(fields, order);
                        }
                        Ok(())
                    })
                    .map_err(|Broken::Copy(malformed)| corrupt(&reporter, &malformed))?;
                if empty && batch.rows_read() > 0 {
                    until = Instant::now() + limits.linger;
                }
                Ok((
                    batch.rows_read() >= limits.rows || batch.bytes() >= limits.bytes,
                    until,
                ))
            })?;
            match pumped {
                Pumped::End => {
                    if !tuples.is_complete() {
                        return Err(corrupt(&reporter, &Malformed("it ends before its trailer")));
                    }
                    let after = phase.after.take();
                    self.running = None;
                    mark = self.after(after)?.or(mark);
                }
                Pumped::Stopped => return Ok(Step::Idle),
                Pumped::Full | Pumped::Waited => break false,
            }
        };
        Ok(self.deliver(delivery, mark, end))
    }

    /// The mark that holds when all rows of a phase were read.
    fn after(&mut self, after: Option<After>) -> Result<Option<Mark>, SourceError> {
        match after {
            Some(After::Mark(mark)) => Ok(Some(mark)),
            Some(After::Greatest) => self.plan.greatest(&mut self.session),
            None => Ok(None),
        }
    }

    fn deliver(&mut self, mut delivery: Delivery, mark: Option<Mark>, end: bool) -> Step {
        // Rows in no order tell how far the table was read only at the end.
        let tells = end
            || self
                .running
                .as_ref()
                .is_none_or(|it| it.phase.tracked != Some(super::watermark::Order::Any));
        let mark = self.tracker.mark().filter(|_| tells).or(mark);
        let position = mark.map(|mark| mark.position());
        if position.as_ref().and_then(|it| it.value.as_ref()) != self.request.watermark.get(PART) {
            if let Some(Position {
                value: Some(value), ..
            }) = &position
            {
                self.request.watermark.insert(PART.into(), value.clone());
            }
            delivery.positions.extend(position);
        }
        let rows = delivery.batch.rows_read() as u64 + delivery.skipped;
        if rows == 0 && delivery.positions.is_empty() {
            return if end { Step::End } else { Step::Idle };
        }
        let bytes = self.session.bytes();
        delivery.bytes = bytes - self.bytes;
        self.bytes = bytes;
        self.request
            .progress
            .update(|progress| progress.rows_read += rows);
        Step::Delivery(delivery)
    }
}

impl Connector for PostgresConnector {
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

/// A batch with room for what one delivery holds.
pub(super) fn empty_batch(request: &Request) -> Batch {
    let rows = request.limits.bytes / (request.dims.max(1) * size_of::<f32>()) + 1;
    Batch::new(
        request.dims,
        rows.min(request.limits.rows),
        request.registered.as_ref(),
    )
}

pub(super) fn corrupt(reporter: &Reporter, malformed: &Malformed) -> SourceError {
    let what = "reading rows: what came is not the COPY that was asked for".to_owned();
    reporter.say(ErrorKind::Corrupt, what).detail(malformed.0)
}

impl Session {
    /// All rows of a SELECT of `fields` columns.
    ///
    /// # Errors
    /// Also when it is to stop.
    pub(super) fn read_all(
        &mut self,
        select: &str,
        fields: usize,
        mut each: impl FnMut(&Fields<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SourceError> {
        let reporter = self.reporter.clone();
        let mut copy = self.copy(select);
        let mut tuples = Tuples::default();
        loop {
            let later = Instant::now() + IDLE;
            let pumped = self.pump(&mut copy, later, |bytes| {
                tuples
                    .feed(bytes, fields, |row| each(row))
                    .map_err(|malformed: Malformed| corrupt(&reporter, &malformed))?;
                Ok((false, Instant::now() + IDLE))
            })?;
            match pumped {
                Pumped::End if tuples.is_complete() => return Ok(()),
                Pumped::End => return Err(corrupt(&reporter, &Malformed("it ends before its trailer"))),
                Pumped::Stopped => return Err(reporter.say(ErrorKind::Io, "stopped".into())),
                Pumped::Full | Pumped::Waited => {}
            }
        }
    }

    /// The keys that a SELECT finds.
    pub(super) fn ties(&mut self, select: &str) -> Result<Ties, SourceError> {
        let mut ties = Ties::default();
        self.read_all(select, KEY_FIELDS, |fields| {
            ties.add(fields);
            Ok(())
        })?;
        Ok(ties)
    }
}
