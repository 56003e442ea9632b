//! The trajectory with what the errors of its alignment explain taken out: jumps at boundaries shortened, the
//! noise of all stretches brought to one level.

use super::{Boundary, ErrorModel};
use crate::gram::mean_point;
use crate::kernels::{dot_f64, squared_distance};
use crate::{Error, Path};
use std::ops::Range;

/// Differences that the noise of all stretches counts for in that of one.
const POOLED: f64 = 2.0;
/// Points between two calls of `interrupt`.
const POINTS: usize = 256;
/// Differences that are compared in pairs for the directions of the noise.
const COMPARED: usize = 64;

/// A path cut at its boundaries.
pub(super) struct Stretches<'a> {
    pub(super) path: Path<'a>,
    boundaries: &'a [Boundary],
    /// 0, the boundaries, and the number of points.
    bounds: Vec<usize>,
    min_size: usize,
}

/// The noise of every stretch.
pub(super) struct Levels {
    /// `tr Sigma`, one for each stretch.
    pub(super) noise: Vec<f64>,
    /// What brings deviations in each stretch to the noise of the canonical version.
    pub(super) scale: Vec<f64>,
    /// Effective number of directions.
    pub(super) directions: f64,
}

impl<'a> Stretches<'a> {
    pub(super) fn new(path: Path<'a>, boundaries: &'a [Boundary], min_size: usize) -> Self {
        let mut bounds = vec![0];
        bounds.extend(boundaries.iter().map(|b| b.index));
        bounds.push(path.len());
        Stretches {
            path,
            boundaries,
            bounds,
            min_size,
        }
    }

    /// Least number of points of a segment.
    pub(super) fn min_size(&self) -> usize {
        self.min_size
    }

    /// The points on the two sides of boundary `number`, back and on to the next of `breaks` and of the
    /// boundaries, but over boundaries that would leave fewer than `min_size` points.
    pub(super) fn sides(&self, number: usize, breaks: &[usize]) -> (Range<usize>, Range<usize>) {
        let at = self.boundaries[number].index;
        let before = |list: &[usize], room: usize| {
            let end = at.saturating_sub(room);
            let last = list.partition_point(|&b| b <= end);
            last.checked_sub(1).map_or(0, |i| list[i])
        };
        let after = |list: &[usize], room: usize| {
            let first = list.partition_point(|&b| b < at + room);
            list.get(first).copied().unwrap_or(self.path.len())
        };
        let start = before(&self.bounds, self.min_size).max(before(breaks, 1));
        let end = after(&self.bounds, self.min_size).min(after(breaks, 1));
        (start..at, at..end)
    }

    /// Mean after minus mean before.
    pub(super) fn jump(&self, (before, after): &(Range<usize>, Range<usize>)) -> Vec<f64> {
        let mut jump = mean_point(self.path.slice(after.clone()));
        let from = mean_point(self.path.slice(before.clone()));
        jump.iter_mut().zip(from).for_each(|(j, f)| *j -= f);
        jump
    }

    /// The error of boundary `number`, and of those that its sides reach over.
    pub(super) fn error(&self, number: usize, (before, after): &(Range<usize>, Range<usize>)) -> ErrorModel {
        let first = self.boundaries.partition_point(|b| b.index <= before.start);
        let end = self.boundaries.partition_point(|b| b.index < after.end);
        let others = (first..end).filter(|&other| other != number);
        others.fold(self.boundaries[number].error, |sum, other| {
            sum.plus(&self.boundaries[other].error)
        })
    }

    /// By what a jump is multiplied to be as long as it is expected to be in the canonical version.
    fn share(&self, number: usize, sides: &(Range<usize>, Range<usize>), levels: &Levels) -> f64 {
        let jump = self.jump(sides);
        let square = dot_f64(&jump, &jump);
        let error = self.error(number, sides);
        if square <= error.between() {
            return 0.0;
        }
        let noise =
            levels.noise[number] / sides.0.len() as f64 + levels.noise[number + 1] / sides.1.len() as f64;
        let left = square - error.between();
        let moved = (left - noise).max(0.0) / error.shift_kept();
        ((moved + left.min(noise)) / square).sqrt()
    }

    /// Which stretch point `index` is in.
    pub(super) fn stretch_of(&self, index: usize) -> usize {
        self.bounds.partition_point(|&b| b <= index).saturating_sub(1)
    }

