//! The SQL type `trajectory`.

mod aggregate;
mod binary;
mod buffer;
mod ends;
mod layout;
mod operators;
mod support;
mod text;

pub use layout::{Trajectory, TrajectoryResult, check_order, check_point, max_points};
