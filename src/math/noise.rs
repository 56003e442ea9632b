//! The noise of a trajectory, from the differences of successive points.

use crate::Path;
use crate::kernels;

/// Share of the differences, the largest, that the robust scale leaves out.
const TRIMMED: f64 = 0.1;
/// Autocorrelation above which a series is not told from one that wanders.
pub(crate) const MOST_PHI: f64 = 0.95;

/// `tr Sigma`: half the mean squared length of the successive differences that cross none of `breaks`
/// (sorted; each the number of points before it), so that no found change inflates it (von Neumann 1941).
///
/// When every difference crosses a break, half the median of all of them; 0 below two points.
pub(crate) fn noise_variance(path: Path<'_>, breaks: &[usize]) -> f64 {
    let distance = |i: usize, j: usize| kernels::squared_distance(path.point(i), path.point(j));
    let within = differences(path.len(), 1, breaks, distance);
    if !within.is_empty() {
        return within.iter().sum::<f64>() / within.len() as f64 / 2.0;
    }
    let mut all = differences(path.len(), 1, &[], distance);
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).map_or(0.0, |median| median / 2.0)
}

/// Squared distances of points `lag` apart with no break between them.
fn differences(n: usize, lag: usize, breaks: &[usize], distance: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut next = breaks.iter().copied().peekable();
    (lag..n)
        .filter_map(|i| {
            while next.next_if(|&b| b + lag <= i).is_some() {}
            next.peek().is_none_or(|&b| b > i).then(|| distance(i - lag, i))
        })
        .collect()
}

/// A robust scale of the noise: the variance of one point, up to a factor that is the same for the data and
/// for the draws it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Half the trimmed mean squared successive difference.
    pub(crate) successive: f64,
    /// First autocorrelation, 0 where none is looked for.
    pub(crate) phi: f64,
}

impl Scale {
    pub(crate) fn of(
        n: usize,
        breaks: &[usize],
        autocorrelated: bool,
        distance: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let successive = trimmed_half_mean(differences(n, 1, breaks, &distance));
        if !autocorrelated || successive <= 0.0 {
            return Scale { successive, phi: 0.0 };
        }
        // For AR(1), Var(x_{t+2} - x_t) / Var(x_{t+1} - x_t) = 1 + phi.
        let over_one = trimmed_half_mean(differences(n, 2, breaks, &distance));
        Scale {
            successive,
            phi: (over_one / successive - 1.0).clamp(0.0, MOST_PHI),
        }
    }

    /// The long-run variance of an AR(1) with these; the variance itself when `phi` is 0.
    pub(crate) fn value(&self) -> f64 {
        self.successive * (1.0 + self.phi) / (1.0 - self.phi).powi(2)
    }
}

/// Half the mean without the largest tenth; 0 of nothing.
fn trimmed_half_mean(mut values: Vec<f64>) -> f64 {
    let Some(most) = values.len().checked_sub(1) else {
        return 0.0;
    };
    let kept = values.len() - ((values.len() as f64 * TRIMMED).ceil() as usize).min(most);
    values.select_nth_unstable_by(kept.min(most), f64::total_cmp);
    (values[..kept].iter().sum::<f64>() / kept as f64 / 2.0).max(0.0)
}
