//! Seeded noise of the laws that the study looks at.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::f64::consts::TAU;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Independent standard normal coordinates.
    Isotropic,
    /// Normal, variance of coordinate j = j^-0.7.
    Anisotropic,
    /// Independent Student-t coordinates, 5 degrees of freedom.
    StudentCoordinates,
    /// Student-t points, 5 degrees of freedom: one scale a point.
    StudentPoints,
    /// Stationary AR(1) of isotropic normal innovations.
    Autoregressive(f64),
}

impl Law {
    pub const EXCHANGEABLE: [Law; 4] = [
        Law::Isotropic,
        Law::Anisotropic,
        Law::StudentCoordinates,
        Law::StudentPoints,
    ];

    pub fn name(self) -> String {
        match self {
            Law::Isotropic => "isotropic".into(),
            Law::Anisotropic => "j^-0.7".into(),
            Law::StudentCoordinates => "t5 coords".into(),
            Law::StudentPoints => "t5 points".into(),
            Law::Autoregressive(phi) => format!("AR({phi})"),
        }
    }

    /// `tr Sigma` of one point.
    pub fn trace(self, dims: usize) -> f64 {
        match self {
            Law::Isotropic => dims as f64,
            Law::Anisotropic => (1..=dims).map(|j| (j as f64).powf(-0.7)).sum(),
            Law::StudentCoordinates | Law::StudentPoints => dims as f64 * 5.0 / 3.0,
            Law::Autoregressive(phi) => dims as f64 / (1.0 - phi * phi),
        }
    }
}

pub struct Source(Pcg64Mcg);

impl Source {
    pub fn new(seed: u64) -> Self {
        Source(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Two independent standard normal numbers (Box and Muller).
    fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        [radius * cos, radius * sin]
    }

    /// Student-t with 5 degrees of freedom (Bailey 1994).
    fn student(&mut self) -> f64 {
        let radius = (5.0 * (self.uniform().powf(-0.4) - 1.0)).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// `n` points without change.
    pub fn noise(&mut self, law: Law, n: usize, dims: usize) -> Vec<f64> {
        let mut x: Vec<f64> = match law {
            Law::StudentCoordinates => (0..n * dims).map(|_| self.student()).collect(),
            _ => {
                let mut x: Vec<f64> = (0..(n * dims).div_ceil(2)).flat_map(|_| self.normals()).collect();
                x.truncate(n * dims);
                x
            }
        };
        match law {
            Law::Anisotropic => {
                let scale: Vec<f64> = (1..=dims).map(|j| (j as f64).powf(-0.35)).collect();
                for point in x.chunks_exact_mut(dims) {
                    point.iter_mut().zip(&scale).for_each(|(v, s)| *v *= s);
                }
            }
            Law::StudentPoints => {
                for point in x.chunks_exact_mut(dims) {
                    let squares: f64 = (0..3).flat_map(|_| self.normals()).take(5).map(|z| z * z).sum();
                    let scale = (5.0 / squares).sqrt();
                    point.iter_mut().for_each(|v| *v *= scale);
                }
            }
            Law::Autoregressive(phi) => {
                x[..dims].iter_mut().for_each(|v| *v /= (1.0 - phi * phi).sqrt());
                for i in dims..x.len() {
                    x[i] += phi * x[i - dims];
                }
            }
            Law::Isotropic | Law::StudentCoordinates => (),
        }
        x
    }

    /// A shift of length `delta sqrt(tr Sigma)` in a random direction, for all points from `from` on.
    pub fn shift(&mut self, x: &mut [f64], law: Law, dims: usize, from: usize, delta: f64) {
        let direction = self.noise(Law::Isotropic, 1, dims);
        let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = delta * law.trace(dims).sqrt() / length;
        for point in x[from * dims..].chunks_exact_mut(dims) {
            point
                .iter_mut()
                .zip(&direction)
                .for_each(|(v, d)| *v += d * scale);
        }
    }
}
