//! Two samples of points: nothing found where they are of one population, what is found where they are not.

use cvx_math::Path;
use cvx_math::population::{Method, Shift, shift};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

const METHODS: [Method; 3] = [Method::Centroid, Method::Mmd, Method::Psi];

/// `n` normal points with standard deviation `spread / √(1 + j)` along axis `j`, the first one shifted.
fn drawn(n: usize, dims: usize, spread: f64, shift: f64, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..n * dims)
        .map(|i| {
            let axis = i % dims;
            let moved = if axis == 0 { shift } else { 0.0 };
            (1.0 + moved + normal() * spread / (1.0 + axis as f64).sqrt()) as f32
        })
        .collect()
}

fn compare(method: Method, baseline: &[f32], current: &[f32], dims: usize) -> Option<Shift> {
    let times: Vec<i64> = (0..baseline.len().max(current.len()) as i64).collect();
    let [baseline, current] =
        [baseline, current].map(|values| Path::new(&times[..values.len() / dims], values, dims));
    shift(method, &baseline, &current, &mut || {})
}

#[test]
fn methods_have_names() {
    for method in METHODS {
        assert_eq!(Method::parse(method.name()), Ok(method));
    }
    assert!(Method::parse("ks").is_err());
    assert_eq!(Method::Centroid.most_points(384), 5000);
    assert_eq!(Method::Psi.most_points(16_000), 250);
    assert_eq!(Method::Mmd.most_points(2), 1000);
}

#[test]
fn one_population_is_not_told_apart() {
    const DRAWS: usize = 200;
    let mut rng = Pcg64Mcg::seed_from_u64(30);
    for (n, m, dims) in [(40, 40, 2), (60, 30, 24), (25, 200, 8)] {
        for method in METHODS {
            let found: Vec<Shift> = (0..DRAWS)
                .map(|_| {
                    let (a, b) = (
                        drawn(n, dims, 0.5, 0.0, &mut rng),
                        drawn(m, dims, 0.5, 0.0, &mut rng),
                    );
                    compare(method, &a, &b, dims).unwrap()
                })
                .collect();
            for alpha in [0.05, 0.2, 0.5] {
                let below = found.iter().filter(|it| it.p_value <= alpha).count() as f64;
                let expected = alpha * DRAWS as f64;
                let off = (below - expected) / (expected * (1.0 - alpha)).sqrt();
                assert!(off.abs() < 4.0, "{method:?} {n} {m} {dims}: {below} at {alpha}");
            }
        }
    }
}

#[test]
fn a_shift_is_found_and_measured() {
    let mut rng = Pcg64Mcg::seed_from_u64(31);
    let (dims, n) = (16, 300);
    let variance: f64 = (1..=dims).map(|k| 0.25 / k as f64).sum();
    let baseline = drawn(n, dims, 0.5, 0.0, &mut rng);
    let moved = drawn(n, dims, 0.5, 1.0, &mut rng);
    for method in METHODS {
        let found = compare(method, &baseline, &moved, dims).unwrap();
        assert!(found.p_value <= 0.001, "{method:?}: {found:?}");
    }
    let centroid = compare(Method::Centroid, &baseline, &moved, dims).unwrap();
    assert!(
        (centroid.statistic * variance.sqrt() - 1.0).abs() < 0.1,
        "{centroid:?}"
    );
    assert!(centroid.p_value < 1e-20);
    assert!(compare(Method::Psi, &baseline, &moved, dims).unwrap().statistic > 0.25);
}

#[test]
fn spread_alone_moves_no_mean() {
    let mut rng = Pcg64Mcg::seed_from_u64(32);
    let (baseline, wider) = (
        drawn(300, 6, 0.5, 0.0, &mut rng),
        drawn(300, 6, 1.0, 0.0, &mut rng),
    );
    let found = METHODS.map(|method| compare(method, &baseline, &wider, 6).unwrap());
    assert!(found[0].statistic < 0.15 && found[0].p_value > 0.001, "{found:?}");
    assert!(
        found[1].p_value <= 0.001 && found[2].p_value <= 0.001,
        "{found:?}"
    );
    assert!(found[2].statistic > 0.25);
}

