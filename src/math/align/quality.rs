//! How well a map predicts pairs that it was not fitted to.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::dense::filled;
use super::{Error, Map, Pairs, Quality};
use crate::kernels::{dot, norm};

/// Neighbours that are looked for.
const NEIGHBOURS: usize = 10;
/// Below this many pairs, ten neighbours of each are found by chance a fifth of the time.
const FEWEST: usize = 50;
/// Pairs that are searched, and held-out ones that are looked for; evenly chosen where there are more.
const SEARCHED: usize = 2000;
const LOOKED_FOR: usize = 1000;
/// Queries at a time.
const BLOCK: usize = 256;
/// Cosines closer than one over this are a tie, which the order of the pairs decides: duplicates must not be
/// told apart by rounding.
const RESOLUTION: f32 = 1_048_576.0;

/// What the held-out pairs say of a map.
pub(super) struct Measured {
    pub quality: Quality,
    /// Projected minus true vector, `held_out × to_dims`.
    pub residuals: Vec<f32>,
    /// For each entity that was looked for, in one order for all maps: share of its neighbours found, summed
    /// over its queries, and the number of those.
    pub found: Vec<(f64, f64)>,
}

/// The held-out pairs, and what any map is compared with.
pub(super) struct Judge<'a> {
    pairs: &'a Pairs<'a>,
    held_out: &'a [usize],
    entities: usize,
    search: Option<Search>,
}

/// The retrieval to repeat.
struct Search {
    /// Places in `held_out` of what is looked for.
    queries: Vec<usize>,
    /// Whose each query is.
    entity: Vec<u32>,
    /// Where each query itself stands among what is searched, if it does.
    own: Vec<Option<usize>>,
    /// Unit vectors of the old model: what is searched.
    to: Vec<f32>,
    /// The true neighbours of each query.
    truth: Vec<[u32; NEIGHBOURS]>,
}

impl<'a> Judge<'a> {
    pub fn new(
        pairs: &'a Pairs<'a>,
        held_out: &'a [usize],
        entities: usize,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        let search = match pairs.entity.len() < FEWEST {
            true => None,
            false => Some(Search::new(pairs, held_out, interrupt)?),
        };
        Ok(Judge {
            pairs,
            held_out,
            entities,
            search,
        })
    }

    pub fn measure(&self, map: &Map, interrupt: &mut dyn FnMut()) -> Result<Measured, Error> {
        let (pairs, dims, m) = (self.pairs, self.pairs.to_dims, self.held_out.len());
        let mut projected = filled(m * dims)?;
        let mut block = filled(BLOCK.min(m) * pairs.from_dims)?;
        for (chosen, images) in self
            .held_out
            .chunks(BLOCK)
            .zip(projected.chunks_mut(BLOCK * dims))
        {
            let block = &mut block[..chosen.len() * pairs.from_dims];
            for (&i, copy) in chosen.iter().zip(block.chunks_exact_mut(pairs.from_dims)) {
                copy.copy_from_slice(row(pairs.from, pairs.from_dims, i));
            }
            map.apply_rows(block, images);
            interrupt();
        }
        let found = match &self.search {
            Some(search) => search.found(&projected, dims, interrupt)?,
            None => Vec::new(),
        };
        let asked: f64 = found.iter().map(|it| it.1).sum();
        let recall = found.iter().map(|it| it.0).sum::<f64>() / asked;
        let mut residuals = projected;
        let mut lengths: Vec<f64> = filled(m)?;
        let mut cosines = 0.0;
        for ((&i, image), length) in self
            .held_out
            .iter()
            .zip(residuals.chunks_exact_mut(dims))
            .zip(&mut lengths)
        {
            let truth = row(pairs.to, dims, i);
            let size = norm(image) * norm(truth);
            cosines += if size > 0.0 { dot(image, truth) / size } else { 0.0 };
            image.iter_mut().zip(truth).for_each(|(x, y)| *x -= y);
            *length = norm(image);
        }
        let mean_residual = lengths.iter().sum::<f64>() / m as f64;
        lengths.sort_unstable_by(f64::total_cmp);
        let quality = Quality {
            held_out_entities: self.entities,
            held_out_pairs: m,
            mean_residual,
            p95_residual: quantile(&lengths, 0.95),
            p99_residual: quantile(&lengths, 0.99),
            mean_cosine: cosines / m as f64,
            recall_at_10: (asked > 0.0).then_some(recall),
        };
        Ok(Measured {
            quality,
            residuals,
            found,
        })
    }
}

