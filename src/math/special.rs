//! Special functions: the tails of the chi-square and the F distribution.

use std::f64::consts::PI;

/// Continued fractions and series of the incomplete functions take about the root of their largest parameter.
const MAX_TERMS: usize = 100_000;
const TINY: f64 = 1e-300;

/// Lanczos coefficients for g = 7 (Godfrey 2001), good to 15 digits.
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// `ln Γ(x)` for positive `x`.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let base = x + 7.5;
    let series: f64 = LANCZOS[1..]
        .iter()
        .zip(1..)
        .map(|(c, k)| c / (x + f64::from(k)))
        .sum();
    0.5 * (2.0 * PI).ln() + (x + 0.5) * base.ln() - base + (LANCZOS[0] + series).ln()
}

/// The regularised incomplete gamma function `P(a, x)`: the chi-square distribution function with `2a` degrees of
/// freedom at `2x`.
pub(crate) fn gamma_p(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..MAX_TERMS {
            term *= x / (a + k as f64);
            sum += term;
            if term <= f64::EPSILON * sum {
                break;
            }
        }
        return (front * sum).clamp(0.0, 1.0);
    }
    // Lentz's evaluation of the continued fraction for the upper tail.
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut fraction = d;
    for k in 1..MAX_TERMS {
        let k = k as f64;
        let numerator = -k * (k - a);
        b += 2.0;
        d = 1.0 / away_from_zero(numerator * d + b);
        c = away_from_zero(b + numerator / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    (1.0 - front * fraction).clamp(0.0, 1.0)
}

/// The `x` with `P(a, x) = share`, for `share` strictly between 0 and 1: Newton's steps, kept inside a bracket.
pub(crate) fn gamma_quantile(a: f64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0, a + 1.0);
    while gamma_p(a, high) < share {
        (low, high) = (high, 2.0 * high);
    }
    let mut x = 0.5 * (low + high);
    for _ in 0..200 {
        let excess = gamma_p(a, x) - share;
        if excess > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let density = ((a - 1.0) * x.ln() - x - ln_gamma(a)).exp();
        let step = x - excess / density;
        let next = if step > low && step < high {
            step
        } else {
            0.5 * (low + high)
        };
        if (next - x).abs() <= 1e-14 * x {
            return next;
        }
        x = next;
    }
    x
}

/// The probability that a variable of the F distribution with `d1` and `d2` degrees of freedom (positive, not
/// necessarily whole) exceeds `f`.
pub(crate) fn f_upper_tail(f: f64, d1: f64, d2: f64) -> f64 {
    if f <= 0.0 {
        return 1.0;
    }
    if f.is_infinite() {
        return 0.0;
    }
    let whole = d2 + d1 * f;
    beta_inc(d2 / 2.0, d1 / 2.0, d2 / whole, d1 * f / whole)
}

/// The regularised incomplete beta function `I_x(a, b)`, with `y = 1 - x` given so that neither loses digits.
fn beta_inc(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() + b * y.ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, y) / b
    };
    value.clamp(0.0, 1.0)
}

/// Lentz's evaluation of the continued fraction of the incomplete beta function.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for k in 1..MAX_TERMS {
        let k = k as f64;
        let even = k * (b - k) * x / ((a + 2.0 * k - 1.0) * (a + 2.0 * k));
        let odd = -(a + k) * (a + b + k) * x / ((a + 2.0 * k) * (a + 2.0 * k + 1.0));
        for numerator in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + numerator * d);
            c = away_from_zero(1.0 + numerator / c);
            fraction *= d * c;
        }
        if (d * c - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    fraction
}

fn away_from_zero(x: f64) -> f64 {
    if x.abs() < TINY { TINY } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, tolerance: f64) {
        assert!(
            (got - want).abs() <= tolerance * want.abs(),
            "{got:e} instead of {want:e}"
        );
    }

    #[test]
    fn closed_forms() {
        close(ln_gamma(5.0), 24f64.ln(), 1e-14);
        close(ln_gamma(0.5), PI.sqrt().ln(), 1e-14);
        close(ln_gamma(0.25), 1.288_022_524_698_077_5, 1e-14);
        // P(1, x) = 1 - exp(-x); P(1/2, x) is the error function of the root of x.
        for x in [1e-3, 0.5, 2.0, 30.0] {
            close(gamma_p(1.0, x), -(-x).exp_m1(), 1e-13);
        }
        close(gamma_p(0.5, 0.25), 0.520_499_877_813_046_5, 1e-13);
        // With two and d degrees of freedom: (1 + 2 f / d)^(-d/2).
        for (f, d) in [(0.1, 3.0), (4.0, 7.5), (100.0, 50.0), (1.0, 10_000.0)] {
            close(f_upper_tail(f, 2.0, d), (1.0 + 2.0 * f / d).powf(-d / 2.0), 1e-11);
        }
        // With one and one: 1 - 2/pi atan(sqrt(f)).
        close(f_upper_tail(9.0, 1.0, 1.0), 1.0 - 2.0 / PI * 3f64.atan(), 1e-13);
    }

    #[test]
    fn quantiles_invert() {
        for a in [0.5, 1.0, 3.7, 192.0, 8000.0] {
            for share in [0.01, 0.5, 0.9, 0.99] {
                close(gamma_p(a, gamma_quantile(a, share)), share, 1e-11);
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(f_upper_tail(0.0, 3.0, 4.0), 1.0);
        assert_eq!(f_upper_tail(f64::INFINITY, 3.0, 4.0), 0.0);
        assert_eq!(gamma_p(2.0, 0.0), 0.0);
        let deep = f_upper_tail(50.0, 384.0, 50_000.0);
        assert!((0.0..1e-300).contains(&deep), "{deep:e}");
    }
}
