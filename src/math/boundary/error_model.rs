//! How far off projected vectors are, in a few numbers that can be stored and added up.

use super::kept::Kept;
use crate::kernels::{dot, dot_f64};

/// Entities whose residuals are compared in pairs; more are thinned evenly.
const COMPARED: usize = 256;
/// Relative variance of the squared error of an entity that is assumed before any is seen, and the entities
/// that this counts for. Chi-square on four directions: errors are few-dimensional and differ between
/// entities.
const PRIOR_SPREAD: f64 = 0.5;
pub(super) const PRIOR_ENTITIES: f64 = 4.0;

/// The error of a projection, as a random effect of the entity plus one of the point:
/// `projected - true = b_i + w_ij`, `E b b' = B`, `E w w' = W`.
///
/// `b_i` stays in the mean of any number of points of entity `i`; `w_ij` averages out. A mean error common to
/// all entities is part of `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorModel {
    /// `tr B`, at least 0; infinite when nothing is known of the error.
    between: f64,
    /// Variance of `|b_i|^2` over entities.
    between_spread: f64,
    /// `tr B^2`.
    between_square: f64,
    /// Squared standard error of `between`.
    between_doubt: f64,
    /// `tr W`, at least 0.
    within: f64,
    /// `tr W^2`.
    within_square: f64,
    /// Entities seen.
    entities: f64,
    /// Residuals seen.
    pairs: f64,
    /// Part of a difference between entities that the projection keeps: regression of projected on true.
    shift_kept: f64,
    /// Variance of projected over that of true vectors within entities.
    noise_kept: f64,
}

impl ErrorModel {
    /// No error at all: between points of one version.
    pub const EXACT: ErrorModel = ErrorModel {
        between: 0.0,
        between_spread: 0.0,
        between_square: 0.0,
        between_doubt: 0.0,
        within: 0.0,
        within_square: 0.0,
        entities: f64::INFINITY,
        pairs: f64::INFINITY,
        shift_kept: 1.0,
        noise_kept: 1.0,
    };

    /// An error of unknown size: no change can be told from it.
    pub const UNKNOWN: ErrorModel = ErrorModel {
        between: f64::INFINITY,
        entities: 0.0,
        pairs: 0.0,
        ..ErrorModel::EXACT
    };

    /// Estimates the model from `residuals` (projected minus true, `n * dims` numbers, row-major, of pairs
    /// that the map was not fitted to) of the entities `entity` (`n` numbers, any values and order).
    ///
    /// Moments of the one-way random-effects layout, unbiased for unequal numbers of pairs: `W` from
    /// deviations within entities, `tr B` as the mean of `|mean_i|^2 - tr W / n_i` (Searle, Casella,
    /// McCulloch 1992, chapter 3). With one entity, or one pair for each, the two parts cannot be told apart:
    /// all of the error counts as `B`, which is the larger. `None` without residuals, or when the lengths do
    /// not match.
    ///
    /// Nothing is learnt of how far the map shrinks differences: they count as kept. [`ErrorModel::of_pairs`]
    /// knows.
    pub fn of(residuals: &[f32], entity: &[u32], dims: usize) -> Option<ErrorModel> {
        Self::estimate(residuals, None, entity, dims)
    }

    /// The same from the residuals and the true vectors, `n * dims` numbers each.
    ///
    /// Least-squares maps shrink what they cannot explain, changes of an entity as well as its noise. How
    /// much comes from the covariance of residuals and true vectors between and within entities. With it the
    /// noise of projected points and their jumps are compared in the measure of the canonical version.
    pub fn of_pairs(residuals: &[f32], truth: &[f32], entity: &[u32], dims: usize) -> Option<ErrorModel> {
        if truth.len() != residuals.len() {
            return None;
        }
        Self::estimate(residuals, Some(truth), entity, dims)
    }

