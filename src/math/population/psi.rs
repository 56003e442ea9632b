//! Population stability index along the leading principal components.

use super::{PERMUTATIONS, Shift, choose, permuted, seeded};
use crate::Path;
use crate::kernels::{centre, dot_f64};
use crate::pca::pca;

/// Leading components that are looked at; fewer where the baseline has fewer.
const COMPONENTS: usize = 5;
const BINS: usize = 10;
/// Added to every count, so that an empty bin has a logarithm.
const SMOOTHING: f64 = 0.5;

/// The statistic is the largest population stability index `Σ (a - e) ln(a / e)` of any of the leading components,
/// with `e` the shares of the baseline and `a` those of the other sample in the baseline's deciles: below 0.1 is
/// usually read as stable, above 0.25 as shifted. Sampling alone adds about `9 (1/n + 1/m)`.
///
/// Components are learned from every other point of the baseline and the deciles from the rest: scores of points
/// from which components were learned spread more widely than those of new ones. The p-value is of a permutation
/// test of the rest and the other sample, of the largest index, so that having several components is accounted for.
pub(super) fn shift(baseline: &Path, current: &Path, interrupt: &mut dyn FnMut()) -> Option<Shift> {
    if baseline.len() < 2 * BINS || current.len() < BINS {
        return None;
    }
    let dims = baseline.dims;
    let [learned, rest] =
        [0, 1].map(|parity| -> Vec<&[f32]> { baseline.points().skip(parity).step_by(2).collect() });
    let times: Vec<i64> = (0..learned.len() as i64).collect();
    let components = pca(&Path::new(&times, &learned.concat(), dims), COMPONENTS.min(dims));
    let all: Vec<&[f32]> = rest.iter().copied().chain(current.points()).collect();
    let columns: Vec<Column> = components
        .axes
        .chunks_exact(dims.max(1))
        .zip(&components.ratios)
        .filter(|(_, ratio)| **ratio > 0.0)
        .map(|(axis, _)| Column::of(&all, axis, &components.mean))
        .collect();
    if columns.is_empty() {
        return None;
    }

    let mut from_baseline = vec![false; all.len()];
    from_baseline[..rest.len()].fill(true);
    let largest = |marks: &[bool]| {
        let indexes = columns.iter().map(|column| column.index(marks, rest.len()));
        indexes.fold(0.0, f64::max)
    };
    let found = largest(&from_baseline);
    let (mut rng, mut order) = (seeded(all.len()), (0..all.len()).collect::<Vec<_>>());
    let mut as_large = 0;
    for _ in 0..PERMUTATIONS {
        interrupt();
        choose(&mut order, rest.len(), &mut rng);
        from_baseline.fill(false);
        order[..rest.len()].iter().for_each(|&i| from_baseline[i] = true);
        as_large += usize::from(largest(&from_baseline) >= found);
    }
    Some(Shift {
        statistic: found,
        p_value: permuted(as_large),
    })
}

/// The points in the order of their scores along one axis.
struct Column {
    order: Vec<usize>,
    /// Where in the order each run of equal scores ends.
    ends: Vec<usize>,
}

impl Column {
    fn of(points: &[&[f32]], axis: &[f64], mean: &[f64]) -> Self {
        let mut centred = vec![0.0; mean.len()];
        let scores: Vec<f64> = points
            .iter()
            .map(|point| {
                centre(point, mean, &mut centred);
                dot_f64(&centred, axis)
            })
            .collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let ends = (1..=order.len())
            .filter(|&i| i == order.len() || scores[order[i]] > scores[order[i - 1]])
            .collect();
        Column { order, ends }
    }

    /// The index of the points not marked against the `marked` ones that are.
    ///
    /// The edges of the bins are order statistics of the marked points, number `k marked / 10` counted from 0; a
    /// point is in the bin of the last edge that is not above it. Bins that nothing falls into, of equal edges, do
    /// not count.
    fn index(&self, marks: &[bool], marked: usize) -> f64 {
        let edges: [usize; BINS - 1] = std::array::from_fn(|k| (k + 1) * marked / BINS);
        let mut counts = [[0usize; 2]; BINS];
        let (mut seen, mut bin, mut start) = (0, 0, 0);
        for &end in &self.ends {
            let run = &self.order[start..end];
            let of_run = run.iter().filter(|&&i| marks[i]).count();
            seen += of_run;
            while bin < edges.len() && edges[bin] < seen {
                bin += 1;
            }
            counts[bin][0] += of_run;
            counts[bin][1] += run.len() - of_run;
            start = end;
        }
        let filled: Vec<[usize; 2]> = counts.into_iter().filter(|count| *count != [0, 0]).collect();
        let padding = SMOOTHING * filled.len() as f64;
        let totals = [marked, self.order.len() - marked].map(|count| count as f64 + padding);
        let term = |count: &[usize; 2]| {
            let expected = (count[0] as f64 + SMOOTHING) / totals[0];
            let actual = (count[1] as f64 + SMOOTHING) / totals[1];
            (actual - expected) * (actual / expected).ln()
        };
        filled.iter().map(term).sum()
    }
}
