//! Whether two samples of points come from one population.
//!
//! Each method gives a statistic that does not grow with the number of points, to set a threshold on, and the
//! probability of one as large between two samples of one population, of points drawn independently.

mod centroid;
mod mmd;
mod psi;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use crate::{Error, Path};

/// Random divisions of the points that a permutation test looks at, besides the one that was found.
const PERMUTATIONS: usize = 999;
const SEED: u64 = 0x6376_782d_706f_7075;
/// Most points of one sample, and most numbers in it.
const MAX_POINTS: usize = 5000;
const MAX_NUMBERS: usize = 4_000_000;

/// How two samples are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Distance of the means in standard deviations of the population.
    Centroid,
    /// Maximum mean discrepancy: any difference of the distributions.
    Mmd,
    /// Population stability index along the leading principal components.
    Psi,
}

impl Method {
    /// Reads `centroid`, `mmd` or `psi`; another name is [`Error::InvalidParameter`].
    pub fn parse(name: &str) -> Result<Method, Error> {
        match name {
            "centroid" => Ok(Method::Centroid),
            "mmd" => Ok(Method::Mmd),
            "psi" => Ok(Method::Psi),
            _ => Err(Error::InvalidParameter {
                name: "method",
                value: format!("{name:?}"),
                expected: "'centroid', 'mmd' or 'psi'",
            }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Method::Centroid => "centroid",
            Method::Mmd => "mmd",
            Method::Psi => "psi",
        }
    }

    /// Most points that are looked at of one sample of points of so many dimensions: what bounds time and memory.
    pub fn most_points(self, dims: usize) -> usize {
        let most = match self {
            Method::Mmd => mmd::MAX_POINTS,
            Method::Centroid | Method::Psi => MAX_POINTS,
        };
        most.min(MAX_NUMBERS / dims.max(1)).max(2)
    }
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    pub statistic: f64,
    pub p_value: f64,
}

/// Compares two samples of points of one number of dimensions; the order of the points within a sample plays a part for
/// PSI only, which learns its components from every other point of the baseline. Times play none.
///
/// `None` for too few points: 2 of each, for PSI 20 of the baseline and 10 of the other; and for PSI where the
/// baseline's do not vary. `interrupt` is called every few milliseconds, but in the search for principal components,
/// and may unwind.
pub fn shift(method: Method, baseline: &Path, current: &Path, interrupt: &mut dyn FnMut()) -> Option<Shift> {
    match method {
        Method::Centroid => centroid::shift(baseline, current),
        Method::Mmd => mmd::shift(baseline, current, interrupt),
        Method::Psi => psi::shift(baseline, current, interrupt),
    }
}

fn seeded(points: usize) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(SEED ^ points as u64)
}

/// Puts a random choice of `count` of the `items` first (Fisher and Yates, to that point).
fn choose(items: &mut [usize], count: usize, rng: &mut Pcg64Mcg) {
    let n = items.len();
    for i in 0..count {
        let left = (n - i) as u64;
        let j = i + ((u64::from(rng.next_u32()) * left) >> 32) as usize;
        items.swap(i, j);
    }
}

/// The probability of a statistic as large, from the number of permutations that had one (Phipson and Smyth 2010).
fn permuted(as_large: usize) -> f64 {
    (as_large + 1) as f64 / (PERMUTATIONS + 1) as f64
}