    fn estimate(residuals: &[f32], truth: Option<&[f32]>, entity: &[u32], dims: usize) -> Option<ErrorModel> {
        if dims == 0 || entity.is_empty() || Some(residuals.len()) != entity.len().checked_mul(dims) {
            return None;
        }
        let members = members(entity);
        let groups = groups(residuals, &members, dims);
        let kept = truth
            .and_then(|truth| Kept::of(residuals, truth, &members, dims))
            .unwrap_or(Kept::ALL);
        let (pairs, entities) = (entity.len() as f64, groups.len() as f64);
        let total: f64 = groups.iter().map(|g| g.squares).sum();
        let inside: f64 = groups
            .iter()
            .map(|g| (g.squares - g.count * g.mean_square).max(0.0))
            .sum();
        let told_apart = entities > 1.0 && pairs > entities;
        let within = if told_apart {
            inside / (pairs - entities)
        } else {
            0.0
        };
        let own: Vec<f64> = if entities > 1.0 {
            groups.iter().map(|g| g.mean_square - within / g.count).collect()
        } else {
            vec![total / pairs]
        };
        let between = (own.iter().sum::<f64>() / entities).max(0.0);
        let (between_square, within_square) = squared_traces(&groups, dims, between, within);
        let others = entities - 1.0;
        let seen = own.iter().map(|b| (b - between).powi(2)).sum::<f64>() / others.max(1.0);
        let cross = (between_square * within_square).sqrt();
        let sampling = groups
            .iter()
            .map(|g| 2.0 * within_square / (g.count * g.count) + 4.0 * cross / g.count);
        let sampling = sampling.sum::<f64>() / entities;
        let between_spread = (others * (seen - sampling).max(0.0)
            + PRIOR_ENTITIES * PRIOR_SPREAD * between * between)
            / (others + PRIOR_ENTITIES);
        Some(ErrorModel {
            between,
            between_spread,
            between_square,
            between_doubt: (between_spread + sampling) / entities,
            within,
            within_square,
            entities,
            pairs,
            shift_kept: kept.shift,
            noise_kept: kept.noise,
        })
    }

    /// The error of this step followed by that of another, independent one (in the same space).
    pub fn plus(&self, other: &ErrorModel) -> ErrorModel {
        // `tr(B1 B2) <= sqrt(tr B1^2 tr B2^2)`: taken as if both erred along the same directions.
        let both = |a: f64, b: f64| a + b + 2.0 * (a * b).sqrt();
        ErrorModel {
            between: self.between + other.between,
            between_spread: self.between_spread
                + other.between_spread
                + 4.0 * (self.between_square * other.between_square).sqrt(),
            between_square: both(self.between_square, other.between_square),
            between_doubt: self.between_doubt + other.between_doubt,
            within: self.within + other.within,
            within_square: both(self.within_square, other.within_square),
            entities: self.entities.min(other.entities),
            pairs: self.pairs.min(other.pairs),
            shift_kept: self.shift_kept * other.shift_kept,
            noise_kept: self.noise_kept * other.noise_kept,
        }
    }

    /// The error after a further map that multiplies lengths by `scale`.
    pub fn scaled(&self, scale: f64) -> ErrorModel {
        let square = scale * scale;
        let times = |value: f64, by: f64| if value == 0.0 { 0.0 } else { value * by };
        ErrorModel {
            between: if self.is_known() {
                self.between * square
            } else {
                self.between
            },
            between_spread: times(self.between_spread, square * square),
            between_square: times(self.between_square, square * square),
            between_doubt: times(self.between_doubt, square * square),
            within: times(self.within, square),
            within_square: times(self.within_square, square * square),
            ..*self
        }
    }

    /// The model as numbers to store; [`ErrorModel::from_values`] gives it back exactly.
    pub fn to_values(&self) -> Vec<f64> {
        vec![
            self.between,
            self.between_spread,
            self.between_square,
            self.between_doubt,
            self.within,
            self.within_square,
            self.entities,
            self.pairs,
            self.shift_kept,
            self.noise_kept,
        ]
    }

    /// Reads what [`ErrorModel::to_values`] wrote; `None` for numbers that it never writes.
    pub fn from_values(values: &[f64]) -> Option<ErrorModel> {
        let &[
            between,
            between_spread,
            between_square,
            between_doubt,
            within,
            within_square,
            entities,
            pairs,
            shift_kept,
            noise_kept,
        ] = values
        else {
            return None;
        };
        let size = |v: f64| v.is_finite() && v >= 0.0;
        let sizes = [
            between_spread,
            between_square,
            between_doubt,
            within,
            within_square,
        ];
        let share = |v: f64| v.is_finite() && v > 0.0;
        let valid = between >= 0.0
            && sizes.into_iter().all(size)
            && entities >= 0.0
            && pairs >= entities
            && share(shift_kept)
            && share(noise_kept);
        valid.then_some(ErrorModel {
            between,
            between_spread,
            between_square,
            between_doubt,
            within,
            within_square,
            entities,
            pairs,
            shift_kept,
            noise_kept,
        })
    }

