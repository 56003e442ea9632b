//! The wide loops against the plain sums they stand for, at every length around a register's.

use cvx_math::kernels::*;

#[test]
fn sums_are_those_of_the_plain_loop() {
    for n in (0..70).chain([384, 1000, 16_000]) {
        let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).cos()).collect();
        let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (wa, wb) = (wide(&a), wide(&b));
        let products: f64 = wa.iter().zip(&wb).map(|(x, y)| x * y).sum();
        let squares: f64 = wa.iter().zip(&wb).map(|(x, y)| (x - y).powi(2)).sum();
        let tolerance = 1e-13 * (1.0 + n as f64);
        assert!((dot(&a, &b) - products).abs() < tolerance, "n = {n}");
        assert!((dot_f64(&wa, &wb) - products).abs() < tolerance, "n = {n}");
        assert!((squared_distance(&a, &b) - squares).abs() < tolerance, "n = {n}");
        assert_eq!(distance(&a, &b), squared_distance(&a, &b).sqrt());
        assert_eq!(norm(&a), dot(&a, &a).sqrt());
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let (up, down) = ([f32::MAX; 100], [f32::MIN; 100]);
    assert!(distance(&up, &down).is_finite() && norm(&up).is_finite());
    assert_eq!(squared_distance(&up, &up), 0.0);
}

#[test]
fn all_finite_sees_every_place() {
    use cvx_math::kernels::all_finite;
    for len in [1, 7, 8, 384] {
        let mut x = vec![f32::MAX; len];
        assert!(all_finite(&x), "{len} elements");
        for at in 0..len {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                x[at] = bad;
                assert!(!all_finite(&x), "{bad} at {at} of {len}");
            }
            x[at] = -f32::MIN_POSITIVE;
        }
    }
}
