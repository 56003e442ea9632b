//! The points of an entity over all versions of a model, in the space of the first.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use cvx_math::{Path, kernels};
use pgrx::pg_sys::panic::ErrorReport;

use super::cache::along;
use super::chain::Chain;
use super::errors::Expected;
use crate::catalog::embedding;
use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::trajectory::Trajectory;
use crate::types::vector::VectorResult;

/// Points in time order. Where several versions have a time, the point of the version nearest to the first stands.
pub struct Canonical {
    pub chain: Chain,
    pub dims: usize,
    pub times: Vec<TimestampTz>,
    /// The version of each point, as a place in the chain.
    pub version: Vec<usize>,
    /// `n × dims`, in the canonical frame.
    pub values: Vec<f32>,
    /// The trajectory of each version that has one, as stored.
    stored: Vec<Option<Trajectory>>,
    /// Where each point stands in its version's trajectory.
    row: Vec<usize>,
}

/// One version's points among the others.
struct Part {
    version: usize,
    /// Places in the canonical order.
    places: Vec<usize>,
}

impl Canonical {
    pub fn gather(
        model: &str,
        entity_id: &str,
        from_ts: Option<TimestampTz>,
        to_ts: Option<TimestampTz>,
    ) -> Result<Canonical, ErrorReport> {
        let chain = Chain::of_model(model)?;
        let range = (
            from_ts.unwrap_or(TimestampTz::MIN),
            to_ts.unwrap_or(TimestampTz::MAX),
        );
        let mut stored = Vec::with_capacity(chain.versions.len());
        let mut found: Vec<(TimestampTz, usize, usize, usize)> = Vec::new();
        for (version, it) in chain.versions.iter().enumerate() {
            let trajectory = match it.space_id {
                None => None,
                Some(space_id) => embedding::trajectory(space_id, entity_id, range.0, range.1)?,
            };
            let trajectory = trajectory.map(|it| it.open());
            if let Some(trajectory) = &trajectory {
                let depth = chain.depth(version)?;
                let times = trajectory.path().times.iter().enumerate();
                found.extend(times.map(|(row, &ts)| (ts, depth, version, row)));
            }
            stored.push(trajectory);
        }
        found.sort_unstable();
        found.dedup_by_key(|it| it.0);
        let mut canonical = Canonical {
            dims: chain.versions[0].dims,
            chain,
            times: found.iter().map(|it| it.0).collect(),
            version: found.iter().map(|it| it.2).collect(),
            row: found.iter().map(|it| it.3).collect(),
            values: Vec::new(),
            stored,
        };
        canonical.project()?;
        Ok(canonical)
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub fn path(&self) -> Path<'_> {
        Path::new(&self.times, &self.values, self.dims)
    }

    /// The vector of a point as it is stored.
    pub fn original(&self, place: usize) -> &[f32] {
        match &self.stored[self.version[place]] {
            Some(trajectory) => trajectory.path().point(self.row[place]),
            None => &[],
        }
    }

    /// All points as they are stored, each in the space of its version; an error where their dimensions differ.
    pub fn as_stored(&self) -> Result<Vec<f32>, Error> {
        let mut values = room(self.values.len())?;
        for place in 0..self.times.len() {
            let original = self.original(place);
            if original.len() != self.dims {
                return Err(Error::MixedDimensions {
                    expected: self.dims,
                    found: original.len(),
                    ts: self.times[place],
                });
            }
            values.extend_from_slice(original);
        }
        Ok(values)
    }

    fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        (0..self.chain.versions.len()).filter_map(|version| {
            let of_version = |place: &usize| self.version[*place] == version;
            let places: Vec<usize> = (0..self.version.len()).filter(of_version).collect();
            (!places.is_empty()).then_some(Part { version, places })
        })
    }

    /// One product a version: its points gathered, mapped, and put in their places.
    fn project(&mut self) -> Result<(), ErrorReport> {
        let mut values = zeros(self.times.len() * self.dims)?;
        for part in self.parts() {
            pgrx::check_for_interrupts!();
            let path = self.chain.path(part.version, 0)?;
            if path.is_empty() {
                for &place in &part.places {
                    values[place * self.dims..][..self.dims].copy_from_slice(self.original(place));
                }
                continue;
            }
            let from_dims = self.chain.versions[part.version].dims;
            let map = along(&self.chain, &path)?;
            if map.from_dims != from_dims || map.to_dims != self.dims {
                return Err(Error::Corrupt {
                    kind: "alignment",
                    problem: format!("a map of {} to {} dimensions", map.from_dims, map.to_dims),
                }
                .into());
            }
            let rows = match &self.stored[part.version] {
                // All of a version's points, in its order: read where they are.
                Some(stored) if stored.path().len() == part.places.len() => {
                    Cow::Borrowed(stored.path().values)
                }
                _ => gathered(&part.places, from_dims, |place| self.original(place))?,
            };
            if let Some(run) = run_of(&part.places) {
                let run = &mut values[run.start * self.dims..run.end * self.dims];
                map.apply_rows(&rows, run);
                check_finite(run)?;
                continue;
            }
            let mut mapped = zeros(part.places.len() * self.dims)?;
            map.apply_rows(&rows, &mut mapped);
            check_finite(&mapped)?;
            for (&place, row) in part.places.iter().zip(mapped.chunks_exact(self.dims)) {
                values[place * self.dims..][..self.dims].copy_from_slice(row);
            }
        }
        self.values = values;
        Ok(())
    }

    /// How far projection moved a point: the distance of the stored vector and the projected one; None where their
    /// dimensions differ.
    pub fn residual(&self, place: usize) -> Option<f64> {
        let (original, projected) = (self.original(place), self.path().point(place));
        (original.len() == projected.len()).then(|| kernels::distance(original, projected))
    }

    /// How far off each projection is expected to be: the distance to the pair in the predecessor's space where the
    /// same input is there, else the held-out residuals of the nearest pairs; 0 in the canonical frame.
    pub fn errors(&self, entity_id: &str) -> Result<Vec<Option<f64>>, ErrorReport> {
        let mut errors = vec![Some(0.0); self.times.len()];
        for part in self.parts() {
            let Some(before) = self.chain.predecessor(part.version) else {
                continue;
            };
            let expected = Expected::of(&self.chain, part.version)?;
            let rows = together(&part.places, self.dims, &self.values)?;
            let squares = expected.squares(&rows, self.dims);
            for (&place, square) in part.places.iter().zip(&squares) {
                errors[place] = square.map(|(first, others)| (first + others).sqrt());
            }
            for (index, distance) in self.measured(&part, before, entity_id)? {
                let others = squares[index].map(|(_, others)| others);
                errors[part.places[index]] = others.map(|it| (distance * distance + it).sqrt());
            }
        }
        Ok(errors)
    }

    /// The distance between points of a version and their pairs in the predecessor's space, in the canonical frame.
    fn measured(
        &self,
        part: &Part,
        before: usize,
        entity_id: &str,
    ) -> Result<Vec<(usize, f64)>, ErrorReport> {
        let versions = &self.chain.versions;
        let (Some(space), Some(before_space)) = (versions[part.version].space_id, versions[before].space_id)
        else {
            return Ok(Vec::new());
        };
        let (first, last) = (part.places[0], part.places[part.places.len() - 1]);
        let range = (self.times[first], self.times[last]);
        let inputs = embedding::inputs(space, entity_id, range)?;
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        // The earliest of several times of one input.
        let whole = (TimestampTz::MIN, TimestampTz::MAX);
        let mut embedded: HashMap<String, TimestampTz> = HashMap::new();
        for (ts, hash) in embedding::inputs(before_space, entity_id, whole)? {
            embedded.entry(hash).or_insert(ts);
        }
        let pairs: Vec<(TimestampTz, TimestampTz)> = inputs
            .iter()
            .filter_map(|(ts, hash)| embedded.get(hash).map(|other| (*ts, *other)))
            .collect();
        let others = pairs.iter().map(|it| it.1);
        let (Some(first), Some(last)) = (others.clone().min(), others.max()) else {
            return Ok(Vec::new());
        };
        let vectors: HashMap<TimestampTz, VectorResult> =
            embedding::vectors(before_space, entity_id, (first, last))?
                .into_iter()
                .collect();
        let from_dims = versions[before].dims;
        let mut rows = zeros(pairs.len() * from_dims)?;
        let mut places = Vec::with_capacity(pairs.len());
        for (ts, other) in pairs {
            let index = part.places.binary_search_by_key(&ts, |&place| self.times[place]);
            let (Ok(index), Some(vector)) = (index, vectors.get(&other)) else {
                continue;
            };
            if vector.as_slice().len() == from_dims {
                rows[places.len() * from_dims..][..from_dims].copy_from_slice(vector.as_slice());
                places.push(index);
            }
        }
        rows.truncate(places.len() * from_dims);
        let path = self.chain.path(before, 0)?;
        let projected = if path.is_empty() {
            rows
        } else {
            let mut projected = zeros(places.len() * self.dims)?;
            along(&self.chain, &path)?.apply_rows(&rows, &mut projected);
            projected
        };
        let distance = |(index, pair): (usize, &[f32])| {
            (
                index,
                kernels::distance(self.path().point(part.places[index]), pair),
            )
        };
        Ok(places
            .into_iter()
            .zip(projected.chunks_exact(self.dims))
            .map(distance)
            .collect())
    }
}

/// The rows of these places one after another: where they stand if they do so there, else copied.
fn together<'a>(places: &[usize], dims: usize, all: &'a [f32]) -> Result<Cow<'a, [f32]>, Error> {
    match run_of(places) {
        Some(run) => Ok(Cow::Borrowed(&all[run.start * dims..run.end * dims])),
        None => gathered(places, dims, |place| &all[place * dims..][..dims]),
    }
}

/// The places as a range, when they follow each other.
fn run_of(places: &[usize]) -> Option<Range<usize>> {
    let (&first, &last) = (places.first()?, places.last()?);
    (last - first + 1 == places.len()).then_some(first..last + 1)
}

fn gathered<'a>(
    places: &[usize],
    dims: usize,
    row: impl Fn(usize) -> &'a [f32],
) -> Result<Cow<'a, [f32]>, Error> {
    let mut rows = room(places.len() * dims)?;
    for &place in places {
        rows.extend_from_slice(row(place));
    }
    Ok(Cow::Owned(rows))
}

/// Room for this many numbers, or the error that there is none: an abort would end every session of the server.
fn room(count: usize) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    match values.try_reserve_exact(count) {
        Ok(()) => Ok(values),
        Err(_) => Err(Error::OutOfMemory { bytes: 4 * count }),
    }
}

fn zeros(count: usize) -> Result<Vec<f32>, Error> {
    let mut values = room(count)?;
    values.resize(count, 0.0);
    Ok(values)
}

/// A projection may leave the range of float4.
pub fn check_finite(values: &[f32]) -> Result<(), Error> {
    if kernels::all_finite(values) {
        return Ok(());
    }
    let element = values.iter().position(|x| !x.is_finite()).unwrap_or_default();
    Err(Error::Overflow {
        function: "project",
        element: element + 1,
        value: f64::from(values[element]),
    })
}
