//! Hand-computed values, degenerate input and properties of the statistics.

use cvx_math::hurst::{MIN_STEPS, hurst_of_series};
use cvx_math::stats::*;
use cvx_math::{Error, Path};
use proptest::prelude::*;

fn path_of<'a>(times: &'a [i64], values: &'a [f32]) -> Path<'a> {
    Path::new(times, values, values.len() / times.len())
}

fn close(got: Option<f64>, want: f64) -> bool {
    got.is_some_and(|g| (g - want).abs() <= 1e-12 * want.abs().max(1.0))
}

#[test]
fn metrics_have_names() {
    assert_eq!(Metric::parse("cosine"), Ok(Metric::Cosine));
    assert_eq!(Metric::parse("L2"), Ok(Metric::L2));
    for bad in ["", "cos", "l2 ", "euclid\0ean"] {
        match Metric::parse(bad) {
            Err(Error::InvalidParameter {
                name: "metric",
                value,
                ..
            }) => assert_eq!(value, format!("{bad:?}")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn drift_of_first_and_last() {
    let path = path_of(&[0, 1, 2], &[2.0, 0.0, -9.0, 9.0, 0.0, 3.0]);
    assert_eq!(drift(&path, Metric::Cosine), Some(1.0));
    assert_eq!(drift(&path, Metric::L2), Some(13f64.sqrt()));
    let back = path_of(&[0, 1], &[0.1, 0.7, -0.1, -0.7]);
    assert_eq!(drift(&back, Metric::Cosine), Some(2.0));
    let same = path_of(&[0, 1], &[0.1, 0.7, 0.1, 0.7]);
    assert_eq!(drift(&same, Metric::Cosine), Some(0.0));
    let zero = path_of(&[0, 1], &[0.0, 0.0, 1.0, 0.0]);
    assert_eq!(
        (drift(&zero, Metric::Cosine), drift(&zero, Metric::L2)),
        (None, Some(1.0))
    );
    let tiny = path_of(&[0, 1], &[1e-45, 0.0, f32::MAX, f32::MAX]);
    assert!((drift(&tiny, Metric::Cosine).unwrap() - (1.0 - 0.5f64.sqrt())).abs() < 1e-12);
}

#[test]
fn trend_is_the_slope_of_the_distance_from_the_first_point() {
    // Distances 0, 1, 5 at times 0, 1, 5: on a line of slope 1.
    let line = path_of(&[7, 8, 12], &[2.0, 3.0, 7.0]);
    assert!(close(drift_trend(&line, Metric::L2, 1.0), 1.0));
    assert!(close(drift_trend(&line, Metric::L2, 60.0), 60.0));
    // 0, 2, 1 at 0, 1, 2: slope ((-1)(-1) + 0 + (1)(0)) / 2.
    let bent = path_of(&[0, 1, 2], &[0.0, 0.0, 0.0, 2.0, 1.0, 0.0]);
    assert!(close(drift_trend(&bent, Metric::L2, 1.0), 0.5));
    assert_eq!(drift_trend(&bent, Metric::Cosine, 1.0), None, "a zero point");
    // Right angle, then opposite: cosine distances 0, 1, 2.
    let turn = path_of(&[0, 10, 20], &[1.0, 0.0, 0.0, 3.0, -5.0, 0.0]);
    assert!(close(drift_trend(&turn, Metric::Cosine, 10.0), 1.0));
    let still = path_of(&[0, 10, 30], &[0.1, 0.7, 0.1, 0.7, 0.1, 0.7]);
    assert_eq!(drift_trend(&still, Metric::L2, 1.0), Some(0.0));
    let widest = path_of(&[i64::MIN, i64::MAX], &[-f32::MAX, f32::MAX]);
    assert!(close(
        drift_trend(&widest, Metric::L2, 2f64.powi(64)),
        2.0 * f64::from(f32::MAX)
    ));
}

#[test]
fn volatility_is_the_spread_of_steps_not_their_mean() {
    // Steps of 1 a microsecond apart: no spread.
    assert_eq!(volatility(&path_of(&[0, 1, 2], &[0.0, 1.0, 2.0]), 1.0), Some(0.0));
    // Steps 1 over 1 and 4 over 4: scaled 1 and 2, variance 1/2; the second dimension alike, so 1 in all.
    let path = path_of(&[0, 1, 5], &[0.0, 0.0, 1.0, -1.0, 5.0, -5.0]);
    assert!(close(volatility(&path, 1.0), 1.0));
    assert!(
        close(volatility(&path, 4.0), 2.0),
        "grows with the root of the unit"
    );
    assert_eq!(volatility(&path.slice(0..2), 1.0), None);
}

#[test]
fn entropy_from_one_dimension_to_all() {
    let moved = |to: &[f32]| {
        let values: Vec<f32> = std::iter::repeat_n(0.0, to.len())
            .chain(to.iter().copied())
            .collect();
        drift_entropy(&path_of(&[0, 1], &values))
    };
    assert_eq!(moved(&[0.0, 3.0, 0.0]), Some(0.0));
    assert!(close(moved(&[2.0, -2.0, 2.0]), 1.0));
    assert!(close(moved(&[1.0, 1.0, 0.0, 0.0]), 0.5));
    assert_eq!(moved(&[7.0]), Some(0.0), "one dimension");
    assert_eq!(moved(&[0.0, 0.0]), None, "no movement");
}

#[test]
fn stability_is_the_length_of_the_mean_direction() {
    assert_eq!(stability_score(&path_of(&[0], &[3.0, 4.0])), Some(1.0));
    assert!(close(
        stability_score(&path_of(&[0, 1], &[1.0, 0.0, 0.0, 9.0])),
        0.5f64.sqrt()
    ));
    assert_eq!(
        stability_score(&path_of(&[0, 1], &[1.0, 0.0, -2.0, 0.0])),
        Some(0.0)
    );
    assert_eq!(
        stability_score(&path_of(&[0, 1], &[1.0, 0.0, 0.0, 0.0])),
        None,
        "a zero point"
    );
    assert!(close(
        stability_score(&path_of(&[0, 1], &[1e-45, f32::MAX, 0.0, 1.0])),
        1.0
    ));
}

#[test]
fn the_report_names_the_largest_changes_first() {
    let path = path_of(&[0, 1], &[0.0, 5.0, 1.0, 1.0, 1.0, 2.0, -1.0, 1.0]);
    let report = drift_report(&path, 3).unwrap();
    assert_eq!(report.dims, [1, 2, 0]);
    assert_eq!(report.change, [-3.0, -2.0, 1.0]);
    assert_eq!(report.l2, 14f64.sqrt());
    let cosine = 1.0 - 10.0 / (27.0f64 * 7.0).sqrt();
    assert!(close(report.cosine, cosine));
    let tied = path_of(&[0, 1], &[0.0, 0.0, 0.0, 1.0, -1.0, 1.0]);
    assert_eq!(
        drift_report(&tied, 10).unwrap().dims,
        [0, 1, 2],
        "ties by number, all when fewer"
    );
    assert_eq!(drift_report(&tied, 0).unwrap().dims, []);
    assert_eq!(drift_report(&tied.slice(0..1), 10), None);
}

#[test]
fn too_few_points_have_no_answer() {
    let (empty, one) = (Path::new(&[], &[], 0), path_of(&[7], &[1.0]));
    for path in [empty, one] {
        assert_eq!(drift(&path, Metric::L2), None);
        assert_eq!(drift_trend(&path, Metric::L2, 1.0), None);
        assert_eq!(volatility(&path, 1.0), None);
        assert_eq!(drift_entropy(&path), None);
        assert_eq!(drift_report(&path, 1), None);
        assert_eq!(hurst(&path), None);
    }
    assert_eq!(stability_score(&empty), None);
}

#[test]
fn hurst_needs_enough_steps_that_differ() {
    let constant = vec![3.0; 1000];
    assert_eq!(hurst_of_series(&constant), None);
    let alternating: Vec<f64> = (0..1000).map(|i| f64::from(i % 2)).collect();
    assert_eq!(hurst_of_series(&alternating), Some(0.0));
    let growing: Vec<f64> = (0..1000).map(f64::from).collect();
    assert!(hurst_of_series(&growing).unwrap() > 0.9);
    assert_eq!(hurst_of_series(&growing[..MIN_STEPS - 1]), None);
    assert!(hurst_of_series(&growing[..MIN_STEPS]).is_some());
}

/// Sum of twelve uniform numbers, less six: close to normal, and the same on every machine.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count)
        .map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        .collect()
}

#[test]
fn hurst_of_independent_steps_is_a_half_at_every_length() {
    for (count, draws) in [(40, 2000), (100, 1000), (1000, 200), (10_000, 20)] {
        let mean = (0..draws)
            .map(|s| hurst_of_series(&noise(count, s)).unwrap())
            .sum::<f64>()
            / draws as f64;
        assert!((mean - 0.5).abs() < 0.03, "{count} steps: {mean}");
    }
}

#[test]
fn hurst_of_a_wandering_level_is_above_a_half() {
    for seed in 0..20 {
        let walk: Vec<f64> = noise(1000, seed)
            .iter()
            .scan(0.0, |level, e| {
                *level += e;
                Some(*level)
            })
            .collect();
        assert!(hurst_of_series(&walk).unwrap() > 0.85);
    }
}

proptest! {
    #[test]
    fn shares_stay_shares_and_nothing_is_nan(
        dims in 1usize..6,
        bits in prop::collection::vec(any::<u32>(), 18..600),
    ) {
        let values: Vec<f32> =
            bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        let n = values.len() / dims;
        let times: Vec<i64> = (0..n as i64).map(|i| i * i).collect();
        let path = Path::new(&times, &values[..n * dims], dims);
        for share in [drift_entropy(&path), stability_score(&path), hurst(&path)].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        prop_assert!(drift(&path, Metric::Cosine).is_none_or(|d| (0.0..=2.0).contains(&d)));
        prop_assert!(drift(&path, Metric::L2).unwrap().is_finite());
        prop_assert!(drift_trend(&path, Metric::L2, 86_400e6).unwrap().is_finite());
        prop_assert!(volatility(&path, 86_400e6).unwrap().is_finite());
        prop_assert!(drift_report(&path, 9).unwrap().change.iter().all(|c| c.is_finite()));
    }

    #[test]
    fn scale_does_not_change_what_has_no_unit(values in prop::collection::vec(-8i16..8, 120)) {
        let times: Vec<i64> = (0..40).collect();
        let as_is: Vec<f32> = values.iter().map(|&x| f32::from(x)).collect();
        let doubled: Vec<f32> = as_is.iter().map(|x| x * 2.0).collect();
        let (a, b) = (path_of(&times, &as_is), path_of(&times, &doubled));
        prop_assert_eq!(drift(&a, Metric::Cosine), drift(&b, Metric::Cosine));
        prop_assert_eq!(drift_entropy(&a), drift_entropy(&b));
        prop_assert_eq!(stability_score(&a), stability_score(&b));
        prop_assert_eq!(hurst(&a), hurst(&b));
        prop_assert_eq!(volatility(&a, 3.0).map(|v| v * 2.0), volatility(&b, 3.0));
    }

    #[test]
    fn order_of_dimensions_does_not_matter(values in prop::collection::vec(-1f32..1.0, 120)) {
        let times: Vec<i64> = (0..40).map(|i| i * 1000).collect();
        let swapped: Vec<f32> = values.chunks_exact(3).flat_map(|p| [p[2], p[0], p[1]]).collect();
        let (a, b) = (path_of(&times, &values), path_of(&times, &swapped));
        prop_assert!(close(volatility(&a, 1e6), volatility(&b, 1e6).unwrap()));
        prop_assert!(close(drift_entropy(&a), drift_entropy(&b).unwrap()));
        prop_assert!(close(stability_score(&a), stability_score(&b).unwrap()));
    }
}
