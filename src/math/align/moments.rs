//! First and second moments of pairs: all that a fit needs to know of them, in one pass over the vectors.

use faer::MatRef;

use super::dense::{Matrix, filled};
use super::{Error, Pairs};
use crate::kernels::{add_scaled, centre, dot_f64};

/// Pairs taken at a time: both blocks stay in cache between their conversion and their product.
const BLOCK: usize = 128;
/// Share of a sum of squares that may be rounding.
const ROUNDING: f64 = 1e-13;

/// Sums over pairs (x, y) moved by a common origin, which keeps them free of cancellation.
pub(super) struct Moments {
    pub pairs: usize,
    sum_x: Vec<f64>,
    sum_y: Vec<f64>,
    square_x: f64,
    square_y: f64,
    xy: Matrix,
    /// The symmetric ones, on and below the diagonal; absent where no method asks for them.
    symmetric: Option<(Matrix, Matrix)>,
}

/// Sums of products of `x - at_x` and `y - at_y` over pairs.
pub(super) struct Scatter {
    pub pairs: usize,
    /// The origin that was subtracted, in the coordinates of the vectors.
    pub at_x: Vec<f64>,
    pub at_y: Vec<f64>,
    /// Sum of the squared lengths.
    pub square_x: f64,
    pub square_y: f64,
    /// `from × from`, `from × to`, `to × to`; the first and last are empty where they were not asked for.
    pub xx: Matrix,
    pub xy: Matrix,
    pub yy: Matrix,
}

/// The mean vectors of all pairs: the origin of the moments.
pub(super) struct Origin {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Origin {
    pub fn of(pairs: &Pairs<'_>) -> Self {
        let mean = |values: &[f32], dims: usize| {
            let mut sum = vec![0.0f64; dims];
            for row in values.chunks_exact(dims.max(1)) {
                sum.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
            }
            let count = (values.len() / dims.max(1)).max(1) as f64;
            sum.iter_mut().for_each(|s| *s /= count);
            sum
        };
        Origin {
            x: mean(pairs.from, pairs.from_dims),
            y: mean(pairs.to, pairs.to_dims),
        }
    }
}

impl Moments {
    /// The moments of the pairs `chosen`; `symmetric` says whether those of x with x and y with y are wanted.
    pub fn of(
        pairs: &Pairs<'_>,
        chosen: &[usize],
        origin: &Origin,
        symmetric: bool,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        let (p, q) = (pairs.from_dims, pairs.to_dims);
        let mut it = Moments {
            pairs: chosen.len(),
            sum_x: filled(p)?,
            sum_y: filled(q)?,
            square_x: 0.0,
            square_y: 0.0,
            xy: Matrix::zeros(p, q)?,
            symmetric: match symmetric {
                true => Some((Matrix::zeros(p, p)?, Matrix::zeros(q, q)?)),
                false => None,
            },
        };
        let (mut x, mut y) = (filled(BLOCK * p)?, filled(BLOCK * q)?);
        for block in chosen.chunks(BLOCK) {
            let n = block.len();
            for ((&i, x), y) in block.iter().zip(x.chunks_exact_mut(p)).zip(y.chunks_exact_mut(q)) {
                centre(&pairs.from[i * p..(i + 1) * p], &origin.x, x);
                centre(&pairs.to[i * q..(i + 1) * q], &origin.y, y);
                add_scaled(&mut it.sum_x, 1.0, x);
                add_scaled(&mut it.sum_y, 1.0, y);
                it.square_x += dot_f64(x, x);
                it.square_y += dot_f64(y, y);
            }
            let x = MatRef::from_column_major_slice(&x[..n * p], p, n);
            let y = MatRef::from_column_major_slice(&y[..n * q], q, n);
            it.xy.add_product(x, y.transpose());
            if let Some((xx, yy)) = &mut it.symmetric {
                xx.add_square(x);
                yy.add_square(y);
            }
            interrupt();
        }
        Ok(it)
    }

    /// Takes the pairs of `other` in too.
    pub fn add(&mut self, other: &Moments) {
        self.pairs += other.pairs;
        self.accumulate(other, 1.0);
    }

    /// Takes the pairs of `other`, which are among these, out.
    pub fn remove(&mut self, other: &Moments) {
        self.pairs -= other.pairs;
        self.accumulate(other, -1.0);
    }

    fn accumulate(&mut self, other: &Moments, sign: f64) {
        self.square_x += sign * other.square_x;
        self.square_y += sign * other.square_y;
        add_scaled(&mut self.sum_x, sign, &other.sum_x);
        add_scaled(&mut self.sum_y, sign, &other.sum_y);
        add_scaled(&mut self.xy.values, sign, &other.xy.values);
        if let (Some((xx, yy)), Some((other_xx, other_yy))) = (&mut self.symmetric, &other.symmetric) {
            add_scaled(&mut xx.values, sign, &other_xx.values);
            add_scaled(&mut yy.values, sign, &other_yy.values);
        }
    }

    /// The scatter about the means of these pairs.
    pub fn centred(&self, origin: &Origin) -> Result<Scatter, Error> {
        let n = self.pairs.max(1) as f64;
        let mean = |sum: &[f64], origin: &[f64]| sum.iter().zip(origin).map(|(s, o)| o + s / n).collect();
        let means = (mean(&self.sum_x, &origin.x), mean(&self.sum_y, &origin.y));
        self.about(origin, means.0, means.1)
    }

    /// The scatter about any point.
    pub fn about(&self, origin: &Origin, at_x: Vec<f64>, at_y: Vec<f64>) -> Result<Scatter, Error> {
        let moved =
            |at: &[f64], origin: &[f64]| -> Vec<f64> { at.iter().zip(origin).map(|(a, o)| a - o).collect() };
        let (x, y) = (moved(&at_x, &origin.x), moved(&at_y, &origin.y));
        let n = self.pairs as f64;
        // Σ (x - a)(y - b)ᵀ = Σ x yᵀ - (Σ x) bᵀ - a (Σ y - n b)ᵀ, and the like for the squares.
        let shifted = |m: &Matrix, sum_x: &[f64], x: &[f64], sum_y: &[f64], y: &[f64]| {
            let mut m = m.copy()?;
            for ((column, sum_y), y) in m.columns_mut().zip(sum_y).zip(y) {
                add_scaled(column, -y, sum_x);
                add_scaled(column, n * y - sum_y, x);
            }
            Ok::<_, Error>(m)
        };
        // What is left of equal vectors is rounding, and counts as nothing.
        let square = |whole: f64, sum: &[f64], at: &[f64]| {
            let rest = whole - 2.0 * dot_f64(sum, at) + n * dot_f64(at, at);
            if rest > ROUNDING * whole { rest } else { 0.0 }
        };
        let symmetric = |m: Option<&Matrix>, sum: &[f64], at: &[f64]| match m {
            None => Matrix::zeros(0, 0),
            Some(m) => {
                let mut m = shifted(m, sum, at, sum, at)?;
                m.mirror();
                Ok(m)
            }
        };
        let (xx, yy) = (
            self.symmetric.as_ref().map(|it| &it.0),
            self.symmetric.as_ref().map(|it| &it.1),
        );
        Ok(Scatter {
            pairs: self.pairs,
            square_x: square(self.square_x, &self.sum_x, &x),
            square_y: square(self.square_y, &self.sum_y, &y),
            xx: symmetric(xx, &self.sum_x, &x)?,
            xy: shifted(&self.xy, &self.sum_x, &x, &self.sum_y, &y)?,
            yy: symmetric(yy, &self.sum_y, &y)?,
            at_x,
            at_y,
        })
    }
}
