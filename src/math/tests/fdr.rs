//! Benjamini and Hochberg's procedure: their example, its definition, what it promises.

use cvx_math::fdr::benjamini_hochberg;
use proptest::prelude::*;

/// The 15 p-values of Benjamini and Hochberg (1995), section 3.2: four are discoveries at 0.05.
const PAPER: [f64; 15] = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
    0.7590, 1.000,
];

#[test]
fn the_example_of_the_paper() {
    let found = benjamini_hochberg(&PAPER, 0.05);
    assert_eq!(found, (0..15).map(|i| i < 4).collect::<Vec<_>>());
}

#[test]
fn a_later_step_takes_earlier_ones_along() {
    // 0.04 > 0.05 / 2, but 0.045 <= 0.05 of both.
    assert_eq!(benjamini_hochberg(&[0.045, 0.04], 0.05), [true, true]);
    assert_eq!(benjamini_hochberg(&[0.06, 0.04], 0.05), [false, false]);
}

#[test]
fn ties_nothing_and_what_could_not_be_tested() {
    assert_eq!(benjamini_hochberg(&[], 0.05), []);
    assert_eq!(
        benjamini_hochberg(&[0.02, 0.9, 0.02, 0.02], 0.05),
        [true, false, true, true]
    );
    assert_eq!(benjamini_hochberg(&[f64::NAN, 0.04], 0.05), [false, true]);
    assert_eq!(benjamini_hochberg(&[f64::NAN], 0.05), [false]);
    assert_eq!(benjamini_hochberg(&[0.0, 1.0], 0.05), [true, false]);
    assert_eq!(benjamini_hochberg(&[1.0, 1.0], 1.0), [true, true]);
}

/// The definition, rank by rank.
fn by_definition(p: &[f64], q: f64) -> Vec<bool> {
    let m = p.iter().filter(|p| !p.is_nan()).count() as f64;
    let at_most = |x: f64| p.iter().filter(|&&p| p <= x).count() as f64;
    let cut = p
        .iter()
        .copied()
        .filter(|&x| x <= q * at_most(x) / m)
        .fold(f64::NEG_INFINITY, f64::max);
    p.iter().map(|&x| x <= cut).collect()
}

proptest! {
    #[test]
    fn it_is_the_definition(
        p in prop::collection::vec(prop_oneof![0.0..0.1, 0.0..1.0, Just(f64::NAN), Just(0.01)], 0..60),
        q in 0.01..0.5,
    ) {
        prop_assert_eq!(benjamini_hochberg(&p, q), by_definition(&p, q));
    }

    #[test]
    fn order_does_not_matter_and_a_larger_rate_finds_more(p in prop::collection::vec(0.0..0.2, 1..40)) {
        let mut found = benjamini_hochberg(&p, 0.1);
        let more = benjamini_hochberg(&p, 0.2);
        prop_assert!(found.iter().zip(&more).all(|(a, b)| !a || *b));
        let reversed: Vec<f64> = p.iter().rev().copied().collect();
        found.reverse();
        prop_assert_eq!(benjamini_hochberg(&reversed, 0.1), found);
    }
}
