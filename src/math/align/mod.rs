//! Maps between two embedding spaces, fitted to pairs of vectors of the same things.
//!
//! A pair is the vector x that a new model gives to something and the vector y that its predecessor gave to
//! it. Three methods: `procrustes`, `affine` and `cca` say what they fit. Every figure of merit is measured
//! on entities that were held out; the map that is returned is then fitted to all pairs.

mod affine;
mod cca;
mod dense;
mod folds;
mod map;
mod moments;
mod polar;
mod procrustes;
mod quality;
mod selection;

use std::fmt;

pub use map::Map;

use moments::Origin;
use selection::Selection;

/// Pairs of vectors of the same things.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// `n × from_dims`, row-major: vectors of the new model.
    pub from: &'a [f32],
    /// `n × to_dims`, row-major: those of its predecessor.
    pub to: &'a [f32],
    pub from_dims: usize,
    pub to_dims: usize,
    /// Whose each pair is, any numbers; the pairs of an entity need not be adjacent.
    pub entity: &'a [u32],
}

/// What kind of map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Rotation (or reflection), scale and shift.
    Procrustes,
    /// Ridge regression.
    Affine,
    /// Matching of canonical variates.
    Cca,
}

/// Which method to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    One(Method),
    /// By five-fold cross-validation, of the methods that apply: those whose mean residual is at most 1.5
    /// times the least; of them those whose recall@10 is not clearly below the best (by one standard error of
    /// the difference, over entities); of them that of the least mean residual. The residual alone would
    /// choose maps that shrink: nearer in the mean, worse for retrieval.
    Auto,
}

/// Figures on held-out pairs, of the map fitted to the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    pub held_out_entities: usize,
    pub held_out_pairs: usize,
    /// Length of projected minus true vector: mean and quantiles over the held-out pairs.
    pub mean_residual: f64,
    pub p95_residual: f64,
    pub p99_residual: f64,
    /// Mean cosine of projected and true vector.
    pub mean_cosine: f64,
    /// What serving through an upgrade gives: of the 10 nearest (by cosine) others of a held-out vector of
    /// the new model among those of all pairs, the share that is among the 10 nearest old vectors of its
    /// projection, its own excluded. At most 2000 pairs are searched and 1000 looked for, evenly chosen.
    /// `None` below 50 pairs.
    pub recall_at_10: Option<f64>,
}

/// A held-out pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Its place in the pairs.
    pub pair: usize,
}

/// A fitted map, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    pub method: Method,
    /// From the new space to the old one.
    pub forward: Map,
    pub backward: Map,
    /// Of procrustes.
    pub scale: Option<f64>,
    /// Of affine: the penalty λ of `‖Yc - Xc B‖² + λ ‖B‖²`, forward. Of cca: κ, in pairs.
    pub ridge: Option<f64>,
    /// Of cca: canonical correlations, descending.
    pub correlations: Vec<f64>,
    /// Directions that the pairs have seen: rank of the cross-scatter (affine: of the scatter of `from`).
    pub rank: usize,
    /// `None` when no entity could be held out: there is only one, or the others determine no map.
    pub quality: Option<Quality>,
    pub held_out: Vec<HeldOut>,
    /// `held_out × to_dims`: projected minus true vector of each held-out pair, by the map fitted to the
    /// others.
    pub residuals: Vec<f32>,
}