impl Search {
    fn new(pairs: &Pairs<'_>, held_out: &[usize], interrupt: &mut dyn FnMut()) -> Result<Self, Error> {
        let evenly = |n: usize, most: usize| (0..n.min(most)).map(move |k| k * n / n.min(most));
        let searched: Vec<usize> = evenly(pairs.entity.len(), SEARCHED).collect();
        let queries: Vec<usize> = evenly(held_out.len(), LOOKED_FOR).collect();
        let own = queries
            .iter()
            .map(|&k| searched.binary_search(&held_out[k]).ok())
            .collect::<Vec<_>>();
        let all = |values, dims| unit_rows(searched.iter().map(|&i| row(values, dims, i)), dims);
        let dims = pairs.from_dims;
        let new = unit_rows(queries.iter().map(|&k| row(pairs.from, dims, held_out[k])), dims)?;
        Ok(Search {
            truth: nearest(&new, &own, &all(pairs.from, dims)?, dims, interrupt)?,
            to: all(pairs.to, pairs.to_dims)?,
            entity: queries.iter().map(|&k| pairs.entity[held_out[k]]).collect(),
            queries,
            own,
        })
    }

    /// See [`Measured::found`].
    fn found(
        &self,
        projected: &[f32],
        dims: usize,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Vec<(f64, f64)>, Error> {
        let queries = unit_rows(self.queries.iter().map(|&k| row(projected, dims, k)), dims)?;
        let found = nearest(&queries, &self.own, &self.to, dims, interrupt)?;
        let mut by_entity = std::collections::BTreeMap::new();
        for ((found, truth), entity) in found.iter().zip(&self.truth).zip(&self.entity) {
            let common = found.iter().filter(|it| truth.contains(it)).count();
            let sums = by_entity.entry(entity).or_insert((0.0, 0.0));
            sums.0 += common as f64 / NEIGHBOURS as f64;
            sums.1 += 1.0;
        }
        Ok(by_entity.into_values().collect())
    }
}

fn row(values: &[f32], dims: usize, i: usize) -> &[f32] {
    &values[i * dims..(i + 1) * dims]
}

/// The rows at unit length; a zero vector stays zero, at cosine 0 to all.
fn unit_rows<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, dims: usize) -> Result<Vec<f32>, Error> {
    let mut unit = filled(rows.len() * dims)?;
    for (row, unit) in rows.zip(unit.chunks_exact_mut(dims)) {
        let length = norm(row);
        if length > 0.0 {
            unit.iter_mut()
                .zip(row)
                .for_each(|(u, &x)| *u = (f64::from(x) / length) as f32);
        }
    }
    Ok(unit)
}

/// For each query the ten candidates of the largest inner product but for the query itself: what is looked up
/// is not yet stored.
fn nearest(
    queries: &[f32],
    own: &[Option<usize>],
    candidates: &[f32],
    dims: usize,
    interrupt: &mut dyn FnMut(),
) -> Result<Vec<[u32; NEIGHBOURS]>, Error> {
    let count = candidates.len() / dims;
    let all = MatRef::from_row_major_slice(candidates, count, dims);
    let mut scores: Vec<f32> = filled(BLOCK.min(count) * count)?;
    let mut found: Vec<[u32; NEIGHBOURS]> = Vec::new();
    for block in queries.chunks(BLOCK * dims) {
        let n = block.len() / dims;
        let scores = &mut scores[..n * count];
        let products = MatMut::from_row_major_slice_mut(scores, n, count);
        let block = MatRef::from_row_major_slice(block, n, dims);
        matmul(products, Accum::Replace, block, all.transpose(), 1.0, Par::Seq);
        for scores in scores.chunks_exact(count) {
            found.push(best(scores, own[found.len()]));
        }
        interrupt();
    }
    Ok(found)
}

/// The places of the ten largest scores but for `own`; of equal ones the first.
fn best(scores: &[f32], own: Option<usize>) -> [u32; NEIGHBOURS] {
    let mut top = [(i32::MIN, 0u32); NEIGHBOURS];
    for (place, &score) in scores.iter().enumerate() {
        let score = (score * RESOLUTION) as i32;
        if score <= top[NEIGHBOURS - 1].0 || Some(place) == own {
            continue;
        }
        let at = top.partition_point(|it| it.0 >= score);
        top[at..].rotate_right(1);
        top[at] = (score, place as u32);
    }
    top.map(|it| it.1)
}

/// Quantile of ascending values, linear between neighbours (numpy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().max(1) - 1) as f64;
    let at = |i: usize| sorted.get(i).or(sorted.last()).copied().unwrap_or(0.0);
    let (low, high) = (at(place as usize), at(place as usize + 1));
    low + (place - place.floor()) * (high - low)
}
