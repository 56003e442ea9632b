//! What each method fits, against closed forms, direct solutions and conditions of optimality.

use super::*;

#[test]
fn a_quarter_turn_by_hand() {
    // (x, y) -> 2 (-y, x) + (1, 0).
    let x = faer::mat![[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]];
    let y = faer::mat![[1.0, 2.0], [1.0, -2.0], [-3.0, 0.0], [5.0, 0.0]];
    let found = Owned::new(&x, &y, |i| i as u32).one(Method::Procrustes);
    assert!(close(&found.forward.weights, &[0.0, -2.0, 2.0, 0.0], 1e-6));
    assert!(close(&found.forward.offset, &[1.0, 0.0], 1e-6));
    assert!((found.scale.unwrap() - 2.0).abs() < 1e-12);
    assert_eq!((found.rank, found.ridge, found.correlations.len()), (2, None, 0));
    assert!(close(&apply(&found.backward, &[1.0, 2.0]), &[1.0, 0.0], 1e-6));
}

#[test]
fn rotation_scale_and_shift_are_recovered_exactly() {
    let (owned, r, scale) = rotated(200, 24, 24, 0.0, 1);
    for choice in [
        Choice::One(Method::Procrustes),
        Choice::One(Method::Affine),
        Choice::One(Method::Cca),
        Choice::Auto,
    ] {
        let found = owned.fit(choice).unwrap();
        assert!(
            distance(&linear(&found.forward), &(&r * faer::Scale(scale))) < 1e-5,
            "{choice:?}"
        );
        let q = found.quality.unwrap();
        assert!(
            q.mean_residual < 1e-4 && q.mean_cosine > 1.0 - 1e-9 && q.p99_residual < 1e-4,
            "{choice:?} {q:?}"
        );
        assert_eq!((q.held_out_entities, q.held_out_pairs), (40, 40));
        assert_eq!(found.rank, 24);
    }
    let found = owned.one(Method::Procrustes);
    assert!((found.scale.unwrap() - scale).abs() < 1e-6);
}

#[test]
fn reflections_are_found_as_scipy_finds_them() {
    let mut numbers = Numbers(5);
    let x = numbers.matrix(50, 3);
    let y = Mat::from_fn(50, 3, |i, j| if j == 0 { -x[(i, j)] } else { x[(i, j)] });
    let found = Owned::new(&x, &y, |i| i as u32).one(Method::Procrustes);
    let mirror = Mat::from_fn(3, 3, |i, j| {
        if i != j {
            0.0
        } else if i == 0 {
            -1.0
        } else {
            1.0
        }
    });
    assert!(distance(&linear(&found.forward), &mirror) < 1e-6);
}

/// Checked against the definition, not against a decomposition: R is optimal exactly if `Rᵀ Xcᵀ Yc` is
/// symmetric and positive semidefinite, and s is the slope of the projection.
#[test]
fn procrustes_meets_the_conditions_of_optimality() {
    let (owned, ..) = rotated(300, 16, 16, 0.5, 2);
    let found = owned.one(Method::Procrustes);
    let scale = found.scale.unwrap();
    let (x, y) = owned.centred();
    let r = linear(&found.forward) * faer::Scale(scale.recip());
    assert!(identity_defect(&r) < 1e-6);
    let h = r.transpose() * x.transpose() * &y;
    assert!((&h - h.transpose()).norm_max() < 1e-4 * h.norm_max());
    let values = h.self_adjoint_eigenvalues(Side::Lower).unwrap();
    assert!(values.iter().all(|v| *v > 0.0));
    let slope = values.iter().sum::<f64>() / x.squared_norm_l2();
    assert!((scale - slope).abs() < 1e-5 * slope);
}

#[test]
fn unseen_directions_stay_as_near_to_the_identity_as_they_can() {
    // Twelve dimensions of which five vary, and eleven pairs which see at most ten: the complement is
    // completed.
    for (n, dims, rank) in [(200, 12, 5), (11, 12, 12), (3, 12, 12), (2, 40, 40)] {
        let (owned, ..) = rotated(n, dims, rank, 0.0, 3);
        let found = owned.one(Method::Procrustes);
        assert!(all_finite(&found));
        assert_eq!(found.rank, rank.min(n - 1), "{n} pairs");
        let r = linear(&found.forward) * faer::Scale(found.scale.unwrap().recip());
        assert!(identity_defect(&r) < 1e-6);
        // Of all orthogonal completions the nearest to I has the largest trace: on the complements `U₂ᵀ R V₂`
        // must be the polar factor of `U₂ᵀ V₂`, so that `(U₂ᵀ V₂)ᵀ U₂ᵀ R V₂` is symmetric and positive
        // semidefinite.
        let (x, y) = owned.centred();
        let svd = (x.transpose() * &y).svd().unwrap();
        let open = dims - found.rank;
        let (u, v) = (
            svd.U().subcols(found.rank, open),
            svd.V().subcols(found.rank, open),
        );
        let h = (u.transpose() * v).transpose() * (u.transpose() * &r * v);
        assert!((&h - h.transpose()).norm_max() < 1e-4, "{n} pairs");
        assert!(
            h.self_adjoint_eigenvalues(Side::Lower)
                .unwrap()
                .iter()
                .all(|v| *v > -1e-4)
        );
    }
}

