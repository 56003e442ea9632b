//! The numbers behind cvx: pure functions from slices to numbers.
//!
//! No PostgreSQL, no clock, no global state, no unseeded randomness. Times are microseconds (any epoch),
//! values are `f32` as stored; every sum over them is carried in `f64`.

pub mod kernels;
mod path;

pub use path::{Error, Path};
