//! Verdicts at boundaries of model versions: seeded retrains, degenerate input, and how errors add up.

use cvx_math::boundary::{Boundary, Classification, ErrorModel, ModelChangePoint, model_changepoints};
use cvx_math::changepoints::{Cost, Options, changepoints};
use cvx_math::{Error, Path};
use proptest::prelude::*;

const DIMS: usize = 32;

/// Numbers that look normal enough, the same each time (a sum of four uniform ones).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 40) as f64 / (1u64 << 24) as f64 - 0.5
        };
        (uniform() + uniform() + uniform() + uniform()) * 3.0f64.sqrt()
    }

    fn vector(&mut self, dims: usize, deviation: f64) -> Vec<f64> {
        (0..dims).map(|_| deviation * self.next()).collect()
    }
}

/// Projections that err by `between` for an entity and `within` for a point: standard deviations of a
/// coordinate, that of the trajectories being 1.
#[derive(Clone, Copy)]
struct Retrain {
    between: f64,
    within: f64,
}

impl Retrain {
    /// Errors of `entities` entities with `pairs` pairs each.
    fn residuals(self, noise: &mut Noise, entities: usize, pairs: usize) -> (Vec<f32>, Vec<u32>) {
        let (mut residuals, mut entity) = (Vec::new(), Vec::new());
        for number in 0..entities {
            let bias = noise.vector(DIMS, self.between);
            for _ in 0..pairs {
                residuals.extend(bias.iter().map(|b| (b + self.within * noise.next()) as f32));
                entity.push(number as u32);
            }
        }
        (residuals, entity)
    }

    fn model(self, noise: &mut Noise) -> ErrorModel {
        let (residuals, entity) = self.residuals(noise, 60, 10);
        ErrorModel::of(&residuals, &entity, DIMS).expect("residuals")
    }

    /// `counts[0]` points of the canonical version, then as many stretches of projected ones, each with a
    /// bias of its own. From point `from` on the mean is `delta` noise standard deviations away.
    fn trajectory(self, noise: &mut Noise, counts: &[usize], from: usize, delta: f64) -> Vec<f32> {
        let shift = noise.vector(DIMS, 1.0);
        let length = shift.iter().map(|v| v * v).sum::<f64>().sqrt();
        let by = delta * (DIMS as f64).sqrt() / length;
        let mut values = Vec::new();
        for (stretch, &count) in counts.iter().enumerate() {
            let errs = if stretch > 0 { 1.0 } else { 0.0 };
            let bias = noise.vector(DIMS, errs * self.between);
            for _ in 0..count {
                let moved = if values.len() / DIMS >= from { by } else { 0.0 };
                values.extend((0..DIMS).map(|j| {
                    let error = bias[j] + errs * self.within * noise.next();
                    (noise.next() + error + moved * shift[j]) as f32
                }));
            }
        }
        values
    }
}

fn judged(values: &[f32], boundaries: &[Boundary], options: &Options) -> Vec<ModelChangePoint> {
    let times: Vec<i64> = (0..(values.len() / DIMS) as i64).collect();
    let found = model_changepoints(Path::new(&times, values, DIMS), boundaries, options, &mut || ());
    let found = found.expect("valid input");
    for point in &found {
        assert!(point.index > 0 && point.index < times.len());
        assert!((0.5..=1.0).contains(&point.confidence), "{point:?}");
        assert!((0.0..=1.0).contains(&point.severity), "{point:?}");
        let boundary = point.boundary.map(|b| boundaries[b].index);
        assert!(boundary.is_none_or(|index| index == point.index), "{point:?}");
        assert!(boundary.is_some() || point.classification == Classification::RealChange);
    }
    assert!(found.windows(2).all(|pair| pair[0].index < pair[1].index));
    found
}

fn at(index: usize, error: ErrorModel) -> Boundary {
    Boundary { index, error }
}

