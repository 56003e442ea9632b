//! How far the covariances of two groups of rows point the same way.

use crate::gram::Dense;

/// Fewer effective dimensions (`tr(S)^2 / tr(S^2)`) than this are a curve or a sheet, whose pieces may point
/// anywhere within one space.
const FEWEST_EFFECTIVE: f64 = 5.0;
/// A group whose anisotropy is not this many standard errors from none has no direction to compare.
const CLEARLY: f64 = 3.0;

/// Product of squared lengths, of means of unit vectors, that is rounding.
const ROUNDING: f64 = 1e-24;

/// The alignment of two groups, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alignment {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// One group's centred similarities.
struct Moments {
    /// Squared length of each row around the group's mean.
    squares: Vec<f64>,
    /// `tr(S)`.
    trace: f64,
    /// `tr(S0^2)`, `S0` the part of `S` without trace.
    anisotropy: f64,
    /// Each row's mean term in it.
    terms: Vec<f64>,
}

/// The correlation of the traceless parts of the groups' covariances, `tr(A0 B0) / sqrt(tr(A0^2) tr(B0^2))`,
/// `A0 = A - I tr(A) / D`: 1 for covariances alike up to scale, and over all rotations of one group 0 in the
/// mean with variance `2 / ((D - 1)(D + 2))`.
///
/// The traces are estimated without bias from inner products: `tr(A^2)` after Himeno and Yamada (2014,
/// *Journal of Multivariate Analysis* 130), across the groups as in Li and Chen (2012, *Annals of Statistics*
/// 40). The standard error is the jackknife's to first order, over rows or over blocks (entities, where
/// given) if that is larger, with the variance under rotations added to it: in few dimensions unrelated bases
/// tell nothing.
///
/// `gram` holds inner products, `first` and `second` the rows of each group, `dims` the dimensions in
/// which rows differ, `block` the entity of each row. `None` when a group has fewer than 4 rows, fewer than 5
/// effective dimensions, or no anisotropy to speak of.
pub(super) fn alignment(
    gram: &Dense,
    first: &[usize],
    second: &[usize],
    dims: usize,
    block: Option<&[u32]>,
    interrupt: &mut dyn FnMut(),
) -> Option<Alignment> {
    if first.len() < 4 || second.len() < 4 || dims < 2 {
        return None;
    }
    let spread = dims as f64;
    let own = [first, second].map(|rows| moments(gram, rows, spread, interrupt));
    let [a, b] = &own;
    if own.iter().any(|m| !clear(m, spread)) {
        return None;
    }
    let (to_first, to_second) = (means(gram, first, second), means(gram, second, first));
    let mean = to_first.iter().sum::<f64>() / to_first.len() as f64;
    let mut terms = [vec![0.0; first.len()], vec![0.0; second.len()]];
    let mut sum = 0.0;
    for (x, &i) in first.iter().enumerate() {
        if x % 32 == 0 {
            interrupt();
        }
        let row = gram.row(i);
        for (y, &j) in second.iter().enumerate() {
            let product = (row[j] - to_second[x] - to_first[y] + mean).powi(2);
            let term = product - a.squares[x] * b.squares[y] / spread;
            terms[0][x] += term / second.len() as f64;
            terms[1][y] += term / first.len() as f64;
            sum += product;
        }
    }
    let free = (first.len() - 1) as f64 * (second.len() - 1) as f64;
    let scale = (a.anisotropy * b.anisotropy).sqrt();
    let value = (sum / free - a.trace * b.trace / spread) / scale;
    let influence = |group: usize| {
        let (across, within) = (&terms[group], &own[group]);
        let count = across.len() as f64;
        let centre = across.iter().sum::<f64>() / count;
        let own_centre = within.terms.iter().sum::<f64>() / count;
        across
            .iter()
            .zip(&within.terms)
            .map(|(t, w)| {
                ((t - centre) / scale - value * (w - own_centre) / within.anisotropy) / (count - 1.0)
            })
            .collect::<Vec<f64>>()
    };
    let under_rotations = 2.0 / ((spread - 1.0) * (spread + 2.0));
    let variance = summed_squares(first, &influence(0), second, &influence(1), block) + under_rotations;
    (value.is_finite() && variance.is_finite()).then_some(Alignment {
        value,
        error: variance.sqrt(),
    })
}

