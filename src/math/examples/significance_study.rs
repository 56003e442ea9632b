//! Monte-Carlo study of the p-values of drift and of the last step: how often noise alone falls below a level, and how far
//! the p-values are from uniform.
//!
//! `significance_study [DRAWS] [SEED]`, defaults `4000 1`. Everything is seeded.

use cvx_math::Path;
use cvx_math::significance::{drift_p_value, velocity_p_value};
use cvx_math::stats::Metric;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::error::Error;

const DIMS: [usize; 3] = [2, 64, 384];
const LENGTHS: [usize; 8] = [4, 5, 6, 8, 12, 20, 50, 200];
const LEVELS: [f64; 3] = [0.05, 0.01, 0.001];

/// What the noise looks like: its name and its variance along each axis.
type Noise = (&'static str, fn(usize) -> f64);

const SPECTRA: [Noise; 3] = [
    ("isotropic", |_| 1.0),
    ("1/k", |axis| 1.0 / (axis + 1) as f64),
    ("spike", |axis| if axis == 0 { 1.0 } else { 0.3 / 384.0 }),
];

fn normal(rng: &mut Pcg64Mcg) -> f64 {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// Largest excess of the distribution function over the uniform one (liberal), and of the latter over it (conservative).
fn distances(p: &mut [f64]) -> (f64, f64) {
    p.sort_by(f64::total_cmp);
    let n = p.len() as f64;
    let ranked = || p.iter().enumerate().map(|(rank, p)| (rank as f64 / n, *p));
    let liberal = ranked().map(|(below, p)| below + 1.0 / n - p).fold(0.0, f64::max);
    let conservative = ranked().map(|(below, p)| p - below).fold(0.0, f64::max);
    (liberal, conservative)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let draws: usize = arguments.next().map_or(Ok(4000), |it| it.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |it| it.parse())?;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    println!(
        "share of p-values below 0.05, 0.01, 0.001; Kolmogorov-Smirnov distances above and below uniform"
    );
    println!(
        "{draws} draws: the latter stay below {:.3} for uniform numbers 95 times of 100",
        1.22 / (draws as f64).sqrt()
    );
    println!("  dims noise      points of    <0.05   <0.01  <0.001   above   below");
    for dims in DIMS {
        for (name, variance) in SPECTRA {
            let deviations: Vec<f64> = (0..dims).map(|axis| variance(axis).sqrt()).collect();
            for n in LENGTHS {
                let times: Vec<i64> = (0..n as i64).collect();
                let (mut drift, mut velocity) = (Vec::new(), Vec::new());
                for _ in 0..draws {
                    let values: Vec<f32> = (0..n * dims)
                        .map(|i| (2.0 + normal(&mut rng) * deviations[i % dims]) as f32)
                        .collect();
                    let path = Path::new(&times, &values, dims);
                    drift.extend(drift_p_value(&path, Metric::L2));
                    velocity.extend(velocity_p_value(&path));
                }
                for (of, mut p) in [("drift", drift), ("step", velocity)] {
                    let below =
                        LEVELS.map(|level| p.iter().filter(|&&p| p < level).count() as f64 / p.len() as f64);
                    let (above, under) = distances(&mut p);
                    println!(
                        "{dims:>6} {name:<10} {n:>6} {of:<5} {:>7.4} {:>7.4} {:>7.4} {above:>7.3} {under:>7.3}",
                        below[0], below[1], below[2]
                    );
                }
            }
        }
    }
    Ok(())
}