    /// Whether the size of the error is known at all.
    pub fn is_known(&self) -> bool {
        self.between.is_finite()
    }

    /// Expected squared length of the error of the mean of `points` points of one entity.
    pub fn squared_error(&self, points: usize) -> f64 {
        self.between + self.within / points.max(1) as f64
    }

    pub(super) fn between(&self) -> f64 {
        self.between
    }

    pub(super) fn within(&self) -> f64 {
        self.within
    }

    pub(super) fn shift_kept(&self) -> f64 {
        self.shift_kept
    }

    pub(super) fn noise_kept(&self) -> f64 {
        self.noise_kept
    }

    pub(super) fn between_square(&self) -> f64 {
        self.between_square
    }

    /// Variance of the squared error of an entity not seen yet around the estimate of its mean.
    pub(super) fn predictive_variance(&self) -> f64 {
        self.between_spread + self.between_doubt
    }
}

/// The residuals of one entity.
struct Group {
    count: f64,
    /// Sum of their squared lengths.
    squares: f64,
    /// Squared length of their mean.
    mean_square: f64,
    /// The mean, and a residual less the mean scaled to the variance of `w`; of the compared entities only.
    sample: Option<(Vec<f64>, Option<Vec<f64>>)>,
}

/// The rows of each entity.
fn members(entity: &[u32]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..entity.len()).collect();
    order.sort_by_key(|&i| entity[i]);
    let same = order.chunk_by(|&i, &j| entity[i] == entity[j]);
    same.map(<[usize]>::to_vec).collect()
}

/// The mean of some rows.
pub(super) fn mean_of(rows: &[f32], members: &[usize], dims: usize) -> Vec<f64> {
    let mut mean = vec![0.0; dims];
    for &i in members {
        let row = &rows[i * dims..(i + 1) * dims];
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
    }
    mean.iter_mut().for_each(|m| *m /= members.len() as f64);
    mean
}

fn groups(residuals: &[f32], members: &[Vec<usize>], dims: usize) -> Vec<Group> {
    let step = members.len().div_ceil(COMPARED);
    let row = |i: usize| &residuals[i * dims..(i + 1) * dims];
    let group = |(number, members): (usize, &Vec<usize>)| {
        let count = members.len() as f64;
        let mean = mean_of(residuals, members, dims);
        let mean_square = dot_f64(&mean, &mean);
        let sample = number.is_multiple_of(step).then(|| {
            let scale = (count / (count - 1.0)).sqrt();
            let off = |(&v, m): (&f32, &f64)| (f64::from(v) - m) * scale;
            let deviation = (count > 1.0).then(|| row(members[0]).iter().zip(&mean).map(off).collect());
            (mean, deviation)
        });
        Group {
            count,
            squares: members.iter().map(|&i| dot(row(i), row(i))).sum(),
            mean_square,
            sample,
        }
    };
    members.iter().enumerate().map(group).collect()
}

/// `tr B^2` and `tr W^2`: means of squared inner products of independent vectors, `E (x'y)^2 = tr(C_x C_y)`.
/// The first contains what is left of `W` in the means of entities, and stays on the safe side for it.
fn squared_traces(groups: &[Group], dims: usize, between: f64, within: f64) -> (f64, f64) {
    let samples = || groups.iter().filter_map(|g| g.sample.as_ref());
    let means: Vec<&[f64]> = samples().map(|(mean, _)| mean.as_slice()).collect();
    let deviations: Vec<&[f64]> = samples()
        .filter_map(|(_, deviation)| deviation.as_deref())
        .collect();
    // Between all directions alike and a single one.
    let bounded = |square: Option<f64>, trace: f64| {
        let most = trace * trace;
        square.unwrap_or(most).clamp(most / dims as f64, most)
    };
    (
        bounded(mean_squared_product(&means), between),
        bounded(mean_squared_product(&deviations), within),
    )
}

/// Mean of `(x'y)^2` over all pairs; `None` below two vectors.
fn mean_squared_product(vectors: &[&[f64]]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, a) in vectors.iter().enumerate() {
        for b in &vectors[..i] {
            sum += dot_f64(a, b).powi(2);
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}