/// Cosine of the means of two groups, both less their part along the vector of ones: models whose coordinates
/// are never negative have that part in common, and nothing else. `levels` are the rows' mean coordinates
/// over `dims`. 0 when a mean is nothing but that part.
pub(super) fn mean_cosine(
    gram: &Dense,
    first: &[usize],
    second: &[usize],
    dims: usize,
    levels: &[f64],
) -> f64 {
    let level = |rows: &[usize]| rows.iter().map(|&i| levels[i]).sum::<f64>() / rows.len() as f64;
    let product = |a: &[usize], b: &[usize]| {
        let mean = means(gram, a, b).iter().sum::<f64>() / b.len() as f64;
        mean - dims as f64 * level(a) * level(b)
    };
    let squares = product(first, first).max(0.0) * product(second, second).max(0.0);
    if squares > ROUNDING {
        product(first, second) / squares.sqrt()
    } else {
        0.0
    }
}

/// Whether the group has several directions, and some that stand out.
fn clear(group: &Moments, dims: f64) -> bool {
    let count = group.terms.len() as f64;
    let mean = group.terms.iter().sum::<f64>() / count;
    let variance = group.terms.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let error = 2.0 * (variance / count).sqrt();
    let whole = group.anisotropy + group.trace * group.trace / dims;
    group.anisotropy > CLEARLY * error && group.trace * group.trace >= FEWEST_EFFECTIVE * whole
}

fn moments(gram: &Dense, rows: &[usize], dims: f64, interrupt: &mut dyn FnMut()) -> Moments {
    let n = rows.len() as f64;
    let mean = means(gram, rows, rows);
    let grand = mean.iter().sum::<f64>() / n;
    let squares: Vec<f64> = rows
        .iter()
        .zip(&mean)
        .map(|(&i, m)| (gram.row(i)[i] - 2.0 * m + grand).max(0.0))
        .collect();
    let total: f64 = squares.iter().sum();
    let mut terms = Vec::with_capacity(rows.len());
    let mut sum = 0.0;
    for (x, &i) in rows.iter().enumerate() {
        if x % 32 == 0 {
            interrupt();
        }
        let row = gram.row(i);
        let products: f64 = rows
            .iter()
            .zip(&mean)
            .map(|(&j, m)| (row[j] - mean[x] - m + grand).powi(2))
            .sum();
        sum += products;
        let own = squares[x];
        terms.push((products - own * own - own * (total - own) / dims) / (n - 1.0));
    }
    let trace = total / (n - 1.0);
    let fourth = squares.iter().map(|s| s * s).sum::<f64>() / (n - 1.0);
    let square_trace = sum / (n - 1.0).powi(2);
    let unbiased = (n - 1.0) / (n * (n - 2.0) * (n - 3.0))
        * ((n - 1.0) * (n - 2.0) * square_trace + trace * trace - n * fourth);
    Moments {
        squares,
        trace,
        anisotropy: unbiased - trace * trace / dims,
        terms,
    }
}

/// Of each row of `of`, the mean inner product with the rows `with`.
fn means(gram: &Dense, with: &[usize], of: &[usize]) -> Vec<f64> {
    of.iter()
        .map(|&i| {
            let row = gram.row(i);
            with.iter().map(|&j| row[j]).sum::<f64>() / with.len() as f64
        })
        .collect()
}

/// Sum of the squared influences; where rows come in blocks, the sum over these of their squared sums if it
/// is larger. It is not where a side is of one block or two, whose influences cancel around the side's own
/// mean.
fn summed_squares(
    first: &[usize],
    of_first: &[f64],
    second: &[usize],
    of_second: &[f64],
    block: Option<&[u32]>,
) -> f64 {
    let all = || {
        let pairs = first.iter().zip(of_first).chain(second.iter().zip(of_second));
        pairs.map(|(&i, &v)| (i, v))
    };
    let by_row = all().map(|(_, v)| v * v).sum();
    let Some(block) = block else {
        return by_row;
    };
    let mut of_block: Vec<(u32, f64)> = all().map(|(i, v)| (block[i], v)).collect();
    of_block.sort_by_key(|&(b, _)| b);
    let by_block: f64 = of_block
        .chunk_by(|a, b| a.0 == b.0)
        .map(|rows| rows.iter().map(|&(_, v)| v).sum::<f64>().powi(2))
        .sum();
    by_block.max(by_row)
}

/// The number that a standard normal variable exceeds with probability `tail` (Wichura 1988, algorithm AS
/// 241, seven digits).
pub(super) fn upper_quantile(tail: f64) -> f64 {
    let centred = 0.5 - tail;
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        let above = ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let below = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return centred * above / below;
    }
    let r = (-tail.min(1.0 - tail).ln()).sqrt();
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_210_3 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
        above / ((0.120_211_326_70 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r + 6.657_905_115_0;
        above / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    size.copysign(centred)
}
