//! Change points through the front door: hand-computed values, an unpruned oracle, invariances, degenerate input.

use cvx_math::changepoints::{ChangePoint, Cost, Detection, Options, changepoints};
use cvx_math::{Error, Path};
use proptest::prelude::*;

fn detect(values: &[f32], dims: usize, options: &Options) -> Detection {
    let times: Vec<i64> = (0..(values.len() / dims) as i64).collect();
    changepoints(Path::new(&times, values, dims), options, &mut || ()).expect("valid parameters")
}

fn indexes(detection: &Detection) -> Vec<usize> {
    detection.change_points.iter().map(|c| c.index).collect()
}

fn with_penalty(cost: Cost, penalty: f64, min_size: usize) -> Options {
    Options {
        cost,
        penalty: Some(penalty),
        min_size,
        ..Options::default()
    }
}

/// The kernel of each cost, as its definition says.
fn kernel(cost: Cost, a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| {
        x.iter()
            .zip(y)
            .map(|(&u, &v)| f64::from(u) * f64::from(v))
            .sum::<f64>()
    };
    match cost {
        Cost::L2 => dot(a, b),
        Cost::Cosine => dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
        Cost::Rbf { gamma } => {
            let square = dot(a, a) + dot(b, b) - 2.0 * dot(a, b);
            (-(gamma.unwrap_or(1.0) * square).clamp(0.01, 100.0)).exp()
        }
    }
}

fn segment_cost(cost: Cost, segment: &[&[f32]]) -> f64 {
    let own: f64 = segment.iter().map(|p| kernel(cost, p, p)).sum();
    let all: f64 = segment
        .iter()
        .map(|a| segment.iter().map(|b| kernel(cost, a, b)).sum::<f64>())
        .sum();
    own - all / segment.len() as f64
}

fn objective(cost: Cost, points: &[&[f32]], breaks: &[usize], penalty: f64) -> f64 {
    let bounds: Vec<usize> = [0]
        .into_iter()
        .chain(breaks.iter().copied())
        .chain([points.len()])
        .collect();
    let costs: f64 = bounds
        .windows(2)
        .map(|b| segment_cost(cost, &points[b[0]..b[1]]))
        .sum();
    costs + penalty * breaks.len() as f64
}

/// The least objective over every one of the 2^(n-1) segmentations that keep to `min_size`.
fn least_objective(cost: Cost, points: &[&[f32]], penalty: f64, min_size: usize) -> f64 {
    let n = points.len();
    let mut least = f64::INFINITY;
    for mask in 0u32..1 << (n - 1) {
        let breaks: Vec<usize> = (1..n).filter(|i| mask & (1 << (i - 1)) != 0).collect();
        let bounds: Vec<usize> = [0].into_iter().chain(breaks.iter().copied()).chain([n]).collect();
        if bounds.windows(2).all(|b| b[1] - b[0] >= min_size) {
            least = least.min(objective(cost, points, &breaks, penalty));
        }
    }
    least
}

/// Numbers that look normal enough, the same each time (a sum of four uniform ones).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut uniform = || {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (uniform() + uniform() + uniform() + uniform()) * 3.0f32.sqrt()
    }

    fn points(&mut self, n: usize, dims: usize) -> Vec<f32> {
        (0..n * dims).map(|_| self.next()).collect()
    }
}

fn shifted(mut values: Vec<f32>, dims: usize, from: usize, by: f32) -> Vec<f32> {
    values[from * dims..].iter_mut().for_each(|v| *v += by);
    values
}

#[test]
fn one_jump_by_hand() {
    // Means 1 and 5; successive differences within segments 0, 2, 0 and 0, 2, 0: tr Sigma = (8 / 6) / 2 = 2 / 3.
    let values = [0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0];
    let found = detect(&values, 1, &with_penalty(Cost::L2, 10.0, 4));
    let variance = 2.0 / 3.0;
    assert_eq!(indexes(&found), [4]);
    assert_eq!(found.change_points[0].shift, [4.0]);
    assert!((found.noise_variance - variance).abs() < 1e-12);
    assert!((found.change_points[0].severity - 16.0 / (16.0 + variance)).abs() < 1e-12);
    // The break gains 8 * 4 / 8 * 4 = 32: at that penalty it is not worth it.
    assert_eq!(
        indexes(&detect(&values, 1, &with_penalty(Cost::L2, 31.999, 4))),
        [4]
    );
    assert!(indexes(&detect(&values, 1, &with_penalty(Cost::L2, 32.001, 4))).is_empty());
}

