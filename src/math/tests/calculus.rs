//! Hand-computed values, degenerate input and properties of the calculus.

use cvx_math::calculus::*;
use cvx_math::{Error, Path};
use proptest::prelude::*;

const FIRST: i64 = -210_866_803_200_000_000; // 4713 BC, the first timestamp PostgreSQL holds
const LAST: i64 = 9_223_371_331_199_999_999; // 294276 AD, the last one

#[test]
fn velocity_and_acceleration_of_a_parabola() {
    // x = t² at 0, 1, 3, 4: a three-point derivative is exact for a parabola.
    let (times, values) = ([0, 1, 3, 4], [0.0, 1.0, 9.0, 16.0]);
    let path = Path::new(&times, &values, 1);
    assert_eq!(velocity(&path, Some(1), 1.0), Some(vec![2.0]));
    assert_eq!(velocity(&path, Some(3), 1.0), Some(vec![6.0]));
    assert_eq!(
        velocity(&path, Some(0), 1.0),
        Some(vec![1.0]),
        "one-sided at the start"
    );
    assert_eq!(
        velocity(&path, None, 1.0),
        Some(vec![7.0]),
        "one-sided at the end"
    );
    assert_eq!(
        velocity(&path, None, 2.0),
        Some(vec![14.0]),
        "twice the unit, twice the number"
    );
    for at in [None, Some(0), Some(1), Some(3), Some(i64::MAX)] {
        assert_eq!(acceleration(&path, at, 1.0), Some(vec![2.0]));
    }
    assert_eq!(acceleration(&path, None, 3.0), Some(vec![18.0]));
}

#[test]
fn the_nearest_point_counts_and_a_tie_goes_to_the_earlier() {
    let (times, values) = ([0, 10, 20, 50], [0.0, 1.0, 4.0, 16.0]);
    let path = Path::new(&times, &values, 1);
    let at = |ts| (velocity(&path, Some(ts), 10.0).unwrap()[0] * 1e6).round() / 1e6;
    assert_eq!(at(i64::MIN), 1.0);
    assert_eq!(at(5), 1.0);
    assert_eq!(at(6), 2.0);
    assert_eq!(at(15), 2.0);
    assert_eq!(at(16), 3.25);
    assert_eq!(at(35), 3.25);
    assert_eq!(at(36), 4.0);
    assert_eq!(at(i64::MAX), 4.0);
}

#[test]
fn too_few_points_have_no_answer() {
    let empty = Path::new(&[], &[], 0);
    let one = Path::new(&[7], &[1.0, 2.0], 2);
    let two = Path::new(&[7, 8], &[1.0, 2.0, 3.0, 4.0], 2);
    for path in [empty, one] {
        assert_eq!(velocity(&path, None, 1.0), None);
        assert_eq!(speed(&path, Some(7), 1.0), None);
        assert_eq!(mean_speed(&path, 1.0), None);
        assert_eq!(path_length(&path), None);
        assert_eq!(efficiency(&path), None);
        assert_eq!(acceleration(&path, None, 1.0), None);
    }
    assert_eq!(acceleration(&two, None, 1.0), None);
    assert_eq!(value_at(&empty, 7), None);
    assert_eq!(value_at(&one, 7), Some(vec![1.0, 2.0]));
    assert_eq!(value_at(&one, 8), None);
    assert_eq!(resample(&empty, 1, 0), Ok((vec![], vec![])));
    assert_eq!(resample(&one, 1, 1), Ok((vec![7], vec![1.0, 2.0])));
}

#[test]
fn lengths_of_a_right_angle() {
    let (times, values) = ([0, 2, 10], [0.0, 0.0, 3.0, 0.0, 3.0, 4.0]);
    let path = Path::new(&times, &values, 2);
    assert_eq!(path_length(&path), Some(7.0));
    assert_eq!(efficiency(&path), Some(5.0 / 7.0));
    assert_eq!(mean_speed(&path, 5.0), Some(3.5));
    assert_eq!(speed(&path, None, 2.0), Some(1.0));
    let still = Path::new(&times, &[1.0; 6], 2);
    assert_eq!((path_length(&still), efficiency(&still)), (Some(0.0), None));
    assert_eq!(mean_speed(&still, 1.0), Some(0.0));
}

