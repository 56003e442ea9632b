//! Canonical correlations, and the map that takes each canonical variate of one space for its partner in the
//! other.

use super::dense::{Eigen, Matrix, eigen, singular_values};
use super::map::Map;
use super::moments::Scatter;
use super::polar::{Polar, polar};
use super::{Error, Fitted};

/// Ridges are tried from `START` on, in steps of half a decade, as long as the error falls, within these
/// bounds. In pairs: a ridge of κ weighs as much as κ pairs drawn from an isotropic distribution of the same
/// total variance.
const START: f64 = 300.0;
const BOUNDS: std::ops::RangeInclusive<f64> = 1.0..=1e5;

/// Both scatters in the coordinates of their own axes.
struct Axes {
    x: Eigen,
    y: Eigen,
    /// `from × to`.
    cross: Matrix,
    /// What one pair of unit weight adds to an eigenvalue.
    unit: (f64, f64),
}

/// A map in the coordinates of the axes: `diag(1 / in) P diag(out)`, `in` and `out` the square roots of `w +
/// κ unit`.
struct Matched {
    polar: Polar,
    root_x: Vec<f64>,
    root_y: Vec<f64>,
}

impl Axes {
    fn of(scatter: &Scatter) -> Result<Self, Error> {
        let (x, y) = (eigen(&scatter.xx)?, eigen(&scatter.yy)?);
        let n = scatter.pairs.max(1) as f64;
        Ok(Axes {
            cross: rotated(&x, &scatter.xy, &y)?,
            unit: (
                scatter.square_x / (n * scatter.xx.rows as f64),
                scatter.square_y / (n * scatter.yy.rows as f64),
            ),
            x,
            y,
        })
    }

    /// The cross-scatter after both sides were whitened with this ridge, and the square roots that did it.
    fn whitened(&self, ridge: f64) -> Result<(Matrix, Vec<f64>, Vec<f64>), Error> {
        let roots = |axes: &Eigen, unit: f64| -> Vec<f64> {
            axes.values.iter().map(|w| (w + ridge * unit).sqrt()).collect()
        };
        let (x, y) = (roots(&self.x, self.unit.0), roots(&self.y, self.unit.1));
        let inverse = |roots: &[f64]| -> Vec<f64> { roots.iter().map(|r| r.recip()).collect() };
        let mut m = self.cross.copy()?;
        m.scale_rows(&inverse(&x));
        m.scale_columns(&inverse(&y));
        Ok((m, x, y))
    }

    /// Canonical correlations, descending; `ridged` are those of the ridged scatters.
    fn correlations(&self, pairs: usize, ridged: &[f64]) -> Result<Vec<f64>, Error> {
        let ranks = (self.x.rank(), self.y.rank());
        let mut found = if pairs > ranks.0.max(ranks.1) + 1 {
            let inverse = |axes: &Eigen, rank: usize| -> Vec<f64> {
                let unseen = axes.values.len() - rank;
                let values = axes.values.iter().enumerate();
                values
                    .map(|(i, w)| if i < unseen { 0.0 } else { w.sqrt().recip() })
                    .collect()
            };
            let mut m = self.cross.copy()?;
            m.scale_rows(&inverse(&self.x, ranks.0));
            m.scale_columns(&inverse(&self.y, ranks.1));
            singular_values(&m)?
        } else {
            ridged.to_vec()
        };
        found.truncate(ranks.0.min(ranks.1));
        found.iter_mut().for_each(|c| *c = c.min(1.0));
        Ok(found)
    }

    /// The forward map in the coordinates of the vectors.
    fn forward(&self, matched: &Matched, scatter: &Scatter) -> Result<Map, Error> {
        let half = Matrix::product(self.x.vectors.view(), matched.forward()?.view())?;
        let whole = Matrix::product(half.view(), self.y.vectors.view().transpose())?;
        Map::about(&whole, &scatter.at_x, &scatter.at_y)
    }

    fn matched(&self, ridge: f64) -> Result<Matched, Error> {
        let (m, root_x, root_y) = self.whitened(ridge)?;
        let toward = match self.cross.rows == self.cross.cols {
            true => Some(Matrix::product(
                self.x.vectors.view().transpose(),
                self.y.vectors.view(),
            )?),
            false => None,
        };
        Ok(Matched {
            polar: polar(&m, toward.as_ref())?,
            root_x,
            root_y,
        })
    }
}

impl Matched {
    /// `diag(1 / root_x) P diag(root_y)`.
    fn forward(&self) -> Result<Matrix, Error> {
        between(&self.root_x, self.polar.factor.copy()?, &self.root_y)
    }

