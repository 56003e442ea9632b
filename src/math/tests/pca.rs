//! Principal components: known answers, defining properties, degenerate input.

use cvx_math::Path;
use cvx_math::pca::{Pca, pca};

fn walk(n: usize, dims: usize, decay: f64) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n * dims)
        .map(|i| (uniform() * decay.powi((i % dims) as i32)) as f32)
        .collect()
}

fn components(values: &[f32], dims: usize, k: usize) -> Pca {
    let times: Vec<i64> = (0..(values.len() / dims) as i64).collect();
    pca(&Path::new(&times, values, dims), k)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Largest `‖S a - λ a‖` over the axes, as a share of the largest eigenvalue, and the worst of `|AAᵀ - I|`.
fn defects(values: &[f32], dims: usize, found: &Pca) -> (f64, f64) {
    let centred: Vec<Vec<f64>> = values
        .chunks_exact(dims)
        .map(|p| {
            p.iter()
                .zip(&found.mean)
                .map(|(&x, m)| f64::from(x) - m)
                .collect()
        })
        .collect();
    let total: f64 = centred.iter().map(|c| dot(c, c)).sum();
    let (mut residual, mut skew) = (0.0f64, 0.0f64);
    let axes: Vec<&[f64]> = found.axes.chunks_exact(dims).collect();
    for (k, axis) in axes.iter().enumerate() {
        let mut image = vec![0.0; dims];
        for c in &centred {
            let along = dot(c, axis);
            image.iter_mut().zip(c).for_each(|(y, x)| *y += along * x);
        }
        image
            .iter_mut()
            .zip(*axis)
            .for_each(|(y, x)| *y -= found.ratios[k] * total * x);
        residual = residual.max(dot(&image, &image).sqrt() / (found.ratios[0] * total));
        for (j, other) in axes.iter().enumerate() {
            skew = skew.max((dot(axis, other) - f64::from(u8::from(j == k))).abs());
        }
    }
    (residual, skew)
}

#[test]
fn a_slanted_line_has_one_component() {
    let found = components(&[0.0, 0.0, 3.0, 4.0, 6.0, 8.0], 2, 2);
    assert!((found.ratios[0] - 1.0).abs() < 1e-15 && found.ratios[1] == 0.0);
    assert!((found.axes[0] - 0.6).abs() < 1e-12 && (found.axes[1] - 0.8).abs() < 1e-12);
    for (got, want) in found.scores.iter().zip([-5.0, 0.0, 0.0, 0.0, 5.0, 0.0]) {
        assert!((got - want).abs() < 1e-12);
    }
}

#[test]
fn axes_are_orthonormal_eigenvectors() {
    for (n, dims, decay) in [
        (3, 2, 1.0),
        (60, 384, 0.99),
        (400, 5, 0.5),
        (300, 200, 0.95),
        (2, 50, 1.0),
    ] {
        let values = walk(n, dims, decay);
        let (residual, skew) = defects(&values, dims, &components(&values, dims, 2.min(n - 1)));
        assert!(residual < 1e-9 && skew < 1e-12, "{n} x {dims}: {residual} {skew}");
    }
}

#[test]
fn equal_eigenvalues_are_all_found() {
    let mut cross = vec![0.0f32; 6 * 10];
    for i in 0..6 {
        cross[i * 10 + 3 + i / 2] = if i % 2 == 0 { -1.0 } else { 1.0 };
    }
    let found = components(&cross, 10, 4);
    for (got, want) in found.ratios.iter().zip([1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]) {
        assert!((got - want).abs() < 1e-12, "{:?}", found.ratios);
    }
    let axes: Vec<&[f64]> = found.axes.chunks_exact(10).take(3).collect();
    assert!(dot(axes[0], axes[1]).abs() < 1e-12 && dot(axes[0], axes[2]).abs() < 1e-12);
}

#[test]
fn a_spectrum_without_a_gap_still_gives_orthonormal_axes_of_much_variance() {
    let (n, dims) = (600, 500);
    let values = walk(n, dims, 1.0);
    let found = components(&values, dims, 2);
    let (_, skew) = defects(&values, dims, &found);
    assert!(skew < 1e-12);
    // Marchenko and Pastur: the largest eigenvalue is near (1 + √(D/n))² times the mean one.
    let edge = (1.0 + (dims as f64 / n as f64).sqrt()).powi(2) / dims as f64;
    assert!(
        found.ratios[0] > 0.9 * edge && found.ratios[1] > 0.9 * edge,
        "{:?} {edge}",
        found.ratios
    );
    assert!(found.ratios[0] >= found.ratios[1]);
}

#[test]
fn the_path_runs_towards_positive_scores() {
    let forth = components(&[0.0, 0.0, 1.0, -2.0, 3.0, -5.0], 2, 1);
    assert!(forth.scores[2] > forth.scores[0]);
    let back = components(&[3.0, -5.0, 1.0, -2.0, 0.0, 0.0], 2, 1);
    assert!(back.scores[2] > back.scores[0]);
    let round = components(&[0.0, 0.0, 1.0, -2.0, 0.0, 0.0], 2, 1);
    assert!(
        round.axes[1] > 0.0,
        "a closed path: the largest entry is positive"
    );
}

#[test]
fn degenerate_input_gives_zeros() {
    let none = components(&[], 3, 2);
    assert_eq!((none.scores.len(), none.ratios), (0, vec![0.0; 2]));
    let one = components(&[1.0, 2.0], 2, 2);
    assert_eq!(
        (one.scores, one.ratios, one.mean),
        (vec![0.0; 2], vec![0.0; 2], vec![1.0, 2.0])
    );
    let still = components(&[0.1; 21], 3, 2);
    assert_eq!((still.scores, still.ratios), (vec![0.0; 14], vec![0.0; 2]));
    let flat = components(&[1.0, 2.0, 4.0], 1, 2);
    assert!((flat.ratios[0] - 1.0).abs() < 1e-15 && flat.ratios[1] == 0.0);
    assert!(flat.scores.chunks_exact(2).all(|s| s[1] == 0.0));
    assert_eq!(components(&[1.0, 2.0], 1, 0).scores, Vec::<f64>::new());
}

#[test]
fn the_smallest_and_largest_numbers_stay_finite() {
    for scale in [f32::MAX, 1e-45] {
        let values: Vec<f32> = walk(40, 6, 0.8)
            .iter()
            .map(|x| if *x > 0.0 { scale } else { -scale })
            .collect();
        let found = components(&values, 6, 2);
        assert!(
            found
                .scores
                .iter()
                .chain(&found.axes)
                .chain(&found.ratios)
                .all(|x| x.is_finite())
        );
        assert!(found.ratios[0] > 0.1 && found.ratios[0] <= 1.0);
    }
}

#[test]
fn the_same_input_gives_the_same_output() {
    let values = walk(50, 64, 0.9);
    assert_eq!(components(&values, 64, 2), components(&values, 64, 2));
}
