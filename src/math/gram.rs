//! Kernel (Gram) matrices of a trajectory, column panel by column panel.
//!
//! All three change-point costs are kernel costs,
//! `c(a, b) = sum k(i, i) - (1 / (b - a)) sum k(i, j)` over `a <= i, j < b` (Arlot, Celisse, Harchaoui 2019),
//! with the linear kernel on centred points (l2), on normalised points (cosine), or the Gaussian kernel (rbf).
//! Points are packed sixteen to a group, transposed, in `f64`; one packed form serves both sides of the
//! product, and only the rows that are asked for are computed, so nothing of size n x n is ever held here.

use crate::Path;
use crate::kernels;
use multiversion::multiversion;
use std::ops::Range;

/// Points of one packed group.
pub(crate) const GROUP: usize = 16;
/// Packed values kept between panels (32 MB); beyond it groups are packed anew for each, wider, panel.
const CACHED_VALUES: usize = 1 << 22;

/// Which similarity of two points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// Inner product of points moved near the origin, which leaves every l2 cost as it is.
    Linear,
    /// Cosine; a zero vector has no direction and similarity 0 to all, itself included.
    Cosine,
    /// `exp(-clip(gamma d^2, 0.01, 100))`, the exponent rounded to `f32`, as ruptures' C code does.
    Rbf { gamma: f64 },
}

/// Columns of a symmetric kernel matrix over points `0..len`.
pub(crate) trait Columns {
    fn len(&self) -> usize;
    /// How many columns to ask for at once.
    fn panel_width(&self) -> usize;
    /// Writes `k(rows.start + r, cols.start + c)` to `out[c * stride + r]` and returns `stride`;
    /// `rows` must end at `cols.end`, and both start at a multiple of `GROUP`. Entries below the diagonal may
    /// be left undefined.
    fn panel(&mut self, rows: Range<usize>, cols: Range<usize>, out: &mut Vec<f64>) -> usize;
}

/// The kernel matrix of the points of a path, computed when asked for.
pub(crate) struct Gram<'a> {
    path: Path<'a>,
    kernel: Kernel,
    origin: Vec<f64>,
    /// What each point is multiplied by: one over its length for the cosine.
    scale: Vec<f64>,
    /// Squared distance of each point to `origin`, for the Gaussian kernel.
    squares: Vec<f64>,
    packed: Vec<f64>,
    caches: bool,
}

