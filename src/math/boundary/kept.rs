//! How much of differences and of noise a projection keeps.

use super::error_model::{PRIOR_ENTITIES, mean_of};
use crate::kernels::{dot, dot_f64};

/// What a projection keeps of the true vectors.
pub(super) struct Kept {
    pub(super) shift: f64,
    pub(super) noise: f64,
}

impl Kept {
    pub(super) const ALL: Kept = Kept {
        shift: 1.0,
        noise: 1.0,
    };
    /// Beyond these a share is an accident of few pairs.
    const SHIFT: (f64, f64) = (0.2, 2.0);
    const NOISE: (f64, f64) = (0.1, 10.0);

    /// From covariances of residual and true vector, traces of one-way components within and between
    /// entities. Points of an entity err alike, so that few entities tell little however many their points:
    /// what they say is drawn towards a projection that keeps all.
    pub(super) fn of(residuals: &[f32], truth: &[f32], members: &[Vec<usize>], dims: usize) -> Option<Kept> {
        let entities = members.len() as f64;
        let (mut error_mean, mut true_mean) = (vec![0.0; dims], vec![0.0; dims]);
        let (mut within, mut between) = (Moments::default(), Moments::default());
        let (mut freedom, mut inverse) = (0.0, 0.0);
        for rows in members {
            let count = rows.len() as f64;
            let (error, own) = (mean_of(residuals, rows, dims), mean_of(truth, rows, dims));
            let means = Moments::of_means(&error, &own);
            let mut all = Moments::default();
            for &i in rows {
                let span = i * dims..(i + 1) * dims;
                all.add(&Moments::of_rows(&residuals[span.clone()], &truth[span]), 1.0);
            }
            within.add(&all, 1.0);
            within.add(&means, -count);
            between.add(&means, 1.0);
            error_mean
                .iter_mut()
                .zip(&error)
                .for_each(|(sum, e)| *sum += e / entities);
            true_mean
                .iter_mut()
                .zip(&own)
                .for_each(|(sum, t)| *sum += t / entities);
            freedom += count - 1.0;
            inverse += 1.0 / count / entities;
        }
        if freedom < 1.0 || entities < 2.0 || within.truth <= 0.0 {
            return None;
        }
        between.add(&Moments::of_means(&error_mean, &true_mean), -entities);
        let weight = (entities - 1.0) / (entities - 1.0 + PRIOR_ENTITIES);
        let between = between.over(entities - 1.0).less(&within.over(freedom), inverse);
        let typical = weight * within.cross / within.truth;
        let slope = if between.truth > 0.0 {
            typical + weight * (between.cross / between.truth - typical)
        } else {
            typical
        };
        let noise = 1.0 + weight * (2.0 * within.cross + within.error) / within.truth;
        Some(Kept {
            shift: (1.0 + slope).clamp(Self::SHIFT.0, Self::SHIFT.1),
            noise: noise.clamp(Self::NOISE.0, Self::NOISE.1),
        })
    }
}

/// Second moments of residual and true vectors, summed over dimensions.
#[derive(Clone, Copy, Default)]
struct Moments {
    error: f64,
    cross: f64,
    truth: f64,
}

impl Moments {
    fn of_rows(error: &[f32], truth: &[f32]) -> Moments {
        Moments {
            error: dot(error, error),
            cross: dot(error, truth),
            truth: dot(truth, truth),
        }
    }

    fn of_means(error: &[f64], truth: &[f64]) -> Moments {
        Moments {
            error: dot_f64(error, error),
            cross: dot_f64(error, truth),
            truth: dot_f64(truth, truth),
        }
    }

    fn add(&mut self, other: &Moments, times: f64) {
        self.error += times * other.error;
        self.cross += times * other.cross;
        self.truth += times * other.truth;
    }

    fn over(&self, count: f64) -> Moments {
        Moments {
            error: self.error / count,
            cross: self.cross / count,
            truth: self.truth / count,
        }
    }

    fn less(mut self, other: &Moments, times: f64) -> Moments {
        self.add(other, -times);
        self
    }
}
