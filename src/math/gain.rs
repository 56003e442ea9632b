//! The most that breaks gain: `max over segmentations of (cost without break - cost) / number of breaks`,
//! which is the penalty at which the first change shows. Eight kernel matrices at a time, one a vector lane.

use crate::gram::Dense;
use multiversion::multiversion;

/// Problems solved side by side.
pub(crate) const LANES: usize = 8;

pub(crate) type Lane = [f64; LANES];

/// Which point of its matrix each lane puts at a position.
pub(crate) type Order = [[u32; LANES]];

/// Costs of all segments, and the tables of the search over them.
pub(crate) struct Workspace {
    len: usize,
    /// `cost(s, end)` at `end (end - 1) / 2 + s`.
    costs: Vec<Lane>,
    block: Vec<Lane>,
    trace: Vec<Lane>,
    best: Vec<Lane>,
}

impl Workspace {
    /// For orders of `len` points.
    pub(crate) fn new(len: usize) -> Self {
        Workspace {
            len,
            costs: vec![[0.0; LANES]; len * (len + 1) / 2],
            block: vec![[0.0; LANES]; len],
            trace: vec![[0.0; LANES]; len + 1],
            best: vec![[0.0; LANES]; len + 1],
        }
    }

    /// The largest gain a break of each lane; 0 where there is no room for a break.
    pub(crate) fn largest(&mut self, matrices: &[&Dense; LANES], order: &Order, min_size: usize) -> Lane {
        debug_assert_eq!(order.len(), self.len);
        if self.len < 2 * min_size {
            return [0.0; LANES];
        }
        let mut rest = self.costs.as_mut_slice();
        for t in 0..self.len {
            let (slots, tail) = std::mem::take(&mut rest).split_at_mut(t + 1);
            rest = tail;
            let rows: [&[f64]; LANES] = std::array::from_fn(|l| matrices[l].row(order[t][l] as usize));
            self.block[t] = [0.0; LANES];
            segment_costs(
                &rows,
                &order[..=t],
                &mut self.block[..=t],
                &mut self.trace[..t + 2],
                slots,
            );
        }
        self.climb(min_size)
    }

    /// Dinkelbach's method: from the best single break, search at that penalty for a segmentation that
    /// still gains, take its gain a break as the next penalty, until none does.
    fn climb(&mut self, min_size: usize) -> Lane {
        let n = self.len;
        let last = &self.costs[n * (n - 1) / 2..];
        let whole = last[0];
        let mut bound = [0.0; LANES];
        for (split, right) in last.iter().enumerate().take(n - min_size + 1).skip(min_size) {
            let left = &self.costs[split * (split - 1) / 2];
            for l in 0..LANES {
                bound[l] = f64::max(bound[l], whole[l] - left[l] - right[l]);
            }
        }
        // Each round raises some lane to the ratio of another segmentation; two or three are the rule.
        for _ in 0..64 {
            search(&self.costs, min_size, &bound, &mut self.best);
            let gains = |best: &Lane, l: usize| best[l] < whole[l] - 1e-9 * whole[l].abs();
            if !(0..LANES).any(|l| gains(&self.best[n], l)) {
                break;
            }
            for l in 0..LANES {
                if gains(&self.best[n], l) {
                    bound[l] += (whole[l] - self.best[n][l]) / self.breaks(l, min_size, bound[l]) as f64;
                }
            }
        }
        bound
    }

    /// How many breaks the last search took in `lane`, at least one; only the lanes that gain need it, so it
    /// retraces their steps instead of every search keeping count.
    fn breaks(&self, lane: usize, min_size: usize, penalty: f64) -> usize {
        let (mut end, mut count) = (self.len, 0);
        loop {
            let row = &self.costs[end * (end - 1) / 2..][..end];
            let best = self.best[end][lane];
            let step = (min_size..(end + 1).saturating_sub(min_size))
                .find(|&s| self.best[s][lane] + row[s][lane] + penalty <= best);
            match step {
                Some(start) if row[0][lane] > best => (end, count) = (start, count + 1),
                _ => return count.max(1),
            }
        }
    }
}

/// Takes the last point of `order` into the blocks and writes the costs of all segments that end with it.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn segment_costs(
    rows: &[&[f64]; LANES],
    order: &Order,
    block: &mut [Lane],
    trace: &mut [Lane],
    out: &mut [Lane],
) {
    let t = order.len() - 1;
    let mut sum = [0.0; LANES];
    let diagonal: Lane = std::array::from_fn(|l| rows[l][order[t][l] as usize]);
    let total: Lane = std::array::from_fn(|l| trace[t][l] + diagonal[l]);
    trace[t + 1] = total;
    let before = trace[..=t].iter().zip(order);
    for (len, ((slot, block), (trace, points))) in (1..).zip(out.iter_mut().zip(block).zip(before).rev()) {
        let share = 1.0 / f64::from(len);
        let values: Lane = std::array::from_fn(|l| rows[l][points[l] as usize]);
        for l in 0..LANES {
            sum[l] += values[l];
            block[l] += 2.0 * sum[l] - diagonal[l];
            slot[l] = total[l] - trace[l] - block[l] * share;
        }
    }
}

/// Least cost plus `penalty` a break, for every end.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn search(costs: &[Lane], min_size: usize, penalty: &Lane, best: &mut [Lane]) {
    for end in min_size..best.len() {
        let row = &costs[end * (end - 1) / 2..][..end];
        let mut least = [f64::INFINITY; LANES];
        if end >= 2 * min_size {
            let starts = min_size..end - min_size + 1;
            for (cost, start) in row[starts.clone()].iter().zip(&best[starts]) {
                for l in 0..LANES {
                    let value = start[l] + cost[l];
                    least[l] = if value < least[l] { value } else { least[l] };
                }
            }
        }
        best[end] = std::array::from_fn(|l| f64::min(row[0][l], least[l] + penalty[l]));
    }
}
