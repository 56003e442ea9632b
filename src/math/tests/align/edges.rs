//! Little, odd or impossible input.

use super::*;

#[test]
fn one_dimension() {
    let x = Mat::from_fn(12, 1, |i, _| (i * i) as f64);
    let y = Mat::from_fn(12, 1, |i, _| -2.0 * (i * i) as f64);
    let owned = Owned::new(&x, &y, |i| i as u32);
    for method in [Method::Procrustes, Method::Affine, Method::Cca] {
        let found = owned.one(method);
        assert!(close(&apply(&found.forward, &[3.0]), &[-6.0], 1e-3), "{method:?}");
        assert!(
            close(&apply(&found.backward, &[-6.0]), &[3.0], 1e-3),
            "{method:?}"
        );
    }
}

#[test]
fn fewer_pairs_than_dimensions_give_sane_maps() {
    let (owned, ..) = rotated(20, 48, 48, 0.1, 4);
    for choice in [
        Choice::One(Method::Procrustes),
        Choice::One(Method::Affine),
        Choice::One(Method::Cca),
        Choice::Auto,
    ] {
        let found = owned.fit(choice).unwrap();
        assert!(all_finite(&found), "{choice:?}");
        let q = found.quality.unwrap();
        assert_eq!(
            (q.held_out_entities, q.held_out_pairs, q.recall_at_10),
            (4, 4, None)
        );
        // No map of so few pairs predicts well, but none is worse than twice what the mean alone would give.
        let spread = (owned.centred().1.squared_norm_l2() / 20.0).sqrt();
        assert!(q.mean_residual < 2.0 * spread, "{choice:?} {q:?} {spread}");
        assert!(found.correlations.iter().all(|c| (0.0..=1.0).contains(c)));
    }
}

#[test]
fn differing_dimensions() {
    let mut numbers = Numbers(31);
    let x = numbers.matrix(150, 6);
    let y = &x * numbers.matrix(6, 11);
    let owned = Owned::new(&x, &y, |i| i as u32 % 75);
    assert_eq!(
        owned.fit(Choice::One(Method::Procrustes)),
        Err(Error::DimensionsDiffer { from: 6, to: 11 })
    );
    for choice in [
        Choice::One(Method::Affine),
        Choice::One(Method::Cca),
        Choice::Auto,
    ] {
        let found = owned.fit(choice).unwrap();
        assert_eq!((found.forward.from_dims, found.forward.to_dims), (6, 11));
        assert_eq!((found.backward.from_dims, found.backward.to_dims), (11, 6));
        let back = apply(&found.backward, &apply(&found.forward, &owned.from[..6]));
        assert!(close(&back, &owned.from[..6], 1e-2), "{choice:?}");
        assert_eq!(found.quality.unwrap().held_out_entities, 15);
        assert_eq!(found.quality.unwrap().held_out_pairs, 30);
    }
}

#[test]
fn what_cannot_be_aligned_is_refused() {
    let x = faer::mat![[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5]];
    let flat = Mat::from_fn(3, 2, |_, j| j as f64 + 0.1);
    let none = Owned::new(&Mat::zeros(0, 2), &Mat::zeros(0, 2), |_| 0);
    let all = [
        Choice::One(Method::Procrustes),
        Choice::One(Method::Affine),
        Choice::One(Method::Cca),
        Choice::Auto,
    ];
    for choice in all {
        assert_eq!(none.fit(choice), Err(Error::NoPairs));
        let constant = |x, y| Owned::new(x, y, |i| i as u32).fit(choice);
        assert_eq!(constant(&flat, &x), Err(Error::Constant { which: "from" }));
        assert_eq!(constant(&x, &flat), Err(Error::Constant { which: "to" }));
        let single = Owned::new(&x.subrows(0, 1).to_owned(), &x.subrows(0, 1).to_owned(), |_| 0);
        assert_eq!(single.fit(choice), Err(Error::Constant { which: "from" }));
    }
    // One side varies where the other does not.
    let x = faer::mat![[1.0], [-1.0], [0.0], [0.0]];
    let y = faer::mat![[0.0], [0.0], [1.0], [-1.0]];
    let owned = Owned::new(&x, &y, |i| i as u32);
    assert_eq!(
        owned.fit(Choice::One(Method::Procrustes)),
        Err(Error::Uncorrelated)
    );
    assert_eq!(owned.fit(Choice::One(Method::Cca)), Err(Error::Uncorrelated));
    assert!(close(
        &apply(&owned.one(Method::Affine).forward, &[5.0]),
        &[0.0],
        1e-6
    ));
    assert_eq!(owned.fit(Choice::Auto).unwrap().method, Method::Affine);
    // A scale of 1e60 has no place in single precision.
    let small = Mat::from_fn(4, 1, |i, _| 1e-30 * i as f64);
    let large = Mat::from_fn(4, 1, |i, _| 1e30 * i as f64);
    let owned = Owned::new(&small, &large, |i| i as u32);
    assert_eq!(owned.fit(Choice::One(Method::Procrustes)), Err(Error::OutOfRange));
}

