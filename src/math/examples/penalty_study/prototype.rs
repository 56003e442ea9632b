//! The comparison: a closed-form penalty from successive differences and a chi-square tail bound.
//!
//! Differences over sqrt 2 have covariance Sigma; `tr Sigma` from their mean square (the largest tenth
//! winsorised), `tr Sigma^2` from products of differences two or more apart, and the bound of Laurent and
//! Massart (2000, lemma 1), `tr Sigma + 2 sqrt(tr Sigma^2 x) + 2 |Sigma| x` with `x = ln(n / alpha)` and
//! `|Sigma|` bounded by `sqrt(tr Sigma^2)` where no direction stands out.

use cvx_math::Path;

pub fn penalty(path: Path<'_>, alpha: f64) -> f64 {
    let n = path.len();
    let differences: Vec<Vec<f64>> = (1..n)
        .map(|i| {
            path.point(i)
                .iter()
                .zip(path.point(i - 1))
                .map(|(a, b)| f64::from(a - b))
                .collect()
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let squares: Vec<f64> = differences.iter().map(|d| dot(d, d)).collect();
    let mut sorted = squares.clone();
    sorted.sort_by(f64::total_cmp);
    let cap = sorted[((sorted.len() as f64 * 0.9) as usize).min(sorted.len() - 1)];
    let trace = squares.iter().map(|s| s.min(cap)).sum::<f64>() / squares.len() as f64 / 2.0;
    let (mut sum, mut count) = (0.0, 0usize);
    for i in 0..differences.len() {
        for j in i + 2..differences.len() {
            let clip = |s: f64| (cap / s.max(f64::MIN_POSITIVE)).min(1.0);
            sum += dot(&differences[i], &differences[j]).powi(2) * clip(squares[i]) * clip(squares[j]);
            count += 1;
        }
    }
    let square_trace = (sum / count as f64 / 4.0).min(trace * trace);
    let x = (n as f64 / alpha).ln();
    let largest = square_trace / trace;
    let participation = trace * trace / square_trace;
    let norm = if participation > path.dims as f64 * 0.8 {
        largest
    } else {
        largest.max(square_trace.sqrt() * 0.5)
    };
    trace + 2.0 * (square_trace * x).sqrt() + 2.0 * norm * x
}
