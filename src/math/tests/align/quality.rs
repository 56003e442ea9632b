//! Figures on held-out pairs, and the choice among methods.

use super::*;

#[test]
fn duplicates_count_like_any_pair() {
    let mut numbers = Numbers(17);
    let (x, r) = (numbers.matrix(40, 5), numbers.rotation(5));
    let owned = Owned::new(&x, &(&x * &r), |i| i as u32);
    let thrice = Owned {
        from: owned.from.repeat(3),
        to: owned.to.repeat(3),
        dims: owned.dims,
        entity: owned.entity.repeat(3),
    };
    let found = thrice.one(Method::Procrustes);
    assert!(distance(&linear(&found.forward), &r) < 1e-6);
    assert_eq!(found.quality.unwrap().held_out_pairs, 24);
    // Without a shift cosines stay as they are, so all neighbours are found; and equal vectors are found in
    // the same order on both sides, however the sums round.
    assert_eq!(found.quality.unwrap().recall_at_10, Some(1.0));
}

#[test]
fn held_out_figures_are_those_of_the_map_fitted_without_them() {
    let (owned, ..) = rotated(100, 6, 6, 0.2, 41);
    let found = owned.one(Method::Procrustes);
    let held: Vec<usize> = found.held_out.iter().map(|it| it.pair).collect();
    assert_eq!(held.len(), 20);
    let rest: Vec<usize> = (0..100).filter(|i| !held.contains(i)).collect();
    let pick = |values: &[f32]| -> Vec<f32> {
        rest.iter()
            .flat_map(|i| values[i * 6..(i + 1) * 6].iter().copied())
            .collect()
    };
    let without = Owned {
        from: pick(&owned.from),
        to: pick(&owned.to),
        dims: (6, 6),
        entity: vec![0; 80],
    };
    let map = without.one(Method::Procrustes).forward;
    let (mut lengths, mut cosines) = (Vec::new(), 0.0);
    for (&i, residual) in held.iter().zip(found.residuals.chunks_exact(6)) {
        let (image, truth) = (apply(&map, &owned.from[i * 6..][..6]), &owned.to[i * 6..][..6]);
        let expected: Vec<f32> = image.iter().zip(truth).map(|(a, b)| a - b).collect();
        assert!(close(residual, &expected, 1e-5));
        lengths.push(cvx_math::kernels::norm(&expected));
        let norms = cvx_math::kernels::norm(&image) * cvx_math::kernels::norm(truth);
        cosines += cvx_math::kernels::dot(&image, truth) / norms;
    }
    let q = found.quality.unwrap();
    assert!((q.mean_residual - lengths.iter().sum::<f64>() / 20.0).abs() < 1e-6);
    assert!((q.mean_cosine - cosines / 20.0).abs() < 1e-6);
    lengths.sort_by(f64::total_cmp);
    // 95 % of 19 steps is 18.05: a twentieth of the way from the 19th to the 20th.
    let p95 = lengths[18] + 0.05 * (lengths[19] - lengths[18]);
    assert!((q.p95_residual - p95).abs() < 1e-6);
    assert!(q.p99_residual >= q.p95_residual && q.p99_residual <= lengths[19] + 1e-6);
}

/// Neighbours by brute force, among the vectors of all pairs.
#[test]
fn recall_is_that_of_a_plain_search() {
    let (owned, ..) = rotated(200, 8, 8, 0.6, 43);
    let found = owned.one(Method::Procrustes);
    let row = |values: &[f32], i: usize| values[i * 8..(i + 1) * 8].to_vec();
    let ten = |query: &[f32], values: &[f32], own: usize| {
        let norm = cvx_math::kernels::norm;
        let cosine = |i: usize| {
            let it = row(values, i);
            cvx_math::kernels::dot(query, &it) / (norm(query) * norm(&it))
        };
        let mut order: Vec<usize> = (0..200).filter(|i| *i != own).collect();
        order.sort_by(|a, b| cosine(*b).total_cmp(&cosine(*a)));
        order.truncate(10);
        order
    };
    let mut common = 0;
    for (held, residual) in found.held_out.iter().zip(found.residuals.chunks_exact(8)) {
        let i = held.pair;
        let projected: Vec<f32> = row(&owned.to, i)
            .iter()
            .zip(residual)
            .map(|(y, r)| y + r)
            .collect();
        let truth = ten(&row(&owned.from, i), &owned.from, i);
        let served = ten(&projected, &owned.to, i);
        common += served.iter().filter(|j| truth.contains(j)).count();
    }
    let recall = common as f64 / (10 * found.held_out.len()) as f64;
    assert!((found.quality.unwrap().recall_at_10.unwrap() - recall).abs() < 0.003);
    assert!((0.2..0.95).contains(&recall), "{recall}");
}

#[test]
fn auto_takes_the_method_that_fits() {
    // An anisotropic map is beyond any rotation.
    let mut numbers = Numbers(51);
    let (x, b) = (numbers.matrix(400, 10), numbers.matrix(10, 10));
    let y = &x * &b;
    let found = Owned::new(&x, &y, |i| i as u32 / 2).fit(Choice::Auto).unwrap();
    assert_ne!(found.method, Method::Procrustes);
    assert!(found.quality.unwrap().mean_residual < 0.01);
    // A noisy rotation is what procrustes estimates best.
    let (owned, ..) = rotated(300, 24, 24, 0.3, 52);
    let found = owned.fit(Choice::Auto).unwrap();
    let (procrustes, affine) = (owned.one(Method::Procrustes), owned.one(Method::Affine));
    let (a, b) = (procrustes.quality.unwrap(), affine.quality.unwrap());
    assert!(a.mean_residual < b.mean_residual);
    assert!(found.quality.unwrap().mean_residual < 1.02 * a.mean_residual);
}
