//! An affine map between two spaces, applied to one vector or to many, composed, and as bytes.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use multiversion::multiversion;

use super::Error;
use super::dense::{Matrix, filled};

/// Identifies the bytes of a map, and their version.
const MAGIC: &[u8; 4] = b"cvm1";
/// Magic, from_dims, to_dims.
const HEADER: usize = 12;
/// Most dimensions of a space (pgvector's limit).
const MAX_DIMS: usize = 16_000;
/// Rows of a block of `apply_rows` and `then`, for which the working set stays in cache.
const BLOCK: usize = 512;

/// `y = weights x + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    pub from_dims: usize,
    pub to_dims: usize,
    /// `to_dims × from_dims`, row-major.
    pub weights: Vec<f32>,
    /// `to_dims` numbers.
    pub offset: Vec<f32>,
}

impl Map {
    /// The map that changes nothing.
    pub fn identity(dims: usize) -> Map {
        let mut weights = vec![0.0; dims * dims];
        weights.iter_mut().step_by(dims + 1).for_each(|w| *w = 1.0);
        Map {
            from_dims: dims,
            to_dims: dims,
            weights,
            offset: vec![0.0; dims],
        }
    }

    /// The map `x -> mean_y + (x - mean_x) B`, `B` of `from × to`. Errors: a number beyond what `f32` holds,
    /// no memory.
    pub(super) fn about(b: &Matrix, mean_x: &[f64], mean_y: &[f64]) -> Result<Map, Error> {
        let mut map = Map {
            from_dims: b.rows,
            to_dims: b.cols,
            weights: filled(b.values.len())?,
            offset: filled(b.cols)?,
        };
        for (w, &x) in map.weights.iter_mut().zip(&b.values) {
            *w = x as f32;
        }
        let rows = map.weights.chunks_exact(b.rows.max(1));
        for ((offset, row), mean) in map.offset.iter_mut().zip(rows).zip(mean_y) {
            let image: f64 = row.iter().zip(mean_x).map(|(&w, m)| f64::from(w) * m).sum();
            *offset = (mean - image) as f32;
        }
        if map.weights.iter().chain(&map.offset).all(|x| x.is_finite()) {
            Ok(map)
        } else {
            Err(Error::OutOfRange)
        }
    }

