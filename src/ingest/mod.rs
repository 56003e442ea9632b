//! Bringing records in. See README.md for transactions, locks and what a crash leaves.

pub mod config;
mod copy;
pub mod declare;
pub mod delivery;
pub mod guard;
pub mod parquet;
pub mod reader;
mod writer;
