//! The numbers behind cvx: pure functions from slices to numbers.
//!
//! No PostgreSQL, no clock, no global state, no unseeded randomness. Times are microseconds (any epoch),
//! values are `f32` as stored; every sum over them is carried in `f64`.

pub mod align;
pub mod anchors;
pub mod bitemporal;
pub mod bocpd;
pub mod boundary;
pub mod calculus;
pub mod changepoints;
pub mod fdr;
mod gain;
mod gram;
pub mod hurst;
pub mod kernels;
pub mod mixture;
mod noise;
mod path;
pub mod pca;
mod pelt;
mod penalty;
pub mod population;
mod reference;
pub mod significance;
mod special;
pub mod stats;

pub use path::{Error, Path};
