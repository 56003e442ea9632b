//! What could be detected at best: a detector that knows everything but whether, and when, there is a change.
//!
//! Noise in D dimensions, isotropic, its mean, its variance and the length of the shift known; the direction of the
//! shift either known too, or uniform. The CUSUM of the likelihood ratio (for an unknown direction: that of its
//! mixture, from each time of the last `LONGEST` points) alarms above a level, which is found by simulation so that 1 % of series without
//! change alarm within 500 points.

use crate::noise::Source;

const LONGEST: usize = 40;

/// Shares of series in which a shift of `delta` after `before` points is reported within `within` points: by the
/// detector that knows the direction, by the one that does not.
pub fn known(delta: f64, within: usize, streams: usize, seed: u64) -> [f64; 2] {
    [true, false].map(|direction_known| {
        let mut source = Source::new(seed);
        let mut highest: Vec<f64> = (0..streams)
            .map(|_| highest(&mut source, delta, 500, usize::MAX, direction_known))
            .collect();
        highest.sort_by(f64::total_cmp);
        let level = highest[streams - 1 - streams / 100];
        let found = (0..streams)
            .filter(|_| highest_after(&mut source, delta, within, direction_known) > level)
            .count();
        found as f64 / streams as f64
    })
}

fn highest_after(source: &mut Source, delta: f64, within: usize, direction_known: bool) -> f64 {
    highest(source, delta, 100 + within, 100, direction_known)
}

/// The highest level that the statistic reaches in two dimensions, from point `change` on if there is one.
fn highest(source: &mut Source, delta: f64, points: usize, change: usize, direction_known: bool) -> f64 {
    // Unit variance in each dimension, so that the shift is sqrt 2 times delta.
    let shift = delta * 2f64.sqrt();
    let mut past: Vec<[f64; 2]> = Vec::with_capacity(points);
    let (mut cusum, mut most) = (0.0f64, f64::NEG_INFINITY);
    for t in 0..points {
        let x = [
            source.normal() + if t >= change { shift } else { 0.0 },
            source.normal(),
        ];
        past.push(x);
        let now = if direction_known {
            cusum = cusum.max(0.0) + shift * x[0] - shift * shift / 2.0;
            cusum
        } else {
            mixture(&past[past.len().saturating_sub(LONGEST)..], shift)
        };
        if change == usize::MAX || t >= change {
            most = most.max(now);
        }
    }
    most
}

/// The greatest log likelihood ratio over the start of the change, the direction mixed: with s the sum of m points,
/// the mixture over the circle of exp(shift u.s - m shift^2 / 2) is I0(shift |s|) exp(- m shift^2 / 2).
fn mixture(past: &[[f64; 2]], shift: f64) -> f64 {
    let mut sum = [0.0, 0.0];
    let mut most = f64::NEG_INFINITY;
    for (m, x) in past.iter().rev().enumerate() {
        sum = [sum[0] + x[0], sum[1] + x[1]];
        let length = (sum[0] * sum[0] + sum[1] * sum[1]).sqrt();
        most = most.max(log_bessel_i0(shift * length) - (m + 1) as f64 * shift * shift / 2.0);
    }
    most
}

/// ln I0(x), by Abramowitz and Stegun 9.8.1 and 9.8.2.
fn log_bessel_i0(x: f64) -> f64 {
    let polynomial = |c: &[f64], t: f64| c.iter().rev().fold(0.0, |sum, &c| sum * t + c);
    if x < 3.75 {
        let t = (x / 3.75).powi(2);
        polynomial(
            &[
                1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813,
            ],
            t,
        )
        .ln()
    } else {
        let c = [
            0.39894228,
            0.01328592,
            0.00225319,
            -0.00157565,
            0.00916281,
            -0.02057706,
            0.02635537,
            -0.01647633,
            0.00392377,
        ];
        x - 0.5 * x.ln() + polynomial(&c, 3.75 / x).ln()
    }
}