    /// `diag(1 / root_y) Pᵀ diag(root_x)`.
    fn backward(&self) -> Result<Matrix, Error> {
        between(&self.root_y, self.polar.factor.transposed()?, &self.root_x)
    }
}

fn between(input: &[f64], mut p: Matrix, output: &[f64]) -> Result<Matrix, Error> {
    let inverse: Vec<f64> = input.iter().map(|r| r.recip()).collect();
    p.scale_rows(&inverse);
    p.scale_columns(output);
    Ok(p)
}

/// `axes_xᵀ m axes_y`.
fn rotated(x: &Eigen, m: &Matrix, y: &Eigen) -> Result<Matrix, Error> {
    let half = Matrix::product(x.vectors.view().transpose(), m.view())?;
    Matrix::product(half.view(), y.vectors.view())
}

/// Canonical matching: with `S = (Xcᵀ Xc + κ v I)` and T likewise of y (canonical ridge, Vinod 1976; v the
/// mean variance of a coordinate), and P the polar factor of `S^-½ Xcᵀ Yc T^-½`, the map is `y = ȳ + (x - x̄)
/// S^-½ P T^½`: the k-th canonical variate of x becomes the k-th of y, at full length. (The regression on
/// canonical variates would shrink each by its correlation, and is ridge regression over again; neighbours
/// survive better unshrunk.) As κ goes to 0 this is classical canonical correlation analysis, as κ grows it
/// goes to the Procrustes rotation. Backward swaps the roles, which between equal dimensions is the exact
/// inverse. Directions that no pair has seen: as `polar` with the identity between equal dimensions, else to
/// the mean.
///
/// The correlations are the singular values of `Qxᵀ Qy`, Q orthonormal bases of the centred vectors, as many
/// as the smaller rank; of no more pairs than one side's rank, when those would all be 1, they are those of
/// the ridged scatters.
pub(super) fn fit(scatter: &Scatter, ridge: f64) -> Result<Fitted, Error> {
    let (axes, matched) = solve(scatter, ridge)?;
    let (x, y) = (axes.x.vectors.view(), axes.y.vectors.view());
    let backward = Matrix::product(
        Matrix::product(y, matched.backward()?.view())?.view(),
        x.transpose(),
    )?;
    Ok(Fitted {
        forward: axes.forward(&matched, scatter)?,
        backward: Map::about(&backward, &scatter.at_y, &scatter.at_x)?,
        scale: None,
        ridge: Some(ridge),
        correlations: axes.correlations(scatter.pairs, &matched.polar.values)?,
        rank: matched.polar.rank,
    })
}

/// The forward map of [`fit`] alone.
pub(super) fn forward(scatter: &Scatter, ridge: f64) -> Result<Map, Error> {
    let (axes, matched) = solve(scatter, ridge)?;
    axes.forward(&matched, scatter)
}

fn solve(scatter: &Scatter, ridge: f64) -> Result<(Axes, Matched), Error> {
    if scatter.square_x == 0.0 || scatter.square_y == 0.0 {
        return Err(Error::Uncorrelated);
    }
    let axes = Axes::of(scatter)?;
    let matched = axes.matched(ridge)?;
    match matched.polar.rank {
        0 => Err(Error::Uncorrelated),
        _ => Ok((axes, matched)),
    }
}

/// The ridge whose map from `training` has the least squared error over `validation` (scattered about the
/// means of the training pairs): from `START` downhill to the nearest minimum. Without validation pairs, or
/// when the training pairs do not vary, it is `START`.
pub(super) fn choose(
    training: &Scatter,
    validation: Option<&Scatter>,
    interrupt: &mut dyn FnMut(),
) -> Result<f64, Error> {
    let Some(there) = validation.filter(|_| training.square_x > 0.0 && training.square_y > 0.0) else {
        return Ok(START);
    };
    let axes = Axes::of(training)?;
    let spread = rotated(&axes.x, &there.xx, &axes.x)?;
    let cross = rotated(&axes.x, &there.xy, &axes.y)?;
    let mut error = |ridge: f64| {
        interrupt();
        let b = axes.matched(ridge)?.forward()?;
        let image = Matrix::product(spread.view(), b.view())?;
        Ok::<_, Error>(there.square_y - 2.0 * b.inner(&cross) + b.inner(&image))
    };
    let step = 10f64.sqrt();
    let mut best = (START, error(START)?);
    for factor in [step, step.recip()] {
        let start = best.0;
        loop {
            let next = best.0 * factor;
            if !BOUNDS.contains(&next) {
                break;
            }
            let found = error(next)?;
            if found >= best.1 {
                break;
            }
            best = (next, found);
        }
        if best.0 != start {
            break;
        }
    }
    Ok(best.0)
}
