//! Matrices of `f64` and the few operations that alignment needs of them, by faer, in one thread.
//!
//! Whatever is of the size of a matrix is allocated here, and a lack of memory is an error.

use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::cholesky::llt;
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::linalg::matmul::{matmul, triangular};
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::{Accum, MatMut, MatRef, Par, Spec};

use super::Error;

/// A vector of zeros (or of whatever is the default), or what it lacked.
pub(super) fn filled<T: Clone + Default>(len: usize) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        bytes: len.saturating_mul(size_of::<T>()),
    })?;
    values.resize(len, T::default());
    Ok(values)
}

fn workspace(need: StackReq) -> Result<MemBuffer, Error> {
    MemBuffer::try_new(need).map_err(|_| Error::OutOfMemory {
        bytes: need.size_bytes(),
    })
}

/// `rows × cols` numbers, column-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, cols: usize) -> Result<Self, Error> {
        Ok(Matrix {
            rows,
            cols,
            values: filled(rows * cols)?,
        })
    }

    pub fn identity(dims: usize) -> Result<Self, Error> {
        let mut it = Self::zeros(dims, dims)?;
        it.values.iter_mut().step_by(dims + 1).for_each(|x| *x = 1.0);
        Ok(it)
    }

    pub fn copy(&self) -> Result<Self, Error> {
        let mut it = Self::zeros(self.rows, self.cols)?;
        it.values.copy_from_slice(&self.values);
        Ok(it)
    }

    pub fn transposed(&self) -> Result<Self, Error> {
        let mut it = Self::zeros(self.cols, self.rows)?;
        for (j, column) in self.columns().enumerate() {
            for (i, &x) in column.iter().enumerate() {
                it.values[i * self.cols + j] = x;
            }
        }
        Ok(it)
    }

    pub fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.values, self.rows, self.cols)
    }

    pub fn view_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_column_major_slice_mut(&mut self.values, self.rows, self.cols)
    }

    pub fn columns(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.rows.max(1))
    }

    pub fn columns_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f64]> {
        self.values.chunks_exact_mut(self.rows.max(1))
    }

    pub fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Result<Self, Error> {
        let mut it = Self::zeros(a.nrows(), b.ncols())?;
        matmul(it.view_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
        Ok(it)
    }

    pub fn add_product(&mut self, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
        matmul(self.view_mut(), Accum::Add, a, b, 1.0, Par::Seq);
    }

    /// Adds `a aᵀ` on and below the diagonal, at half the price of a product.
    pub fn add_square(&mut self, a: MatRef<'_, f64>) {
        use triangular::BlockStructure::{Rectangular, TriangularLower};
        let t = a.transpose();
        let whole = self.view_mut();
        triangular::matmul(
            whole,
            TriangularLower,
            Accum::Add,
            a,
            Rectangular,
            t,
            Rectangular,
            1.0,
            Par::Seq,
        );
    }

    /// Copies what is below the diagonal to its mirror image.
    pub fn mirror(&mut self) {
        for j in 1..self.cols {
            for i in 0..j {
                self.values[j * self.rows + i] = self.values[i * self.rows + j];
            }
        }
    }

    pub fn scale_rows(&mut self, by: &[f64]) {
        for column in self.columns_mut() {
            column.iter_mut().zip(by).for_each(|(x, f)| *x *= f);
        }
    }

    pub fn scale_columns(&mut self, by: &[f64]) {
        for (column, f) in self.columns_mut().zip(by) {
            column.iter_mut().for_each(|x| *x *= f);
        }
    }

    /// Sum of the products of entries at the same place.
    pub fn inner(&self, other: &Matrix) -> f64 {
        crate::kernels::dot_f64(&self.values, &other.values)
    }
}

/// `u · diag(values) · vᵀ`, thin, values descending.
pub(super) struct Svd {
    pub u: Matrix,
    pub values: Vec<f64>,
    pub v: Matrix,
}

pub(super) fn svd(m: &Matrix) -> Result<Svd, Error> {
    let least = m.rows.min(m.cols);
    let mut it = Svd {
        u: Matrix::zeros(m.rows, least)?,
        values: filled(least)?,
        v: Matrix::zeros(m.cols, least)?,
    };
    let thin = ComputeSvdVectors::Thin;
    let need = svd::svd_scratch::<f64>(m.rows, m.cols, thin, thin, Par::Seq, Spec::default());
    svd::svd(
        m.view(),
        DiagMut::from_slice_mut(&mut it.values),
        Some(it.u.view_mut()),
        Some(it.v.view_mut()),
        Par::Seq,
        MemStack::new(&mut workspace(need)?),
        Spec::default(),
    )
    .map_err(|_| Error::NoConvergence)?;
    Ok(it)
}

/// Singular values, descending.
pub(super) fn singular_values(m: &Matrix) -> Result<Vec<f64>, Error> {
    let mut values = filled(m.rows.min(m.cols))?;
    let none = ComputeSvdVectors::No;
    let need = svd::svd_scratch::<f64>(m.rows, m.cols, none, none, Par::Seq, Spec::default());
    svd::svd(
        m.view(),
        DiagMut::from_slice_mut(&mut values),
        None,
        None,
        Par::Seq,
        MemStack::new(&mut workspace(need)?),
        Spec::default(),
    )
    .map_err(|_| Error::NoConvergence)?;
    Ok(values)
}

/// `vectors · diag(values) · vectorsᵀ`, values ascending.
pub(super) struct Eigen {
    pub values: Vec<f64>,
    pub vectors: Matrix,
}

/// Eigenvalues and vectors of a symmetric positive semidefinite matrix; what rounding took below 0 counts as
/// 0.
pub(super) fn eigen(m: &Matrix) -> Result<Eigen, Error> {
    let mut it = Eigen {
        values: filled(m.rows)?,
        vectors: Matrix::zeros(m.rows, m.rows)?,
    };
    let need =
        evd::self_adjoint_evd_scratch::<f64>(m.rows, ComputeEigenvectors::Yes, Par::Seq, Spec::default());
    evd::self_adjoint_evd(
        m.view(),
        DiagMut::from_slice_mut(&mut it.values),
        Some(it.vectors.view_mut()),
        Par::Seq,
        MemStack::new(&mut workspace(need)?),
        Spec::default(),
    )
    .map_err(|_| Error::NoConvergence)?;
    it.values.iter_mut().for_each(|x| *x = x.max(0.0));
    Ok(it)
}

impl Eigen {
    /// How many directions have any variance beyond the rounding of the sums.
    pub fn rank(&self) -> usize {
        let largest = self.values.last().copied().unwrap_or(0.0);
        let rounding = rounding(self.values.len()) * largest;
        self.values.iter().filter(|&&x| x > rounding).count()
    }
}

/// The share of the largest singular value below which one of `dims` counts as zero.
pub(super) fn rounding(dims: usize) -> f64 {
    4.0 * dims as f64 * f64::EPSILON
}

/// Solves `a B = rhs` in place, `a` positive definite, by Cholesky; false, with `rhs` as it was, when it is not.
pub(super) fn solve(mut a: Matrix, rhs: &mut Matrix) -> Result<bool, Error> {
    let need = llt::factor::cholesky_in_place_scratch::<f64>(a.rows, Par::Seq, Spec::default());
    let mut buffer = workspace(need)?;
    let stack = MemStack::new(&mut buffer);
    if llt::factor::cholesky_in_place(a.view_mut(), Default::default(), Par::Seq, stack, Spec::default())
        .is_err()
    {
        return Ok(false);
    }
    llt::solve::solve_in_place(a.view(), rhs.view_mut(), Par::Seq, stack);
    Ok(true)
}
