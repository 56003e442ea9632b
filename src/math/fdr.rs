//! The false-discovery rate over many tests at once.

/// Which of the p-values are discoveries when their false-discovery rate is to be at most `q`: the step-up procedure
/// of Benjamini and Hochberg (1995).
///
/// With the p-values in rising order, the largest `k` with `p_(k) <= k q / m` is sought, and every test with a
/// p-value of at most `p_(k)` is a discovery, so ties are decided alike. A NaN stands for a test that could not be
/// made: it is no discovery and does not count in `m`. Holds for independent tests and positively dependent ones.
pub fn benjamini_hochberg(p: &[f64], q: f64) -> Vec<bool> {
    let mut sorted: Vec<f64> = p.iter().copied().filter(|p| !p.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let tests = sorted.len() as f64;
    let within = |(rank, &p): (usize, &f64)| p <= q * (rank + 1) as f64 / tests;
    let last = sorted
        .iter()
        .enumerate()
        .rposition(within)
        .map(|rank| sorted[rank]);
    p.iter().map(|&p| last.is_some_and(|last| p <= last)).collect()
}
