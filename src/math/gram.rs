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
/// Columns of one tile of the product.
const TILE: usize = 4;
/// Packed values kept between panels (32 MB); beyond it groups are packed anew for each, wider, panel.
const CACHED_VALUES: usize = 1 << 22;

/// Which similarity of two points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// Inner product of points centred at their common mean, which leaves every l2 cost as it is.
    Linear,
    /// Cosine; a zero vector has no direction and similarity 0 to all, itself included.
    Cosine,
    /// `exp(-clip(gamma d^2, 0.01, 100))`, the exponent rounded to `f32`, as ruptures' C code does.
    Rbf { gamma: f64 },
}

/// Columns of a symmetric kernel matrix over points `0..len`.
pub(crate) trait Columns {
    fn len(&self) -> usize;
    /// `k(i, i)` for every `i`.
    fn diagonal(&self) -> &[f64];
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
    scale: Vec<f64>,
    squares: Vec<f64>,
    diagonal: Vec<f64>,
    packed: Vec<f64>,
    cached_groups: usize,
    caches: bool,
}

impl<'a> Gram<'a> {
    pub(crate) fn new(path: Path<'a>, kernel: Kernel) -> Self {
        let (n, dims) = (path.len(), path.dims);
        let origin = match kernel {
            Kernel::Cosine => vec![0.0; dims],
            Kernel::Linear | Kernel::Rbf { .. } => mean_point(path),
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
            Kernel::Cosine => scale.iter().map(|&s| if s > 0.0 { 1.0 } else { 0.0 }).collect(),
            Kernel::Linear | Kernel::Rbf { .. } => path
                .points()
                .map(|point| centred_square(point, &origin))
                .collect(),
        };
        let diagonal = match kernel {
            Kernel::Linear | Kernel::Cosine => squares.clone(),
            Kernel::Rbf { .. } => vec![gaussian(0.0); n],
        };
        let caches = n.div_ceil(GROUP) * GROUP * dims <= CACHED_VALUES;
        Gram {
            path,
            kernel,
            origin,
            scale,
            squares,
            diagonal,
            packed: Vec::new(),
            cached_groups: 0,
            caches,
        }
    }

    /// Squared distance in the space of the kernel between points `i` and `j`.
    pub(crate) fn squared_distance(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.path.point(i), self.path.point(j));
        match self.kernel {
            Kernel::Linear => kernels::squared_distance(a, b),
            Kernel::Cosine => {
                let cosine = kernels::dot(a, b) * self.scale[i] * self.scale[j];
                (self.squares[i] + self.squares[j] - 2.0 * cosine).max(0.0)
            }
            Kernel::Rbf { gamma } => {
                2.0 * (gaussian(0.0) - gaussian(gamma * kernels::squared_distance(a, b)))
            }
        }
    }

    /// Packs the group at `group * GROUP`, padded with zeros, into `out`.
    fn pack(&self, group: usize, out: &mut [f64]) {
        let first = group * GROUP;
        let count = GROUP.min(self.path.len() - first);
        if count < GROUP {
            out.fill(0.0);
        }
        for lane in 0..count {
            let (point, scale) = (self.path.point(first + lane), self.scale[first + lane]);
            for ((slot, &x), &origin) in out.chunks_exact_mut(GROUP).zip(point).zip(&self.origin) {
                slot[lane] = (f64::from(x) - origin) * scale;
            }
        }
    }

    fn cache_groups(&mut self, upto: usize) {
        let size = GROUP * self.path.dims;
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(upto.max(self.cached_groups) * size, 0.0);
        for group in self.cached_groups..upto {
            self.pack(group, &mut packed[group * size..(group + 1) * size]);
        }
        self.cached_groups = self.cached_groups.max(upto);
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

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
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
    diagonal: Vec<f64>,
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
        for (i, &d) in gram.diagonal.iter().enumerate() {
            values[i * n + i] = d;
        }
        Dense {
            len: n,
            values,
            diagonal: gram.diagonal.clone(),
        }
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.len..(i + 1) * self.len]
    }

    /// The matrix of what is left when every segment has its mean taken away (in the space of the kernel),
    /// each point scaled by `sqrt(L / (L - 1))` to undo what fitting the mean of `L` points took from its
    /// variance. `bounds` holds 0, the breaks, and the number of points; points of segments of one are
    /// zero and left to the caller to drop.
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
        let diagonal = (0..n).map(|i| values[i * n + i]).collect();
        Dense {
            len: n,
            values,
            diagonal,
        }
    }
}

impl Columns for Dense {
    fn len(&self) -> usize {
        self.len
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
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

/// The mean of all points; zeros when there are none.
pub(crate) fn mean_point(path: Path<'_>) -> Vec<f64> {
    let mut mean = vec![0.0; path.dims];
    for point in path.points() {
        mean.iter_mut().zip(point).for_each(|(m, &x)| *m += f64::from(x));
    }
    let n = path.len().max(1) as f64;
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

fn centred_square(point: &[f32], origin: &[f64]) -> f64 {
    point
        .iter()
        .zip(origin)
        .map(|(&x, &o)| (f64::from(x) - o) * (f64::from(x) - o))
        .sum()
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
    let size = row_pack.len();
    for column in (0..columns).step_by(TILE) {
        let pack = &column_pack[column / GROUP * size..][..size];
        let lane = column % GROUP;
        let mut tile = [[0.0f64; GROUP]; TILE];
        for (rows, cols) in row_pack.chunks_exact(GROUP).zip(pack.chunks_exact(GROUP)) {
            let cols = &cols[lane..lane + TILE];
            for c in 0..TILE {
                for r in 0..GROUP {
                    tile[c][r] = rows[r].mul_add(cols[c], tile[c][r]);
                }
            }
        }
        for (c, values) in tile.iter().enumerate().take(columns - column) {
            out[(column + c) * stride + at..][..GROUP].copy_from_slice(values);
        }
    }
}
