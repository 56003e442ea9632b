//! Whether vectors of one dimension come from one embedding space or from two.
//!
//! Two models that were not trained from each other lay their axes in unrelated directions. What tells them
//! from topics, languages or kinds of document within one model is thus not that the vectors form two groups,
//! but that the directions in which the one group varies say nothing about those in which the other does.

mod alignment;
mod dating;
mod judge;
mod linkage;
mod structure;

use crate::{Error, kernels};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use structure::{Split, Structure};

/// Most rows whose structure is looked at; the others are only told apart by it.
const MOST_ROWS: usize = 2000;
/// Products of pairs of those rows, times the dimension, that are affordable: of wide vectors fewer are
/// looked at.
const MOST_PRODUCTS: usize = 3_200_000_000;
const FEWEST_ROWS: usize = 300;
/// More spaces than this are not a history of model swaps but clusters, each with directions of its own.
const MOST_SPACES: usize = 3;
const SEED: u64 = 0x6376_785f_7370_6163;

/// Rows of a column of vectors.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// `n * dims` numbers, a row a vector.
    pub rows: &'a [f32],
    pub dims: usize,
    /// Microseconds since some epoch, `n` of them, in any order.
    pub times: Option<&'a [i64]>,
    /// What each of the `n` rows belongs to; rows of one entity count as one observation of the noise.
    pub entity: Option<&'a [u32]>,
}

/// Whether two spaces are mixed, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    pub mixed: bool,
    /// Alignment of the two groups nearest to unrelated, in [-1, 1] but for its error: 0 for unrelated
    /// spaces, 1 for covariances alike up to scale. `None` when there is nothing to judge (see
    /// [`two_spaces`]).
    pub statistic: Option<f64>,
    /// The size of the statistic is below this when the groups are unrelated; a negative one is too uncertain
    /// for any statistic. `None` with the statistic.
    pub threshold: Option<f64>,
    /// The bound asked for on the probability of calling one space two, under the assumption of
    /// [`two_spaces`].
    pub false_alarm_rate: f64,
    /// Share of all rows that `second` marks.
    pub share: f64,
    /// The rows of the second space: the later one when `since` is given, else the smaller. All `false` when
    /// not mixed.
    pub second: Vec<bool>,
    /// The first time from which (nearly) all rows are of the second space; `None` without times, when not
    /// mixed, or when no single date parts the spaces.
    pub since: Option<i64>,
}

/// Looks for two unrelated embedding spaces in one column.
///
/// Rows are scaled to unit length. An average-linkage tree on `max(0, cos)^2` around the common mean gives up
/// to three ways to part them in two; in each, rows move until they settle with those they are most like. A
/// split is judged by the alignment of its sides: the correlation of the traceless parts of their
/// covariances. Over all rotations of one side its mean is 0 and its standard deviation `sqrt(2) / D`; groups
/// of texts under one encoder measured 0.09 at the very least, and mostly 0.2 to 0.6.
///
/// The null hypothesis is that the sides are groups of one space, which here means: aligned by at least 0.1.
/// It is rejected when the size of the alignment is below 0.1 by more than its standard error times the
/// normal quantile of `alpha / 3` (a test of equivalence with 0, Bonferroni over the splits; far below 0 are
/// the sides of a single space that was cut by its own scatter). A second sign has to agree, which only makes
/// alarms rarer: the cosine of the sides' means, which for unrelated spaces has standard deviation `1 /
/// sqrt(D)`, is at most three of these. And when the sides fall apart in their turn, into more than three
/// unrelated groups in all, they are taken for clusters.
///
/// `alpha` thus bounds the false alarms of one space whose groups have a tenth of their directions in common.
/// Where they have none (texts of languages without a common word, in a space of counted words) two or three
/// such groups are two spaces by all that geometry can tell.
///
/// Not seen: a space that is a change of the other in the same basis (fine-tuning, noise, a shift, a rotation
/// by less than some 80 degrees); a second space of fewer than 4 % of the rows or fewer than 20; spaces that
/// were centred or whitened together. Nothing is judged (`statistic` is `None`, `mixed` false) of fewer than
/// 40 rows that differ, in fewer than 32 dimensions, and of groups with fewer than five effective dimensions,
/// or that vary alike in all directions.
///
/// Zero rows and rows that are not finite are left out; rows that are nearly copies of each other count once.
/// Of more than 2000 rows (fewer beyond 800 dimensions, down to 300) a seeded sample is judged, and the rest
/// told apart by it. `interrupt` is called every few milliseconds of work or more often, and may unwind.
///
/// A date is `since` when at most 5 % of the rows before and of those after it, and at most 10 % of the rows
/// of each space, are on its wrong side.
///
/// Errors: `alpha` outside (0, 1), lengths that do not agree, no memory.
pub fn two_spaces(sample: &Sample, alpha: f64, interrupt: &mut dyn FnMut()) -> Result<Mixture, Error> {
    check(sample, alpha)?;
    let count = sample.rows.len() / sample.dims;
    let mut found = Mixture {
        mixed: false,
        statistic: None,
        threshold: None,
        false_alarm_rate: alpha,
        share: 0.0,
        second: vec![false; count],
        since: None,
    };
    let usable = usable(sample, interrupt);
    let chosen = chosen(&usable, sample.dims);
    let structure = Structure::new(sample, chosen, interrupt)?;
    let all: Vec<usize> = (0..structure.len()).collect();
    let Some(split) = structure.best_split(&all, alpha, interrupt) else {
        return Ok(found);
    };
    found.statistic = Some(split.statistic);
    found.threshold = Some(split.threshold);
    found.mixed =
        split.unrelated() && spaces(&structure, &all, &split, alpha, MOST_SPACES, interrupt) <= MOST_SPACES;
    if found.mixed {
        structure.label(sample, &split, &usable, &mut found.second, interrupt);
        describe(sample, &usable, &mut found);
    }
    Ok(found)
}

