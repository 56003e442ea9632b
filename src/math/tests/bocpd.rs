//! Online change points: invariances, what is promised of alarms and detection (in small; the study has it at
//! length), outliers, degenerate input, and the state as bytes.

use cvx_math::bocpd::{Detector, Error, Options, Report};
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

const DAY: i64 = 86_400_000_000;

/// Standard normal numbers, the same each time.
struct Noise(Pcg64Mcg);

impl Noise {
    fn new(seed: u64) -> Self {
        Noise(Pcg64Mcg::seed_from_u64(seed))
    }

    fn next(&mut self) -> f64 {
        let mut uniform = || ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    fn points(&mut self, n: usize, dims: usize) -> Vec<f32> {
        (0..n * dims).map(|_| self.next() as f32).collect()
    }
}

/// Noise with a shift of `delta` noise deviations from point `at` on, in a random direction.
fn shifted(seed: u64, n: usize, dims: usize, at: usize, delta: f64) -> Vec<f32> {
    let mut noise = Noise::new(seed);
    let mut values = noise.points(n, dims);
    let direction: Vec<f64> = (0..dims).map(|_| noise.next()).collect();
    let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    let by = delta * (dims as f64).sqrt() / norm;
    for point in values.chunks_exact_mut(dims).skip(at) {
        for (x, u) in point.iter_mut().zip(&direction) {
            *x += (by * u) as f32;
        }
    }
    values
}

fn begin(dims: usize) -> Detector {
    Detector::new(dims, Options::default()).expect("valid options")
}

fn feed(detector: &mut Detector, values: &[f32]) -> Vec<Report> {
    let dims = detector.dims();
    let before = detector.num_points() as i64;
    let points = values.chunks_exact(dims).enumerate();
    points
        .filter_map(|(i, p)| {
            detector
                .update((before + i as i64) * DAY, p)
                .expect("a valid point")
        })
        .collect()
}

fn detect(values: &[f32], dims: usize) -> Vec<Report> {
    feed(&mut begin(dims), values)
}

fn decisions(reports: &[Report]) -> Vec<(usize, usize)> {
    reports.iter().map(|r| (r.index, r.run_length)).collect()
}

#[test]
fn a_shift_is_reported_where_it_is() {
    for dims in [1, 2, 64] {
        let found = detect(&shifted(1, 120, dims, 60, 6.0), dims);
        let [report] = &found[..] else { panic!("{found:?}") };
        assert_eq!((report.index, report.ts), (60, 60 * DAY));
        assert_eq!(report.detected_at, (59 + report.run_length as i64) * DAY);
        assert!((2..=5).contains(&report.run_length) && report.probability >= 0.5);
        assert!(
            report.severity > 0.95 && report.severity < 0.99,
            "{}",
            report.severity
        );
        assert!(report.log_bayes_factor > 0.0);
    }
}

#[test]
fn a_jump_without_noise_is_certain() {
    let values: Vec<f32> = (0..40)
        .flat_map(|i| [if i < 25 { 1.0 } else { 1.5 }, 2.0])
        .collect();
    let found = detect(&values, 2);
    assert_eq!(decisions(&found), [(25, 2)]);
    assert!(found[0].severity > 1.0 - 1e-9 && found[0].probability == 1.0);
}

#[test]
fn means_and_noise_by_hand() {
    // +1 and -1 in turn around 0, then around 10: every difference but one is 2, the means are exact.
    let values: Vec<f32> = (0..44)
        .map(|i| (if i < 40 { 0.0 } else { 10.0 }) + if i % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let found = detect(&values, 1);
    assert_eq!(decisions(&found), [(40, 2)]);
    // Half the mean square of the differences, 2, over the share that trimming keeps of a chi-squared variable.
    let variance = 2.0 / (1.0 - 0.2757 - 0.11);
    let expected = 100.0 / (100.0 + variance);
    assert!(
        (found[0].severity - expected).abs() < 1e-9,
        "{}",
        found[0].severity
    );
}

#[test]
fn constant_points_never_change() {
    for dims in [1, 3, 40] {
        let mut detector = begin(dims);
        assert!(feed(&mut detector, &vec![0.3; 100 * dims]).is_empty());
        assert!(detector.probability() < 0.5);
        assert!(detect(&vec![0.0; 100 * dims], dims).is_empty());
    }
}

#[test]
fn one_outlier_is_no_change_and_hides_none() {
    for (dims, size) in [(2, 8.0), (2, 50.0), (2, 1e6), (64, 5.0), (64, 1e6)] {
        let mut shown = 0;
        for seed in 0..20 {
            let mut values = shifted(100 + seed, 160, dims, 120, 4.0);
            if detect(&values[..110 * dims], dims).is_empty() {
                values[50 * dims] += (size * (dims as f64).sqrt()) as f32;
                let found = decisions(&detect(&values, dims));
                let [(index, run_length)] = found[..] else {
                    panic!("D={dims}, {size} deviations, seed {seed}: {found:?}")
                };
                assert!(index.abs_diff(120) <= 1 && run_length <= 5, "{found:?}");
                shown += 1;
            }
        }
        assert!(shown >= 18, "{shown} of 20 series are without a false alarm");
    }
}

#[test]
fn after_an_outlier_nothing_is_suspected() {
    let mut values = Noise::new(3).points(60, 2);
    values[2 * 50] += 40.0;
    let mut detector = begin(2);
    assert!(feed(&mut detector, &values).is_empty());
    assert!(detector.probability() < 0.1 && detector.run_length() > 50);
}

#[test]
fn every_change_of_several_is_reported_once() {
    let mut values = Noise::new(5).points(200, 8);
    for (i, point) in values.chunks_exact_mut(8).enumerate() {
        point[0] += 12.0 * (i / 40) as f32;
        point[1] -= 30.0 * (i / 100) as f32;
    }
    let indexes: Vec<usize> = detect(&values, 8).iter().map(|r| r.index).collect();
    assert_eq!(indexes, [40, 80, 100, 120, 160]);
}

/// Of 200 series of 500 points, 2 may alarm on average at the bar of 1 %; at most that plus two standard errors.
#[test]
fn false_alarms_are_rare() {
    for dims in [1, 2, 64] {
        let mut noise = Noise::new(dims as u64);
        let alarms = (0..200).filter(|_| !detect(&noise.points(500, dims), dims).is_empty());
        assert!(alarms.count() <= 4, "D={dims}");
    }
}

#[test]
fn noise_of_one_direction_counts_as_one_dimension() {
    let mut noise = Noise::new(9);
    let direction: Vec<f64> = (0..64).map(|_| noise.next()).collect();
    let alarms = (0..200).filter(|_| {
        let values: Vec<f32> = (0..300)
            .flat_map(|_| {
                let z = noise.next();
                direction.iter().map(move |u| (z * u) as f32).collect::<Vec<_>>()
            })
            .collect();
        !detect(&values, 64).is_empty()
    });
    assert!(alarms.count() <= 4);
}

#[test]
fn shifts_are_reported_in_time() {
    for (delta, within) in [(2.0, 5), (1.0, 15)] {
        for dims in [64, 384] {
            let found = (0..100).filter(|&seed| {
                let reports = detect(&shifted(seed, 100 + within, dims, 100, delta), dims);
                reports.len() == 1 && reports[0].index.abs_diff(100) <= 3
            });
            assert!(found.count() >= 95, "D={dims}, {delta}");
        }
    }
}

#[test]
fn a_far_origin_costs_nothing() {
    let values = shifted(17, 150, 3, 90, 3.0);
    let moved: Vec<f32> = values
        .iter()
        .map(|x| (x * 16.0).round() / 16.0 + 65536.0)
        .collect();
    let rounded: Vec<f32> = values.iter().map(|x| (x * 16.0).round() / 16.0).collect();
    let (far, near) = (detect(&moved, 3), detect(&rounded, 3));
    assert_eq!(decisions(&far), decisions(&near));
    assert!(!far.is_empty() && (far[0].severity - near[0].severity).abs() < 1e-6);
}

#[test]
fn largest_and_smallest_numbers() {
    for size in [3e38f32, 1e-45, 1e-30] {
        let values: Vec<f32> = (0..60)
            .map(|i| if i % 2 == 0 || i > 40 { size } else { -size })
            .collect();
        let mut detector = begin(2);
        for report in feed(&mut detector, &values) {
            assert!((0.0..=1.0).contains(&report.severity) && report.log_bayes_factor.is_finite());
        }
        assert!((0.0..=1.0).contains(&detector.probability()));
        assert_eq!(Detector::from_bytes(&detector.to_bytes()), Ok(detector));
    }
}

#[test]
fn what_cannot_be_taken_is_named_and_changes_nothing() {
    let mut detector = begin(2);
    feed(&mut detector, &Noise::new(1).points(20, 2));
    let before = detector.clone();
    assert_eq!(
        detector.update(30 * DAY, &[1.0]),
        Err(Error::Dimensions {
            expected: 2,
            found: 1
        })
    );
    for ts in [19 * DAY, 0] {
        let order = Error::Order { last: 19 * DAY, ts };
        assert_eq!(detector.update(ts, &[1.0, 2.0]), Err(order));
    }
    let element = |r| matches!(r, Err(Error::NotFinite { element: 1, .. }));
    assert!(element(detector.update(30 * DAY, &[0.0, f32::NAN])));
    assert!(element(detector.update(30 * DAY, &[0.0, f32::INFINITY])));
    assert_eq!(detector, before);
}

#[test]
fn parameters_outside_their_domain_are_named() {
    let good = Options::default();
    let mut cases = vec![("dims", 0, good), ("dims", 16_001, good)];
    for bad in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
        cases.push(("hazard", 1, Options { hazard: bad, ..good }));
        cases.push((
            "threshold",
            1,
            Options {
                threshold: bad,
                ..good
            },
        ));
    }
    for (expected, dims, options) in cases {
        match Detector::new(dims, options) {
            Err(cvx_math::Error::InvalidParameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{options:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_higher_threshold_reports_later() {
    let lengths = [0.1, 0.5, 0.999_999].map(|threshold| {
        let options = Options {
            threshold,
            ..Options::default()
        };
        let mut detector = Detector::new(2, options).expect("valid options");
        feed(&mut detector, &shifted(8, 150, 2, 100, 1.5))[0].run_length
    });
    assert!(lengths[0] <= lengths[1] && lengths[1] < lengths[2], "{lengths:?}");
}

#[test]
fn the_state_is_bounded() {
    for (dims, points, most) in [
        (1, 700, 48 << 10),
        (2, 700, 48 << 10),
        (384, 100, 48 << 10),
        (768, 100, 48 << 10),
    ] {
        let mut detector = begin(dims);
        let mut largest = 0;
        for point in Noise::new(2).points(points, dims).chunks_exact(dims) {
            let ts = detector.num_points() as i64 * DAY;
            detector.update(ts, point).expect("a valid point");
            largest = largest.max(detector.to_bytes().len());
        }
        println!("D={dims}: {largest} bytes");
        assert!(largest <= most, "D={dims}: {largest} bytes");
    }
}

/// A state of each kind: new, in its first points, in the middle, and one that reports.
fn states() -> Vec<Detector> {
    let mut states = Vec::new();
    for dims in [2, 20] {
        let mut detector = begin(dims);
        states.push(detector.clone());
        for (i, point) in shifted(4, 70, dims, 50, 8.0).chunks_exact(dims).enumerate() {
            let report = detector.update(i as i64 * DAY, point).expect("a valid point");
            if [0, 5, 30].contains(&i) || report.is_some() {
                states.push(detector.clone());
            }
        }
    }
    assert_eq!(states.len(), 10);
    states
}

#[test]
fn bytes_cut_short_or_drawn_out_are_refused() {
    for state in states() {
        let mut bytes = state.to_bytes();
        assert_eq!(Detector::from_bytes(&bytes), Ok(state));
        for length in 0..bytes.len() {
            assert!(Detector::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        bytes.push(0);
        assert!(Detector::from_bytes(&bytes).is_err());
    }
}

#[test]
fn no_byte_can_be_changed_so_that_reading_or_going_on_panics() {
    for state in states() {
        let bytes = state.to_bytes();
        for i in 0..bytes.len().min(4000) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[i] ^= change;
                let Ok(mut read) = Detector::from_bytes(&changed) else {
                    continue;
                };
                assert_eq!(read.to_bytes(), changed);
                let point = vec![1.0; read.dims()];
                let _ = read.update(i64::MAX, &point);
                let _ = (read.probability(), read.run_length(), read.to_bytes());
            }
        }
    }
}

/// Turns coordinates 0 and 1, then 1 and 2.
fn rotated(values: &[f32], angles: [f64; 2]) -> Vec<f32> {
    let mut out = values.to_vec();
    for point in out.chunks_exact_mut(3) {
        for (k, angle) in angles.iter().enumerate() {
            let (a, b) = (f64::from(point[k]), f64::from(point[k + 1]));
            point[k] = (a * angle.cos() - b * angle.sin()) as f32;
            point[k + 1] = (a * angle.sin() + b * angle.cos()) as f32;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_that_went_through_bytes_goes_on_as_before(
        seed in 0u64..1000, dims in 1usize..40, at in 15usize..60, delta in 0.0f64..6.0,
    ) {
        let (mut whole, mut stored) = (begin(dims), begin(dims).to_bytes());
        for (i, point) in shifted(seed, 80, dims, at, delta).chunks_exact(dims).enumerate() {
            let mut read = Detector::from_bytes(&stored).expect("what was written");
            prop_assert_eq!(read.update(i as i64, point), whole.update(i as i64, point));
            stored = read.to_bytes();
            prop_assert_eq!(&read, &whole);
        }
    }

    #[test]
    fn units_do_not_matter(seed in 0u64..1000, dims in 1usize..24, delta in 0.0f64..5.0, power in -60i32..60) {
        let values = shifted(seed, 100, dims, 60, delta);
        let scaled: Vec<f32> = values.iter().map(|x| x * 2f32.powi(power)).collect();
        prop_assert_eq!(detect(&values, dims), detect(&scaled, dims));
    }

    #[test]
    fn directions_do_not_matter(seed in 0u64..1000, delta in 0.0f64..5.0, a in 0.0f64..6.2, b in 0.0f64..6.2) {
        let values = shifted(seed, 100, 3, 60, delta);
        let (mut one, mut other) = (begin(3), begin(3));
        let turned = rotated(&values, [a, b]);
        for (i, (p, q)) in values.chunks_exact(3).zip(turned.chunks_exact(3)).enumerate() {
            let (r, s) = (one.update(i as i64, p).expect("valid"), other.update(i as i64, q).expect("valid"));
            prop_assert_eq!(r.is_some(), s.is_some());
            prop_assert!((one.probability() - other.probability()).abs() < 1e-4);
        }
    }

    #[test]
    fn the_posterior_is_a_distribution(seed in 0u64..1000, dims in 1usize..30, delta in 0.0f64..4.0) {
        let mut detector = begin(dims);
        for (i, point) in shifted(seed, 90, dims, 45, delta).chunks_exact(dims).enumerate() {
            detector.update(i as i64, point).expect("a valid point");
            let posterior = detector.posterior();
            let total: f64 = posterior.iter().map(|(_, p)| p).sum();
            prop_assert!((total - 1.0).abs() < 1e-9);
            prop_assert!(posterior.iter().all(|&(start, p)| start <= i as u64 && (0.0..=1.0 + 1e-12).contains(&p)));
        }
    }
}
