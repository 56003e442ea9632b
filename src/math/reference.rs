//! Draws of what the points would be had nothing changed, as kernel matrices.

use crate::gain::{LANES, Order};
use crate::gram::Dense;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Fewer points than this have too few orders to tell a small `alpha`: they are rotated, not reordered.
const FEW: usize = 16;
const SEED: u64 = 0x6376_7820_7065_6c74;

/// A reference law for noise without change.
pub(crate) enum Law {
    /// Any order of the points is as likely as any other: exact for every distribution.
    Orders,
    /// Any rotation of the points among themselves (around their mean) is as likely as any other: exact for
    /// normal noise of any covariance (Langsrud 2005).
    Rotations { contrasts: Dense },
    /// Autoregression of order one, with these innovations in any order.
    Autoregression { innovations: Dense, phi: f64 },
}

/// A seeded stream of draws over `len` points.
pub(crate) struct Draws {
    law: Law,
    len: usize,
    rng: Pcg64Mcg,
}

impl Draws {
    /// Noise like `residuals`, taken as independent from point to point or, with `phi`, as AR(1).
    pub(crate) fn new(residuals: &Dense, phi: Option<f64>) -> Self {
        let len = residuals.order();
        let law = match phi {
            Some(phi) if phi > 0.0 => Law::Autoregression {
                innovations: unfiltered(residuals, phi),
                phi,
            },
            _ if len < FEW => Law::Rotations {
                contrasts: contrasts(residuals),
            },
            _ => Law::Orders,
        };
        Draws {
            law,
            len,
            rng: Pcg64Mcg::seed_from_u64(SEED ^ len as u64),
        }
    }

    /// The next `LANES` draws: hands `use_them` a matrix and an order for each lane.
    pub(crate) fn next<R>(
        &mut self,
        residuals: &Dense,
        use_them: impl FnOnce(&[&Dense; LANES], &Order) -> R,
    ) -> R {
        let mut order: Vec<[u32; LANES]> = (0..self.len as u32).map(|i| [i; LANES]).collect();
        let drawn: [Dense; LANES] = match &self.law {
            Law::Orders => {
                for lane in 0..LANES {
                    shuffle(&mut order, lane, &mut self.rng);
                }
                return use_them(&[residuals; LANES], &order);
            }
            Law::Rotations { contrasts } => {
                let rng = &mut self.rng;
                std::array::from_fn(|_| rotated(contrasts, self.len, rng))
            }
            Law::Autoregression { innovations, phi } => {
                let mut orders = order.clone();
                for lane in 0..LANES {
                    shuffle(&mut orders, lane, &mut self.rng);
                }
                std::array::from_fn(|lane| filtered(innovations, &orders, lane, *phi))
            }
        };
        use_them(&std::array::from_fn(|lane| &drawn[lane]), &order)
    }
}

fn shuffle(order: &mut Order, lane: usize, rng: &mut Pcg64Mcg) {
    for i in (1..order.len()).rev() {
        let j = ((u64::from(rng.next_u32()) * (i as u64 + 1)) >> 32) as usize;
        let held = order[i][lane];
        order[i][lane] = order[j][lane];
        order[j][lane] = held;
    }
}

/// Two independent standard normal numbers (Box and Muller 1958).
fn normals(rng: &mut Pcg64Mcg) -> [f64; 2] {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let radius = (-2.0 * uniform().ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
    [radius * cos, radius * sin]
}

/// `len - 1` random orthonormal vectors, all orthogonal to the constant one (Gram and Schmidt, twice).
fn random_basis(len: usize, rng: &mut Pcg64Mcg) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = vec![vec![1.0 / (len as f64).sqrt(); len]];
    while basis.len() < len {
        let mut vector: Vec<f64> = (0..len.div_ceil(2))
            .flat_map(|_| normals(rng))
            .take(len)
            .collect();
        for other in basis.iter().chain(&basis) {
            let along = inner(&vector, other);
            vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
        }
        let norm = inner(&vector, &vector).sqrt();
        if norm > 1e-6 {
            vector.iter_mut().for_each(|v| *v /= norm);
            basis.push(vector);
        }
    }
    basis.remove(0);
    basis
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `matrix` in the basis of Helmert's contrasts, as a matrix of order `len - 1`.
fn contrasts(matrix: &Dense) -> Dense {
    let len = matrix.order();
    let helmert: Vec<Vec<f64>> = (1..len)
        .map(|k| {
            let scale = 1.0 / ((k * (k + 1)) as f64).sqrt();
            (0..len)
                .map(|i| {
                    if i < k {
                        scale
                    } else if i == k {
                        -(k as f64) * scale
                    } else {
                        0.0
                    }
                })
                .collect()
        })
        .collect();
    congruent(matrix, &helmert)
}

/// `B M B^T` for the rows of `B`.
fn congruent(matrix: &Dense, rows: &[Vec<f64>]) -> Dense {
    let half: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| (0..matrix.order()).map(|j| inner(row, matrix.row(j))).collect())
        .collect();
    let values = rows
        .iter()
        .flat_map(|a| half.iter().map(move |b| inner(a, b)))
        .collect();
    Dense::from_values(rows.len(), values)
}

fn rotated(contrasts: &Dense, len: usize, rng: &mut Pcg64Mcg) -> Dense {
    let basis = random_basis(len, rng);
    let rows: Vec<Vec<f64>> = (0..len)
        .map(|i| basis.iter().map(|vector| vector[i]).collect())
        .collect();
    congruent(contrasts, &rows)
}

/// The matrix of `e_t = x_t - phi x_{t-1}`, the first scaled to the same variance, around their mean.
fn unfiltered(matrix: &Dense, phi: f64) -> Dense {
    let n = matrix.order();
    let first = (1.0 - phi * phi).sqrt();
    let mut values = matrix.values().to_vec();
    for i in (1..n).rev() {
        let (before, row) = values[(i - 1) * n..(i + 1) * n].split_at_mut(n);
        row.iter_mut().zip(before).for_each(|(v, b)| *v -= phi * *b);
    }
    values[..n].iter_mut().for_each(|v| *v *= first);
    for row in values.chunks_exact_mut(n) {
        for t in (1..n).rev() {
            row[t] -= phi * row[t - 1];
        }
        row[0] *= first;
    }
    Dense::from_values(n, values).residuals(&[0, n])
}

/// AR(1) noise driven by the innovations in the order of `lane`.
fn filtered(innovations: &Dense, order: &Order, lane: usize, phi: f64) -> Dense {
    let n = innovations.order();
    let first = 1.0 / (1.0 - phi * phi).sqrt();
    let mut values = Vec::with_capacity(n * n);
    for points in order {
        let row = innovations.row(points[lane] as usize);
        let mut before = 0.0;
        values.extend(order.iter().enumerate().map(|(t, points)| {
            let innovation = row[points[lane] as usize];
            before = if t == 0 {
                innovation * first
            } else {
                innovation + phi * before
            };
            before
        }));
    }
    values[..n].iter_mut().for_each(|v| *v *= first);
    for i in 1..n {
        let (before, row) = values[(i - 1) * n..(i + 1) * n].split_at_mut(n);
        row.iter_mut().zip(before).for_each(|(v, b)| *v += phi * *b);
    }
    Dense::from_values(n, values)
}
