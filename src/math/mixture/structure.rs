//! The rows looked at: their inner products, the best way to part them, and where other rows belong.

use super::Sample;
use super::alignment::alignment;
use super::linkage::{Similarity, more_like_second};
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
/// Rows whose correlation around the mean is above this are copies of each other.
const COPIES: f64 = 0.999;
/// Squared distance of a unit vector to the mean below which it has no direction from there but rounding.
const ROUNDING: f64 = 1e-12;
/// Rows of each side to which a row outside of the sample is compared.
const REFERENCES: usize = 128;

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
}

/// Two sides of some rows and how they are aligned.
pub(super) struct Split {
    pub(super) side: Vec<bool>,
    pub(super) statistic: f64,
    pub(super) threshold: f64,
}

impl Split {
    pub(super) fn unrelated(&self) -> bool {
        self.statistic.abs() < self.threshold
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
        for &i in &chosen {
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
        Ok(Structure {
            dims: varying(sample, &kept),
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

    /// The split of `rows` that is least aligned, relative to what it has to be; `None` when none can be judged.
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
                let threshold = ALIGNED - deviations * found.error;
                let statistic = found.value;
                best = Some((
                    score,
                    Split {
                        side,
                        statistic,
                        threshold,
                    },
                ));
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
        let judge = Judge::new(self, sample, split, interrupt);
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

/// Tells to which side of a split a row belongs that was not looked at.
struct Judge<'a> {
    /// Mean of the unit rows, and its squared length.
    mean: Vec<f32>,
    square: f64,
    /// Rows of each side, with one over their length, their inner product with the mean, and one over their
    /// distance to it.
    references: [Vec<(&'a [f32], f64, f64, f64)>; 2],
    likeness: [f64; 2],
}

impl<'a> Judge<'a> {
    fn new(structure: &Structure, sample: &Sample<'a>, split: &Split, interrupt: &mut dyn FnMut()) -> Self {
        let mut mean = vec![0.0f64; sample.dims];
        for &i in &structure.kept {
            let x = row(sample, i);
            let scale = 1.0 / (kernels::norm(x) * structure.len() as f64);
            mean.iter_mut()
                .zip(x)
                .for_each(|(m, &v)| *m += scale * f64::from(v));
        }
        let mean: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        let square = kernels::dot(&mean, &mean);
        let references = [false, true].map(|which| {
            let own: Vec<usize> = (0..structure.len()).filter(|&k| split.side[k] == which).collect();
            let few = own.len().min(REFERENCES);
            (0..few)
                .map(|k| row(sample, structure.kept[own[k * own.len() / few]]))
                .map(|x| {
                    let (scale, along, apart) = around(x, &mean, square);
                    (x, scale, along, apart)
                })
                .collect()
        });
        let all: Vec<usize> = (0..structure.len()).collect();
        let likeness = similarity(&structure.gram, &all, interrupt)
            .affinities(&split.side, interrupt)
            .1;
        Judge {
            mean,
            square,
            references,
            likeness,
        }
    }

    fn second(&self, x: &[f32]) -> bool {
        let (scale, along, apart) = around(x, &self.mean, self.square);
        let affinity = self.references.each_ref().map(|references| {
            let sum: f64 = references
                .iter()
                .map(|(other, other_scale, other_along, other_apart)| {
                    let product = kernels::dot(x, other) * scale * other_scale;
                    let cosine = (product - along - other_along + self.square) * apart * other_apart;
                    cosine.max(0.0).powi(2)
                })
                .sum();
            sum / references.len().max(1) as f64
        });
        more_like_second(affinity, self.likeness)
    }
}

/// One over the length of a row; of the row at unit length the inner product with the mean, and one over its
/// distance to it.
fn around(x: &[f32], mean: &[f32], square: f64) -> (f64, f64, f64) {
    let scale = 1.0 / kernels::norm(x);
    let along = kernels::dot(x, mean) * scale;
    (scale, along, inverse_root(1.0 - 2.0 * along + square))
}

fn inverse_root(square: f64) -> f64 {
    if square > ROUNDING {
        1.0 / square.sqrt()
    } else {
        0.0
    }
}

fn row<'a>(sample: &Sample<'a>, i: usize) -> &'a [f32] {
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

/// Of each row, its mean inner product with all, less half the mean of these: `g_ij - c_i - c_j` is centred.
fn centring(gram: &Dense, rows: &[usize]) -> Vec<f64> {
    let count = rows.len() as f64;
    let mut mean: Vec<f64> = rows
        .iter()
        .map(|&i| {
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

/// `max(0, cos)^2` of the rows around their mean, which has no part of a common offset, and none of the negative
/// similarity that two groups have around it.
fn similarity(gram: &Dense, rows: &[usize], interrupt: &mut dyn FnMut()) -> Similarity {
    let n = rows.len();
    let centre = centring(gram, rows);
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
    let centre = centring(gram, &all);
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

/// The number that a standard normal variable exceeds with probability `tail` (Wichura 1988, algorithm AS 241,
/// seven digits).
fn upper_quantile(tail: f64) -> f64 {
    let centred = 0.5 - tail;
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        let above = ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let below = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return centred * above / below;
    }
    let r = (-tail.min(1.0 - tail).ln()).sqrt();
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_210_3 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
        above / ((0.120_211_326_70 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r + 6.657_905_115_0;
        above / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    size.copysign(centred)
}