#[test]
fn cosine_ignores_length_and_l2_does_not() {
    let values = [1.0, 0.0, 3.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 3.0];
    let found = detect(&values, 2, &with_penalty(Cost::Cosine, 0.1, 1));
    assert_eq!(indexes(&found), [3]);
    assert_eq!(found.change_points[0].shift, [-2.0, 2.0]);
    assert!(indexes(&detect(&values, 2, &with_penalty(Cost::L2, 0.1, 1))).len() > 1);
}

#[test]
fn zero_vectors_have_no_direction() {
    let values = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0];
    assert_eq!(
        indexes(&detect(&values, 2, &with_penalty(Cost::Cosine, 0.5, 2))),
        [3]
    );
    let zeros = [0.0; 12];
    for penalty in [Some(0.0), Some(1.0), None] {
        let found = detect(
            &zeros,
            2,
            &Options {
                cost: Cost::Cosine,
                penalty,
                ..Options::default()
            },
        );
        assert!(found.change_points.is_empty() && found.penalty.is_finite() && found.noise_variance == 0.0);
    }
}

#[test]
fn too_few_points_have_no_change() {
    let values = [1.0, 9.0, 1.0];
    for n in 0..=3 {
        for cost in [Cost::L2, Cost::Cosine, Cost::Rbf { gamma: None }] {
            for penalty in [Some(0.0), None] {
                let found = detect(
                    &values[..n],
                    1,
                    &Options {
                        cost,
                        penalty,
                        ..Options::default()
                    },
                );
                assert!(found.change_points.is_empty());
                assert!(found.penalty.is_finite() && found.noise_variance.is_finite());
            }
        }
    }
    assert!(indexes(&detect(&values, 1, &with_penalty(Cost::L2, 0.0, usize::MAX))).is_empty());
    assert_eq!(
        indexes(&detect(&values[..2], 1, &with_penalty(Cost::L2, 1.0, 1))),
        [1]
    );
}

#[test]
fn a_jump_without_noise_is_found_and_certain() {
    let values: Vec<f32> = (0..40).map(|i| if i < 25 { 1.0 } else { 4.0 }).collect();
    for cost in [Cost::L2, Cost::Rbf { gamma: None }] {
        let found = detect(
            &values,
            1,
            &Options {
                cost,
                ..Options::default()
            },
        );
        let expected = ChangePoint {
            index: 25,
            severity: 1.0,
            shift: vec![3.0],
        };
        assert_eq!(found.change_points, [expected], "{cost:?}");
        assert_eq!(found.noise_variance, 0.0);
    }
}

#[test]
fn constant_points_never_change() {
    for n in [4, 15, 16, 50] {
        for cost in [Cost::L2, Cost::Cosine, Cost::Rbf { gamma: None }] {
            for penalty in [Some(0.0), Some(1.0), None] {
                for autocorrelated in [false, true] {
                    let options = Options {
                        cost,
                        penalty,
                        autocorrelated,
                        ..Options::default()
                    };
                    let found = detect(&vec![0.3; 3 * n], 3, &options);
                    assert!(found.change_points.is_empty(), "n={n} {options:?}");
                    assert!(found.penalty.is_finite());
                }
            }
        }
    }
}