fn check(sample: &Sample, alpha: f64) -> Result<(), Error> {
    let invalid = |name, value: String, expected| {
        Err(Error::InvalidParameter {
            name,
            value,
            expected,
        })
    };
    if !(alpha > 0.0 && alpha < 1.0) {
        return invalid(
            "alpha",
            alpha.to_string(),
            "a probability between 0 and 1, both excluded",
        );
    }
    if sample.dims == 0 || !sample.rows.len().is_multiple_of(sample.dims) {
        return invalid(
            "dims",
            sample.dims.to_string(),
            "a divisor of the number of values",
        );
    }
    let count = sample.rows.len() / sample.dims;
    if let Some(times) = sample.times.filter(|times| times.len() != count) {
        return invalid("times", times.len().to_string(), "one for each row");
    }
    if let Some(entity) = sample.entity.filter(|entity| entity.len() != count) {
        return invalid("entity", entity.len().to_string(), "one for each row");
    }
    Ok(())
}

/// Rows with a direction.
fn usable(sample: &Sample, interrupt: &mut dyn FnMut()) -> Vec<usize> {
    let rows = sample.rows.chunks_exact(sample.dims);
    rows.enumerate()
        .filter(|(i, row)| {
            if i % 256 == 0 {
                interrupt();
            }
            kernels::all_finite(row) && row.iter().any(|&x| x != 0.0)
        })
        .map(|(i, _)| i)
        .collect()
}

/// A seeded sample without replacement, in the order of the rows. Random, since rows of a table may well
/// alternate.
fn chosen(usable: &[usize], dims: usize) -> Vec<usize> {
    let affordable = ((MOST_PRODUCTS / dims) as f64).sqrt() as usize;
    let most = affordable.clamp(FEWEST_ROWS, MOST_ROWS);
    let mut rows = usable.to_vec();
    if rows.len() > most {
        let mut rng = Pcg64Mcg::seed_from_u64(SEED);
        for i in 0..most {
            let left = (rows.len() - i) as u64;
            let ahead = ((u64::from(rng.next_u32()) * left) >> 32) as usize;
            rows.swap(i, i + ahead);
        }
        rows.truncate(most);
        rows.sort_unstable();
    }
    rows
}

/// How many unrelated spaces the sides of `split` fall into, counted no further than `most + 1`.
fn spaces(
    structure: &Structure,
    rows: &[usize],
    split: &Split,
    alpha: f64,
    most: usize,
    interrupt: &mut dyn FnMut(),
) -> usize {
    let mut count = 0;
    for which in [false, true] {
        let side: Vec<usize> = rows
            .iter()
            .zip(&split.side)
            .filter(|&(_, &s)| s == which)
            .map(|(&i, _)| i)
            .collect();
        let further = structure
            .best_split(&side, alpha, interrupt)
            .filter(Split::unrelated);
        count += match further {
            Some(further) if most > 1 => spaces(structure, &side, &further, alpha, most - 1, interrupt),
            Some(_) => 2,
            None => 1,
        };
        if count > most {
            break;
        }
    }
    count
}

/// Which label is the second space, its share, and since when.
fn describe(sample: &Sample, usable: &[usize], found: &mut Mixture) {
    let date = sample
        .times
        .and_then(|times| dating::date(usable.iter().map(|&i| (times[i], found.second[i]))));
    let marked = usable.iter().filter(|&&i| found.second[i]).count();
    let keep = date.map_or(2 * marked <= usable.len(), |date| date.label);
    if !keep {
        for &i in usable {
            found.second[i] = !found.second[i];
        }
    }
    let marked = found.second.iter().filter(|&&s| s).count();
    found.share = marked as f64 / found.second.len() as f64;
    found.since = date.map(|date| date.time);
}
