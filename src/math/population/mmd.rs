//! Maximum mean discrepancy (Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012).

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::{PERMUTATIONS, Shift, choose, permuted, seeded};
use crate::Path;
use crate::kernels::squared_distance;

/// Most points of a sample: the kernel matrix of both has a square of twice as many numbers.
pub(super) const MAX_POINTS: usize = 1000;
/// Permutations whose sums are taken together.
const BATCH: usize = 64;
/// Sums that differ by less than this share of the terms they are of differ by rounding.
const ROUNDING: f64 = 1e-12;

/// The statistic is the unbiased estimate of MMD² under the Gaussian kernel `exp(-d² / 2s²)`, `s` the median
/// distance of the points of both samples; the p-value is that of a permutation test.
pub(super) fn shift(baseline: &Path, current: &Path, interrupt: &mut dyn FnMut()) -> Option<Shift> {
    let sizes = (baseline.len(), current.len());
    if sizes.0 < 2 || sizes.1 < 2 {
        return None;
    }
    let kernel = Kernel::of(baseline, current, interrupt);
    let found = kernel.discrepancies(&[(0..sizes.0).collect()])[0];
    let (mut rng, mut order) = (seeded(kernel.points), (0..kernel.points).collect::<Vec<_>>());
    let (mut as_large, mut done) = (0, 0);
    while done < PERMUTATIONS {
        interrupt();
        let batch = BATCH.min(PERMUTATIONS - done);
        let chosen: Vec<Vec<usize>> = (0..batch)
            .map(|_| {
                choose(&mut order, sizes.0, &mut rng);
                order[..sizes.0].to_vec()
            })
            .collect();
        let drawn = kernel.discrepancies(&chosen);
        as_large += drawn.iter().filter(|&&d| d >= found - ROUNDING).count();
        done += batch;
    }
    Some(Shift {
        statistic: found,
        p_value: permuted(as_large),
    })
}

/// The kernel between all points of both samples, those of the baseline first, with zeros in the diagonal.
struct Kernel {
    points: usize,
    values: Vec<f64>,
    /// Sum of each row, and of them all.
    rows: Vec<f64>,
    total: f64,
}

impl Kernel {
    fn of(baseline: &Path, current: &Path, interrupt: &mut dyn FnMut()) -> Self {
        let all: Vec<&[f32]> = baseline.points().chain(current.points()).collect();
        let n = all.len();
        let mut squares = Vec::with_capacity(n * (n - 1) / 2);
        for (i, a) in all.iter().enumerate() {
            squares.extend(all[..i].iter().map(|b| squared_distance(a, b)));
            interrupt();
        }
        let half_gamma = 0.5 / typical(&mut squares.clone());
        let mut values = vec![0.0; n * n];
        for (i, row) in (0..n).map(|i| (i, &squares[i * i.saturating_sub(1) / 2..][..i])) {
            for (j, square) in row.iter().enumerate() {
                let value = (-square * half_gamma).exp();
                (values[i * n + j], values[j * n + i]) = (value, value);
            }
        }
        let rows: Vec<f64> = values.chunks_exact(n).map(|row| row.iter().sum()).collect();
        Kernel {
            points: n,
            total: rows.iter().sum(),
            values,
            rows,
        }
    }

    /// The unbiased MMD² of each choice of points, all of one size, against the points left.
    fn discrepancies(&self, chosen: &[Vec<usize>]) -> Vec<f64> {
        let (n, columns) = (self.points, chosen.len());
        let mut marks = vec![0.0; n * columns];
        for (column, points) in marks.chunks_exact_mut(n).zip(chosen) {
            points.iter().for_each(|&i| column[i] = 1.0);
        }
        let mut sums = vec![0.0; n * columns];
        matmul(
            MatMut::from_column_major_slice_mut(&mut sums, n, columns),
            Accum::Replace,
            MatRef::from_column_major_slice(&self.values, n, n),
            MatRef::from_column_major_slice(&marks, n, columns),
            1.0,
            Par::Seq,
        );
        let pairs = |points: f64| points * (points - 1.0);
        chosen
            .iter()
            .zip(sums.chunks_exact(n))
            .map(|(points, sums)| {
                let within: f64 = points.iter().map(|&i| sums[i]).sum();
                let of_rows: f64 = points.iter().map(|&i| self.rows[i]).sum();
                let across = of_rows - within;
                let left = self.total - of_rows - across;
                let (m, rest) = (points.len() as f64, (n - points.len()) as f64);
                within / pairs(m) + left / pairs(rest) - 2.0 * across / (m * rest)
            })
            .collect()
    }
}

/// The median, the mean where that is 0, and 1 where that is too.
fn typical(squares: &mut [f64]) -> f64 {
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let middle = squares.len() / 2;
    let even = squares.len().is_multiple_of(2);
    let (below, &mut upper, _) = squares.select_nth_unstable_by(middle, f64::total_cmp);
    // As of the distances themselves, which the squares keep the order of.
    let median = if even {
        let lower = below.iter().copied().fold(0.0, f64::max);
        ((lower.sqrt() + upper.sqrt()) / 2.0).powi(2)
    } else {
        upper
    };
    [median, mean]
        .into_iter()
        .find(|&square| square > 0.0)
        .unwrap_or(1.0)
}
