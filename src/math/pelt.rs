//! Exact penalised segmentation by PELT (Killick, Fearnhead, Eckley 2012) over a kernel cost.
//!
//! Columns of the kernel matrix stream by; `block[s]` holds the sum of `k` over `[s, t) x [s, t)`, so that a
//! cost is O(1) once its column is there (Celisse et al. 2018). Time O(n^2) at worst, memory O(n).

use crate::gram::{Columns, GROUP};
use multiversion::multiversion;

/// Relative to the sum of `k(i, i)`: two segmentations closer than this are equal, and the one whose last segment
/// is longest is taken. It is far above what rounding leaves and far below any difference in data.
const TIE: f64 = 1e-12;

/// The breaks (each the number of points before it) of the segmentation that minimises
/// `sum of costs + penalty * number of breaks`, every segment at least `min_size` points long.
///
/// Pruning waits `min_size` columns: a start that is beaten at `t` may still be the best for the ends
/// where `t` itself may not start a segment yet.
pub(crate) fn pelt(
    columns: &mut dyn Columns,
    penalty: f64,
    min_size: usize,
    interrupt: &mut dyn FnMut(),
) -> Vec<usize> {
    let n = columns.len();
    if n < 2 * min_size {
        return Vec::new();
    }
    let mut search = Search::new(n, penalty, min_size);
    let mut panel = Vec::new();
    let mut start = 0;
    while start < n {
        let cols = start..(start + columns.panel_width()).min(n);
        let from = search.first_start(cols.start + 1) / GROUP * GROUP;
        let stride = columns.panel(from..cols.end, cols.clone(), &mut panel);
        for (column, t) in panel.chunks(stride).zip(cols.clone()) {
            let first = search.first_start(t + 1);
            search.advance(first, t, &column[first - from..=t - from]);
        }
        interrupt();
        start = cols.end;
    }
    search.breaks()
}

struct Search {
    penalty: f64,
    min_size: usize,
    /// `trace[t]`: sum of the diagonal before `t`.
    trace: Vec<f64>,
    /// `best[t]`: least cost of the points before `t`, plus a penalty for each segment.
    best: Vec<f64>,
    /// `base[s] = best[s] - trace[s]`, infinite where no segment may start.
    base: Vec<f64>,
    block: Vec<f64>,
    /// `reciprocal[n - L] = 1 / L`, so that starts in order meet it in order.
    reciprocal: Vec<f64>,
    candidates: Vec<f64>,
    /// `alive[t]`: no start before it is needed for ends from `t` on.
    alive: Vec<usize>,
    last: Vec<usize>,
}

impl Search {
    fn new(n: usize, penalty: f64, min_size: usize) -> Self {
        let mut base = vec![f64::INFINITY; n + 1];
        base[0] = 0.0;
        Search {
            penalty,
            min_size,
            trace: vec![0.0; n + 1],
            best: vec![0.0; n + 1],
            base,
            block: vec![0.0; n],
            reciprocal: (0..n).map(|i| 1.0 / (n - i) as f64).collect(),
            candidates: vec![0.0; n],
            alive: vec![0; n + 1],
            last: vec![0; n + 1],
        }
    }

    /// The first start that a segment ending at `end` or later may need.
    fn first_start(&self, end: usize) -> usize {
        self.alive[end - 1].max(self.alive[end])
    }

    /// Takes in point `t`; `column` is `k(first.., t)` down to the diagonal.
    fn advance(&mut self, first: usize, t: usize, column: &[f64]) {
        let end = t + 1;
        self.trace[end] = self.trace[t] + column[t - first];
        let tolerance = TIE * self.trace[end];
        self.alive[end] = self.first_start(end);
        add_column(&mut self.block[first..=t], column);
        if end < self.min_size {
            return;
        }
        let starts = first..end - self.min_size + 1;
        let n = self.block.len();
        let candidates = &mut self.candidates[..starts.len()];
        let least = segment_costs(
            candidates,
            &self.base[starts.clone()],
            &self.block[starts.clone()],
            &self.reciprocal[n - end + first..],
        );
        let longest = candidates
            .iter()
            .position(|&c| c <= least + tolerance)
            .unwrap_or(0);
        self.last[end] = first + longest;
        let best = least + self.trace[end] + self.penalty;
        self.best[end] = best;
        self.base[end] = best - self.trace[end];
        let beaten = self.base[end] + tolerance;
        let kept = candidates.iter().position(|&c| c <= beaten).unwrap_or(0);
        if let Some(slot) = self.alive.get_mut(end + self.min_size) {
            *slot = (*slot).max(first + kept);
        }
    }

    fn breaks(&self) -> Vec<usize> {
        let mut breaks = Vec::new();
        let mut end = self.last[self.last.len() - 1];
        while end > 0 {
            breaks.push(end);
            end = self.last[end];
        }
        breaks.reverse();
        breaks
    }
}

/// Grows every block by one row and column: `block[s] += 2 sum_{i >= s} k(i, t) - k(t, t)`.
fn add_column(block: &mut [f64], column: &[f64]) {
    let diagonal = column.last().copied().unwrap_or(0.0);
    let mut sum = 0.0;
    for (b, &k) in block.iter_mut().zip(column).rev() {
        sum += k;
        *b += 2.0 * sum - diagonal;
    }
}

/// `out[i] = base[i] - block[i] * reciprocal[i]`; returns the least.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn segment_costs(out: &mut [f64], base: &[f64], block: &[f64], reciprocal: &[f64]) -> f64 {
    const LANES: usize = 8;
    let n = out.len();
    let (base, block, reciprocal) = (&base[..n], &block[..n], &reciprocal[..n]);
    let mut least = [f64::INFINITY; LANES];
    let whole = n - n % LANES;
    for i in (0..whole).step_by(LANES) {
        for l in 0..LANES {
            let value = base[i + l] - block[i + l] * reciprocal[i + l];
            out[i + l] = value;
            least[l] = if value < least[l] { value } else { least[l] };
        }
    }
    let mut result = least.iter().copied().fold(f64::INFINITY, f64::min);
    for i in whole..n {
        out[i] = base[i] - block[i] * reciprocal[i];
        result = result.min(out[i]);
    }
    result
}