impl<'a> Gram<'a> {
    pub(crate) fn new(path: Path<'a>, kernel: Kernel) -> Self {
        let (n, dims) = (path.len(), path.dims);
        let origin = match kernel {
            Kernel::Cosine => vec![0.0; dims],
            Kernel::Linear | Kernel::Rbf { .. } => near_mean(path),
        };
        let scale: Vec<f64> = match kernel {
            Kernel::Cosine => path
                .points()
                .map(kernels::norm)
                .map(|norm| if norm > 0.0 { 1.0 / norm } else { 0.0 })
                .collect(),
            Kernel::Linear | Kernel::Rbf { .. } => vec![1.0; n],
        };
        let squares: Vec<f64> = match kernel {
            Kernel::Linear | Kernel::Cosine => Vec::new(),
            Kernel::Rbf { .. } => path
                .points()
                .map(|point| centred_square(point, &origin))
                .collect(),
        };
        let caches = n.div_ceil(GROUP) * GROUP * dims <= CACHED_VALUES;
        Gram {
            path,
            kernel,
            origin,
            scale,
            squares,
            packed: Vec::new(),

            caches,
        }
    }

    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Squared distance in the space of the kernel between points `i` and `j`.
    pub(crate) fn squared_distance(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.path.point(i), self.path.point(j));
        match self.kernel {
            Kernel::Linear => kernels::squared_distance(a, b),
            Kernel::Cosine => {
                let (by_a, by_b) = (self.scale[i], self.scale[j]);
                let present = |scale: f64| if scale > 0.0 { 1.0 } else { 0.0 };
                (present(by_a) + present(by_b) - 2.0 * kernels::dot(a, b) * by_a * by_b).max(0.0)
            }
            Kernel::Rbf { gamma } => {
                2.0 * (gaussian(0.0) - gaussian(gamma * kernels::squared_distance(a, b)))
            }
        }
    }

    /// Packs the group at `group * GROUP`, padded with zeros, into `out`.
    fn pack(&self, group: usize, out: &mut [f64]) {
        let first = group * GROUP;
        let n = self.path.len();
        let points = std::array::from_fn(|lane| self.path.point((first + lane).min(n - 1)));
        let scale = std::array::from_fn(|lane| {
            if first + lane < n {
                self.scale[first + lane]
            } else {
                0.0
            }
        });
        transpose(&points, &self.origin, &scale, out);
    }

    fn cache_groups(&mut self, upto: usize) {
        let size = GROUP * self.path.dims;
        let mut packed = std::mem::take(&mut self.packed);
        packed.reserve_exact(self.path.len().div_ceil(GROUP) * size - packed.len());
        for group in packed.len() / size..upto {
            packed.resize((group + 1) * size, 0.0);
            self.pack(group, &mut packed[group * size..]);
        }
        self.packed = packed;
    }

    /// Turns inner products of centred points into kernel values, down to the diagonal.
    fn finish(&self, rows: &Range<usize>, cols: &Range<usize>, stride: usize, out: &mut [f64]) {
        let Kernel::Rbf { gamma } = self.kernel else {
            return;
        };
        for (column, t) in out.chunks_exact_mut(stride).zip(cols.clone()) {
            for (value, &square) in column.iter_mut().zip(&self.squares[rows.start..=t]) {
                *value = gaussian(gamma * (square + self.squares[t] - 2.0 * *value));
            }
        }
    }
}

impl Columns for Gram<'_> {
    fn len(&self) -> usize {
        self.path.len()
    }

    fn panel_width(&self) -> usize {
        if self.caches { GROUP } else { 4 * GROUP }
    }

    fn panel(&mut self, rows: Range<usize>, cols: Range<usize>, out: &mut Vec<f64>) -> usize {
        debug_assert!(rows.start <= cols.start && rows.end == cols.end);
        debug_assert!(rows.start.is_multiple_of(GROUP) && cols.start.is_multiple_of(GROUP));
        let size = GROUP * self.path.dims;
        let first = rows.start / GROUP;
        let groups = first..cols.end.div_ceil(GROUP);
        let stride = groups.len() * GROUP;
        out.resize(cols.len() * stride, 0.0);
        let columns = cols.start / GROUP..groups.end;
        if self.caches {
            self.cache_groups(groups.end);
            let packed = &self.packed;
            for group in groups {
                let row_pack = &packed[group * size..(group + 1) * size];
                let column_pack = &packed[columns.start * size..columns.end * size];
                multiply_group(
                    row_pack,
                    column_pack,
                    cols.len(),
                    (group - first) * GROUP,
                    stride,
                    out,
                );
            }
        } else {
            let mut column_pack = vec![0.0; columns.len() * size];
            for (slot, group) in column_pack.chunks_exact_mut(size).zip(columns) {
                self.pack(group, slot);
            }
            let mut row_pack = vec![0.0; size];
            for group in groups {
                self.pack(group, &mut row_pack);
                multiply_group(
                    &row_pack,
                    &column_pack,
                    cols.len(),
                    (group - first) * GROUP,
                    stride,
                    out,
                );
            }
        }
        self.finish(&rows, &cols, stride, out);
        stride
    }
}

/// A kernel matrix held whole, for the small problems that read it many times.
pub(crate) struct Dense {
    len: usize,
    values: Vec<f64>,
}