/// How many of `cases` trajectories of 30 points on each side are called `RealChange` at the boundary.
fn real_changes(retrain: Retrain, delta: f64, cases: usize) -> usize {
    let mut noise = Noise(7);
    let boundaries = [at(30, retrain.model(&mut noise))];
    let real = (0..cases).filter(|_| {
        let values = retrain.trajectory(&mut noise, &[30, 30], 30, delta);
        let found = judged(&values, &boundaries, &Options::default());
        let verdict = found.iter().find(|c| c.boundary == Some(0)).expect("a verdict");
        verdict.classification == Classification::RealChange
    });
    real.count()
}

#[test]
fn a_retrain_is_no_change_and_a_change_is_one() {
    for (between, within) in [(0.02, 0.02), (0.3, 0.1), (0.5, 0.5)] {
        let retrain = Retrain { between, within };
        assert!(real_changes(retrain, 0.0, 60) <= 3, "false alarms at {between}");
        assert!(
            real_changes(retrain, 1.0, 40) >= 38,
            "changes missed at {between}"
        );
        assert!(
            real_changes(retrain, 2.0, 40) >= 38,
            "changes missed at {between}"
        );
    }
}

#[test]
fn an_error_as_large_as_the_jump_leaves_doubt() {
    let retrain = Retrain {
        between: 1.0,
        within: 0.0,
    };
    let mut noise = Noise(3);
    let boundaries = [at(30, retrain.model(&mut noise))];
    let mut elsewhere = 0;
    for _ in 0..20 {
        let values = retrain.trajectory(&mut noise, &[30, 30], 60, 0.0);
        let raw = changepoints(
            Path::new(&(0..60).collect::<Vec<i64>>(), &values, DIMS),
            &Options::default(),
            &mut || (),
        );
        let raw = raw.expect("valid input").change_points;
        assert!(
            raw.iter().any(|c| c.index.abs_diff(30) <= 3),
            "the artifact is plain to see"
        );
        let found = judged(&values, &boundaries, &Options::default());
        let verdict = found.iter().find(|c| c.boundary.is_some()).expect("a verdict");
        assert_eq!(verdict.classification, Classification::ModelArtifact);
        assert!(verdict.confidence < 0.95, "{verdict:?}");
        assert!(
            !found.iter().any(|c| c.index != 30 && c.index.abs_diff(30) < 5),
            "{found:?}"
        );
        elsewhere += found.len() - 1;
    }
    assert!(elsewhere <= 3, "{elsewhere}");
}

#[test]
fn changes_away_from_the_boundary_are_kept() {
    let retrain = Retrain {
        between: 0.3,
        within: 0.1,
    };
    let mut noise = Noise(11);
    let boundaries = [at(30, retrain.model(&mut noise))];
    for from in [12, 20, 25, 36, 45] {
        let values = retrain.trajectory(&mut noise, &[30, 30], from, 1.5);
        let found = judged(&values, &boundaries, &Options::default());
        assert!(
            found.iter().any(|c| c.index == from && c.boundary.is_none()),
            "{from}: {found:?}"
        );
        let verdict = found.iter().find(|c| c.boundary.is_some()).expect("a verdict");
        assert_eq!(verdict.classification, Classification::ModelArtifact, "{from}");
    }
}

#[test]
fn several_boundaries_each_get_a_verdict() {
    let retrain = Retrain {
        between: 0.4,
        within: 0.1,
    };
    let mut noise = Noise(5);
    let error = retrain.model(&mut noise);
    let steps = [
        at(20, error),
        at(40, error.plus(&error)),
        at(60, error.plus(&error)),
    ];
    let values = retrain.trajectory(&mut noise, &[20, 20, 20, 20], 40, 1.5);
    let found = judged(&values, &steps, &Options::default());
    let classes: Vec<(usize, Classification)> = found.iter().map(|c| (c.index, c.classification)).collect();
    let artifact = Classification::ModelArtifact;
    assert_eq!(
        classes,
        [(20, artifact), (40, Classification::RealChange), (60, artifact)]
    );
}