#[test]
fn no_change_leaves_unseen_directions_alone() {
    let mut numbers = Numbers(9);
    let x = Mat::from_fn(30, 8, |_, j| if j < 3 { numbers.next() } else { 0.25 });
    let found = Owned::new(&x, &x, |i| i as u32).one(Method::Procrustes);
    assert_eq!(found.rank, 3);
    assert!(distance(&linear(&found.forward), &Mat::identity(8, 8)) < 1e-6);
}

#[test]
fn perpendicular_complements_turn_and_do_not_flip() {
    // e1 goes to e2; what is left, e2 to e1, has no sign of its own near the identity: the limit is the
    // rotation.
    let x = faer::mat![[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]];
    let y = faer::mat![[0.0, 1.0], [0.0, -1.0], [0.0, 3.0]];
    let found = Owned::new(&x, &y, |i| i as u32).one(Method::Procrustes);
    assert_eq!(found.rank, 1);
    assert!(
        close(&found.forward.weights, &[0.0, -1.0, 1.0, 0.0], 1e-6),
        "{:?}",
        found.forward.weights
    );
}

#[test]
fn affine_is_the_ridge_solution() {
    for (n, p, q) in [(200, 12, 12), (200, 9, 14), (10, 16, 12)] {
        let mut numbers = Numbers(n as u64 + 1);
        let (x, b) = (numbers.matrix(n, p), numbers.matrix(p, q));
        let y = &x * &b + numbers.matrix(n, q) * faer::Scale(0.3);
        let owned = Owned::new(&x, &y, |i| i as u32);
        let found = owned.one(Method::Affine);
        let (x, y) = owned.centred();
        let penalty = found.ridge.unwrap();
        assert!(penalty > 0.0);
        let gram = x.transpose() * &x + Mat::<f64>::identity(p, p) * faer::Scale(penalty);
        let direct = gram.partial_piv_lu().solve(x.transpose() * &y);
        assert!(distance(&linear(&found.forward), &direct) < 1e-5, "{n} {p} {q}");
        assert!(all_finite(&found));
        assert_eq!(found.rank, p.min(n - 1));
        assert_eq!((found.backward.from_dims, found.backward.to_dims), (q, p));
    }
}

#[test]
fn affine_undoes_an_anisotropic_map_and_backward_returns() {
    let mut numbers = Numbers(12);
    let (x, b) = (numbers.matrix(300, 8), numbers.matrix(8, 8));
    let y = &x * &b;
    let found = Owned::new(&x, &y, |i| i as u32).one(Method::Affine);
    assert!(distance(&linear(&found.forward), &b) < 1e-4);
    assert!(
        (linear(&found.forward) * linear(&found.backward) - Mat::<f64>::identity(8, 8)).norm_max() < 1e-3
    );
}

#[test]
fn canonical_correlations_are_those_of_orthonormal_bases() {
    for (p, q) in [(10, 10), (7, 12)] {
        let mut numbers = Numbers(21);
        let common = numbers.matrix(250, p.min(q));
        let x = &common * numbers.matrix(p.min(q), p) + numbers.matrix(250, p) * faer::Scale(0.4);
        let y = &common * numbers.matrix(p.min(q), q) + numbers.matrix(250, q) * faer::Scale(0.4);
        let owned = Owned::new(&x, &y, |i| i as u32);
        let found = owned.one(Method::Cca);
        let (x, y) = owned.centred();
        let (qx, qy) = (x.qr().compute_thin_Q(), y.qr().compute_thin_Q());
        let direct = (qx.transpose() * qy).singular_values().unwrap();
        assert_eq!(found.correlations.len(), direct.len());
        for (a, b) in found.correlations.iter().zip(&direct) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!(found.correlations.is_sorted_by(|a, b| a >= b));
    }
}

#[test]
fn canonical_matching_between_equal_dimensions_has_an_inverse() {
    let (owned, ..) = rotated(120, 10, 10, 0.4, 8);
    let found = owned.one(Method::Cca);
    let there_and_back = linear(&found.forward) * linear(&found.backward);
    assert!((there_and_back - Mat::<f64>::identity(10, 10)).norm_max() < 1e-5);
}