impl Dense {
    /// All of `gram`; `interrupt` is called once a panel.
    pub(crate) fn of(gram: &mut Gram<'_>, interrupt: &mut dyn FnMut()) -> Self {
        let n = gram.len();
        let mut values = vec![0.0; n * n];
        let mut panel = Vec::new();
        let mut start = 0;
        while start < n {
            interrupt();
            let cols = start..(start + gram.panel_width()).min(n);
            let stride = gram.panel(0..cols.end, cols.clone(), &mut panel);
            for (column, t) in panel.chunks(stride).zip(cols.clone()) {
                values[t * n..=t * n + t].copy_from_slice(&column[..=t]);
                for (s, &value) in column[..t].iter().enumerate() {
                    values[s * n + t] = value;
                }
            }
            start = cols.end;
        }
        Dense { len: n, values }
    }

    /// Of order `len`, from its `len * len` values.
    pub(crate) fn from_values(len: usize, values: Vec<f64>) -> Self {
        debug_assert_eq!(values.len(), len * len);
        Dense { len, values }
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Number of rows.
    pub(crate) fn order(&self) -> usize {
        self.len
    }

    /// Squared distance between points `i` and `j`; what rounding leaves of equal points is 0.
    pub(crate) fn squared_distance(&self, i: usize, j: usize) -> f64 {
        let (own, other, both) = (self.row(i)[i], self.row(j)[j], self.row(i)[j]);
        let square = own + other - 2.0 * both;
        if square > 1e-13 * (own.abs() + other.abs()) {
            square
        } else {
            0.0
        }
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.len..(i + 1) * self.len]
    }

    /// The matrix of what is left when every segment has its mean taken away (in the space of the kernel),
    /// each point scaled by `sqrt(L / (L - 1))` to undo what fitting the mean of `L` points took from its
    /// variance. `bounds` holds 0, the breaks, and the number of points; points of segments of one are
    /// zero.
    pub(crate) fn residuals(&self, bounds: &[usize]) -> Dense {
        let n = self.len;
        let mut values = self.values.clone();
        let segments: Vec<Range<usize>> = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
        for row in values.chunks_exact_mut(n) {
            for segment in &segments {
                let slice = &mut row[segment.clone()];
                let mean = slice.iter().sum::<f64>() / slice.len() as f64;
                slice.iter_mut().for_each(|value| *value -= mean);
            }
        }
        for segment in &segments {
            let mut mean = vec![0.0; n];
            for i in segment.clone() {
                mean.iter_mut()
                    .zip(&values[i * n..(i + 1) * n])
                    .for_each(|(m, v)| *m += v);
            }
            let share = 1.0 / segment.len() as f64;
            for i in segment.clone() {
                values[i * n..(i + 1) * n]
                    .iter_mut()
                    .zip(&mean)
                    .for_each(|(v, m)| *v -= m * share);
            }
        }
        let mut scale = vec![0.0; n];
        for segment in &segments {
            let len = segment.len() as f64;
            scale[segment.clone()].fill(if len > 1.0 {
                (len / (len - 1.0)).sqrt()
            } else {
                0.0
            });
        }
        for (row, &by) in values.chunks_exact_mut(n).zip(&scale) {
            row.iter_mut()
                .zip(&scale)
                .for_each(|(value, &s)| *value *= s * by);
        }
        Dense { len: n, values }
    }
}

impl Columns for Dense {
    fn len(&self) -> usize {
        self.len
    }

    fn panel_width(&self) -> usize {
        GROUP
    }

    fn panel(&mut self, rows: Range<usize>, cols: Range<usize>, out: &mut Vec<f64>) -> usize {
        out.clear();
        for t in cols {
            out.extend_from_slice(&self.row(t)[rows.clone()]);
        }
        rows.len()
    }
}