#[test]
fn unequal_sizes_and_spreads_raise_no_alarm_of_the_means() {
    let mut rng = Pcg64Mcg::seed_from_u64(33);
    let alarms = (0..400)
        .filter(|_| {
            let (few, many) = (
                drawn(20, 4, 3.0, 0.0, &mut rng),
                drawn(400, 4, 0.3, 0.0, &mut rng),
            );
            compare(Method::Centroid, &few, &many, 4).unwrap().p_value <= 0.05
        })
        .count();
    assert!(alarms <= 40, "{alarms} of 400");
}

#[test]
fn components_learned_from_few_points_raise_no_alarm() {
    let mut rng = Pcg64Mcg::seed_from_u64(34);
    let mut isotropic = |n: usize| drawn(n * 100, 1, 1.0, 0.0, &mut rng);
    // 60 points to learn from in 100 dimensions: their own scores would spread far more widely than new ones.
    let (baseline, current) = (isotropic(120), isotropic(400));
    let found = compare(Method::Psi, &baseline, &current, 100).unwrap();
    assert!(found.p_value > 0.001, "{found:?}");
}

#[test]
fn scale_and_order_play_no_part() {
    let mut rng = Pcg64Mcg::seed_from_u64(35);
    let (dims, n) = (5, 50);
    let (a, b) = (
        drawn(n, dims, 0.5, 0.0, &mut rng),
        drawn(n, dims, 0.5, 0.3, &mut rng),
    );
    let scaled = |values: &[f32]| values.iter().map(|x| x * 64.0).collect::<Vec<_>>();
    let reversed = |values: &[f32]| {
        values
            .chunks_exact(dims)
            .rev()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
    };
    for method in METHODS {
        let found = compare(method, &a, &b, dims).unwrap();
        let larger = compare(method, &scaled(&a), &scaled(&b), dims).unwrap();
        assert!((found.statistic - larger.statistic).abs() < 1e-9, "{method:?}");
        assert!((found.p_value - larger.p_value).abs() < 1e-9);
        assert_eq!(compare(method, &a, &b, dims), Some(found), "the same again");
        let turned = compare(method, &a, &reversed(&b), dims).unwrap();
        assert!((found.statistic - turned.statistic).abs() < 1e-9, "{method:?}");
    }
}

#[test]
fn too_few_points_and_points_that_do_not_vary() {
    let mut rng = Pcg64Mcg::seed_from_u64(36);
    let some = drawn(30, 3, 0.5, 0.0, &mut rng);
    for method in METHODS {
        assert_eq!(compare(method, &some, &some[..3], 3), None);
        assert_eq!(compare(method, &some[..3], &some, 3), None);
        assert_eq!(compare(method, &[], &[], 3), None);
        let (same, other) = (vec![0.1; 90], vec![0.2; 90]);
        if method == Method::Psi {
            assert_eq!(compare(method, &same, &other, 3), None, "no components");
            continue;
        }
        let still = compare(method, &same, &same, 3).unwrap();
        assert_eq!((still.statistic, still.p_value), (0.0, 1.0), "{method:?}");
        let moved = compare(method, &same, &other, 3).unwrap();
        assert!(
            moved.statistic > 0.5 && moved.p_value <= 0.001,
            "{method:?} {moved:?}"
        );
        assert!(compare(method, &same, &some, 3).unwrap().p_value <= 1.0);
    }
    assert_eq!(compare(Method::Psi, &some[..57], &some, 3), None);
    assert!(
        compare(Method::Centroid, &some[..6], &some[6..12], 3)
            .unwrap()
            .p_value
            <= 1.0
    );
}