#[test]
fn few_entities() {
    let (mut owned, ..) = rotated(60, 6, 6, 0.01, 14);
    owned.entity.iter_mut().for_each(|it| *it = 7);
    for method in [Method::Procrustes, Method::Affine, Method::Cca] {
        let found = owned.one(method);
        assert_eq!(
            (found.quality, found.held_out.len(), found.residuals.len()),
            (None, 0, 0)
        );
        assert!(all_finite(&found));
    }
    assert_eq!(owned.fit(Choice::Auto).unwrap().method, Method::Procrustes);
    for entities in 2..8u32 {
        owned
            .entity
            .iter_mut()
            .enumerate()
            .for_each(|(i, it)| *it = i as u32 % entities * 1000);
        for choice in [
            Choice::One(Method::Affine),
            Choice::One(Method::Cca),
            Choice::Auto,
        ] {
            let q = owned.fit(choice).unwrap().quality.unwrap();
            assert_eq!(q.held_out_entities, (entities as usize).div_ceil(5), "{choice:?}");
            assert!(q.mean_residual < 0.2, "{entities} entities, {choice:?}: {q:?}");
        }
    }
    // What is left when one of two entities is held out may be a single point: no figures, yet a map.
    let x = faer::mat![[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]];
    let owned = Owned::new(&x, &x, |i| i as u32 / 2);
    for method in [Method::Procrustes, Method::Cca] {
        let found = owned.one(method);
        assert_eq!((found.quality, found.held_out.len()), (None, 0));
        assert!(close(&apply(&found.forward, &[1.0, 0.0]), &[1.0, 0.0], 1e-4));
    }
    assert!(all_finite(&owned.one(Method::Affine)));
    assert!(all_finite(&owned.fit(Choice::Auto).unwrap()));
}

#[test]
fn the_order_of_the_pairs_does_not_matter() {
    for (n, dims) in [(90, 10), (8, 10)] {
        let (owned, ..) = rotated(n, dims, dims, 0.3, 23);
        let order: Vec<usize> = (0..n).map(|i| i * 7 % n).collect();
        let pick = |values: &[f32]| -> Vec<f32> {
            order
                .iter()
                .flat_map(|i| values[i * dims..(i + 1) * dims].iter().copied())
                .collect()
        };
        let shuffled = Owned {
            from: pick(&owned.from),
            to: pick(&owned.to),
            dims: owned.dims,
            entity: order.iter().map(|&i| owned.entity[i]).collect(),
        };
        for method in [Method::Procrustes, Method::Affine, Method::Cca] {
            let (a, b) = (owned.one(method), shuffled.one(method));
            assert!(
                distance(&linear(&a.forward), &linear(&b.forward)) < 1e-6,
                "{n} {method:?}"
            );
            assert!(
                distance(&linear(&a.backward), &linear(&b.backward)) < 1e-6,
                "{n} {method:?}"
            );
            let (a, b) = (a.quality.unwrap(), b.quality.unwrap());
            assert!((a.mean_residual - b.mean_residual).abs() < 1e-5);
            assert_eq!(a.recall_at_10.is_some(), b.recall_at_10.is_some());
        }
    }
}

#[test]
fn interrupt_is_called_and_may_unwind() {
    let (owned, ..) = rotated(1000, 16, 16, 0.1, 61);
    let mut calls = 0;
    fit(&owned.pairs(), Choice::Auto, &mut || calls += 1).unwrap();
    assert!(calls > 20, "{calls}");
    let unwound = std::panic::catch_unwind(|| fit(&owned.pairs(), Choice::Auto, &mut || panic!("stop")));
    assert!(unwound.is_err());
}
