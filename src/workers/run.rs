//! One run of a source: what the ingest worker knows of it while it goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cvx_sources::config::is_stream;
use cvx_sources::{Delivery, Progress, Registered, Request, SourceConfig, Stop, Work};
use pgrx::pg_sys::panic::ErrorReport;

use super::backoff::Circuit;
use super::job::Reading;
use super::process::Bell;
use crate::catalog::run::{self, Counts};
use crate::catalog::source::{self, Source};
use crate::catalog::{dead_letter, model, position, space::Space};
use crate::error::Error;
use crate::ingest::delivery::Target;
use crate::ingest::{declare, guard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sync,
    Full,
    Replay,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sync => "sync",
            Kind::Full => "full",
            Kind::Replay => "replay",
        }
    }
}

/// Dead letters that are read again in one transaction.
const REPLAYED_AT_ONCE: i64 = 200;

pub struct Run {
    pub source: Source,
    pub kind: Kind,
    pub is_stream: bool,
    pub target: Target,
    pub reading: Option<Reading>,
    pub counts: Counts,
    pub circuit: Circuit,
    pub rate: Rate,
    pub started: Instant,
    /// What is to be written next; kept while the database does not take it.
    pub pending: Option<Box<Delivery>>,
    /// Attempts to write it that failed.
    pub attempts: u32,
    pub not_before: Option<Instant>,
    /// What was written down last of its progress.
    pub reported: (Progress, Instant),
    pub reported_rate: f64,
    /// Of a replay: what was asked for, and what has come of it.
    pub replayed: Replayed,
    /// Whether something was written since the source last failed.
    pub has_progressed: bool,
}

#[derive(Default)]
pub struct Replayed {
    pub ids: Vec<i64>,
    /// Those that are written again without asking the source.
    pub whole: Option<cvx_sources::Batch>,
    pub deliveries: Vec<Delivery>,
}

impl Run {
    /// Opens a run in the current transaction. None when there is nothing to do after all.
    pub fn open(source: &Source, kind: Kind, memory: usize) -> Result<Option<(Run, Opening)>, ErrorReport> {
        let owner = declare::owner_of(source)?;
        let declared = &source.declared;
        let config = SourceConfig::parse(&declared.source_type, &declared.config).map_err(Error::Source)?;
        declare::check_needs(&config, owner, &source.owner)?;
        let space = Space::by_name(&declared.space)?;
        let registered = guard::refusing(space.space_id)?;
        let mut limits = config.common.limits();
        limits.bytes = limits.bytes.min(memory);
        let mut replayed = Replayed::default();
        let (work, watermark) = match kind {
            Kind::Sync if declared.incremental => (Work::Incremental, position::load(source.source_id)?),
            Kind::Sync | Kind::Full => (Work::Full, position::load(source.source_id)?),
            Kind::Replay => {
                let Some(positions) = take_queued(source, &space, registered.as_ref(), &mut replayed)? else {
                    source::set_state(source.source_id, "replay = false", vec![])?;
                    return Ok(None);
                };
                (Work::Replay(positions), Default::default())
            }
        };
        let before = position::summary(&watermark);
        let run_id = run::start_kind(&declared.name, space.space_id, kind.name(), Some(before))?;
        if kind != Kind::Replay {
            let set = "status = 'running', requested = NULL, run_id = $2";
            source::set_state(source.source_id, set, vec![run_id.into()])?;
        }
        let request = Request {
            dims: space.dims,
            registered: registered.map(std::sync::Arc::new),
            work,
            watermark,
            limits,
            secrets: declare::resolve_secrets(&config, owner)?,
            progress: Default::default(),
            stop: Stop::default(),
        };
        let run = Run {
            source: source.clone(),
            kind,
            is_stream: is_stream(&declared.source_type),
            target: Target {
                source_id: source.source_id,
                source: declared.name.clone(),
                priority: declared.priority,
                space: space.name.clone(),
                space_id: space.space_id,
                owner,
                run_id,
                model: of_model(source, &space)?,
                expect_conflicts: false,
            },
            reading: None,
            counts: Counts::default(),
            circuit: Circuit::new(config.common.max_reject_ratio),
            rate: Rate::default(),
            started: Instant::now(),
            pending: None,
            attempts: 0,
            not_before: None,
            reported: (Progress::default(), Instant::now()),
            reported_rate: 0.0,
            replayed,
            has_progressed: false,
        };
        Ok(Some((run, Opening { config, request })))
    }

    /// Records per second since it began.
    pub fn average_rate(&self) -> f64 {
        self.counts.read as f64 / self.started.elapsed().as_secs_f64()
    }

    /// How far it has come, as it is shown.
    pub fn progress(&self) -> Progress {
        self.reading
            .as_ref()
            .map_or_else(Progress::default, |it| it.progress.get())
    }
}

/// What a connector's thread is started with, once the transaction that opened the run has committed.
pub struct Opening {
    config: SourceConfig,
    request: Request,
}

impl Opening {
    /// Whether the source itself is to be asked.
    pub fn asks_source(&self) -> bool {
        !matches!(&self.request.work, Work::Replay(positions) if positions.is_empty())
    }

    pub fn start(self, bell: &Bell) -> Result<Reading, cvx_sources::SourceError> {
        Reading::start(self.config, self.request, bell.clone())
    }
}

/// Takes dead letters to be read again. Returns the positions to ask the source for.
fn take_queued(
    source: &Source,
    space: &Space,
    registered: Option<&Registered>,
    replayed: &mut Replayed,
) -> Result<Option<Vec<String>>, ErrorReport> {
    let queued = dead_letter::queued(&source.declared.name, REPLAYED_AT_ONCE)?;
    if queued.is_empty() {
        return Ok(None);
    }
    let registered = registered.cloned().map(std::sync::Arc::new);
    let mut whole = cvx_sources::Batch::new(space.dims, 0, registered.as_ref());
    let mut positions = Vec::new();
    for it in queued {
        replayed.ids.push(it.id);
        match it.payload {
            Some(payload) if it.reason == "refused_by_table" => {
                crate::ingest::delivery::read_whole(&payload, &mut whole, &it.position);
            }
            _ => positions.push(it.position),
        }
    }
    positions.sort();
    positions.dedup();
    replayed.whole = Some(whole);
    Ok(Some(positions))
}

/// What rows that name no model are recorded with, when the source says which model it is of.
fn of_model(source: &Source, space: &Space) -> Result<Option<Registered>, ErrorReport> {
    let Some(name) = &source.declared.model else {
        return Ok(None);
    };
    if model::model_of(space.space_id)?.as_deref() != Some(name.as_str()) {
        return Err(Error::OtherModel {
            source: source.declared.name.clone(),
            space: space.name.clone(),
            model: name.clone(),
        }
        .into());
    }
    model::registered(space.space_id)
}

/// Records per second, over the last seconds.
#[derive(Default)]
pub struct Rate {
    samples: VecDeque<(Instant, i64)>,
}

const RATE_OVER: Duration = Duration::from_secs(10);

impl Rate {
    pub fn note(&mut self, read: i64) {
        let now = Instant::now();
        self.samples.push_back((now, read));
        while self.samples.len() > 2 && now - self.samples[1].0 > RATE_OVER {
            self.samples.pop_front();
        }
    }

    pub fn per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                (after - before) as f64 / (*to - *from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}
