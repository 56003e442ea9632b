//! What a monitor would have sent over a stretch of history.
//!
//! Event time: a point is there from its own time on, so that one which came late counts as if it had come in time, and
//! one that was deleted or changed since counts as it is now; so do alignments, the monitor and its owner's rights.
//! Nothing was sent before the stretch. Days have 24 hours, months 30 days.
//!
//! What a condition finds is a number of episodes: the checks, one after another, at which the same evidence stands.
//! They come from one walk over the points of each entity; `replay` makes alerts of them. Nothing is written.

mod changes;
mod describe;
mod quality;
mod replay;
mod silence;
mod trend;

use std::collections::HashMap;
use std::ffi::CString;

use cvx_config::schedule::Schedule;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

use super::condition::Condition;
use super::scope::Scope;
use super::{declare, invalid, refused};
use crate::catalog::monitor::Monitor;
use crate::catalog::rights;
use crate::error::Error;
use crate::types::{TimestampTz, interval};
use describe::Words;
use replay::{Cuts, replay};

/// Checks of one backtest, and alerts.
const MOST_CHECKS: usize = 1_000_000;
const MOST_ALERTS: usize = 1_000_000;
/// Checks of a population, each of which reads two samples of it.
const MOST_POPULATION_CHECKS: usize = 1000;
/// Episodes that are kept at a time.
const MOST_EPISODES: usize = 10_000_000;
/// From the Unix epoch to that of PostgreSQL.
const EPOCH: i64 = 946_684_800_000_000;

/// An alert that would have been sent.
pub struct Alert {
    pub fired_at: TimestampTz,
    pub entity_id: Option<String>,
    pub ts: Option<TimestampTz>,
    pub value: f64,
    pub threshold: f64,
    pub p_value: Option<f64>,
    pub message: String,
}

/// The times at which the monitor is looked at, rising.
pub struct Checks {
    times: Vec<TimestampTz>,
}

impl Checks {
    fn of(it: &cvx_config::Monitor, from: TimestampTz, to: TimestampTz) -> Result<Self, ErrorReport> {
        let schedule = it.schedule.as_deref();
        let schedule = schedule.map(|cron| Schedule::parse(cron, &it.time_zone).map_err(Error::Declaration));
        let schedule = schedule.transpose()?;
        let step = length(&it.check_interval);
        let first = match &schedule {
            Some(_) => after(schedule.as_ref(), step, from.saturating_sub(1)),
            None => Some(from),
        };
        let mut times = Vec::new();
        let mut next = first;
        while let Some(time) = next.filter(|&time| time <= to) {
            if times.len() == MOST_CHECKS {
                return Err(too_many(
                    format!(
                        "monitor {:?} would be checked more than {MOST_CHECKS} times",
                        it.name
                    ),
                    "Give a shorter stretch of time.",
                ));
            }
            if times.len() % 1024 == 0 {
                pgrx::check_for_interrupts!();
            }
            times.push(time);
            next = after(schedule.as_ref(), step, time);
        }
        Ok(Checks { times })
    }

    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn time(&self, check: usize) -> TimestampTz {
        self.times[check]
    }

    /// The first check at `ts` or later.
    pub fn at_or_after(&self, ts: TimestampTz) -> usize {
        self.times.partition_point(|&time| time < ts)
    }

    /// The first check later than `ts`.
    pub fn after(&self, ts: TimestampTz) -> usize {
        self.times.partition_point(|&time| time <= ts)
    }
}

fn after(schedule: Option<&Schedule>, step: i64, time: TimestampTz) -> Option<TimestampTz> {
    match schedule {
        Some(schedule) => Some(schedule.next_after(time.checked_add(EPOCH)?)? - EPOCH),
        None => time.checked_add(step.max(1)),
    }
}

/// An interval as src/config has checked it, in microseconds.
fn length(text: &str) -> i64 {
    let it = interval::from_text(&CString::new(text).unwrap_or_default());
    let days = i64::from(it.months()) * 30 + i64::from(it.days());
    days.saturating_mul(86_400_000_000).saturating_add(it.micros())
}

fn too_many(message: String, hint: &str) -> ErrorReport {
    refused(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message, hint)
}

/// Refuses one more episode where there are enough.
fn check_episodes(count: usize) -> Result<(), ErrorReport> {
    if count < MOST_EPISODES {
        return Ok(());
    }
    Err(too_many(
        format!("there would be more than {MOST_EPISODES} findings"),
        "Give a shorter stretch of time, or the monitor a higher threshold.",
    ))
}

/// What has no second alert within the cooldown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Entity(String),
    Of {
        space: Option<String>,
        source: Option<String>,
    },
}

