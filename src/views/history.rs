//! What a view held at all times: for each point of an entity what its row was when that point was the last, and
//! from when to when that was known.
//!
//! The versions that stand follow from the points that there are, whatever way these came. Those that they replaced
//! stay, closed. Which ones a change makes: cvx_math::bitemporal.

use cvx_math::bitemporal::{Change, Point, Timeline, Version};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;

use super::write::is_indexed;
use crate::catalog::history::{self, Evaluation, Mark, Row, Standing};
use crate::catalog::view::{Reads, View};
use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::trajectory::{TrajectoryResult, check_order, check_point};
use crate::workers::process::now;

/// Versions are computed when their trajectories take so many bytes, or there are so many.
const MOST_BYTES: usize = 2 << 20;
const MOST_VERSIONS: usize = 4096;

/// An entity that has to be looked at again.
#[derive(Clone, Debug)]
pub struct Dirty {
    pub entity_id: String,
    /// The least event time among what changed; None: unknown.
    pub from_ts: Option<TimestampTz>,
    pub stale_since: TimestampTz,
}

pub use history::create_table;

/// Brings the history of entities up to date, as the view's owner.
pub fn update(view: &View, dirty: &[Dirty]) -> Result<(), ErrorReport> {
    let mut asked: Vec<(&str, Option<TimestampTz>)> = dirty
        .iter()
        .map(|it| (it.entity_id.as_str(), it.from_ts))
        .collect();
    let standing = history::standing(view, &asked)?;
    for (asked, standing) in asked.iter_mut().zip(&standing) {
        // Where nothing stands, it may be that all points came back into the view.
        asked.1 = asked.1.filter(|_| !standing.versions.is_empty());
    }
    let mut walk = Walk {
        dirty,
        asked: &asked,
        standing: &standing,
        place: 0,
        entity: Entity::default(),
        is_dated: !matches!(view.reads, Reads::Table(_)) || view.config.ingested_at_column.is_some(),
        writer: Writer::new(view),
    };
    history::each_point(view, is_indexed(view)?, &asked, |row| {
        walk.go_to(row.entity)?;
        Ok(walk.entity.push(&row)?)
    })?;
    walk.go_to(dirty.len())?;
    walk.writer.flush()
}

/// The way through the entities, of which some may have no points.
struct Walk<'a> {
    dirty: &'a [Dirty],
    asked: &'a [(&'a str, Option<TimestampTz>)],
    standing: &'a [Standing],
    place: usize,
    entity: Entity,
    /// Whether points say when they came.
    is_dated: bool,
    writer: Writer<'a>,
}

impl Walk<'_> {
    /// Ends with all entities before this one.
    fn go_to(&mut self, place: usize) -> Result<(), ErrorReport> {
        while self.place < place {
            let ((entity_id, touched), standing) = (self.asked[self.place], &self.standing[self.place]);
            let recorded = now();
            let change = Change {
                points: &self.entity.points,
                stored: &standing.versions,
                known: standing.known,
                touched,
                // Where nothing says when points came, they are known when they are seen.
                noticed: if self.is_dated {
                    self.dirty[self.place].stale_since
                } else {
                    recorded
                },
                recorded,
            };
            self.writer
                .examine(entity_id, &self.entity, &Timeline::new(change))?;
            self.entity.clear();
            self.place += 1;
        }
        Ok(())
    }
}