    /// The noise of each stretch from its successive differences that cross none of `breaks`, a little drawn
    /// towards that of all.
    pub(super) fn levels(&self, breaks: &[usize], interrupt: &mut dyn FnMut()) -> Levels {
        let mut cuts: Vec<usize> = self.bounds.iter().chain(breaks).copied().collect();
        cuts.sort_unstable();
        let inner: Vec<usize> = (1..self.path.len())
            .filter(|i| cuts.binary_search(i).is_err())
            .collect();
        let mut sums = vec![(0.0, 0.0); self.bounds.len() - 1];
        for &i in &inner {
            if i.is_multiple_of(POINTS) {
                interrupt();
            }
            let (sum, count) = &mut sums[self.stretch_of(i)];
            *sum += squared_distance(self.path.point(i - 1), self.path.point(i)) / 2.0;
            *count += 1.0;
        }
        let pooled = sums.iter().map(|s| s.0).sum::<f64>() / (inner.len().max(1) as f64);
        let noise: Vec<f64> = sums
            .iter()
            .map(|(sum, count)| (sum + POOLED * pooled) / (count + POOLED))
            .collect();
        let mut kept = vec![1.0];
        for (number, boundary) in self.boundaries.iter().enumerate() {
            let step = boundary.error.noise_kept();
            kept.push(if number == 0 {
                step
            } else {
                onwards(kept[number], step, noise[number + 1] / noise[number])
            });
        }
        Levels {
            noise,
            scale: kept.into_iter().map(|kept: f64| (1.0 / kept).sqrt()).collect(),
            directions: self.directions(&inner),
        }
    }

    /// `(tr Sigma)^2 / tr Sigma^2`, from products of differences that share no point; 1 when there are too
    /// few.
    fn directions(&self, inner: &[usize]) -> f64 {
        let kept = inner.len().min(COMPARED);
        let differences: Vec<(usize, Vec<f64>)> = (0..kept)
            .map(|k| inner[k * inner.len() / kept])
            .map(|i| {
                let (a, b) = (self.path.point(i - 1), self.path.point(i));
                (
                    i,
                    a.iter()
                        .zip(b)
                        .map(|(&a, &b)| f64::from(b) - f64::from(a))
                        .collect(),
                )
            })
            .collect();
        let (mut products, mut squares) = (0.0, 0.0);
        for (k, (i, a)) in differences.iter().enumerate() {
            for (_, b) in differences[..k].iter().filter(|(j, _)| j + 1 < *i) {
                products += dot_f64(a, b).powi(2);
                squares += dot_f64(a, a) * dot_f64(b, b);
            }
        }
        if products > 0.0 {
            (squares / products).clamp(1.0, self.path.dims as f64)
        } else {
            1.0
        }
    }

    /// The values of the path without what the errors explain, given where else it breaks.
    ///
    /// Of the squared length of a jump, what its error has on average is taken away, and what a change has
    /// beyond noise is divided by the part of it that the projection keeps: its length is then what the
    /// canonical version shows on average. Deviations from the mean of a stretch are scaled likewise.
    pub(super) fn levelled(
        &self,
        breaks: &[usize],
        levels: &Levels,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Vec<f32>, Error> {
        let mut values = room(self.path.values.len())?;
        let mut offset = vec![0.0; self.path.dims];
        for (stretch, pair) in self.bounds.windows(2).enumerate() {
            interrupt();
            if let Some(number) = stretch.checked_sub(1) {
                let sides = self.sides(number, breaks);
                let removed = 1.0 - self.share(number, &sides, levels);
                let jump = self.jump(&sides);
                offset.iter_mut().zip(&jump).for_each(|(o, j)| *o += removed * j);
            }
            let scale = levels.scale[stretch];
            let points = self.path.slice(pair[0]..pair[1]);
            let mean = mean_point(points);
            for (i, point) in points.points().enumerate() {
                if i.is_multiple_of(POINTS) {
                    interrupt();
                }
                values.extend(
                    point
                        .iter()
                        .zip(&mean)
                        .zip(&offset)
                        .map(|((&x, m), o)| (m + scale * (f64::from(x) - m) - o) as f32),
                );
            }
        }
        Ok(values)
    }
}

/// The share of noise kept beyond a boundary, from that before it. The boundary may lead on to another
/// version or back to an earlier one: of the two the one that explains the ratio of the noises better.
fn onwards(before: f64, step: f64, ratio: f64) -> f64 {
    let off = |explained: f64| (ratio / explained).ln().abs();
    if off(1.0 / step) < off(step) {
        before / step
    } else {
        before * step
    }
}

/// Room for `len` numbers.
pub(super) fn room(len: usize) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        bytes: len.saturating_mul(size_of::<f32>()),
    })?;
    Ok(values)
}
