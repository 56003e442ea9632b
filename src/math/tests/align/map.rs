//! Maps applied, composed, and as bytes.

use super::*;

fn some_map(from: usize, to: usize, seed: u64) -> Map {
    let mut numbers = Numbers(seed);
    let mut take = |n: usize| -> Vec<f32> { numbers.vector(n).into_iter().map(|x| x as f32).collect() };
    Map {
        from_dims: from,
        to_dims: to,
        weights: take(from * to),
        offset: take(to),
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let map = some_map(3, 2, 1);
    let bytes = map.to_bytes();
    assert_eq!(Map::from_bytes(&bytes), Ok(map));
    for cut in 0..bytes.len() {
        assert!(Map::from_bytes(&bytes[..cut]).is_err());
    }
    for at in 0..12 {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x81;
        assert!(Map::from_bytes(&wrong).is_err(), "byte {at}");
    }
    let with = |number: f32, at: usize| {
        let mut wrong = bytes.clone();
        wrong[at..at + 4].copy_from_slice(&number.to_le_bytes());
        Map::from_bytes(&wrong)
    };
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(with(number, 12).is_err() && with(number, bytes.len() - 4).is_err());
    }
    assert!(with(f32::MAX, 12).is_ok());
    let mut longer = bytes;
    longer.push(0);
    assert!(Map::from_bytes(&longer).is_err());
    let mut huge = b"cvm1".to_vec();
    huge.extend_from_slice(&[255; 8]);
    assert!(Map::from_bytes(&huge).is_err());
}

#[test]
fn identity_changes_nothing() {
    let map = Map::identity(5);
    let x = [1.5, -2.0, 0.0, 3.25, 1e-20];
    assert_eq!(apply(&map, &x), x);
    let other = some_map(5, 3, 2);
    assert_eq!(map.then(&other), other);
    assert_eq!(other.then(&Map::identity(3)), other);
    assert!(other.bytes() >= 4 * 18);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_and_compositions_agree_with_one_vector_at_a_time(
        from in 1usize..150, middle in 1usize..90, to in 1usize..70, n in 0usize..600, seed in any::<u64>(),
    ) {
        let (a, b) = (some_map(from, middle, seed), some_map(middle, to, seed ^ 1));
        let rows: Vec<f32> = Numbers(seed ^ 2).vector(n * from).into_iter().map(|x| x as f32).collect();
        let mut images = vec![f32::NAN; n * middle];
        a.apply_rows(&rows, &mut images);
        let both = a.then(&b);
        for (x, image) in rows.chunks_exact(from).zip(images.chunks_exact(middle)) {
            let direct = apply(&a, x);
            // Sums of up to 150 products in (-1, 1), in single precision.
            prop_assert!(close(image, &direct, 1e-4));
            let exact: Vec<f32> = a.weights.chunks_exact(from).zip(&a.offset)
                .map(|(w, o)| (cvx_math::kernels::dot(w, x) + f64::from(*o)) as f32).collect();
            prop_assert!(close(&direct, &exact, 1e-4));
            prop_assert!(close(&apply(&both, x), &apply(&b, &direct), 3e-3));
        }
        prop_assert_eq!(Map::from_bytes(&both.to_bytes()), Ok(both));
    }

    #[test]
    fn procrustes_goes_there_and_back(
        n in 2usize..40, dims in 1usize..24, noise in 0.0f64..0.5, seed in any::<u64>(),
    ) {
        let (owned, ..) = rotated(n, dims, dims, noise, seed);
        let found = match owned.fit(Choice::One(Method::Procrustes)) {
            Ok(found) => found,
            Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
        };
        prop_assert!(all_finite(&found));
        let both = found.forward.then(&found.backward);
        for x in owned.from.chunks_exact(dims) {
            prop_assert!(close(&apply(&both, x), x, 1e-3));
        }
    }

    #[test]
    fn any_bytes_are_a_map_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..64), head in any::<bool>(),
    ) {
        let mut all = if head { b"cvm1\x01\0\0\0\x02\0\0\0".to_vec() } else { Vec::new() };
        all.extend(bytes);
        if let Ok(map) = Map::from_bytes(&all) {
            prop_assert_eq!(map.to_bytes(), all);
        }
    }
}
