//! To which side of a split a row belongs that was not among those looked at.

use super::Sample;
use super::linkage::more_like_second;
use super::structure::{inverse_root, row};
use crate::kernels;

/// Rows of each side that another row is compared to.
const REFERENCES: usize = 128;

/// A side is what its rows are alike in: judged as in the split itself, by the mean of `max(0, cos)^2` around
/// the mean of all rows looked at.
pub(super) struct Judge<'a> {
    /// Mean of the rows at unit length, and its squared length.
    mean: Vec<f32>,
    square: f64,
    references: [Vec<Placed<'a>>; 2],
    likeness: [f64; 2],
}

/// A row, and where it lies from the mean once it has unit length.
struct Placed<'a> {
    row: &'a [f32],
    /// One over its length.
    scale: f64,
    /// Inner product with the mean, at unit length.
    along: f64,
    /// One over its distance to the mean, at unit length.
    inverse: f64,
}

impl<'a> Judge<'a> {
    /// Of the rows `kept` of the sample, the side of each, and the mean similarity of two rows of each side.
    pub(super) fn new(sample: &Sample<'a>, kept: &[usize], side: &[bool], likeness: [f64; 2]) -> Self {
        let mut mean = vec![0.0f64; sample.dims];
        for &i in kept {
            let x = row(sample, i);
            let scale = 1.0 / (kernels::norm(x) * kept.len() as f64);
            mean.iter_mut()
                .zip(x)
                .for_each(|(m, &v)| *m += scale * f64::from(v));
        }
        let mean: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        let square = kernels::dot(&mean, &mean);
        let references = [false, true].map(|which| {
            let own: Vec<usize> = kept
                .iter()
                .zip(side)
                .filter(|&(_, &s)| s == which)
                .map(|(&i, _)| i)
                .collect();
            let few = own.len().min(REFERENCES);
            (0..few)
                .map(|k| Placed::new(row(sample, own[k * own.len() / few]), &mean, square))
                .collect()
        });
        Judge {
            mean,
            square,
            references,
            likeness,
        }
    }

    /// Whether a row, finite and not zero, belongs to the `true` side.
    pub(super) fn second(&self, x: &[f32]) -> bool {
        let x = Placed::new(x, &self.mean, self.square);
        let affinity = self.references.each_ref().map(|references| {
            let sum: f64 = references
                .iter()
                .map(|other| {
                    let product = kernels::dot(x.row, other.row) * x.scale * other.scale;
                    let cosine = (product - x.along - other.along + self.square) * x.inverse * other.inverse;
                    cosine.max(0.0).powi(2)
                })
                .sum();
            sum / references.len().max(1) as f64
        });
        more_like_second(affinity, self.likeness)
    }
}

impl<'a> Placed<'a> {
    fn new(row: &'a [f32], mean: &[f32], square: f64) -> Self {
        let scale = 1.0 / kernels::norm(row);
        let along = kernels::dot(row, mean) * scale;
        Placed {
            row,
            scale,
            along,
            inverse: inverse_root(1.0 - 2.0 * along + square),
        }
    }
}
