//! Alignment: pairs of vectors to align, and what is asked of the maps.

mod edges;
mod map;
mod methods;
mod quality;

use cvx_math::align::{Choice, Error, Fit, Map, Method, Pairs, fit};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use proptest::prelude::*;

/// Uniform numbers in (-1, 1), always the same for a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn vector(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }

    fn matrix(&mut self, rows: usize, cols: usize) -> Mat<f64> {
        Mat::from_fn(rows, cols, |_, _| self.next())
    }

    fn rotation(&mut self, dims: usize) -> Mat<f64> {
        self.matrix(dims, dims).qr().compute_Q()
    }
}

/// Pairs that own their vectors, rows of `x` and `y`.
struct Owned {
    from: Vec<f32>,
    to: Vec<f32>,
    dims: (usize, usize),
    entity: Vec<u32>,
}

impl Owned {
    fn new(x: &Mat<f64>, y: &Mat<f64>, entity: impl Fn(usize) -> u32) -> Self {
        let rows = |m: &Mat<f64>| -> Vec<f32> {
            (0..m.nrows())
                .flat_map(|i| (0..m.ncols()).map(move |j| m[(i, j)] as f32))
                .collect()
        };
        Owned {
            from: rows(x),
            to: rows(y),
            dims: (x.ncols(), y.ncols()),
            entity: (0..x.nrows()).map(entity).collect(),
        }
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs {
            from: &self.from,
            to: &self.to,
            from_dims: self.dims.0,
            to_dims: self.dims.1,
            entity: &self.entity,
        }
    }

    fn fit(&self, choice: Choice) -> Result<Fit, Error> {
        fit(&self.pairs(), choice, &mut || ())
    }

    fn one(&self, method: Method) -> Fit {
        self.fit(Choice::One(method)).unwrap()
    }

    /// The vectors as stored, centred, `n × dims`: x and y.
    fn centred(&self) -> (Mat<f64>, Mat<f64>) {
        let centre = |values: &[f32], dims: usize| {
            let n = values.len() / dims;
            let at = |i: usize, j: usize| f64::from(values[i * dims + j]);
            let mean: Vec<f64> = (0..dims)
                .map(|j| (0..n).map(|i| at(i, j)).sum::<f64>() / n as f64)
                .collect();
            Mat::from_fn(n, dims, |i, j| at(i, j) - mean[j])
        };
        (centre(&self.from, self.dims.0), centre(&self.to, self.dims.1))
    }
}

/// `y = scale · x R + shift + noise`, x of `rank` dimensions of variance.
fn rotated(n: usize, dims: usize, rank: usize, noise: f64, seed: u64) -> (Owned, Mat<f64>, f64) {
    let mut numbers = Numbers(seed);
    let (r, basis) = (numbers.rotation(dims), numbers.rotation(dims));
    let (scale, shift) = (1.7, numbers.vector(dims));
    let x = numbers.matrix(n, rank) * basis.as_ref().subrows(0, rank);
    let mut y = &x * &r * faer::Scale(scale);
    for i in 0..n {
        for j in 0..dims {
            y[(i, j)] += shift[j] + noise * numbers.next();
        }
    }
    (Owned::new(&x, &y, |i| i as u32), r, scale)
}

/// `weightsᵀ`, `from × to`.
fn linear(map: &Map) -> Mat<f64> {
    Mat::from_fn(map.from_dims, map.to_dims, |i, j| {
        f64::from(map.weights[j * map.from_dims + i])
    })
}

fn distance(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    (a - b).norm_l2() / b.norm_l2()
}

fn apply(map: &Map, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; map.to_dims];
    map.apply(x, &mut y);
    y
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn all_finite(fit: &Fit) -> bool {
    let maps = [&fit.forward, &fit.backward];
    maps.iter()
        .all(|m| m.weights.iter().chain(&m.offset).all(|x| x.is_finite()))
        && fit.residuals.iter().all(|x| x.is_finite())
}

fn identity_defect(m: &Mat<f64>) -> f64 {
    (m.transpose() * m - Mat::<f64>::identity(m.ncols(), m.ncols())).norm_max()
}
