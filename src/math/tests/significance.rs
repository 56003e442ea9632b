//! p-values of drift and of the last step: uniform without drift, small with it, and what must not change them.

use cvx_math::Path;
use cvx_math::significance::{MIN_POINTS, drift_p_value, velocity_p_value};
use cvx_math::stats::Metric;
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

fn normals(count: usize, rng: &mut Pcg64Mcg) -> Vec<f64> {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (0..count)
        .map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
        .collect()
}

struct Points {
    times: Vec<i64>,
    values: Vec<f32>,
    dims: usize,
}

impl Points {
    fn new(values: &[f64], dims: usize) -> Self {
        Points {
            times: (0..(values.len() / dims) as i64).map(|i| i * i + i).collect(),
            values: values.iter().map(|&x| x as f32).collect(),
            dims,
        }
    }

    /// Noise with these standard deviations around 3, with `shift(i)` added to the first coordinate of point `i`.
    fn drawn(n: usize, deviations: &[f64], rng: &mut Pcg64Mcg, shift: impl Fn(usize) -> f64) -> Self {
        let dims = deviations.len();
        let mut values = normals(n * dims, rng);
        for (i, point) in values.chunks_exact_mut(dims).enumerate() {
            point
                .iter_mut()
                .zip(deviations)
                .for_each(|(x, s)| *x = 3.0 + *x * s);
            point[0] += shift(i);
        }
        Points::new(&values, dims)
    }

    fn path(&self) -> Path<'_> {
        Path::new(&self.times, &self.values, self.dims)
    }

    fn drift(&self) -> f64 {
        drift_p_value(&self.path(), Metric::L2).unwrap()
    }

    fn velocity(&self) -> f64 {
        velocity_p_value(&self.path()).unwrap()
    }
}

fn spectra(dims: usize) -> [Vec<f64>; 2] {
    [
        vec![0.1; dims],
        (1..=dims).map(|k| 1.0 / (k as f64).sqrt()).collect(),
    ]
}

/// Largest excess of the distribution function of `p` over that of uniform numbers (Kolmogorov and Smirnov).
fn excess(p: &mut [f64]) -> f64 {
    p.sort_by(f64::total_cmp);
    let n = p.len() as f64;
    p.iter()
        .zip(1..)
        .map(|(p, rank)| f64::from(rank) / n - p)
        .fold(0.0, f64::max)
}

#[test]
fn uniform_or_conservative_without_drift() {
    let mut rng = Pcg64Mcg::seed_from_u64(20);
    const DRAWS: usize = 1000;
    for dims in [2, 64] {
        for deviations in spectra(dims) {
            for n in [4, 7, 20, 60] {
                let draws: Vec<Points> = (0..DRAWS)
                    .map(|_| Points::drawn(n, &deviations, &mut rng, |_| 0.0))
                    .collect();
                for p_of in [Points::drift, Points::velocity] {
                    let mut p: Vec<f64> = draws.iter().map(p_of).collect();
                    let below = |alpha: f64| p.iter().filter(|&&p| p <= alpha).count() as f64;
                    // A tenth above the level, and three standard deviations of a count.
                    for alpha in [0.05, 0.01] {
                        let expected = 1.1 * alpha * DRAWS as f64;
                        let found = below(alpha);
                        assert!(
                            found <= expected + 3.0 * expected.sqrt(),
                            "{dims} {n}: {found} at {alpha}"
                        );
                    }
                    // The body may be off by a few hundredths; 0.001 quantile of the statistic itself: 0.06.
                    let excess = excess(&mut p);
                    assert!(excess < 0.1, "{dims} dimensions, {n} points: {excess}");
                }
            }
        }
    }
}

#[test]
fn drift_is_seen_whether_steady_or_at_once() {
    let mut rng = Pcg64Mcg::seed_from_u64(21);
    let deviations = vec![0.1; 64];
    // The noise has length 0.8.
    for shift in [
        |i: usize| i as f64 * 0.2,
        |i: usize| if i < 15 { 0.0 } else { 6.0 },
    ] {
        for _ in 0..100 {
            let moving = Points::drawn(30, &deviations, &mut rng, shift);
            assert!(moving.drift() < 1e-3, "{}", moving.drift());
        }
    }
    let found = (0..100)
        .filter(|_| {
            Points::drawn(30, &deviations, &mut rng, |i| if i < 29 { 0.0 } else { 4.0 }).velocity() < 1e-3
        })
        .count();
    assert!(found >= 99, "{found}");
}

#[test]
fn one_change_on_the_way_does_not_hide_the_drift() {
    let mut rng = Pcg64Mcg::seed_from_u64(22);
    let deviations = vec![0.1; 64];
    let at_once = Points::drawn(40, &deviations, &mut rng, |i| if i < 20 { 0.0 } else { 100.0 });
    assert!(at_once.drift() < 1e-12, "{}", at_once.drift());
}