#[test]
fn interleaved_versions_make_no_changes() {
    let mut noise = Noise(13);
    let retrain = Retrain {
        between: 0.6,
        within: 0.1,
    };
    let error = retrain.model(&mut noise);
    let bias = noise.vector(DIMS, retrain.between);
    let projected = |i: usize| i >= 30 || (i >= 20 && i % 2 == 1);
    let mut values = Vec::new();
    for i in 0..50 {
        let errs = if projected(i) { 1.0 } else { 0.0 };
        values.extend((0..DIMS).map(|j| (noise.next() + errs * bias[j]) as f32));
    }
    let places = (1..50).filter(|&i| projected(i) != projected(i - 1));
    let boundaries: Vec<Boundary> = places.map(|i| at(i, error)).collect();
    assert_eq!(boundaries.len(), 9);
    let found = judged(&values, &boundaries, &Options::default());
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|c| c.classification == Classification::ModelArtifact),
        "{found:?}"
    );
}

#[test]
fn without_boundaries_or_error_it_is_the_plain_search() {
    let retrain = Retrain {
        between: 0.0,
        within: 0.0,
    };
    let mut noise = Noise(17);
    for (delta, cost) in [
        (0.0, Cost::L2),
        (1.0, Cost::L2),
        (1.0, Cost::Cosine),
        (2.0, Cost::Rbf { gamma: None }),
    ] {
        let options = Options {
            cost,
            ..Options::default()
        };
        let values = retrain.trajectory(&mut noise, &[20, 25], 20, delta);
        let times: Vec<i64> = (0..45).collect();
        let plain = changepoints(Path::new(&times, &values, DIMS), &options, &mut || ());
        let plain = plain.expect("valid input").change_points;
        let found = judged(&values, &[], &options);
        assert_eq!(indexes(&plain), found.iter().map(|c| c.index).collect::<Vec<_>>());
        if cost == Cost::L2 {
            for (plain, found) in plain.iter().zip(&found) {
                assert!((plain.severity - found.severity).abs() < 1e-6);
            }
        }
        let found = judged(&values, &[at(20, ErrorModel::EXACT)], &options);
        let real: Vec<usize> = found
            .iter()
            .filter(|c| c.classification == Classification::RealChange)
            .map(|c| c.index)
            .collect();
        assert_eq!(indexes(&plain), real, "{cost:?}");
    }
}

fn indexes(found: &[cvx_math::changepoints::ChangePoint]) -> Vec<usize> {
    found.iter().map(|c| c.index).collect()
}

#[test]
fn a_penalty_given_is_what_a_change_must_gain() {
    let mut values = vec![0.0f32; 20 * DIMS];
    for (i, point) in values.chunks_exact_mut(DIMS).enumerate() {
        point[0] = if i < 10 { 0.0 } else { 2.0 };
        point[1] = if i % 2 == 0 { 0.1 } else { -0.1 };
    }
    // The jump gains 10 * 10 / 20 * 4 = 20.
    for (penalty, class) in [
        (19.0, Classification::RealChange),
        (21.5, Classification::ModelArtifact),
    ] {
        let options = Options {
            penalty: Some(penalty),
            ..Options::default()
        };
        let found = judged(&values, &[at(10, ErrorModel::EXACT)], &options);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].classification, class, "{penalty}");
    }
}

#[test]
fn too_few_points_on_a_side_get_no_verdict() {
    let retrain = Retrain {
        between: 0.1,
        within: 0.1,
    };
    let mut noise = Noise(19);
    let error = retrain.model(&mut noise);
    let values = retrain.trajectory(&mut noise, &[1, 20], 99, 0.0);
    assert!(judged(&values, &[at(1, error)], &Options::default()).is_empty());
    let values = retrain.trajectory(&mut noise, &[20, 1], 99, 0.0);
    assert!(judged(&values, &[at(20, error)], &Options::default()).is_empty());
    let values = retrain.trajectory(&mut noise, &[1, 1], 99, 0.0);
    assert!(judged(&values, &[at(1, error)], &Options::default()).is_empty());
    let options = Options {
        min_size: 1,
        ..Options::default()
    };
    assert_eq!(judged(&values, &[at(1, error)], &options).len(), 1);
    assert!(judged(&[], &[], &options).is_empty());
    let options = Options {
        min_size: usize::MAX,
        ..Options::default()
    };
    assert!(judged(&values, &[at(1, error)], &options).is_empty());
}

