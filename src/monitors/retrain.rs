//! The boundary between two versions of a model: what alignment may be off by there is no movement of an entity.

use cvx_math::boundary::Classification;
use cvx_math::changepoints::Options;
use pgrx::pg_sys::panic::ErrorReport;

use super::Measured;
use crate::align::canonical::Canonical;
use crate::align::changes::changes;

/// A report of a detector belongs to a boundary when it is within so many points of it.
const NEAR: usize = 2;

/// Two points of an entity from different versions, in the canonical frame, and how far off each is expected to be.
pub struct Jump {
    first: Vec<f32>,
    last: Vec<f32>,
    errors: [f64; 2],
}

impl Jump {
    /// The drift that is left when the expected error is taken away from the distance, in quadrature. None where it is
    /// not defined.
    pub fn drift_beyond_error(&self, metric: &str) -> Option<f64> {
        if metric == "l2" {
            return Some(beyond(squared_distance(&self.first, &self.last), self.error_square()).sqrt());
        }
        let (a, b) = (norm(&self.first), norm(&self.last));
        if a == 0.0 || b == 0.0 {
            return None;
        }
        let product: f64 = self
            .first
            .iter()
            .zip(&self.last)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum();
        let chord = 2.0 * (1.0 - product / (a * b));
        let error = (self.errors[0] / a).powi(2) + (self.errors[1] / b).powi(2);
        Some(beyond(chord, error) / 2.0)
    }

    /// The speed that is left of `speed`, which is that of the step from one point to the other.
    pub fn speed_beyond_error(&self, speed: f64) -> Option<f64> {
        let square = squared_distance(&self.first, &self.last);
        (square > 0.0).then(|| speed * (beyond(square, self.error_square()) / square).sqrt())
    }

    fn error_square(&self) -> f64 {
        self.errors.iter().map(|error| error * error).sum()
    }
}

fn beyond(square: f64, error: f64) -> f64 {
    (square - error).max(0.0)
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

/// Takes away those rows of a model's entities that `explained` says a retrain explains: rows whose value lies between
/// points of different versions. `span`: the microseconds of which the first and last point are compared; None compares
/// the last two points.
pub fn subtract(
    model: &str,
    rows: &mut Vec<Measured>,
    span: Option<i64>,
    explained: impl Fn(&Measured, &Jump) -> bool,
) -> Result<(), ErrorReport> {
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        pgrx::check_for_interrupts!();
        let from = span.map(|span| row.end_ts.saturating_sub(span));
        let points = Canonical::gather(model, &row.entity_id, from, Some(row.end_ts))?;
        let jump = jump(&points, &row.entity_id, span.is_none())?;
        if !jump.is_some_and(|jump| explained(&row, &jump)) {
            kept.push(row);
        }
    }
    *rows = kept;
    Ok(())
}

fn jump(points: &Canonical, entity_id: &str, last_step: bool) -> Result<Option<Jump>, ErrorReport> {
    let count = points.times.len();
    if count < 2 {
        return Ok(None);
    }
    let (first, last) = (if last_step { count - 2 } else { 0 }, count - 1);
    if points.version[first] == points.version[last] {
        return Ok(None);
    }
    let errors = points.errors(entity_id)?;
    Ok(Some(Jump {
        first: points.path().point(first).to_vec(),
        last: points.path().point(last).to_vec(),
        errors: [first, last].map(|place| errors[place].unwrap_or(0.0)),
    }))
}

/// Whether a change at `ts` is that of a new version and no more: it is at a boundary, and the boundary shows no real
/// change.
pub fn is_artifact(model: &str, entity_id: &str, ts: i64) -> Result<bool, ErrorReport> {
    let points = Canonical::gather(model, entity_id, None, None)?;
    let place = points.times.partition_point(|&time| time < ts);
    let near = |index: usize| index.abs_diff(place) <= NEAR;
    let boundary = points.version.windows(2).enumerate();
    let is_at_boundary = boundary
        .into_iter()
        .any(|(before, pair)| pair[0] != pair[1] && near(before + 1));
    if !is_at_boundary {
        return Ok(false);
    }
    let found = changes(&points, entity_id, &Options::default())?;
    let is_real = |classification| matches!(classification, Classification::RealChange);
    Ok(!found
        .iter()
        .any(|it| near(it.index) && is_real(it.classification)))
}