    /// The image of `x` (`from_dims`) in `out` (`to_dims`). Sums are carried in `f32`, relative error about
    /// 1e-6.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        if self.from_dims == 0 {
            out.copy_from_slice(&self.offset);
            return;
        }
        product(&self.weights, &x[..self.from_dims], &self.offset, out);
    }

    /// The images of rows of `from_dims` numbers in rows of `to_dims`: one product of matrices.
    /// Equal to [`Map::apply`] up to the order of the sums.
    pub fn apply_rows(&self, rows: &[f32], out: &mut [f32]) {
        if self.from_dims == 0 || self.to_dims == 0 {
            out.chunks_exact_mut(self.to_dims.max(1))
                .for_each(|it| it.copy_from_slice(&self.offset));
            return;
        }
        let weights = MatRef::from_row_major_slice(&self.weights, self.to_dims, self.from_dims);
        let blocks = rows.chunks(BLOCK * self.from_dims);
        for (block, out) in blocks.zip(out.chunks_mut(BLOCK * self.to_dims)) {
            let n = block.len() / self.from_dims;
            for image in out.chunks_exact_mut(self.to_dims) {
                image.copy_from_slice(&self.offset);
            }
            let images = MatMut::from_row_major_slice_mut(out, n, self.to_dims);
            let rows = MatRef::from_row_major_slice(block, n, self.from_dims);
            matmul(images, Accum::Add, rows, weights.transpose(), 1.0, Par::Seq);
        }
    }

    /// This map, and `next` after it; summed in `f64`, so that a long chain loses no more than one rounding a
    /// step. `next` must start from the dimensions in which this ends.
    pub fn then(&self, next: &Map) -> Map {
        assert_eq!(self.to_dims, next.from_dims, "maps that do not meet");
        let (from, middle) = (self.from_dims, self.to_dims);
        let mut map = Map {
            from_dims: from,
            to_dims: next.to_dims,
            weights: vec![0.0; next.to_dims * from],
            offset: vec![0.0; next.to_dims],
        };
        if middle > 0 {
            let rows = next.weights.chunks_exact(middle).zip(&next.offset);
            for (offset, (row, own)) in map.offset.iter_mut().zip(rows) {
                *offset = (crate::kernels::dot(row, &self.offset) + f64::from(*own)) as f32;
            }
        }
        if from == 0 || middle == 0 {
            return map;
        }
        let inner: Vec<f64> = self.weights.iter().map(|&w| f64::from(w)).collect();
        let inner = MatRef::from_row_major_slice(&inner, middle, from);
        let mut sums = vec![0.0f64; BLOCK.min(next.to_dims) * from];
        let blocks = next.weights.chunks(BLOCK * middle);
        for (outer, out) in blocks.zip(map.weights.chunks_mut(BLOCK * from)) {
            let n = outer.len() / middle;
            let outer: Vec<f64> = outer.iter().map(|&w| f64::from(w)).collect();
            let outer = MatRef::from_row_major_slice(&outer, n, middle);
            let sums = &mut sums[..n * from];
            let product = MatMut::from_row_major_slice_mut(sums, n, from);
            matmul(product, Accum::Replace, outer, inner, 1.0, Par::Seq);
            out.iter_mut().zip(&*sums).for_each(|(w, &s)| *w = s as f32);
        }
        map
    }

    /// Bytes: a mark, both dimensions as u32, weights, offset; all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 4 * (self.weights.len() + self.offset.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.from_dims as u32).to_le_bytes());
        out.extend_from_slice(&(self.to_dims as u32).to_le_bytes());
        for x in self.weights.iter().chain(&self.offset) {
            out.extend_from_slice(&x.to_le_bytes());
        }
        out
    }

    /// What [`Map::to_bytes`] wrote; for anything else what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Map, String> {
        let Some((head, body)) = bytes.split_at_checked(HEADER) else {
            return Err(format!(
                "a map has a header of {HEADER} bytes, this is {} bytes in all",
                bytes.len()
            ));
        };
        if !head.starts_with(MAGIC) {
            return Err("the bytes do not start as a map does".into());
        }
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (from_dims, to_dims) = (number(4), number(8));
        if !(1..=MAX_DIMS).contains(&from_dims) || !(1..=MAX_DIMS).contains(&to_dims) {
            return Err(format!("a map from {from_dims} to {to_dims} dimensions"));
        }
        // At most 16 000 * 16 001 numbers: no overflow, also where usize has 32 bits.
        let count = to_dims * (from_dims + 1);
        if body.len() != 4 * count {
            let have = body.len();
            return Err(format!(
                "a map from {from_dims} to {to_dims} dimensions has {} bytes of numbers, not {have}",
                4 * count
            ));
        }
        let mut weights = Vec::new();
        let reserved = weights.try_reserve_exact(to_dims * from_dims);
        reserved.map_err(|_| format!("no memory for a map of {} bytes", 4 * count))?;
        let mut numbers = body
            .chunks_exact(4)
            .map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]]));
        weights.extend(numbers.by_ref().take(to_dims * from_dims));
        let offset: Vec<f32> = numbers.collect();
        if !crate::kernels::all_finite(&weights) || !crate::kernels::all_finite(&offset) {
            return Err("a map with a number that is not finite".into());
        }
        Ok(Map {
            from_dims,
            to_dims,
            weights,
            offset,
        })
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        size_of::<Map>() + 4 * (self.weights.capacity() + self.offset.capacity())
    }
}

/// Partial sums a row: four registers of the widest kind, enough to hide the latency of an addition.
const LANES: usize = 64;

/// `out = weights x + offset`. As in `kernels`, products and sums are rounded one by one, alike on every
/// machine.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn product(weights: &[f32], x: &[f32], offset: &[f32], out: &mut [f32]) {
    let rows = weights.chunks_exact(x.len());
    for ((row, offset), out) in rows.zip(offset).zip(out) {
        let (a, b) = (row.chunks_exact(LANES), x.chunks_exact(LANES));
        let mut sum = 0.0f32;
        for (w, x) in a.remainder().iter().zip(b.remainder()) {
            sum += w * x;
        }
        let mut lanes = [0.0f32; LANES];
        for (w, x) in a.zip(b) {
            for i in 0..LANES {
                lanes[i] += w[i] * x[i];
            }
        }
        *out = offset + (sum + sum_of_lanes(&lanes));
    }
}

/// Sum as a tree; not inlined for the reason that `kernels` gives.
#[inline(never)]
fn sum_of_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