#[test]
fn trajectories_without_noise() {
    let retrain = Retrain {
        between: 0.1,
        within: 0.1,
    };
    let error = retrain.model(&mut Noise(23));
    let constant = vec![1.0f32; 20 * DIMS];
    let mut stepped = constant.clone();
    stepped[10 * DIMS..].iter_mut().for_each(|v| *v += 0.05);
    for model in [ErrorModel::EXACT, error, ErrorModel::UNKNOWN, error.scaled(1e12)] {
        let found = judged(&constant, &[at(10, model)], &Options::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].classification, Classification::ModelArtifact);
    }
    let found = judged(&stepped, &[at(10, ErrorModel::EXACT)], &Options::default());
    assert_eq!(found[0].classification, Classification::RealChange);
    let found = judged(&stepped, &[at(10, error)], &Options::default());
    assert_eq!(found[0].classification, Classification::ModelArtifact);
}

#[test]
fn an_error_of_unknown_size_leaves_it_open() {
    let retrain = Retrain {
        between: 0.0,
        within: 0.0,
    };
    let values = retrain.trajectory(&mut Noise(29), &[20, 20], 20, 5.0);
    let found = judged(&values, &[at(20, ErrorModel::UNKNOWN)], &Options::default());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].classification, Classification::ModelArtifact);
    assert_eq!((found[0].confidence, found[0].severity), (0.5, 0.0));
}

#[test]
fn boundaries_outside_are_refused() {
    let values = vec![0.0f32; 10 * DIMS];
    let times: Vec<i64> = (0..10).collect();
    let path = Path::new(&times, &values, DIMS);
    let refused = |indexes: &[usize], options: &Options| {
        let boundaries: Vec<Boundary> = indexes.iter().map(|&i| at(i, ErrorModel::EXACT)).collect();
        matches!(
            model_changepoints(path, &boundaries, options, &mut || ()),
            Err(Error::InvalidParameter { .. })
        )
    };
    let options = Options::default();
    assert!(refused(&[0], &options) && refused(&[10], &options) && refused(&[11], &options));
    assert!(refused(&[5, 5], &options) && refused(&[5, 4], &options));
    assert!(
        refused(
            &[5],
            &Options {
                alpha: 0.0,
                ..options
            }
        ) && refused(
            &[],
            &Options {
                min_size: 0,
                ..options
            }
        )
    );
}

#[test]
fn moments_by_hand() {
    // Entity 1: residuals 1 and 3; entity 2: -2 (mean). W = ((1 - 2)^2 + (3 - 2)^2) / (3 - 2) = 2.
    // tr B = ((4 - 2 / 2) + (4 - 2 / 1)) / 2 = 2.5.
    let model = ErrorModel::of(&[1.0, -2.0, 3.0], &[1, 2, 1], 1).expect("residuals");
    assert!((model.squared_error(1) - 4.5).abs() < 1e-12);
    assert!((model.squared_error(4) - 3.0).abs() < 1e-12);
    assert!((model.squared_error(usize::MAX) - 2.5).abs() < 1e-12);
}

#[test]
fn moments_are_unbiased_for_unequal_groups() {
    let mut noise = Noise(31);
    let (mut common, mut all) = (0.0, 0.0);
    let rounds = 200;
    for _ in 0..rounds {
        let (mut residuals, mut entity) = (Vec::new(), Vec::new());
        for number in 0..12u32 {
            let bias = noise.vector(DIMS, 0.5);
            for _ in 0..1 + number % 5 {
                residuals.extend(bias.iter().map(|b| (b + 2.0 * noise.next()) as f32));
                entity.push(number);
            }
        }
        let model = ErrorModel::of(&residuals, &entity, DIMS).expect("residuals");
        common += model.squared_error(usize::MAX) / rounds as f64;
        all += model.squared_error(1) / rounds as f64;
    }
    // tr B = 32 / 4, tr W = 32 * 4; the mean of 200 rounds is known to 3 %.
    assert!((common / 8.0 - 1.0).abs() < 0.12, "{common}");
    assert!((all / 136.0 - 1.0).abs() < 0.02, "{all}");
}

