//! The SQL type `trajectory`.

pub mod aggregate;
mod binary;
mod layout;
mod operators;
mod text;

pub use layout::{Trajectory, TrajectoryResult, check_order, check_point, max_points};
