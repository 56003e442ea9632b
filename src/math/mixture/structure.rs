//! The rows looked at: their inner products, the best way to part them, and where other rows belong.

use super::Sample;
use super::alignment::{alignment, mean_cosine, upper_quantile};
use super::judge::Judge;
use super::linkage::Similarity;
use crate::gram::{Dense, Gram, Kernel};
use crate::{Error, Path, kernels};

/// Splits that are judged.
const SPLITS: usize = 3;
/// Fewest rows of a side, and the share of all that it has to be.
const FEWEST: usize = 20;
const SMALLEST_SHARE: f64 = 0.04;
/// In fewer dimensions unrelated directions are no surprise.
const FEWEST_DIMS: usize = 32;
/// Groups of one space are aligned by at least this.
const ALIGNED: f64 = 0.1;
/// Unrelated means have a cosine of standard deviation `1 / sqrt(D)`; theirs is at most this many of it.
const UNRELATED_MEANS: f64 = 3.0;
/// Rows whose correlation around the mean is above this are copies of each other.
const COPIES: f64 = 0.999;
/// Squared distance of a unit vector to the mean below which it has no direction from there but rounding.
const ROUNDING: f64 = 1e-12;

/// Some rows of a sample, scaled to unit length, each that is a near copy of an earlier one left out.
pub(super) struct Structure {
    /// Position in the sample of each row looked at, near copies included.
    chosen: Vec<usize>,
    /// The row of `gram` that stands for it.
    stands: Vec<usize>,
    /// Position in the sample of each row of `gram`.
    kept: Vec<usize>,
    gram: Dense,
    block: Option<Vec<u32>>,
    /// Dimensions in which rows differ.
    dims: usize,
    /// Mean coordinate of each row of `gram` over these.
    levels: Vec<f64>,
}

/// Two sides of some rows and how they are related.
pub(super) struct Split {
    pub(super) side: Vec<bool>,
    pub(super) statistic: f64,
    pub(super) threshold: f64,
    pub(super) means_unrelated: bool,
}

impl Split {
    pub(super) fn unrelated(&self) -> bool {
        self.statistic.abs() < self.threshold && self.means_unrelated
    }
}

impl Structure {
    /// Of the rows `chosen`, which are finite and not zero.
    pub(super) fn new(
        sample: &Sample,
        chosen: Vec<usize>,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        let dims = sample.dims;
        let mut values: Vec<f32> = Vec::new();
        values
            .try_reserve_exact(chosen.len() * dims)
            .map_err(|_| Error::OutOfMemory {
                bytes: chosen.len() * dims * size_of::<f32>(),
            })?;
        for (k, &i) in chosen.iter().enumerate() {
            if k % 256 == 0 {
                interrupt();
            }
            values.extend_from_slice(row(sample, i));
        }
        let times: Vec<i64> = (0..chosen.len() as i64).collect();
        let path = Path::new(&times, &values, dims);
        let whole = Dense::of(&mut Gram::new(path, Kernel::Cosine), interrupt);
        let (originals, stands) = without_copies(&whole, interrupt);
        let gram = if originals.len() == chosen.len() {
            whole
        } else {
            part(&whole, &originals)
        };
        let kept: Vec<usize> = originals.iter().map(|&i| chosen[i]).collect();
        let block = sample
            .entity
            .map(|entity| kept.iter().map(|&i| entity[i]).collect());
        let dims = varying(sample, &kept);
        Ok(Structure {
            dims,
            levels: kept.iter().map(|&i| level(row(sample, i), dims)).collect(),
            chosen,
            stands,
            kept,
            gram,
            block,
        })
    }

    /// Number of rows, near copies not counted.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The split of `rows` that is least aligned, relative to what it has to be; `None` when none can be
    /// judged.
    pub(super) fn best_split(
        &self,
        rows: &[usize],
        alpha: f64,
        interrupt: &mut dyn FnMut(),
    ) -> Option<Split> {
        let least = FEWEST.max((SMALLEST_SHARE * rows.len() as f64) as usize);
        if rows.len() < 2 * least || self.dims < FEWEST_DIMS {
            return None;
        }
        let deviations = upper_quantile(alpha / SPLITS as f64);
        let similarity = similarity(&self.gram, rows, interrupt);
        let mut best: Option<(f64, Split)> = None;
        for side in similarity.splits(least, SPLITS, interrupt) {
            let [first, second] = [false, true].map(|which| {
                let own = rows.iter().zip(&side).filter(|&(_, &s)| s == which);
                own.map(|(&i, _)| i).collect::<Vec<usize>>()
            });
            let block = self.block.as_deref();
            let Some(found) = alignment(&self.gram, &first, &second, self.dims, block, interrupt) else {
                continue;
            };
            let score = (found.value.abs() - ALIGNED) / found.error;
            if best.as_ref().is_none_or(|(least, _)| score < *least) {
                let cosine = mean_cosine(&self.gram, &first, &second, self.dims, &self.levels);
                let split = Split {
                    side,
                    statistic: found.value,
                    threshold: ALIGNED - deviations * found.error,
                    means_unrelated: cosine.abs() * (self.dims as f64).sqrt() <= UNRELATED_MEANS,
                };
                best = Some((score, split));
            }
        }
        best.map(|(_, split)| split)
    }