/// Closes the history of entities that are no more, at the end of a pass over all that there are.
pub fn forget_gone(view: &View, stale_since: TimestampTz) -> Result<(), ErrorReport> {
    const BATCH: usize = 1000;
    for ids in history::gone(view, is_indexed(view)?)?.chunks(BATCH) {
        let dirty = |entity_id: &String| Dirty {
            entity_id: entity_id.clone(),
            from_ts: None,
            stale_since,
        };
        update(view, &ids.iter().map(dirty).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The points of one entity.
#[derive(Default)]
struct Entity {
    points: Vec<Point>,
    times: Vec<TimestampTz>,
    values: Vec<f32>,
    dims: usize,
}

impl Entity {
    fn clear(&mut self) {
        self.points.clear();
        self.times.clear();
        self.values.clear();
    }

    fn push(&mut self, row: &Row) -> Result<(), Error> {
        let vector = row.vec.as_slice();
        check_point(row.ts, vector)?;
        if self.times.is_empty() {
            self.dims = vector.len();
        } else if self.dims != vector.len() {
            return Err(Error::MixedDimensions {
                expected: self.dims,
                found: vector.len(),
                ts: row.ts,
            });
        }
        if let Some(&last) = self.times.last() {
            check_order(&[last, row.ts])?;
        }
        let bytes = size_of_val(vector);
        self.values
            .try_reserve(vector.len())
            .map_err(|_| Error::OutOfMemory { bytes })?;
        self.values.extend_from_slice(vector);
        self.times.push(row.ts);
        // A time of ingestion that is not recorded, or is infinite, dates nothing.
        let known = row
            .ingested_at
            .unwrap_or(row.ts)
            .min(cvx_sources::time::END_TS - 1);
        self.points.push(Point {
            ts: row.ts,
            known,
            start: row.span_start,
        });
        Ok(())
    }

    /// The trajectory that a version comes from.
    fn trajectory(&self, timeline: &Timeline<'_>, version: &Version) -> Result<TrajectoryResult, Error> {
        let span = version.first..version.point + 1;
        let is_known = |place: &usize| timeline.is_known(*place, version.known_from);
        let dims = self.dims;
        if span.clone().all(|place| is_known(&place)) {
            let values = &self.values[span.start * dims..span.end * dims];
            return TrajectoryResult::from_parts(&self.times[span], values, dims);
        }
        let places: Vec<usize> = span.filter(is_known).collect();
        let mut result = TrajectoryResult::with_size(places.len(), dims)?;
        let (times, values) = result.arrays();
        for ((&place, ts), to) in places.iter().zip(times).zip(values.chunks_exact_mut(dims)) {
            *ts = self.times[place];
            to.copy_from_slice(&self.values[place * dims..][..dims]);
        }
        Ok(result)
    }
}

/// What is to be written, gathered.
struct Writer<'a> {
    view: &'a View,
    /// Holds the trajectories until they are written.
    context: PgMemoryContexts,
    bytes: usize,
    fresh: Vec<Evaluation<'a>>,
    others: Vec<Evaluation<'a>>,
    rewritten: Vec<Mark<'a>>,
    closed: Vec<Mark<'a>>,
    moved: Vec<Mark<'a>>,
}

impl<'a> Writer<'a> {
    fn new(view: &'a View) -> Self {
        Writer {
            view,
            context: PgMemoryContexts::new("cvx history"),
            bytes: 0,
            fresh: Vec::new(),
            others: Vec::new(),
            rewritten: Vec::new(),
            closed: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// What has become of one entity.
    fn examine(
        &mut self,
        entity_id: &'a str,
        entity: &Entity,
        timeline: &Timeline<'_>,
    ) -> Result<(), ErrorReport> {
        for version in (0..entity.points.len()).flat_map(|place| timeline.versions(place)) {
            self.add(entity_id, entity, timeline, version)?;
        }
        let mark = |valid_from, valid_to, known| Mark {
            entity_id,
            valid_from,
            valid_to,
            known,
        };
        let closings = timeline.closings();
        self.closed
            .extend(closings.map(|it| mark(it.valid_from, it.valid_to, it.known_to)));
        self.moved
            .extend(timeline.moved().map(|(from, to)| mark(from, to, from)));
        if self.closed.len() + self.moved.len() >= MOST_VERSIONS {
            self.flush()?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        entity_id: &'a str,
        entity: &Entity,
        timeline: &Timeline<'_>,
        version: Version,
    ) -> Result<(), ErrorReport> {
        let point = entity.points[version.point];
        // SAFETY: nothing that the closure leaves behind outlives the context, which is reset after a flush.
        let trajectory = unsafe { self.context.switch_to(|_| entity.trajectory(timeline, &version)) }?;
        self.bytes += (version.point + 1 - version.first) * (8 + 4 * entity.dims);
        if version.rewrites {
            self.rewritten.push(Mark {
                entity_id,
                valid_from: point.ts,
                valid_to: version.valid_to,
                known: version.known_from,
            });
        }
        let evaluation = Evaluation {
            entity_id,
            ts: point.ts,
            span_start: point.start,
            version,
            trajectory,
        };
        if version.fresh {
            self.fresh.push(evaluation);
        } else {
            self.others.push(evaluation);
        }
        if self.bytes >= MOST_BYTES || self.fresh.len() + self.others.len() >= MOST_VERSIONS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ErrorReport> {
        pgrx::check_for_interrupts!();
        let view = self.view;
        let (fresh, others) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.others));
        history::take_back(view, &self.rewritten)?;
        history::store(view, fresh, true)?;
        history::store(view, others, false)?;
        history::close(view, &self.closed)?;
        history::move_end(view, &self.moved)?;
        for marks in [&mut self.rewritten, &mut self.closed, &mut self.moved] {
            marks.clear();
        }
        // SAFETY: the trajectories have been written, and nothing else is in the context.
        unsafe { self.context.reset() };
        self.bytes = 0;
        Ok(())
    }
}
