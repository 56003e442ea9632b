//! The orthogonal polar factor of a matrix, defined also where the matrix says nothing.

use super::Error;
use super::dense::{Matrix, Svd, rounding, svd};

/// Below this share of the largest, a singular value of what the complements have in common is rounding: the
/// matrices there have entries of size 1.
const NEGLIGIBLE: f64 = 1e-10;

/// The polar factor and what it was found from.
pub(super) struct Polar {
    /// `m.rows × m.cols`; orthogonal when it is square and was completed.
    pub factor: Matrix,
    /// Singular values of `m`, descending.
    pub values: Vec<f64>,
    /// Those above rounding.
    pub rank: usize,
}

/// The polar factor `U Vᵀ` of `m = U Σ Vᵀ`: the orthogonal matrix nearest to `m`.
///
/// Where singular values vanish it is not unique. With `toward`, a square orthogonal E, it is the limit of
/// the factor of `m + εE` as ε > 0 goes to 0: on the complement of what `m` has seen, the orthogonal map
/// nearest to E. Should parts of the complements be perpendicular under E, the limit's next term, `-E m⁺ E`,
/// decides for them; what even that leaves open has no preferred map and gets the one of the decomposition.
/// Without `toward` the complement goes to 0.
pub(super) fn polar(m: &Matrix, toward: Option<&Matrix>) -> Result<Polar, Error> {
    let Svd { u, values, v } = svd(m)?;
    let floor = rounding(m.rows.max(m.cols)) * values.first().copied().unwrap_or(0.0);
    let rank = values.iter().filter(|&&s| s > floor).count();
    let seen = (u.view().subcols(0, rank), v.view().subcols(0, rank));
    let mut factor = Matrix::product(seen.0, seen.1.transpose())?;
    if let Some(e) = toward.filter(|_| rank < values.len()) {
        let inverses: Vec<f64> = values[..rank].iter().map(|s| values[0] / s).collect();
        complete(&mut factor, &u, &v, &inverses, e)?;
    }
    Ok(Polar { factor, values, rank })
}

/// Adds the map between the complements of the first columns of `u` and `v`, of which `inverses` has as many.
fn complete(factor: &mut Matrix, u: &Matrix, v: &Matrix, inverses: &[f64], e: &Matrix) -> Result<(), Error> {
    let (rank, open) = (inverses.len(), u.cols - inverses.len());
    let tail = |m: &Matrix| Matrix {
        rows: m.rows,
        cols: open,
        values: m.values[rank * m.rows..].to_vec(),
    };
    let (left, right) = (tail(u), tail(v));
    let target = Matrix::product(
        left.view().transpose(),
        Matrix::product(e.view(), right.view())?.view(),
    )?;
    let Some((left, right)) = settle(factor, left, right, &target)? else {
        return Ok(());
    };
    let mut from_left = Matrix::product(
        left.view().transpose(),
        Matrix::product(e.view(), v.view().subcols(0, rank))?.view(),
    )?;
    from_left.scale_columns(inverses);
    let to_right = Matrix::product(
        u.view().subcols(0, rank).transpose(),
        Matrix::product(e.view(), right.view())?.view(),
    )?;
    let mut target = Matrix::product(from_left.view(), to_right.view())?;
    target.values.iter_mut().for_each(|x| *x = -*x);
    if let Some((left, right)) = settle(factor, left, right, &target)? {
        factor.add_product(left.view(), right.view().transpose());
    }
    Ok(())
}

/// Maps the columns of `left` to those of `right` as `target` (in their coordinates) wants it, as far as it
/// has a wish; returns bases of what is left open, if anything is.
fn settle(
    factor: &mut Matrix,
    left: Matrix,
    right: Matrix,
    target: &Matrix,
) -> Result<Option<(Matrix, Matrix)>, Error> {
    let Svd { u, values, v } = svd(target)?;
    let floor = NEGLIGIBLE * values.first().copied().unwrap_or(0.0).max(1.0);
    let rank = values.iter().filter(|&&s| s > floor).count();
    let (left, right) = (
        Matrix::product(left.view(), u.view())?,
        Matrix::product(right.view(), v.view())?,
    );
    factor.add_product(
        left.view().subcols(0, rank),
        right.view().subcols(0, rank).transpose(),
    );
    if rank == values.len() {
        return Ok(None);
    }
    let tail = |m: &Matrix| Matrix {
        rows: m.rows,
        cols: m.cols - rank,
        values: m.values[rank * m.rows..].to_vec(),
    };
    Ok(Some((tail(&left), tail(&right))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rows × cols` numbers without structure.
    fn some(rows: usize, cols: usize, seed: f64) -> Matrix {
        let mut it = Matrix::zeros(rows, cols).unwrap();
        for (i, x) in it.values.iter_mut().enumerate() {
            *x = ((i as f64 + seed) * 12.9898).sin() * 43758.5453 % 1.0;
        }
        it
    }

    fn defect(m: &Matrix) -> f64 {
        let square = Matrix::product(m.view().transpose(), m.view()).unwrap();
        let identity = Matrix::identity(m.cols).unwrap();
        let differences = square
            .values
            .iter()
            .zip(&identity.values)
            .map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f64::max)
    }

    #[test]
    fn completed_factors_are_orthogonal_and_the_limit_of_a_nudge() {
        for (dims, rank) in [(30, 30), (30, 12), (7, 1), (5, 0)] {
            let m = Matrix::product(some(dims, rank, 1.0).view(), some(rank, dims, 2.0).view()).unwrap();
            let e = polar(&some(dims, dims, 3.0), None).unwrap().factor;
            let found = polar(&m, Some(&e)).unwrap();
            assert_eq!(found.rank, rank);
            assert!(defect(&found.factor) < 1e-10, "{dims} {rank}");
            let mut nudged = m.copy().unwrap();
            let largest = m.values.iter().fold(1.0f64, |a, x| a.max(x.abs()));
            for (x, e) in nudged.values.iter_mut().zip(&e.values) {
                *x += 1e-8 * largest * e;
            }
            let near = polar(&nudged, None).unwrap();
            assert_eq!(near.rank, dims);
            let pairs = near.factor.values.iter().zip(&found.factor.values);
            assert!(
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 1e-4,
                "{dims} {rank}"
            );
        }
    }

    #[test]
    fn without_a_wish_the_complement_goes_to_zero() {
        let m = Matrix::product(some(6, 2, 5.0).view(), some(2, 9, 6.0).view()).unwrap();
        let found = polar(&m, None).unwrap();
        let length: f64 = found.factor.values.iter().map(|x| x * x).sum();
        assert!(found.rank == 2 && (length - 2.0).abs() < 1e-12);
    }
}