/// The mean of some points spread over the path: near enough that inner products around it lose no digits.
fn near_mean(path: Path<'_>) -> Vec<f64> {
    let (n, count) = (path.len(), path.len().min(GROUP));
    let mut mean = vec![0.0; path.dims];
    for i in 0..count {
        accumulate(&mut mean, path.point(i * n / count));
    }
    mean.iter_mut().for_each(|m| *m /= count.max(1) as f64);
    mean
}

/// The mean of all points; zeros when there are none.
pub(crate) fn mean_point(path: Path<'_>) -> Vec<f64> {
    let mut mean = vec![0.0; path.dims];
    for point in path.points() {
        accumulate(&mut mean, point);
    }
    let n = path.len().max(1) as f64;
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// `out[k * GROUP + l] = (points[l][k] - origin[k]) * scale[l]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn transpose(points: &[&[f32]; GROUP], origin: &[f64], scale: &[f64; GROUP], out: &mut [f64]) {
    let dims = origin.len();
    let rows: [&[f32]; GROUP] = std::array::from_fn(|lane| &points[lane][..dims]);
    for (k, slots) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(dims) {
        for lane in 0..GROUP {
            slots[lane] = (f64::from(rows[lane][k]) - origin[k]) * scale[lane];
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn accumulate(sum: &mut [f64], point: &[f32]) {
    for (s, &x) in sum.iter_mut().zip(point) {
        *s += f64::from(x);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn centred_square(point: &[f32], origin: &[f64]) -> f64 {
    let (points, origins) = (point.as_chunks::<GROUP>(), origin.as_chunks::<GROUP>());
    let mut lanes = [0.0f64; GROUP];
    for (xs, os) in points.0.iter().zip(origins.0) {
        for l in 0..GROUP {
            let x = f64::from(xs[l]) - os[l];
            lanes[l] += x * x;
        }
    }
    let rest = points
        .1
        .iter()
        .zip(origins.1)
        .map(|(&x, &o)| (f64::from(x) - o) * (f64::from(x) - o));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

/// ruptures' Gaussian kernel of `gamma d^2`: its C code clips in single precision.
fn gaussian(exponent: f64) -> f64 {
    f64::from(-(exponent as f32).clamp(0.01, 100.0)).exp()
}

/// One row group times `columns` packed columns, stored at row `at` of each column of `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn multiply_group(
    row_pack: &[f64],
    column_pack: &[f64],
    columns: usize,
    at: usize,
    stride: usize,
    out: &mut [f64],
) {
    // Accumulators fill the vector registers: 32 of 512 bits, or 16 of 256.
    if multiversion::target::target_cfg_f!(target_feature = "avx512f") {
        multiply_tiles::<GROUP, 4>(row_pack, column_pack, columns, at, stride, out);
    } else {
        multiply_tiles::<8, 4>(row_pack, column_pack, columns, at, stride, out);
    }
}

#[inline(always)]
fn multiply_tiles<const ROWS: usize, const COLS: usize>(
    row_pack: &[f64],
    column_pack: &[f64],
    columns: usize,
    at: usize,
    stride: usize,
    out: &mut [f64],
) {
    let size = row_pack.len();
    for column in (0..columns).step_by(COLS) {
        let pack = &column_pack[column / GROUP * size..][..size];
        let lane = column % GROUP;
        for row in (0..GROUP).step_by(ROWS) {
            let mut tile = [[0.0f64; ROWS]; COLS];
            for (rows, cols) in row_pack
                .as_chunks::<GROUP>()
                .0
                .iter()
                .zip(pack.as_chunks::<GROUP>().0)
            {
                let (rows, cols) = (&rows[row..row + ROWS], &cols[lane..lane + COLS]);
                for c in 0..COLS {
                    for r in 0..ROWS {
                        tile[c][r] = rows[r].mul_add(cols[c], tile[c][r]);
                    }
                }
            }
            for (c, values) in tile.iter().enumerate().take(columns - column) {
                out[(column + c) * stride + at + row..][..ROWS].copy_from_slice(values);
            }
        }
    }
}