/// Why there is no map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Procrustes needs equal dimensions.
    DimensionsDiffer {
        from: usize,
        to: usize,
    },
    NoPairs,
    /// All vectors of one side are equal: there is nothing to align by. Which side: `from` or `to`.
    Constant {
        which: &'static str,
    },
    /// The two sides vary, but not together: no rotation or canonical variate is better than another.
    Uncorrelated,
    /// The map has a number beyond what `f32` holds.
    OutOfRange,
    /// A decomposition failed.
    NoConvergence,
    OutOfMemory {
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::DimensionsDiffer { from, to } => {
                write!(f, "procrustes needs equal dimensions, not {from} and {to}")
            }
            Error::NoPairs => write!(f, "no pairs of vectors"),
            Error::Constant { which } => write!(f, "all {which} vectors of the pairs are equal"),
            Error::Uncorrelated => write!(f, "the vectors of the two sides do not vary together"),
            Error::OutOfRange => write!(
                f,
                "the vectors differ too much in size for a map in single precision"
            ),
            Error::NoConvergence => write!(f, "a matrix decomposition did not converge"),
            Error::OutOfMemory { bytes } => write!(f, "no memory for {bytes} bytes"),
        }
    }
}

impl std::error::Error for Error {}

/// What a method makes of a scatter.
struct Fitted {
    forward: Map,
    backward: Map,
    scale: Option<f64>,
    ridge: Option<f64>,
    correlations: Vec<f64>,
    rank: usize,
}

/// Fits a map to pairs. All vectors must be finite.
///
/// Of the entities a fifth, rounded up, is held out (chosen by a hash of their numbers), and another fifth
/// chooses the penalties of `affine` and `cca`. The map is fitted to the four fifths, judged on the held-out
/// pairs, and fitted again to all. All sums are in `f64`. Memory: some ten matrices of `dims × dims` in
/// `f64`, and the held-out vectors. `interrupt` is called every few milliseconds of the passes over the
/// vectors, and between decompositions, each of which takes time cubic in the dimensions (0.2 s at 768).
/// `auto` compares by five-fold cross-validation, at about ten times the price of `procrustes`.
///
/// Errors: see [`Error`].
pub fn fit(pairs: &Pairs<'_>, choice: Choice, interrupt: &mut dyn FnMut()) -> Result<Fit, Error> {
    let methods = applicable(pairs, choice)?;
    let mut folds = folds::split(pairs.entity)?;
    let selection = Selection {
        pairs,
        folds: &folds,
        methods: &methods,
        origin: Origin::of(pairs),
    };
    let (fitted, chosen) = selection.run(interrupt)?;
    let method = chosen.tuned.method();
    let (quality, residuals) = chosen.measured.map(|it| (it.quality, it.residuals)).unzip();
    let held_out = match quality {
        Some(_) => std::mem::take(&mut folds.pairs[0]),
        None => Vec::new(),
    };
    Ok(Fit {
        method,
        forward: fitted.forward,
        backward: fitted.backward,
        scale: fitted.scale,
        ridge: fitted.ridge,
        correlations: fitted.correlations,
        rank: fitted.rank,
        quality,
        held_out: held_out.into_iter().map(|pair| HeldOut { pair }).collect(),
        residuals: residuals.unwrap_or_default(),
    })
}

/// The methods to try on these pairs.
fn applicable(pairs: &Pairs<'_>, choice: Choice) -> Result<Vec<Method>, Error> {
    let (from, to) = (pairs.from_dims, pairs.to_dims);
    debug_assert_eq!(pairs.from.len(), pairs.entity.len() * from);
    debug_assert_eq!(pairs.to.len(), pairs.entity.len() * to);
    let methods = match choice {
        Choice::One(Method::Procrustes) if from != to => return Err(Error::DimensionsDiffer { from, to }),
        Choice::One(method) => vec![method],
        Choice::Auto if from != to => vec![Method::Affine, Method::Cca],
        Choice::Auto => vec![Method::Procrustes, Method::Affine, Method::Cca],
    };
    if pairs.entity.is_empty() {
        return Err(Error::NoPairs);
    }
    let constant = |values: &[f32], dims: usize| {
        let mut rows = values.chunks_exact(dims.max(1));
        let first = rows.next();
        rows.all(|row| Some(row) == first)
    };
    if constant(pairs.from, from) {
        return Err(Error::Constant { which: "from" });
    }
    if constant(pairs.to, to) {
        return Err(Error::Constant { which: "to" });
    }
    Ok(methods)
}
