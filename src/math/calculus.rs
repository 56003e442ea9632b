//! Derivatives, lengths and interpolation of a trajectory of points `(t_i, x_i)`.
//!
//! `unit` is the length of one unit of time in microseconds, positive and finite (see [`time_unit`]): a
//! velocity comes in coordinates per `unit`. `at` picks the point nearest to a time, the earlier one of two
//! equally near, the last one when `None`. Too few points, or an undefined value, is `None`.

use crate::kernels::distance;
use crate::{Error, Path};

/// Checks a unit of time given in microseconds; a unit that is not positive is refused.
pub fn time_unit(microseconds: i64) -> Result<f64, Error> {
    if microseconds > 0 {
        return Ok(microseconds as f64);
    }
    Err(Error::InvalidParameter {
        name: "unit",
        value: format!("{microseconds} microseconds"),
        expected: "a positive length of time",
    })
}

/// Time from `earlier` to `later` in microseconds; their difference need not fit `i64`.
pub(crate) fn elapsed(earlier: i64, later: i64) -> f64 {
    later.abs_diff(earlier) as f64
}

/// Index of the point nearest to `at`, the earlier one on a tie, the last one for `None`.
fn nearest(path: &Path, at: Option<i64>) -> Option<usize> {
    let last = path.len().checked_sub(1)?;
    let Some(at) = at else { return Some(last) };
    let after = path.times.partition_point(|&t| t < at);
    if after == 0 || after > last {
        return Some(after.min(last));
    }
    let (before, behind) = (at.abs_diff(path.times[after - 1]), path.times[after].abs_diff(at));
    Some(if before <= behind { after - 1 } else { after })
}

/// Slope of the chord from point `i` to point `i + 1`, a coordinate at a time, per microsecond.
fn slopes<'a>(path: &Path<'a>, i: usize) -> impl Iterator<Item = f64> + use<'a> {
    let dt = elapsed(path.times[i], path.times[i + 1]);
    path.point(i + 1)
        .iter()
        .zip(path.point(i))
        .map(move |(&b, &a)| (f64::from(b) - f64::from(a)) / dt)
}

/// Derivative at the point nearest to `at`: `D` coordinates per `unit`. `None` for fewer than two points.
///
/// Inside, the second-order three-point difference on uneven spacing, which is the mean of the two chord
/// slopes, each weighted by the length of the *other* interval (Fornberg 1988); at the ends the one-sided
/// difference. Equals `numpy.gradient(x, t, axis=0)`.
pub fn velocity(path: &Path, at: Option<i64>, unit: f64) -> Option<Vec<f64>> {
    let (n, i) = (path.len(), nearest(path, at)?);
    if n < 2 {
        return None;
    }
    if i == 0 || i == n - 1 {
        return Some(slopes(path, i.min(n - 2)).map(|s| s * unit).collect());
    }
    let (before, after) = (
        elapsed(path.times[i - 1], path.times[i]),
        elapsed(path.times[i], path.times[i + 1]),
    );
    let weight = before / (before + after);
    Some(
        slopes(path, i - 1)
            .zip(slopes(path, i))
            .map(|(l, r)| (l * (1.0 - weight) + r * weight) * unit)
            .collect(),
    )
}

/// Euclidean norm of [`velocity`].
pub fn speed(path: &Path, at: Option<i64>, unit: f64) -> Option<f64> {
    let v = velocity(path, at, unit)?;
    Some(v.iter().map(|c| c * c).sum::<f64>().sqrt())
}

/// Path length divided by duration, per `unit`. `None` for fewer than two points.
pub fn mean_speed(path: &Path, unit: f64) -> Option<f64> {
    let length = path_length(path)?;
    let duration = elapsed(*path.times.first()?, *path.times.last()?);
    Some(length / duration * unit)
}

/// Second derivative at the point nearest to `at`: `D` coordinates per `unit` squared.
///
/// Twice the second divided difference, `2 ((x₊ - x)/h₊ - (x - x₋)/h₋) / (h₋ + h₊)`; at either end that of
/// the nearest interior point. `None` for fewer than three points.
pub fn acceleration(path: &Path, at: Option<i64>, unit: f64) -> Option<Vec<f64>> {
    let (n, i) = (path.len(), nearest(path, at)?);
    if n < 3 {
        return None;
    }
    let i = i.clamp(1, n - 2);
    let half_span =
        0.5 * (elapsed(path.times[i - 1], path.times[i]) + elapsed(path.times[i], path.times[i + 1]));
    let per_unit = |slope: f64| slope * unit;
    Some(
        slopes(path, i - 1)
            .zip(slopes(path, i))
            .map(|(l, r)| (per_unit(r) - per_unit(l)) / half_span * unit)
            .collect(),
    )
}

