//! The penalty under which a trajectory without change shows any change point with probability `alpha`.
//!
//! A segmentation shows a change exactly when the penalty is below
//! `b = max over segmentations of (cost without break - cost) / number of breaks`. The statistic is `b / s`,
//! with `s` the noise seen by successive differences (the largest tenth left out: a change must not inflate
//! it). When nothing changes the points are exchangeable, so the same statistic over random orders of the
//! same points has the same law, whatever the distribution: heavy tails, any covariance, any dimension
//! (Lehmann and Romano 2005, section 15.2). Reordering breaks up whatever shift there is, and since `s` grows with it,
//! the reference law stays put where raw sums of squares would be inflated. Orders act on the kernel
//! matrix, so a draw costs O(n^2) whatever the dimension.

use crate::gram::{Columns, Dense};
use multiversion::multiversion;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Draws done side by side, one a vector lane.
const LANES: usize = 8;
/// Draws of the reference law.
const DRAWS: usize = 504;
/// Share of the successive differences, the largest, that the noise leaves out.
const TRIMMED: f64 = 0.1;
/// Normal quantile of the confidence with which the penalty bounds the quantile it stands for.
const CONFIDENCE: f64 = 1.645;
/// Draws that must lie beyond a quantile for it to be read off; below it the tail is extrapolated.
const TAIL: f64 = 8.0;
const SEED: u64 = 0x6376_7820_7065_6c74;

type Lane = [f64; LANES];

/// The `1 - alpha` quantile of `b / s` over orders of the points of `matrix` (`keep` names those to use),
/// not below the true quantile with 95 % confidence.
pub(crate) fn quantile(
    matrix: &Dense,
    keep: &[u32],
    min_size: usize,
    alpha: f64,
    interrupt: &mut dyn FnMut(),
) -> f64 {
    let mut draws = Vec::with_capacity(DRAWS);
    let mut rng = Pcg64Mcg::seed_from_u64(SEED ^ keep.len() as u64);
    let mut work = Workspace::new(keep.len());
    while draws.len() < DRAWS {
        interrupt();
        let mut order: Vec<[u32; LANES]> = keep.iter().map(|&i| [i; LANES]).collect();
        for lane in 0..LANES {
            shuffle(&mut order, lane, &mut rng);
        }
        for (bound, noise) in work.statistics(matrix, &order, min_size) {
            draws.push(ratio(bound, noise));
        }
    }
    draws.sort_by(f64::total_cmp);
    upper_quantile(&draws, alpha)
}

/// `b / s`; without noise any gain at all is infinitely large.
fn ratio(bound: f64, noise: f64) -> f64 {
    if bound <= 0.0 {
        0.0
    } else if noise <= 0.0 {
        f64::INFINITY
    } else {
        bound / noise
    }
}

/// From sorted draws: the order statistic that exceeds the `1 - alpha` quantile with confidence, and beyond
/// the reach of the draws a power law fitted to their upper tail (Hill 1975), which no lighter tail exceeds.
fn upper_quantile(draws: &[f64], alpha: f64) -> f64 {
    let count = draws.len() as f64;
    let beyond = count * alpha - CONFIDENCE * (count * alpha * (1.0 - alpha)).sqrt();
    if beyond >= TAIL {
        return draws[draws.len() - beyond.floor() as usize];
    }
    let tail = (draws.len() / 20).max(1);
    let (rest, top) = draws.split_at(draws.len() - tail);
    let threshold = rest.last().copied().unwrap_or(0.0);
    if threshold <= 0.0 {
        return top[tail - 1];
    }
    let hill = top.iter().map(|&draw| (draw / threshold).ln()).sum::<f64>() / tail as f64;
    let shape = hill * (1.0 + CONFIDENCE / (tail as f64).sqrt());
    threshold * (tail as f64 / (count * alpha)).max(1.0).powf(shape)
}

fn shuffle(order: &mut [[u32; LANES]], lane: usize, rng: &mut impl Rng) {
    for i in (1..order.len()).rev() {
        let j = ((u64::from(rng.next_u32()) * (i as u64 + 1)) >> 32) as usize;
        let held = order[i][lane];
        order[i][lane] = order[j][lane];
        order[j][lane] = held;
    }
}

/// Half the mean of `differences` (squared), the largest tenth left out. Reorders them.
pub(crate) fn trimmed_noise(differences: &mut [f64]) -> f64 {
    if differences.is_empty() {
        return 0.0;
    }
    let out = ((differences.len() as f64 * TRIMMED).ceil() as usize).min(differences.len() - 1);
    let kept = differences.len() - out;
    if kept < differences.len() {
        differences.select_nth_unstable_by(kept, f64::total_cmp);
    }
    (differences[..kept].iter().sum::<f64>() / kept as f64 / 2.0).max(0.0)
}

/// Costs of all segments of `LANES` orders, and the tables of the search over them.
struct Workspace {
    len: usize,
    /// `cost(s, end)` at `end (end - 1) / 2 + s`.
    costs: Vec<Lane>,
    block: Vec<Lane>,
    trace: Vec<Lane>,
    best: Vec<Lane>,
    breaks: Vec<Lane>,
}

