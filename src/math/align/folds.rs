//! Which entities are held out of a fit.

use super::Error;
use super::dense::filled;

/// One entity in this many is held out, rounded up; of the others again one in this many is for validation.
const ONE_IN: usize = 5;

/// The pairs, by what they are used for; each list ascending.
pub(super) struct Folds {
    /// What is fitted first.
    pub training: Vec<usize>,
    /// What chooses a penalty; then fitted too.
    pub validation: Vec<usize>,
    /// What says how good the fit is.
    pub held_out: Vec<usize>,
    pub held_out_entities: usize,
}

/// Splits pairs by entity: all of an entity's pairs go to one fold. The choice depends on the numbers of the
/// entities alone. A single entity is all training; of two one is held out and none is for validation.
pub(super) fn split(entity: &[u32]) -> Result<Folds, Error> {
    let mut known: Vec<u32> = filled(entity.len())?;
    known.copy_from_slice(entity);
    known.sort_unstable();
    known.dedup();
    let mut shuffled: Vec<u32> = filled(known.len())?;
    shuffled.copy_from_slice(&known);
    shuffled.sort_unstable_by_key(|&id| (scramble(id), id));
    let part = |of: usize| if of < 2 { 0 } else { of.div_ceil(ONE_IN) };
    let held_out = part(shuffled.len());
    let validation = part(shuffled.len() - held_out);
    // Where each entity stands in `known`, so that a pair finds its entity's fold by one search.
    let mut fold: Vec<u8> = filled(known.len())?;
    for (place, id) in shuffled.iter().enumerate().take(held_out + validation) {
        if let Ok(at) = known.binary_search(id) {
            fold[at] = if place < held_out { 2 } else { 1 };
        }
    }
    let mut folds = Folds {
        training: Vec::new(),
        validation: Vec::new(),
        held_out: Vec::new(),
        held_out_entities: held_out,
    };
    let lists = [&mut folds.training, &mut folds.validation, &mut folds.held_out];
    for (pair, id) in entity.iter().enumerate() {
        let at = known.binary_search(id).map_or(0, |at| fold[at]);
        lists[usize::from(at)].push(pair);
    }
    Ok(folds)
}

/// SplitMix64 (Steele, Lea and Flood 2014) of the number.
fn scramble(id: u32) -> u64 {
    let mut z = (u64::from(id) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