#[test]
fn order_of_pairs_does_not_matter() {
    let retrain = Retrain {
        between: 0.5,
        within: 0.5,
    };
    let (residuals, entity) = retrain.residuals(&mut Noise(37), 8, 3);
    let model = ErrorModel::of(&residuals, &entity, DIMS).expect("residuals");
    // Entities renumbered and interleaved; the first pair of each stays its first.
    let order: Vec<usize> = (0..3)
        .flat_map(|pair| (0..8).map(move |e| e * 3 + pair))
        .collect();
    let moved: Vec<f32> = order
        .iter()
        .flat_map(|&i| &residuals[i * DIMS..(i + 1) * DIMS])
        .copied()
        .collect();
    let renamed: Vec<u32> = order.iter().map(|&i| 1000 + entity[i]).collect();
    assert_eq!(ErrorModel::of(&moved, &renamed, DIMS), Some(model));
}

#[test]
fn few_held_out_pairs_count_as_common_error() {
    let one = ErrorModel::of(&[3.0, 4.0, 0.0, 5.0], &[7, 7], 2).expect("residuals");
    assert!((one.squared_error(usize::MAX) - 25.0).abs() < 1e-12);
    let single_pairs = ErrorModel::of(&[3.0, 4.0, 0.0, 1.0], &[7, 8], 2).expect("residuals");
    assert!((single_pairs.squared_error(usize::MAX) - 13.0).abs() < 1e-12);
    assert_eq!(ErrorModel::of(&[], &[], 2), None);
    assert_eq!(ErrorModel::of(&[1.0], &[1], 0), None);
    assert_eq!(ErrorModel::of(&[1.0, 2.0, 3.0], &[1], 2), None);
    assert_eq!(ErrorModel::of_pairs(&[1.0, 2.0], &[1.0], &[1], 2), None);
    let zero = ErrorModel::of(&[0.0; 8], &[1, 1, 2, 2], 2).expect("residuals");
    assert_eq!(zero.squared_error(1), 0.0);
}

#[test]
fn a_map_that_shrinks_is_allowed_for() {
    // Projected = half of the true vector, without any other error: a jump seen is half as long as it is.
    let mut noise = Noise(41);
    let (mut truth, mut entity) = (Vec::new(), Vec::new());
    for number in 0..80u32 {
        let mean = noise.vector(DIMS, 0.6);
        for _ in 0..8 {
            truth.extend(mean.iter().map(|m| (m + noise.next()) as f32));
            entity.push(number);
        }
    }
    let residuals: Vec<f32> = truth.iter().map(|v| -0.5 * v).collect();
    let error = ErrorModel::of_pairs(&residuals, &truth, &entity, DIMS).expect("residuals");
    let (mut found, mut judge) = (0, 0);
    for _ in 0..40 {
        // A change of 2 after the boundary, within the projected stretch.
        let exact = Retrain {
            between: 0.0,
            within: 0.0,
        };
        let mut values = exact.trajectory(&mut noise, &[40, 40], 60, 0.75);
        let times: Vec<i64> = (0..80).collect();
        let wholly = changepoints(Path::new(&times, &values, DIMS), &Options::default(), &mut || ());
        let near = |index: usize| index.abs_diff(60) <= 2;
        judge += usize::from(wholly.expect("valid").change_points.iter().any(|c| near(c.index)));
        values[40 * DIMS..].iter_mut().for_each(|v| *v *= 0.5);
        let points = judged(&values, &[at(40, error)], &Options::default());
        found += usize::from(points.iter().any(|c| near(c.index)));
    }
    assert!(judge >= 30, "{judge}");
    assert!(found >= judge - 3, "{found} of {judge}");
}