#[test]
fn parameters_outside_their_domain_are_named() {
    let good = Options::default();
    let cases = [
        ("min_size", Options { min_size: 0, ..good }),
        ("alpha", Options { alpha: 0.0, ..good }),
        ("alpha", Options { alpha: 1.0, ..good }),
        (
            "alpha",
            Options {
                alpha: f64::NAN,
                ..good
            },
        ),
        (
            "penalty",
            Options {
                penalty: Some(-1.0),
                ..good
            },
        ),
        (
            "penalty",
            Options {
                penalty: Some(f64::NAN),
                ..good
            },
        ),
        (
            "penalty",
            Options {
                penalty: Some(f64::INFINITY),
                ..good
            },
        ),
        (
            "gamma",
            Options {
                cost: Cost::Rbf { gamma: Some(0.0) },
                ..good
            },
        ),
        (
            "gamma",
            Options {
                cost: Cost::Rbf {
                    gamma: Some(f64::INFINITY),
                },
                ..good
            },
        ),
    ];
    for (expected, options) in cases {
        match changepoints(Path::new(&[0], &[1.0], 1), &options, &mut || ()) {
            Err(Error::InvalidParameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{options:?} gave {other:?}"),
        }
    }
}

#[test]
fn long_work_can_be_interrupted() {
    let values = Noise(1).points(200, 2);
    let times: Vec<i64> = (0..200).collect();
    let mut calls = 0;
    let result = changepoints(Path::new(&times, &values, 2), &Options::default(), &mut || {
        calls += 1
    });
    assert!(result.is_ok() && calls > 20, "{calls} calls");
}

#[test]
fn few_points_with_a_clear_jump() {
    let values = [0.1, 0.0, 0.05, 0.02, 5.0, 5.1, 4.9, 5.05];
    assert_eq!(indexes(&detect(&values, 1, &Options::default())), [4]);
}

#[test]
fn a_large_change_does_not_hide_a_small_one() {
    let noise = Noise(7).points(120, 16);
    let values = shifted(shifted(noise, 16, 40, 30.0), 16, 80, 1.0);
    let found = detect(&values, 16, &Options::default());
    assert_eq!(indexes(&found), [40, 80]);
    assert!(found.change_points[0].severity > 0.99 && found.change_points[1].severity < 0.7);
    assert!(
        (found.noise_variance / 16.0 - 1.0).abs() < 0.15,
        "{}",
        found.noise_variance
    );
}

#[test]
fn alternating_levels_do_not_hide_behind_their_own_variance() {
    let mut values = Noise(3).points(100, 1);
    for (i, v) in values.iter_mut().enumerate() {
        *v += if i / 10 % 2 == 1 { 12.0 } else { 0.0 };
    }
    let found = detect(&values, 1, &Options::default());
    assert_eq!(indexes(&found), [10, 20, 30, 40, 50, 60, 70, 80, 90]);
}

#[test]
fn calibration_is_the_same_each_time_and_follows_scale() {
    let values = shifted(Noise(11).points(60, 8), 8, 30, 1.0);
    let first = detect(&values, 8, &Options::default());
    assert_eq!(first, detect(&values, 8, &Options::default()));
    let larger: Vec<f32> = values.iter().map(|v| v * 4.0).collect();
    let other = detect(&larger, 8, &Options::default());
    assert_eq!(indexes(&first), indexes(&other));
    assert!((other.penalty / first.penalty / 16.0 - 1.0).abs() < 1e-6);
}

#[test]
fn a_smaller_alpha_asks_for_more() {
    let values = Noise(5).points(80, 4);
    let penalty = |alpha| {
        detect(
            &values,
            4,
            &Options {
                alpha,
                ..Options::default()
            },
        )
        .penalty
    };
    let penalties: Vec<f64> = [0.5, 0.2, 0.05, 0.01, 1e-4, 1e-9]
        .into_iter()
        .map(penalty)
        .collect();
    assert!(
        penalties.windows(2).all(|pair| pair[0] < pair[1]),
        "{penalties:?}"
    );
}

/// Share of 200 signals without change that show one; the bar is alpha plus two standard errors.
fn false_alarms(dims: usize, n: usize, options: &Options) -> f64 {
    let mut noise = Noise(n as u64 * 31 + dims as u64);
    let alarms = (0..200).filter(|_| {
        !detect(&noise.points(n, dims), dims, options)
            .change_points
            .is_empty()
    });
    alarms.count() as f64 / 200.0
}

#[test]
fn false_alarms_stay_below_alpha() {
    let bar = 0.05 + 2.0 * (0.05f64 * 0.95 / 200.0).sqrt();
    for cost in [Cost::L2, Cost::Cosine, Cost::Rbf { gamma: None }] {
        for (dims, n) in [(2, 30), (64, 30), (2, 60), (64, 60), (2, 10)] {
            let share = false_alarms(
                dims,
                n,
                &Options {
                    cost,
                    ..Options::default()
                },
            );
            assert!(share <= bar, "{cost:?} D={dims} n={n}: {share}");
        }
    }
}

#[test]
fn planted_shifts_are_found_where_they_are() {
    for (dims, delta) in [(64, 0.5f32), (384, 0.5)] {
        let mut noise = Noise(dims as u64);
        let found = (0..100).filter(|_| {
            let values = shifted(noise.points(60, dims), dims, 30, delta);
            indexes(&detect(&values, dims, &Options::default()))
                .iter()
                .any(|b| b.abs_diff(30) <= 2)
        });
        assert!(found.count() >= 95);
    }
}

#[test]
fn more_points_than_are_sampled() {
    let silent = Noise(21).points(1500, 2);
    assert!(detect(&silent, 2, &Options::default()).change_points.is_empty());
    let found = indexes(&detect(&shifted(silent, 2, 700, 2.0), 2, &Options::default()));
    assert!(found.len() == 1 && found[0].abs_diff(700) <= 2, "{found:?}");
}

/// AR(1) noise in two dimensions.
fn persistent(noise: &mut Noise, n: usize, phi: f32) -> Vec<f32> {
    let mut values = noise.points(n + 50, 2);
    for i in 2..values.len() {
        values[i] += phi * values[i - 2];
    }
    values.split_off(100)
}

#[test]
fn autocorrelated_noise_is_allowed_for_when_asked() {
    let mut noise = Noise(17);
    let share = |noise: &mut Noise, autocorrelated| {
        let options = Options {
            autocorrelated,
            ..Options::default()
        };
        (0..100)
            .filter(|_| !indexes(&detect(&persistent(noise, 60, 0.5), 2, &options)).is_empty())
            .count()
    };
    assert!(share(&mut noise, false) > 50);
    assert!(share(&mut noise, true) <= 10);
    let jump = shifted(persistent(&mut noise, 60, 0.2), 2, 30, 4.0);
    let found = indexes(&detect(
        &jump,
        2,
        &Options {
            autocorrelated: true,
            ..Options::default()
        },
    ));
    assert!(found.iter().any(|b| b.abs_diff(30) <= 1), "{found:?}");
}

fn costs() -> impl Strategy<Value = Cost> {
    prop_oneof![
        Just(Cost::L2),
        Just(Cost::Cosine),
        (0.05f64..2.0).prop_map(|g| Cost::Rbf { gamma: Some(g) })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pelt_is_as_good_as_every_segmentation(
        cost in costs(),
        dims in 1usize..5,
        values in prop::collection::vec(-4.0f32..4.0, 40),
        n in 2usize..=10,
        penalty in 0.0f64..6.0,
        min_size in 1usize..4,
    ) {
        let values = &values[..n * dims];
        let points: Vec<&[f32]> = values.chunks_exact(dims).collect();
        let breaks = indexes(&detect(values, dims, &with_penalty(cost, penalty, min_size)));
        let bounds: Vec<usize> = [0].into_iter().chain(breaks.iter().copied()).chain([n]).collect();
        prop_assert!(breaks.is_empty() || bounds.windows(2).all(|b| b[1] - b[0] >= min_size));
        let least = least_objective(cost, &points, penalty, min_size.min(n / 2).max(1));
        if n >= 2 * min_size {
            let ours = objective(cost, &points, &breaks, penalty);
            // The Gaussian kernel's exponent is rounded to f32.
            prop_assert!(ours <= least + 1e-5, "{breaks:?}: {ours} > {least}");
        } else {
            prop_assert!(breaks.is_empty());
        }
    }

    #[test]
    fn moving_mirroring_and_scaling_leave_the_breaks(
        seed in any::<u64>(),
        n in 20usize..150,
        dims in 1usize..20,
        jump in 0.0f32..3.0,
        penalty in 2.0f64..20.0,
        min_size in 1usize..6,
    ) {
        let values = shifted(Noise(seed).points(n, dims), dims, n / 2, jump);
        let breaks = indexes(&detect(&values, dims, &with_penalty(Cost::L2, penalty, min_size)));
        let changed: Vec<f32> = values
            .chunks_exact(dims)
            .flat_map(|p| p.iter().rev().map(|v| 8.0 - 2.0 * v))
            .collect();
        prop_assert_eq!(breaks, indexes(&detect(&changed, dims, &with_penalty(Cost::L2, 4.0 * penalty, min_size))));
    }

    #[test]
    fn every_answer_is_finite(
        cost in costs(),
        values in prop::collection::vec(prop_oneof![Just(0.0f32), Just(1.0), -1e6f32..1e6, -1e-6f32..1e-6], 2..60),
        dims in 1usize..4,
        min_size in 1usize..4,
        calibrate in any::<bool>(),
        autocorrelated in any::<bool>(),
    ) {
        let values = &values[..values.len() / dims * dims];
        let penalty = (!calibrate).then_some(1.0);
        let found = detect(values, dims, &Options { cost, penalty, min_size, alpha: 0.05, autocorrelated });
        prop_assert!(found.penalty.is_finite() && found.penalty >= 0.0);
        prop_assert!(found.noise_variance.is_finite() && found.noise_variance >= 0.0);
        for change in &found.change_points {
            prop_assert!((0.0..=1.0).contains(&change.severity));
            prop_assert!(change.shift.len() == dims && change.shift.iter().all(|s| s.is_finite()));
        }
    }
}
