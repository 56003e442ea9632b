//! Bringing records in. See README.md for transactions, locks and what a crash leaves.

mod copy;
pub mod guard;
pub mod parquet;
mod reader;
mod writer;