/// Sum of the Euclidean lengths of the steps. `None` for fewer than two points.
pub fn path_length(path: &Path) -> Option<f64> {
    if path.len() < 2 {
        return None;
    }
    Some(step_lengths(path).sum())
}

/// Euclidean length of each of the `n - 1` steps.
pub(crate) fn step_lengths<'a>(path: &Path<'a>) -> impl Iterator<Item = f64> + use<'a> {
    path.points()
        .zip(path.points().skip(1))
        .map(|(a, b)| distance(a, b))
}

/// Distance of first and last point divided by the path length, in [0, 1]: 1 is straight ahead.
///
/// `None` for fewer than two points and for a path of length zero.
pub fn efficiency(path: &Path) -> Option<f64> {
    let length = path_length(path)?;
    if length == 0.0 {
        return None;
    }
    Some((distance(path.point(0), path.point(path.len() - 1)) / length).clamp(0.0, 1.0))
}

/// Where `ts` falls: the point it hits or, with the fraction of the way to the next, the one before it.
fn locate(path: &Path, ts: i64) -> Option<(usize, f64)> {
    let after = path.times.partition_point(|&t| t <= ts);
    let i = after.checked_sub(1)?;
    if path.times[i] == ts {
        return Some((i, 0.0));
    }
    let next = *path.times.get(after)?;
    Some((i, elapsed(path.times[i], ts) / elapsed(path.times[i], next)))
}

/// Coordinates at a place that [`locate`] found; a convex combination, so never beyond the two points.
fn interpolate<'a>(path: &Path<'a>, (i, weight): (usize, f64)) -> impl Iterator<Item = f64> + use<'a> {
    let from = path.point(i);
    let to = if weight > 0.0 { path.point(i + 1) } else { from };
    from.iter()
        .zip(to)
        .map(move |(&a, &b)| f64::from(a) * (1.0 - weight) + f64::from(b) * weight)
}

/// Linear interpolation at time `ts`: `D` coordinates, exact at the points, `None` before the first and
/// after the last.
pub fn value_at(path: &Path, ts: i64) -> Option<Vec<f64>> {
    Some(interpolate(path, locate(path, ts)?).collect())
}

/// The path interpolated linearly at `start, start + step, ...` up to its end: times and row-major values.
///
/// An empty path gives an empty one. A step that is not positive is [`Error::InvalidParameter`]; more than
/// `limit` points are [`Error::TooManyPoints`], found out before anything is allocated.
pub fn resample(path: &Path, step_us: i64, limit: usize) -> Result<(Vec<i64>, Vec<f32>), Error> {
    let step = u64::try_from(step_us)
        .ok()
        .filter(|&s| s > 0)
        .ok_or_else(|| Error::InvalidParameter {
            name: "step",
            value: format!("{step_us} microseconds"),
            expected: "a positive length of time",
        })?;
    let (Some(&start), Some(&end)) = (path.times.first(), path.times.last()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let steps = end.abs_diff(start) / step;
    let wanted = u128::from(steps) + 1;
    if wanted > limit as u128 {
        return Err(Error::TooManyPoints { wanted, limit });
    }
    // Bounded by `limit`, which fits in memory's address space.
    let points = steps as usize + 1;
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let bytes = points * (8 + 4 * path.dims);
    times
        .try_reserve_exact(points)
        .map_err(|_| Error::OutOfMemory { bytes })?;
    values
        .try_reserve_exact(points * path.dims)
        .map_err(|_| Error::OutOfMemory { bytes })?;
    times.extend((0..=steps).map(|k| start.saturating_add_unsigned(k * step)));
    let mut before = 0;
    for &ts in &times {
        while before + 1 < path.len() && path.times[before + 1] <= ts {
            before += 1;
        }
        let weight = match path.times.get(before + 1) {
            Some(&next) => elapsed(path.times[before], ts) / elapsed(path.times[before], next),
            None => 0.0,
        };
        values.extend(interpolate(path, (before, weight)).map(|x| x as f32));
    }
    Ok((times, values))
}
