//! Which change points next to a boundary may as well be at it.

use crate::gram::mean_point;
use crate::kernels::dot_f64;
use crate::{Path, noise};

/// Odds above which a place is told from another.
const ODDS: f64 = 20.0;
/// Points from which the noise along a jump is measured; with fewer it is taken as an average direction's.
const ENOUGH: usize = 6;

/// The change points `found` in `path` that are not at one of the places `at`. Both are sorted.
///
/// One nearer than `min_size` to such a place cannot be told from it; one farther is taken to be at it when the
/// points between the two are not clearly of one side: log odds of normal noise along the jump below `ln 20`.
pub(super) fn away(
    path: Path<'_>,
    found: &[usize],
    at: &[usize],
    min_size: usize,
    directions: f64,
) -> Vec<usize> {
    let trace = noise::noise_variance(path, found);
    let kept = found.iter().enumerate().filter(|&(number, &index)| {
        let start = number.checked_sub(1).map_or(0, |i| found[i]);
        let end = found.get(number + 1).copied().unwrap_or(path.len());
        let next = at.partition_point(|&place| place < index);
        let near = [next.checked_sub(1).map(|i| at[i]), at.get(next).copied()];
        !near.into_iter().flatten().any(|place| {
            place.abs_diff(index) < min_size
                || place > start && place < end && {
                    let odds = log_odds(path, start, index, place, end, trace / directions);
                    odds < ODDS.ln()
                }
        })
    });
    kept.map(|(_, &index)| index).collect()
}

/// Log odds of a change at `index` against one at `place`, both between `start` and `end`.
fn log_odds(path: Path<'_>, start: usize, index: usize, place: usize, end: usize, typical: f64) -> f64 {
    let (first, last) = (index.min(place), index.max(place));
    let (before, after) = (
        mean_point(path.slice(start..first)),
        mean_point(path.slice(last..end)),
    );
    let jump: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let square = dot_f64(&jump, &jump);
    if square <= 0.0 {
        return 0.0;
    }
    let along = |i: usize| -> f64 {
        let from = path.point(i).iter().zip(&before).zip(&jump);
        from.map(|((&x, b), j)| (f64::from(x) - b) * j).sum::<f64>() / square
    };
    let outside = (first - start) + (end - last);
    let deviation = (start..first).map(|i| along(i).powi(2)).sum::<f64>()
        + (last..end).map(|i| (along(i) - 1.0).powi(2)).sum::<f64>();
    let variance = if outside >= ENOUGH {
        deviation / (outside - 2) as f64
    } else {
        typical / square
    };
    if variance <= 0.0 {
        return f64::INFINITY;
    }
    let sum: f64 = (first..last).map(|i| 1.0 - 2.0 * along(i)).sum();
    // Points between belong to the side after when the earlier of the two is the change.
    let for_later = sum / (2.0 * variance);
    if index == last { for_later } else { -for_later }
}
