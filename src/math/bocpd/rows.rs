//! The means of the runs, a row a run: double precision where that costs little, else single.
//!
//! They are kept as they are stored, so that a state that went through its bytes goes on as if it had not.

use multiversion::multiversion;

/// Most dimensions whose means are kept in double precision.
const WIDE_DIMS: usize = 16;
const LANES: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rows {
    Wide(Vec<f64>),
    Narrow(Vec<f32>),
}

/// What a mean takes, in bytes a dimension.
pub(super) fn width(dims: usize) -> usize {
    if dims <= WIDE_DIMS { 8 } else { 4 }
}

impl Rows {
    pub fn new(dims: usize) -> Self {
        if width(dims) == 8 {
            Rows::Wide(Vec::new())
        } else {
            Rows::Narrow(Vec::new())
        }
    }

    pub fn push_zero(&mut self, dims: usize) {
        match self {
            Rows::Wide(v) => v.resize(v.len() + dims, 0.0),
            Rows::Narrow(v) => v.resize(v.len() + dims, 0.0),
        }
    }

    /// Appends the rows of `other`, of the same width.
    pub fn push_all(&mut self, other: &Rows) {
        match (self, other) {
            (Rows::Wide(v), Rows::Wide(w)) => v.extend_from_slice(w),
            (Rows::Narrow(v), Rows::Narrow(w)) => v.extend_from_slice(w),
            _ => debug_assert!(false, "rows of one detector are of one width"),
        }
    }

    /// Only the first row of `other`, of the same width, instead of all.
    pub fn copy_first(&mut self, other: &Rows, dims: usize) {
        match (self, other) {
            (Rows::Wide(v), Rows::Wide(w)) => v.splice(.., w[..dims].iter().copied()).for_each(drop),
            (Rows::Narrow(v), Rows::Narrow(w)) => v.splice(.., w[..dims].iter().copied()).for_each(drop),
            _ => debug_assert!(false, "rows of one detector are of one width"),
        }
    }

    pub fn remove(&mut self, row: usize, dims: usize) {
        let range = row * dims..(row + 1) * dims;
        match self {
            Rows::Wide(v) => drop(v.drain(range)),
            Rows::Narrow(v) => drop(v.drain(range)),
        }
    }

    /// Moves a mean by `gain` of its way to `y`; the squared distance that it had.
    pub fn absorb(&mut self, row: usize, y: &[f64], gain: f64) -> f64 {
        let range = row * y.len()..(row + 1) * y.len();
        match self {
            Rows::Wide(v) => absorb_wide(&mut v[range], y, gain),
            Rows::Narrow(v) => absorb_narrow(&mut v[range], y, gain),
        }
    }

    pub fn get(&self, row: usize, dims: usize) -> Vec<f64> {
        let range = row * dims..(row + 1) * dims;
        match self {
            Rows::Wide(v) => v[range].to_vec(),
            Rows::Narrow(v) => v[range].iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// One row instead of all.
    pub fn replace_all(&mut self, row: &[f64]) {
        match self {
            Rows::Wide(v) => *v = row.to_vec(),
            Rows::Narrow(v) => *v = row.iter().map(|&x| x as f32).collect(),
        }
    }
}

macro_rules! absorb {
    ($mean:ident, $y:ident, $gain:ident, $number:ty) => {{
        let n = $mean.len().min($y.len());
        let (mean, y) = (&mut $mean[..n], &$y[..n]);
        let mut lanes = [0.0f64; LANES];
        let (means, mean_rest) = mean.as_chunks_mut::<LANES>();
        let (ys, y_rest) = y.as_chunks::<LANES>();
        for (m, y) in means.iter_mut().zip(ys) {
            for i in 0..LANES {
                let before = f64::from(m[i]);
                let e = y[i] - before;
                lanes[i] += e * e;
                m[i] = (before + $gain * e) as $number;
            }
        }
        let mut rest = 0.0;
        for (m, &y) in mean_rest.iter_mut().zip(y_rest) {
            let before = f64::from(*m);
            let e = y - before;
            rest += e * e;
            *m = (before + $gain * e) as $number;
        }
        rest + lanes.iter().sum::<f64>()
    }};
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn absorb_narrow(mean: &mut [f32], y: &[f64], gain: f64) -> f64 {
    absorb!(mean, y, gain, f32)
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the macro serves both widths"
)]
fn absorb_wide(mean: &mut [f64], y: &[f64], gain: f64) -> f64 {
    absorb!(mean, y, gain, f64)
}

/// Inner product of `a - b` and `c - d`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn dot_of_differences(a: &[f32], b: &[f32], c: &[f32], d: &[f32]) -> f64 {
    let n = a.len().min(b.len()).min(c.len()).min(d.len());
    let mut lanes = [0.0f64; LANES];
    let chunks = a[..n]
        .chunks(LANES)
        .zip(b[..n].chunks(LANES))
        .zip(c[..n].chunks(LANES).zip(d[..n].chunks(LANES)));
    for ((a, b), (c, d)) in chunks {
        let m = a.len().min(b.len()).min(c.len()).min(d.len()).min(LANES);
        for i in 0..m {
            lanes[i] += (f64::from(a[i]) - f64::from(b[i])) * (f64::from(c[i]) - f64::from(d[i]));
        }
    }
    lanes.iter().sum()
}
