//! The noise of a trajectory, from the differences of successive points.

use crate::Path;
use crate::kernels;

/// `tr Sigma`: half the mean squared length of the successive differences that cross none of `breaks`
/// (sorted; each the number of points before it), so that no found change inflates it (von Neumann 1941).
///
/// When every difference crosses a break, half the median of all of them; 0 below two points.
pub(crate) fn noise_variance(path: Path<'_>, breaks: &[usize]) -> f64 {
    let mut next = breaks.iter().copied().peekable();
    let (mut sum, mut count) = (0.0, 0usize);
    for i in 1..path.len() {
        if next.next_if_eq(&i).is_none() {
            sum += kernels::squared_distance(path.point(i - 1), path.point(i));
            count += 1;
        }
    }
    if count > 0 {
        return sum / count as f64 / 2.0;
    }
    let mut all: Vec<f64> = (1..path.len())
        .map(|i| kernels::squared_distance(path.point(i - 1), path.point(i)))
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).map_or(0.0, |median| median / 2.0)
}
