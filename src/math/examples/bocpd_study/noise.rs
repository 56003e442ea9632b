//! Noise of known shape, seeded.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// How the variance is spread over the dimensions, of which the sum is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The same in all.
    Isotropic,
    /// The k-th has 1/k of the first.
    Decaying,
    /// One has half of it, the others share the rest.
    Spiked,
}

/// What single numbers are drawn from, and how points follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    Normal,
    /// Student t of four degrees of freedom, of each number.
    HeavyTails,
    /// Student t of four degrees of freedom, one scale a point.
    HeavyPoints,
    /// A point is this part of the one before, and new normal noise.
    Autoregressive(f64),
}

impl Shape {
    pub fn deviations(self, dims: usize) -> Vec<f64> {
        let variances: Vec<f64> = match self {
            Shape::Isotropic => vec![1.0; dims],
            Shape::Decaying => (1..=dims).map(|k| 1.0 / k as f64).collect(),
            Shape::Spiked => (0..dims)
                .map(|k| if k == 0 { (dims - 1) as f64 } else { 1.0 })
                .collect(),
        };
        let total: f64 = variances.iter().sum();
        variances.iter().map(|v| (v / total).sqrt()).collect()
    }
}

pub struct Source {
    rng: Pcg64Mcg,
    spare: Option<f64>,
}

impl Source {
    pub fn new(seed: u64) -> Self {
        Source {
            rng: Pcg64Mcg::seed_from_u64(seed),
            spare: None,
        }
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let mut uniform = || ((self.rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let radius = (-2.0 * uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// What divides a normal number to give a t of four degrees of freedom with variance 1.
    fn t_scale(&mut self) -> f64 {
        let chi: f64 = (0..4).map(|_| self.normal().powi(2)).sum();
        (chi / 4.0).sqrt() * 2f64.sqrt()
    }

    /// The next point of a series without change; `state` is the one before, all zero at first.
    pub fn point(&mut self, law: Law, deviations: &[f64], state: &mut [f64]) {
        let of_point = match law {
            Law::HeavyPoints => self.t_scale(),
            _ => 1.0,
        };
        for (x, s) in state.iter_mut().zip(deviations) {
            let z = self.normal();
            *x = match law {
                Law::Normal => s * z,
                Law::HeavyPoints => s * z / of_point,
                Law::HeavyTails => s * z / self.t_scale(),
                Law::Autoregressive(phi) => phi * *x + (1.0 - phi * phi).sqrt() * s * z,
            };
        }
    }

    /// A direction, all alike.
    pub fn direction(&mut self, dims: usize) -> Vec<f64> {
        let mut v: Vec<f64> = (0..dims).map(|_| self.normal()).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        v
    }
}