#[test]
fn interpolation_is_exact_at_points_and_nothing_outside() {
    let (times, values) = ([0, 4, 5], [1.0, 0.1, 3.0, 0.7, f32::MAX, f32::MIN]);
    let path = Path::new(&times, &values, 2);
    assert_eq!(value_at(&path, 0), Some(vec![1.0, f64::from(0.1f32)]));
    assert_eq!(value_at(&path, 1).unwrap()[0], 1.5);
    assert_eq!(
        value_at(&path, 5),
        Some(vec![f64::from(f32::MAX), f64::from(f32::MIN)])
    );
    assert_eq!(value_at(&path, -1), None);
    assert_eq!(value_at(&path, 6), None);
}

#[test]
fn resampling_stops_at_the_end_and_at_the_limit() {
    let (times, values) = ([0, 4, 5], [0.0, 4.0, 14.0]);
    let path = Path::new(&times, &values, 1);
    assert_eq!(resample(&path, 2, 3), Ok((vec![0, 2, 4], vec![0.0, 2.0, 4.0])));
    assert_eq!(resample(&path, 5, 2), Ok((vec![0, 5], vec![0.0, 14.0])));
    assert_eq!(resample(&path, i64::MAX, 1), Ok((vec![0], vec![0.0])));
    assert_eq!(
        resample(&path, 2, 2),
        Err(Error::TooManyPoints { wanted: 3, limit: 2 })
    );
    for step in [0, -1, i64::MIN] {
        assert!(matches!(
            resample(&path, step, 9),
            Err(Error::InvalidParameter { name: "step", .. })
        ));
    }
}

#[test]
fn the_whole_range_of_time_does_not_overflow() {
    let values = [0.0, 1.0, 3.0];
    for times in [[FIRST, 0, LAST], [i64::MIN, 0, i64::MAX]] {
        let path = Path::new(&times, &values, 1);
        let span = (i128::from(times[2]) - i128::from(times[0])) as f64;
        assert_eq!(mean_speed(&path, 1.0), Some(3.0 / span));
        assert!(velocity(&path, Some(0), 1.0).unwrap()[0] > 0.0);
        assert!(acceleration(&path, Some(i64::MAX), 1.0).unwrap()[0].is_finite());
        assert_eq!(value_at(&path, 0), Some(vec![1.0]));
        let wanted = (i128::from(times[2]) - i128::from(times[0])) as u128 + 1;
        assert_eq!(
            resample(&path, 1, 1000),
            Err(Error::TooManyPoints { wanted, limit: 1000 })
        );
        let (resampled, points) = resample(&path, i64::MAX, 10).unwrap();
        assert!(resampled.is_sorted() && resampled.iter().all(|t| (times[0]..=times[2]).contains(t)));
        assert!(points.is_sorted() && points[0] == 0.0);
    }
}

#[test]
fn the_largest_numbers_stay_finite() {
    let values: Vec<f32> = (0..30)
        .map(|i| if i % 2 == 0 { f32::MAX } else { f32::MIN })
        .collect();
    let times: Vec<i64> = (0..10).collect();
    let path = Path::new(&times, &values, 3);
    let unit = 1e18;
    assert!(path_length(&path).unwrap().is_finite());
    assert!(speed(&path, None, unit).unwrap().is_finite());
    assert!(speed(&path, Some(5), unit).unwrap().is_finite());
    assert!(
        acceleration(&path, None, unit)
            .unwrap()
            .iter()
            .all(|a| a.is_finite())
    );
    assert!(resample(&path, 2, 10).unwrap().1.iter().all(|x| x.is_finite()));
}

#[test]
fn a_unit_of_time_is_positive() {
    assert_eq!(time_unit(86_400_000_000), Ok(86_400e6));
    for bad in [0, -1, i64::MIN] {
        assert!(matches!(
            time_unit(bad),
            Err(Error::InvalidParameter { name: "unit", .. })
        ));
    }
}

/// Points at strictly increasing times: gaps of 1 µs to 30 years, values of moderate size.
fn points() -> impl Strategy<Value = (Vec<i64>, Vec<f32>, usize)> {
    (2usize..40, 1usize..7).prop_flat_map(|(n, dims)| {
        let gaps = prop::collection::vec(1i64..1_000_000_000_000_000, n);
        (gaps, prop::collection::vec(-100f32..100.0, n * dims)).prop_map(move |(gaps, values)| {
            let times = gaps
                .iter()
                .scan(FIRST, |t, gap| Some(std::mem::replace(t, *t + gap)))
                .collect();
            (times, values, dims)
        })
    })
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9)
}