impl Workspace {
    fn new(len: usize) -> Self {
        Workspace {
            len,
            costs: vec![[0.0; LANES]; len * (len + 1) / 2],
            block: vec![[0.0; LANES]; len],
            trace: vec![[0.0; LANES]; len + 1],
            best: vec![[0.0; LANES]; len + 1],
            breaks: vec![[0.0; LANES]; len + 1],
        }
    }

    /// `(b, s)` for each lane.
    fn statistics(&mut self, matrix: &Dense, order: &[[u32; LANES]], min_size: usize) -> [(f64, f64); LANES] {
        for (end, slots) in (1..).zip(triangle(&mut self.costs)) {
            let t = end - 1;
            self.block[t] = [0.0; LANES];
            let rows: [&[f64]; LANES] = std::array::from_fn(|l| matrix.row(order[t][l] as usize));
            segment_costs(
                &rows,
                &order[..end],
                &mut self.block[..end],
                &mut self.trace[..=end],
                slots,
            );
        }
        let bounds = self.bounds(min_size);
        let mut differences = Vec::with_capacity(self.len);
        std::array::from_fn(|lane| {
            differences.clear();
            differences.extend(order.windows(2).map(|pair| {
                let (i, j) = (pair[0][lane] as usize, pair[1][lane] as usize);
                matrix.diagonal()[i] + matrix.diagonal()[j] - 2.0 * matrix.row(i)[j]
            }));
            (bounds[lane], trimmed_noise(&mut differences))
        })
    }

    /// Dinkelbach's method on `gain / breaks`: from the best single break, search at that penalty for a
    /// segmentation that still gains, take its ratio as the next penalty, until none does.
    fn bounds(&mut self, min_size: usize) -> Lane {
        let n = self.len;
        let mut bound = [0.0; LANES];
        if n < 2 * min_size {
            return bound;
        }
        let last = &self.costs[n * (n - 1) / 2..];
        let whole = last[0];
        for split in min_size..=n - min_size {
            let left = &self.costs[split * (split - 1) / 2];
            for l in 0..LANES {
                bound[l] = f64::max(bound[l], whole[l] - left[l] - last[split][l]);
            }
        }
        // Each round strictly raises some lane to the ratio of another segmentation; a handful is the rule.
        for _ in 0..64 {
            search(&self.costs, min_size, &bound, &mut self.best, &mut self.breaks);
            let mut improved = false;
            for l in 0..LANES {
                let breaks = self.breaks[n][l];
                if breaks > 0.0 && self.best[n][l] < whole[l] - 1e-9 * whole[l].abs() {
                    bound[l] = (whole[l] - (self.best[n][l] - bound[l] * breaks)) / breaks;
                    improved = true;
                }
            }
            if !improved {
                break;
            }
        }
        bound
    }
}

/// The rows of a packed lower triangle: of length 1, 2, 3 ...
fn triangle(values: &mut [Lane]) -> impl Iterator<Item = &mut [Lane]> {
    let mut rest = values;
    let mut len = 0;
    std::iter::from_fn(move || {
        len += 1;
        let (row, tail) = std::mem::take(&mut rest).split_at_mut_checked(len)?;
        rest = tail;
        Some(row)
    })
}

/// Takes point `t = order.len() - 1` into the blocks and writes the costs of all segments that end with it.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn segment_costs(
    rows: &[&[f64]; LANES],
    order: &[[u32; LANES]],
    block: &mut [Lane],
    trace: &mut [Lane],
    out: &mut [Lane],
) {
    let t = order.len() - 1;
    let mut sum = [0.0; LANES];
    let diagonal: Lane = std::array::from_fn(|l| rows[l][order[t][l] as usize]);
    let total: Lane = std::array::from_fn(|l| trace[t][l] + diagonal[l]);
    trace[t + 1] = total;
    for s in (0..=t).rev() {
        let share = 1.0 / (t + 1 - s) as f64;
        for l in 0..LANES {
            sum[l] += rows[l][order[s][l] as usize];
        }
        for l in 0..LANES {
            block[s][l] += 2.0 * sum[l] - diagonal[l];
            out[s][l] = total[l] - trace[s][l] - block[s][l] * share;
        }
    }
}

/// Least cost plus `penalty` a break for every end, and how many breaks it takes, for each lane.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn search(costs: &[Lane], min_size: usize, penalty: &Lane, best: &mut [Lane], breaks: &mut [Lane]) {
    let n = best.len() - 1;
    for end in min_size..=n {
        let row = &costs[end * (end - 1) / 2..][..end];
        let mut least = row[0];
        let mut count = [0.0; LANES];
        for s in min_size..(end + 1).saturating_sub(min_size) {
            for l in 0..LANES {
                let value = best[s][l] + penalty[l] + row[s][l];
                let better = value < least[l];
                least[l] = if better { value } else { least[l] };
                count[l] = if better { breaks[s][l] + 1.0 } else { count[l] };
            }
        }
        best[end] = least;
        breaks[end] = count;
    }
}