    /// Marks the rows of `usable` that belong to the `true` side of a split of all rows.
    pub(super) fn label(
        &self,
        sample: &Sample,
        split: &Split,
        usable: &[usize],
        second: &mut [bool],
        interrupt: &mut dyn FnMut(),
    ) {
        for (&i, &stand) in self.chosen.iter().zip(&self.stands) {
            second[i] = split.side[stand];
        }
        if self.chosen.len() == usable.len() {
            return;
        }
        let all: Vec<usize> = (0..self.len()).collect();
        let likeness = similarity(&self.gram, &all, interrupt)
            .affinities(&split.side, interrupt)
            .1;
        let judge = Judge::new(sample, &self.kept, &split.side, likeness);
        for (k, &i) in usable.iter().enumerate() {
            if self.chosen.binary_search(&i).is_err() {
                second[i] = judge.second(row(sample, i));
            }
            if k % 8 == 0 {
                interrupt();
            }
        }
    }
}

pub(super) fn inverse_root(square: f64) -> f64 {
    if square > ROUNDING {
        1.0 / square.sqrt()
    } else {
        0.0
    }
}

pub(super) fn row<'a>(sample: &Sample<'a>, i: usize) -> &'a [f32] {
    &sample.rows[i * sample.dims..(i + 1) * sample.dims]
}

/// Number of dimensions in which the rows `kept` are not all equal.
fn varying(sample: &Sample, kept: &[usize]) -> usize {
    let Some(&first) = kept.first() else {
        return 0;
    };
    let first = row(sample, first);
    let mut differs = vec![false; sample.dims];
    for &i in kept {
        for ((d, x), y) in differs.iter_mut().zip(row(sample, i)).zip(first) {
            *d |= x != y;
        }
    }
    differs.iter().filter(|&&d| d).count()
}

/// Mean over `dims` of the coordinates of a row at unit length.
fn level(row: &[f32], dims: usize) -> f64 {
    row.iter().map(|&x| f64::from(x)).sum::<f64>() / (kernels::norm(row) * dims.max(1) as f64)
}

/// Of each row, its mean inner product with all, less half the mean of these: `g_ij - c_i - c_j` is centred.
fn centring(gram: &Dense, rows: &[usize], interrupt: &mut dyn FnMut()) -> Vec<f64> {
    let count = rows.len() as f64;
    let mut mean: Vec<f64> = rows
        .iter()
        .enumerate()
        .map(|(x, &i)| {
            if x % 256 == 0 {
                interrupt();
            }
            let row = gram.row(i);
            rows.iter().map(|&j| row[j]).sum::<f64>() / count
        })
        .collect();
    let half = 0.5 * mean.iter().sum::<f64>() / count;
    mean.iter_mut().for_each(|m| *m -= half);
    mean
}

/// One over the distance of each row to the mean; 0 for a row at the mean.
fn inverse_distances(gram: &Dense, rows: &[usize], centring: &[f64]) -> Vec<f64> {
    let own = rows.iter().zip(centring);
    own.map(|(&i, c)| inverse_root(gram.row(i)[i] - 2.0 * c))
        .collect()
}

/// `max(0, cos)^2` of the rows around their mean, which has no part of a common offset, and none of the
/// negative similarity that two groups have around it.
fn similarity(gram: &Dense, rows: &[usize], interrupt: &mut dyn FnMut()) -> Similarity {
    let n = rows.len();
    let centre = centring(gram, rows, interrupt);
    let inverse = inverse_distances(gram, rows, &centre);
    let mut values = vec![0.0f32; n * n];
    for (x, &i) in rows.iter().enumerate() {
        if x % 64 == 0 {
            interrupt();
        }
        let (own, from) = (&mut values[x * n..(x + 1) * n], gram.row(i));
        for (y, (value, &j)) in own.iter_mut().zip(rows).enumerate() {
            let cosine = (from[j] - centre[x] - centre[y]) * inverse[x] * inverse[y];
            *value = (cosine.max(0.0) * cosine.max(0.0)) as f32;
        }
        own[x] = 0.0;
    }
    Similarity { len: n, values }
}

/// The rows that are no near copy of an earlier one, and for each row which of those stands for it.
fn without_copies(gram: &Dense, interrupt: &mut dyn FnMut()) -> (Vec<usize>, Vec<usize>) {
    let all: Vec<usize> = (0..gram.order()).collect();
    let centre = centring(gram, &all, interrupt);
    let inverse = inverse_distances(gram, &all, &centre);
    let (mut kept, mut stands): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for &i in &all {
        if i % 64 == 0 {
            interrupt();
        }
        let row = gram.row(i);
        let original = kept.iter().position(|&j| {
            let cosine = (row[j] - centre[i] - centre[j]) * inverse[i] * inverse[j];
            cosine > COPIES || (inverse[i] == 0.0 && inverse[j] == 0.0)
        });
        stands.push(original.unwrap_or(kept.len()));
        if original.is_none() {
            kept.push(i);
        }
    }
    (kept, stands)
}

fn part(gram: &Dense, rows: &[usize]) -> Dense {
    let values = rows
        .iter()
        .flat_map(|&i| rows.iter().map(move |&j| gram.row(i)[j]))
        .collect();
    Dense::from_values(rows.len(), values)
}