proptest! {
    #[test]
    fn turning_time_round_keeps_lengths_and_turns_velocity((times, values, dims) in points()) {
        let path = Path::new(&times, &values, dims);
        let turned_times: Vec<i64> = times.iter().rev().map(|t| -t).collect();
        let turned_values: Vec<f32> = values.chunks_exact(dims).rev().flatten().copied().collect();
        let turned = Path::new(&turned_times, &turned_values, dims);
        prop_assert!(close(path_length(&path).unwrap(), path_length(&turned).unwrap()));
        for &at in &times {
            let there = velocity(&path, Some(at), 1e6).unwrap();
            let back = velocity(&turned, Some(-at), 1e6).unwrap();
            prop_assert!(there.iter().zip(&back).all(|(a, b)| close(*a, -b)));
        }
        if let (Some(a), Some(b)) = (acceleration(&path, None, 1e6), acceleration(&turned, Some(i64::MIN), 1e6)) {
            prop_assert!(a.iter().zip(&b).all(|(a, b)| close(*a, *b)));
        }
    }

    #[test]
    fn a_turn_of_space_keeps_lengths((times, values, dims) in points(), angle in 0.0f64..6.3) {
        prop_assume!(dims >= 2);
        let mut turned = values.clone();
        for p in turned.chunks_exact_mut(dims) {
            let (x, y) = (f64::from(p[0]), f64::from(p[1]));
            p[0] = (x * angle.cos() - y * angle.sin()) as f32;
            p[1] = (x * angle.sin() + y * angle.cos()) as f32;
        }
        let (a, b) = (Path::new(&times, &values, dims), Path::new(&times, &turned, dims));
        let tolerance = 1e-4;
        prop_assert!((path_length(&a).unwrap() - path_length(&b).unwrap()).abs() < tolerance * times.len() as f64);
        let (va, vb) = (speed(&a, Some(times[1]), 1.0).unwrap(), speed(&b, Some(times[1]), 1.0).unwrap());
        prop_assert!((va - vb).abs() < tolerance);
    }

    #[test]
    fn the_unit_scales_each_derivative((times, values, dims) in points(), unit in 1f64..1e12) {
        let path = Path::new(&times, &values, dims);
        let scaled = |f: fn(&Path, f64) -> Option<f64>| (f(&path, unit).unwrap(), f(&path, 1.0).unwrap() * unit);
        for (got, want) in [scaled(mean_speed), scaled(|p, u| speed(p, None, u))] {
            prop_assert!(close(got, want));
        }
        if let (Some(a), Some(b)) = (acceleration(&path, None, unit), acceleration(&path, None, 1.0)) {
            prop_assert!(a.iter().zip(&b).all(|(a, b)| (a - b * unit * unit).abs() <= 1e-9 * a.abs()));
        }
    }

    #[test]
    fn interpolation_stays_between_its_neighbours((times, values, dims) in points(), part in 0.0f64..1.0) {
        let path = Path::new(&times, &values, dims);
        let i = ((times.len() - 1) as f64 * part) as usize;
        let ts = times[i] + ((times[i + 1] - times[i]) as f64 * part) as i64;
        for ((v, &a), &b) in value_at(&path, ts).unwrap().iter().zip(path.point(i)).zip(path.point(i + 1)) {
            let (low, high) = (f64::from(a.min(b)), f64::from(a.max(b)));
            prop_assert!(*v >= low - 1e-12 * low.abs() && *v <= high + 1e-12 * high.abs());
        }
    }

    #[test]
    fn resampling_is_interpolation((times, values, dims) in points(), pieces in 1u64..50) {
        let path = Path::new(&times, &values, dims);
        let step = (times[times.len() - 1].abs_diff(times[0]) / pieces).max(1) as i64;
        let (resampled, points) = resample(&path, step, 10_000).unwrap_or_default();
        for (&ts, point) in resampled.iter().zip(points.chunks_exact(dims)) {
            let want: Vec<f32> = value_at(&path, ts).unwrap().iter().map(|&x| x as f32).collect();
            prop_assert_eq!(point, &want[..]);
        }
        prop_assert!(resampled.is_empty() || resampled.len() as u64 >= pieces);
    }

    #[test]
    fn efficiency_is_a_share((times, values, dims) in points()) {
        let path = Path::new(&times, &values, dims);
        let share = efficiency(&path).unwrap();
        prop_assert!((0.0..=1.0).contains(&share));
        let straight = efficiency(&path.slice(0..2)).unwrap();
        prop_assert!(close(straight, 1.0));
    }
}