#[test]
fn without_an_answer() {
    let mut rng = Pcg64Mcg::seed_from_u64(23);
    for n in 1..MIN_POINTS {
        let few = Points::drawn(n, &[1.0; 3], &mut rng, |_| 0.0);
        assert_eq!(drift_p_value(&few.path(), Metric::L2), None);
        assert_eq!(velocity_p_value(&few.path()), None);
    }
    let empty = Path::new(&[], &[], 0);
    assert_eq!(
        (drift_p_value(&empty, Metric::Cosine), velocity_p_value(&empty)),
        (None, None)
    );
    let zero = Points::new(&[1.0, 2.0, 0.0, 0.0, 3.0, 1.0, 2.0, 2.0], 2);
    assert_eq!(drift_p_value(&zero.path(), Metric::Cosine), None);
    assert!(drift_p_value(&zero.path(), Metric::L2).is_some());
}

#[test]
fn without_noise() {
    let still = Points::new(&[0.1, 0.7, 0.1, 0.7, 0.1, 0.7, 0.1, 0.7], 2);
    assert_eq!((still.drift(), still.velocity()), (1.0, 1.0));
    let moved = Points::new(&[0.1, 0.7, 0.1, 0.7, 0.1, 0.7, 0.2, 0.7], 2);
    assert_eq!((moved.drift(), moved.velocity()), (0.0, 0.0));
    let stretched = Points::new(&[0.1, 0.7, 0.2, 1.4, 0.3, 2.1, 5.0, 35.0], 2);
    assert_eq!(drift_p_value(&stretched.path(), Metric::Cosine), Some(1.0));
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * a.abs().max(b.abs()) + 1e-12
}

proptest! {
    #[test]
    fn scale_place_rotation_and_time_play_no_part(
        n in 4usize..70, dims in 1usize..9, seed in any::<u64>(), steps in 0.0..3.0,
    ) {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let points = Points::drawn(n, &spectra(dims)[1], &mut rng, |i| steps * i as f64 / n as f64);
        let as_is: Vec<f64> = points.values.iter().map(|&x| f64::from(x)).collect();
        let same = |other: &Points| close(points.drift(), other.drift()) && close(points.velocity(), other.velocity());
        prop_assert!(same(&Points::new(&as_is.iter().map(|x| x * 1024.0).collect::<Vec<_>>(), dims)));
        prop_assert!(same(&Points::new(&as_is.iter().map(|x| x + 5.0).collect::<Vec<_>>(), dims)));
        // Reflected in the hyperplane across a random direction.
        let across = normals(dims, &mut rng);
        let square: f64 = across.iter().map(|x| x * x).sum();
        let reflected: Vec<f64> = as_is
            .chunks_exact(dims)
            .flat_map(|p| {
                let along = 2.0 * p.iter().zip(&across).map(|(x, a)| x * a).sum::<f64>() / square;
                p.iter().zip(&across).map(move |(x, a)| x - along * a).collect::<Vec<_>>()
            })
            .collect();
        prop_assert!(same(&Points::new(&reflected, dims)));
        let mut later = Points::new(&as_is, dims);
        later.times = (0..n as i64).map(|i| i * 1_000_000 - 5).collect();
        prop_assert!(same(&later));
        // Forwards and backwards are equally far; of more points the shape is taken from some.
        let backwards: Vec<f64> = as_is.chunks_exact(dims).rev().flatten().copied().collect();
        prop_assert!(n > 32 || close(points.drift(), Points::new(&backwards, dims).drift()));
    }

    #[test]
    fn the_cosine_sees_directions_only(n in 4usize..40, seed in any::<u64>()) {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let points = Points::drawn(n, &[0.3; 5], &mut rng, |_| 0.0);
        let stretched: Vec<f64> = points
            .values
            .chunks_exact(5)
            .enumerate()
            .flat_map(|(i, p)| p.iter().map(move |&x| f64::from(x) * (1 + i % 3) as f64))
            .collect();
        let p = |it: &Points| drift_p_value(&it.path(), Metric::Cosine).unwrap();
        prop_assert!(close(p(&points), p(&Points::new(&stretched, 5))));
    }

    #[test]
    fn a_probability_of_whatever_is_finite(
        dims in 1usize..5,
        bits in prop::collection::vec(any::<u32>(), 20..300),
    ) {
        let values: Vec<f32> =
            bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        let n = values.len() / dims;
        let times: Vec<i64> = (0..n as i64).collect();
        let path = Path::new(&times, &values[..n * dims], dims);
        for p in [drift_p_value(&path, Metric::L2), velocity_p_value(&path)] {
            prop_assert!((0.0..=1.0).contains(&p.unwrap()), "{:?}", p);
        }
        prop_assert!(drift_p_value(&path, Metric::Cosine).is_none_or(|p| (0.0..=1.0).contains(&p)));
    }
}
