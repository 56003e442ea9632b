//! The inner loops: sums of products over `f32` rows, carried in `f64`.
//!
//! Sixteen independent accumulators let the compiler keep vector registers full without reassociating a
//! sum behind our back; `multiversion` picks the widest instruction set of the machine at run time. Products
//! and sums are rounded one by one on all of them (never fused), so every machine gives the same number.

use multiversion::multiversion;

const LANES: usize = 16;

macro_rules! sum_over {
    ($a:ident, $b:ident, |$x:ident, $y:ident| $term:expr) => {{
        let n = $a.len().min($b.len());
        let (a, b) = (&$a[..n], &$b[..n]);
        let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let mut total = 0.0;
        for (&x, &y) in ca.remainder().iter().zip(cb.remainder()) {
            let ($x, $y) = (f64::from(x), f64::from(y));
            total += $term;
        }
        if n >= LANES {
            let mut lanes = [0.0f64; LANES];
            for (xs, ys) in ca.zip(cb) {
                for i in 0..LANES {
                    let ($x, $y) = (f64::from(xs[i]), f64::from(ys[i]));
                    lanes[i] += $term;
                }
            }
            total += sum_of_lanes(&lanes);
        }
        total
    }};
}

/// Sum as a tree. Not inlined: seeing it, the compiler lays the loop above out in pairs of lanes, at half the speed.
#[inline(never)]
fn sum_of_lanes(lanes: &[f64; LANES]) -> f64 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Inner product of two rows.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum_over!(a, b, |x, y| x * y)
}

/// Squared Euclidean distance of two rows.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    sum_over!(a, b, |x, y| (x - y) * (x - y))
}

/// Euclidean distance of two rows.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    squared_distance(a, b).sqrt()
}

/// Euclidean norm of a row.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Inner product of two rows of `f64`.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
#[allow(clippy::useless_conversion)]
pub fn dot_f64(a: &[f64], b: &[f64]) -> f64 {
    sum_over!(a, b, |x, y| x * y)
}

/// Adds `scale` times `x` to `y`.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn add_scaled(y: &mut [f64], scale: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

/// Stores `x - mean` in `centred`, all of one length.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn centre(x: &[f32], mean: &[f64], centred: &mut [f64]) {
    for ((c, &x), m) in centred.iter_mut().zip(x).zip(mean) {
        *c = f64::from(x) - m;
    }
}

/// Whether no element is NaN or infinite.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn all_finite(x: &[f32]) -> bool {
    // The largest exponent tells, and a maximum of integers leaves the loop without a branch.
    let exponent = x
        .iter()
        .fold(0u32, |most, x| most.max(x.to_bits() & f32::INFINITY.to_bits()));
    exponent != f32::INFINITY.to_bits()
}
