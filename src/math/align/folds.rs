//! Which entities are held out of a fit.

use super::Error;
use super::dense::filled;

/// The first is held out: its figures are reported. The second chooses penalties.
pub(super) const FOLDS: usize = 5;

/// The pairs of each fold, ascending, and how many entities they are of.
pub(super) struct Folds {
    pub pairs: [Vec<usize>; FOLDS],
    pub held_out_entities: usize,
}

/// Splits pairs by entity: all of an entity's pairs go to one fold. The choice depends on the numbers of the
/// entities alone. The first fold has a fifth of the entities, rounded up; the others come from the last on,
/// so that of few entities none is for validation. A single entity is not held out.
pub(super) fn split(entity: &[u32]) -> Result<Folds, Error> {
    let mut known: Vec<u32> = filled(entity.len())?;
    known.copy_from_slice(entity);
    known.sort_unstable();
    known.dedup();
    let mut shuffled: Vec<u32> = filled(known.len())?;
    shuffled.copy_from_slice(&known);
    shuffled.sort_unstable_by_key(|&id| (scramble(id), id));
    let held_out = if known.len() < 2 {
        0
    } else {
        known.len().div_ceil(FOLDS)
    };
    // Where each entity stands in `known`, so that a pair finds its entity's fold by one search.
    let mut fold: Vec<usize> = filled(known.len())?;
    for (place, id) in shuffled.iter().enumerate().skip(held_out) {
        if let Ok(at) = known.binary_search(id) {
            fold[at] = FOLDS - 1 - (place - held_out) % (FOLDS - 1);
        }
    }
    let mut pairs: [Vec<usize>; FOLDS] = Default::default();
    for (pair, id) in entity.iter().enumerate() {
        pairs[known.binary_search(id).map_or(0, |at| fold[at])].push(pair);
    }
    Ok(Folds {
        pairs,
        held_out_entities: held_out,
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014) of the number.
fn scramble(id: u32) -> u64 {
    let mut z = (u64::from(id) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
