//! Drift and velocity of each entity at each of its points.

use cvx_math::significance::{drift_p_value, velocity_p_value};
use cvx_math::stats::{self, Metric};
use cvx_math::{Path, calculus};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::describe::measure;
use super::replay::Cuts;
use super::{Checks, Episode, Found, Subject, check_episodes};
use crate::align::canonical::Canonical;
use crate::catalog::internal;
use crate::error::Error;
use crate::monitors::Measured;
use crate::monitors::condition::Condition;
use crate::monitors::retrain;
use crate::monitors::scope::Scope;
use crate::monitors::trend::Measure;
use crate::types::TimestampTz;
use crate::types::vector::VectorResult;
use crate::views::definition::{Columns, Points, instant, spaces_of};

const DAY: f64 = 86_400e6;
/// Rows that a cursor reads at a time.
const FETCH: i64 = 256;

/// What is measured, in Rust as `Measure` has it in SQL.
struct Rule {
    /// None: the speed.
    drift: Option<(Metric, i64)>,
    threshold: f64,
    /// How old the last point may be.
    age: Option<i64>,
    fdr: Option<f64>,
}

impl Rule {
    fn of(condition: &Condition) -> Result<Option<Rule>, Error> {
        Ok(match condition {
            Condition::Drift {
                threshold,
                window,
                metric,
                fdr,
            } => Some(Rule {
                drift: Some((Metric::parse(metric)?, *window)),
                threshold: *threshold,
                age: Some(*window),
                fdr: *fdr,
            }),
            Condition::Velocity {
                threshold,
                window,
                fdr,
            } => Some(Rule {
                drift: None,
                threshold: *threshold,
                age: *window,
                fdr: *fdr,
            }),
            _ => None,
        })
    }

    /// The part of the points up to `last` that counts.
    fn part<'a>(&self, path: &Path<'a>, last: usize) -> Path<'a> {
        let first = match self.drift {
            Some((_, window)) => {
                let from = path.times[last].saturating_sub(window);
                path.times.partition_point(|&time| time < from)
            }
            None => 0,
        };
        path.slice(first..last + 1)
    }

    fn value(&self, part: &Path<'_>) -> Option<f64> {
        match self.drift {
            Some((metric, _)) => stats::drift(part, metric),
            None => calculus::speed(part, None, DAY),
        }
    }

    fn p_value(&self, part: &Path<'_>) -> Option<f64> {
        match self.drift {
            Some((metric, _)) => drift_p_value(part, metric),
            None => velocity_p_value(part),
        }
    }

    /// From when on points are needed for checks from `first` on.
    fn needed(&self, first: TimestampTz) -> Option<TimestampTz> {
        let (_, window) = self.drift?;
        Some(first.saturating_sub(window).saturating_sub(window))
    }
}

/// The entities of one scope, one after another.
struct Walk<'a> {
    rule: Rule,
    checks: &'a Checks,
    scope: u32,
    /// By how much the number of tested entities changes at each check.
    tests: Vec<i64>,
    /// Candidates for a discovery: from which check to before which, and their p-values.
    small: Vec<(u32, u32, f64)>,
    beyond: Vec<(String, Episode)>,
}

impl Walk<'_> {
    fn entity(&mut self, id: &str, path: &Path<'_>) {
        for (last, &ts) in path.times.iter().enumerate() {
            if last % 64 == 0 {
                pgrx::check_for_interrupts!();
            }
            let next = path.times.get(last + 1).copied().unwrap_or(TimestampTz::MAX);
            let aged = self.rule.age.map(|age| self.checks.after(ts.saturating_add(age)));
            let first = self.checks.at_or_after(ts);
            let end = self.checks.at_or_after(next).min(aged.unwrap_or(usize::MAX));
            if first >= end {
                continue;
            }
            let part = self.rule.part(path, last);
            let Some(value) = self.rule.value(&part) else {
                continue;
            };
            let p_value = self.rule.fdr.and_then(|_| self.rule.p_value(&part));
            let is_beyond = value > self.rule.threshold;
            if let Some(rate) = self.rule.fdr {
                self.tests[first] += 1;
                self.tests[end] -= 1;
                let p = p_value.unwrap_or(1.0);
                if p <= rate {
                    self.small.push((first as u32, end as u32, p));
                } else if is_beyond {
                    // No discovery at any check.
                    continue;
                }
            }
            if is_beyond {
                let episode = Episode {
                    subject: 0,
                    scope: self.scope,
                    first: first as u32,
                    end: end as u32,
                    ts,
                    value: Some(value),
                    p_value,
                    records: (0, 0),
                };
                self.beyond.push((id.to_owned(), episode));
            }
        }
    }

    fn cuts(&mut self) -> Option<Cuts> {
        let rate = self.rule.fdr?;
        let mut standing = 0;
        let changes = &self.tests[..self.checks.len()];
        let tests: Vec<i64> = changes
            .iter()
            .map(|change| {
                standing += change;
                standing
            })
            .collect();
        Some(Cuts::new(&tests, std::mem::take(&mut self.small), rate, || {
            pgrx::check_for_interrupts!();
        }))
    }
}

