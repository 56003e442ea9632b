//! Versions of a model and the maps between their spaces. See README.md for states, transactions, locks and the cache.

pub mod cache;
pub mod canonical;
pub mod chain;
pub mod changes;
mod errors;
pub mod fit;
