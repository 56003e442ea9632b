//! Which change points next to a boundary may as well be at it.

use crate::Path;
use crate::gram::mean_point;
use crate::kernels::dot_f64;

/// Odds above which a place is told from another.
const ODDS: f64 = 3.0;

/// A change point that is not counted as a boundary's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Away {
    pub(super) index: usize,
    /// The place it could be at instead, with the probability that it is.
    pub(super) or_at: Option<(usize, f64)>,
}

/// The change points `found` in `path` that are not at one of the places `at`. Both are sorted.
///
/// One nearer than `min_size` to such a place cannot be told from it. One farther is taken to be at it when a
/// change there costs little more, in units of the noise along the jump: normal log odds below `ln 3`.
pub(super) fn away(path: Path<'_>, found: &[usize], at: &[usize], min_size: usize) -> Vec<Away> {
    let mut away = Vec::with_capacity(found.len());
    for (number, &index) in found.iter().enumerate() {
        let start = number.checked_sub(1).map_or(0, |i| found[i]);
        let end = found.get(number + 1).copied().unwrap_or(path.len());
        let next = at.partition_point(|&place| place < index);
        let near = [next.checked_sub(1).map(|i| at[i]), at.get(next).copied()];
        let odds = |place: usize| {
            let reachable = place >= start + min_size && place + min_size <= end;
            match (place.abs_diff(index) < min_size, reachable) {
                (true, _) => Some((place, f64::NEG_INFINITY)),
                (false, true) => Some((place, log_odds(path, start, index, place, end))),
                (false, false) => None,
            }
        };
        let likeliest = near
            .into_iter()
            .flatten()
            .filter_map(odds)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if likeliest.is_none_or(|(_, odds)| odds >= ODDS.ln()) {
            let or_at = likeliest.map(|(place, odds)| (place, 1.0 / (1.0 + odds.exp())));
            away.push(Away { index, or_at });
        }
    }
    away
}

/// Log odds of a change at `index` against one at `place`, the only one between `start` and `end`.
fn log_odds(path: Path<'_>, start: usize, index: usize, place: usize, end: usize) -> f64 {
    let split = |at: usize| {
        let (before, after) = (mean_point(path.slice(start..at)), mean_point(path.slice(at..end)));
        let jump: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let (n, m) = ((at - start) as f64, (end - at) as f64);
        (n * m / (n + m) * dot_f64(&jump, &jump), before, after, jump)
    };
    let (gain, before, after, jump) = split(index);
    let (gain_there, ..) = split(place);
    let square = dot_f64(&jump, &jump);
    let residual = |i: usize| {
        let mean = if i < index { &before } else { &after };
        let off = path.point(i).iter().zip(mean).zip(&jump);
        off.map(|((&x, m), j)| (f64::from(x) - m) * j)
            .sum::<f64>()
            .powi(2)
            / square
    };
    let variance = (start..end).map(residual).sum::<f64>() / (end - start).saturating_sub(2).max(1) as f64;
    if variance > 0.0 {
        (gain - gain_there) / (2.0 * variance)
    } else {
        f64::INFINITY
    }
}
