//! Equality and hashing: point by point, -0 equal to 0.

use pgrx::prelude::*;

use super::Trajectory;

#[pg_extern(sql = false)]
fn trajectory_eq(a: Trajectory, b: Trajectory) -> bool {
    let (a, b) = (a.path(), b.path());
    a.dims == b.dims && a.times == b.times && a.values == b.values
}

#[pg_extern(sql = false)]
fn trajectory_ne(a: Trajectory, b: Trajectory) -> bool {
    !trajectory_eq(a, b)
}

#[pg_extern(sql = false)]
fn trajectory_hash(t: Trajectory) -> i32 {
    // The low half of the extended hash with seed 0, as hash opclasses must agree on.
    hash(&t, 0) as i32
}

#[pg_extern(sql = false)]
fn trajectory_hash_extended(t: Trajectory, seed: i64) -> i64 {
    hash(&t, seed as u64) as i64
}

/// Multiply-and-fold over words of 8 bytes (wyhash's mixing step): stable across machines of one endianness
/// and across releases, since hash partitions and indexes store its consequences.
fn hash(t: &Trajectory, seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let wide = u128::from(state ^ word) * u128::from(MULTIPLIER | 1);
        (wide as u64) ^ ((wide >> 64) as u64) ^ state.rotate_left(23)
    };
    // -0 + 0 is +0, any other number stays: equal values have equal bits.
    let bits = |x: f32| u64::from((x + 0.0).to_bits());
    let path = t.path();
    let mut state = mix(seed ^ MULTIPLIER, (path.dims as u64) << 32 | path.len() as u64);
    state = path.times.iter().fold(state, |state, &ts| mix(state, ts as u64));
    let (pairs, last) = path.values.as_chunks::<2>();
    state = pairs
        .iter()
        .fold(state, |state, &[x, y]| mix(state, bits(x) | bits(y) << 32));
    state = last.iter().fold(state, |state, &x| mix(state, bits(x)));
    mix(state, MULTIPLIER)
}