pub fn find(
    scope: &Scope,
    condition: &Condition,
    checks: &Checks,
    found: &mut Found,
) -> Result<(), ErrorReport> {
    let Some(rule) = Rule::of(condition)? else {
        return Ok(());
    };
    let span = rule.drift.map(|(_, window)| window);
    let range = (rule.needed(checks.time(0)), checks.time(checks.len() - 1));
    let mut walk = Walk {
        rule,
        checks,
        scope: found.cuts.len() as u32,
        tests: vec![0; checks.len() + 1],
        small: Vec::new(),
        beyond: Vec::new(),
    };
    each_path(scope, range, &mut |id, path| {
        walk.entity(id, &path);
        check_episodes(walk.beyond.len())
    })?;
    found.cuts.push(walk.cuts());
    let mut beyond = walk.beyond;
    if let (Points::Model(model), Some(measure)) = (&scope.points, measure(condition)) {
        beyond = unexplained(model, beyond, &measure, span)?;
    }
    for (id, episode) in beyond {
        found.push(Subject::Entity(id), episode)?;
    }
    Ok(())
}

/// Without what a retrain explains.
fn unexplained(
    model: &str,
    beyond: Vec<(String, Episode)>,
    measure: &Measure,
    span: Option<i64>,
) -> Result<Vec<(String, Episode)>, ErrorReport> {
    let mut kept = Vec::with_capacity(beyond.len());
    for (id, episode) in beyond {
        let mut rows = vec![Measured {
            entity_id: id,
            end_ts: episode.ts,
            value: episode.value.unwrap_or_default(),
            p_value: episode.p_value,
        }];
        retrain::subtract(model, &mut rows, span, |row, jump| measure.explained(row, jump))?;
        kept.extend(rows.pop().map(|row| (row.entity_id, episode)));
    }
    Ok(kept)
}

type Each<'a> = dyn FnMut(&str, Path<'_>) -> Result<(), ErrorReport> + 'a;

/// Hands over the points of each entity of a scope within a range of time, both ends included.
pub fn each_path(
    scope: &Scope,
    range: (Option<TimestampTz>, TimestampTz),
    each: &mut Each<'_>,
) -> Result<(), ErrorReport> {
    match &scope.points {
        Points::Table(columns) => of_table(scope, columns, range, each),
        Points::Model(model) => of_model(scope, model, range, each),
    }
}

fn of_table(
    scope: &Scope,
    it: &Columns,
    (from, to): (Option<TimestampTz>, TimestampTz),
    each: &mut Each<'_>,
) -> Result<(), ErrorReport> {
    let since = match from {
        Some(from) => format!("AND {} OPERATOR(pg_catalog.>=) {}", it.ts, instant(from)),
        None => String::new(),
    };
    let query = format!(
        "SELECT {entity}, {ts}, {vec} FROM {relation} s
         WHERE {condition} AND {chosen} AND {ts} OPERATOR(pg_catalog.<=) {until} {since}
         ORDER BY {entity}, {ts}",
        entity = it.entity,
        ts = it.ts,
        vec = it.vec,
        relation = it.relation,
        condition = it.condition("s"),
        chosen = scope.of_entity(&it.entity),
        until = instant(to),
    );
    let (mut id, mut times, mut values) = (String::new(), Vec::new(), Vec::<f32>::new());
    let mut done = |id: &str, times: &mut Vec<TimestampTz>, values: &mut Vec<f32>| {
        if !times.is_empty() {
            each(id, Path::new(times, values, values.len() / times.len()))?;
            times.clear();
            values.clear();
        }
        Ok::<(), ErrorReport>(())
    };
    each_row(&query, &mut |row| {
        let entity = row.get::<&str>(1).map_err(internal)?.unwrap_or_default();
        if entity != id {
            done(&id, &mut times, &mut values)?;
            entity.clone_into(&mut id);
        }
        let ts = row.get::<TimestampWithTimeZone>(2).map_err(internal)?;
        let vector = row.get::<VectorResult>(3).map_err(internal)?;
        if let (Some(ts), Some(vector)) = (ts, vector) {
            let bytes = 4 * (values.len() + vector.as_slice().len());
            let reserved = values.try_reserve(vector.as_slice().len());
            reserved.map_err(|_| Error::OutOfMemory { bytes })?;
            values.extend_from_slice(vector.as_slice());
            times.push(TimestampTz::from(ts));
        }
        Ok(())
    })?;
    done(&id, &mut times, &mut values)
}

fn of_model(
    scope: &Scope,
    model: &str,
    (from, to): (Option<TimestampTz>, TimestampTz),
    each: &mut Each<'_>,
) -> Result<(), ErrorReport> {
    let query = format!(
        "SELECT DISTINCT s.entity_id FROM cvx.embedding s
         WHERE s.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({})) AND {}
         ORDER BY s.entity_id",
        spaces_of(model),
        scope.of_entity("s.entity_id")
    );
    let mut ids: Vec<String> = Vec::new();
    each_row(&query, &mut |row| {
        ids.extend(row.get::<String>(1).map_err(internal)?);
        Ok(())
    })?;
    let mut memory = PgMemoryContexts::new("cvx backtest");
    for id in ids {
        pgrx::check_for_interrupts!();
        // SAFETY: what is kept is on Rust's heap; the points, which are not, end here.
        unsafe {
            memory.switch_to(|_| {
                let found = Canonical::gather(model, &id, from, Some(to))?;
                if found.is_empty() {
                    Ok(())
                } else {
                    each(&id, found.path())
                }
            })?;
            memory.reset();
        }
    }
    Ok(())
}

/// Runs a query of ours and hands over its rows, a few at a time.
pub fn each_row(
    query: &str,
    each: &mut dyn FnMut(&pgrx::spi::SpiHeapTupleData<'_>) -> Result<(), ErrorReport>,
) -> Result<(), ErrorReport> {
    Spi::connect(|client| {
        let mut cursor = client.open_cursor(query, &[]);
        loop {
            let rows = cursor.fetch(FETCH).map_err(internal)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                each(&row)?;
            }
            pgrx::check_for_interrupts!();
        }
    })
}