/// What is found at the checks from `first` to before `end`.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    /// Place among the subjects.
    pub subject: u32,
    /// Which of the monitor's scopes it is in: what is found in an earlier one comes first.
    pub scope: u32,
    pub first: u32,
    pub end: u32,
    pub ts: TimestampTz,
    /// None: the time since `ts`, in seconds, at each check.
    pub value: Option<f64>,
    pub p_value: Option<f64>,
    /// Records rejected, and read.
    pub records: (i64, i64),
}

impl Episode {
    fn value_at(&self, time: TimestampTz) -> f64 {
        self.value
            .unwrap_or_else(|| time.saturating_sub(self.ts) as f64 / 1e6)
    }
}

/// All that a condition finds.
#[derive(Default)]
pub struct Found {
    subjects: Vec<Subject>,
    known: HashMap<Subject, u32>,
    episodes: Vec<Episode>,
    /// Of each scope, the p-values that are discoveries at each check.
    cuts: Vec<Option<Cuts>>,
}

impl Found {
    fn push(&mut self, subject: Subject, episode: Episode) -> Result<(), ErrorReport> {
        check_episodes(self.episodes.len())?;
        let place = match self.known.get(&subject) {
            Some(&place) => place,
            None => {
                let place = self.subjects.len() as u32;
                self.subjects.push(subject.clone());
                self.known.insert(subject, place);
                place
            }
        };
        self.episodes.push(Episode {
            subject: place,
            ..episode
        });
        Ok(())
    }
}

/// Runs a monitor over the time between `from` and `to`, both included, as far as it is past.
pub fn backtest(
    it: &Monitor,
    (from, to): (TimestampTz, TimestampTz),
    now: TimestampTz,
) -> Result<Vec<Alert>, ErrorReport> {
    if from > to {
        return Err(invalid(
            "from_ts of cvx.backtest_monitor is later than to_ts",
            "It runs the monitor from from_ts to to_ts.",
        ));
    }
    let to = to.min(now);
    let owner = declare::owner_of(it)?;
    let condition = Condition::parse(&it.declared.condition)?;
    let cooldown = length(&it.declared.cooldown);
    match &condition {
        Condition::Query { .. } => Err(refused(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!(
                "monitor {:?} has a custom_query, which cannot be backtested",
                it.declared.name
            ),
            "Its SQL looks at the database as it is now: run it with the times of then in place of now().",
        )),
        _ if from > to => Ok(Vec::new()),
        Condition::ChangePoint { .. } => {
            rights::restricted_to(owner, || changes::backtest(it, &condition, (from, to), cooldown))
        }
        _ => {
            let checks = Checks::of(&it.declared, from, to)?;
            let found = rights::restricted_to(owner, || find(it, &condition, &checks))?;
            let words = Words::new(it, &condition);
            let once = condition.alerts_once_a_point();
            let fired = replay(&checks, &found, cooldown, once)?;
            Ok(fired
                .into_iter()
                .map(|(check, place)| alert(&words, &checks, &found, check, place))
                .collect())
        }
    }
}

fn find(it: &Monitor, condition: &Condition, checks: &Checks) -> Result<Found, ErrorReport> {
    let mut found = Found::default();
    if checks.len() == 0 {
        return Ok(found);
    }
    let scopes = || Scope::all_of(&it.declared);
    match condition {
        Condition::Drift { .. } | Condition::Velocity { .. } => {
            for scope in scopes()? {
                trend::find(&scope, condition, checks, &mut found)?;
            }
        }
        Condition::Silence { duration, source } => {
            for (place, scope) in scopes()?.iter().enumerate() {
                silence::find(place, scope, *duration, source.as_deref(), checks, &mut found)?;
            }
        }
        Condition::RejectRatio { .. } => quality::rejects(condition, checks, &mut found)?,
        Condition::Freshness { duration, source } => {
            quality::freshness(scopes, *duration, source.as_deref(), checks, &mut found)?;
        }
        Condition::Population { .. } => {
            if checks.len() > MOST_POPULATION_CHECKS {
                return Err(too_many(
                    format!(
                        "monitor {:?} would compare populations {} times, more than {MOST_POPULATION_CHECKS}",
                        it.declared.name,
                        checks.len()
                    ),
                    "Give a shorter stretch of time.",
                ));
            }
            for scope in scopes()? {
                quality::population(&scope, condition, checks, &mut found)?;
            }
        }
        Condition::ChangePoint { .. } | Condition::Query { .. } => {}
    }
    Ok(found)
}

fn alert(words: &Words<'_>, checks: &Checks, found: &Found, check: usize, place: usize) -> Alert {
    let (time, episode) = (checks.time(check), &found.episodes[place]);
    let subject = &found.subjects[episode.subject as usize];
    let value = episode.value_at(time);
    Alert {
        fired_at: time,
        entity_id: match subject {
            Subject::Entity(id) => Some(id.clone()),
            Subject::Of { .. } => None,
        },
        ts: Some(episode.ts),
        value,
        threshold: words.threshold(),
        p_value: episode.p_value,
        message: words.message(subject, episode, value),
    }
}