#[test]
fn autocorrelated_noise_is_allowed_for() {
    let mut noise = Noise(43);
    let error = Retrain {
        between: 0.05,
        within: 0.05,
    }
    .model(&mut noise);
    let options = Options {
        autocorrelated: true,
        ..Options::default()
    };
    let mut real = 0;
    for _ in 0..30 {
        let mut values = vec![0.0f32; 60 * DIMS];
        for i in 0..60 {
            for j in 0..DIMS {
                let before = if i > 0 {
                    f64::from(values[(i - 1) * DIMS + j])
                } else {
                    1.25 * noise.next()
                };
                values[i * DIMS + j] = (0.6 * before + noise.next()) as f32;
            }
        }
        let found = judged(&values, &[at(30, error)], &options);
        real += found
            .iter()
            .filter(|c| c.classification == Classification::RealChange)
            .count();
    }
    assert!(real <= 4, "{real}");
}

#[test]
fn it_can_be_interrupted() {
    let retrain = Retrain {
        between: 0.1,
        within: 0.1,
    };
    let mut noise = Noise(47);
    let error = retrain.model(&mut noise);
    let values = retrain.trajectory(&mut noise, &[30, 30], 99, 0.0);
    let times: Vec<i64> = (0..60).collect();
    let mut calls = 0;
    let found = model_changepoints(
        Path::new(&times, &values, DIMS),
        &[at(30, error)],
        &Options::default(),
        &mut || calls += 1,
    );
    assert!(found.is_ok() && calls > 10, "{calls}");
}

proptest! {
    #[test]
    fn errors_compose(seed in 1u64.., scale in 0.01f64..100.0) {
        let mut noise = Noise(seed);
        let [a, b] = [0.3, 0.7].map(|size| Retrain { between: size, within: 1.0 - size }.model(&mut noise));
        let sum = a.plus(&b);
        for points in [1, 5, 1000] {
            let added = a.squared_error(points) + b.squared_error(points);
            prop_assert!((sum.squared_error(points) / added - 1.0).abs() < 1e-12);
            let scaled = a.scaled(scale).squared_error(points) / (scale * scale * a.squared_error(points));
            prop_assert!((scaled - 1.0).abs() < 1e-12);
        }
        prop_assert_eq!(a.plus(&b), b.plus(&a));
        prop_assert_eq!(a.plus(&ErrorModel::EXACT), a);
        prop_assert!(!a.plus(&ErrorModel::UNKNOWN).is_known());
        let (exact, unknown) = (ErrorModel::EXACT, ErrorModel::UNKNOWN);
        for model in [a, b, sum, a.scaled(scale), exact, unknown, a.plus(&unknown)] {
            prop_assert_eq!(ErrorModel::from_values(&model.to_values()), Some(model));
        }
    }

    #[test]
    fn stored_numbers_are_checked(values in prop::collection::vec(prop_oneof![
        Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(0.0), 0.0f64..10.0
    ], 0..14)) {
        if let Some(model) = ErrorModel::from_values(&values) {
            let same: Vec<f64> = model.to_values();
            prop_assert_eq!(same, values);
            prop_assert!(model.squared_error(3) >= 0.0);
        }
    }

    #[test]
    fn any_input_has_finite_answers(
        seed in 1u64..,
        points in 2usize..40,
        cuts in prop::collection::btree_set(1usize..39, 0..6),
        size in prop_oneof![Just(0.0), 1e-3f64..1e3],
        scale in prop_oneof![Just(1e-18f64), Just(1.0), Just(1e15)],
        cost in prop_oneof![Just(Cost::L2), Just(Cost::Cosine), Just(Cost::Rbf { gamma: None })],
        autocorrelated: bool,
    ) {
        let mut noise = Noise(seed);
        let retrain = Retrain { between: size, within: size };
        let error = retrain.model(&mut noise).scaled(scale);
        let values = retrain.trajectory(&mut noise, &[points], points / 2, 1.0);
        let values: Vec<f32> = values.iter().map(|&v| (f64::from(v) * scale) as f32).collect();
        let inside = cuts.into_iter().filter(|&c| c < points);
        let boundaries: Vec<Boundary> = inside.map(|c| at(c, error)).collect();
        let options = Options { cost, autocorrelated, ..Options::default() };
        judged(&values, &boundaries, &options);
    }
}
