//! Views that are computed again for what changed: declared, watched, refreshed. States, transactions, locks: README.md.

pub mod as_of;
pub mod compact;
pub mod config;
pub mod create;
pub mod definition;
pub mod history;
pub mod invalidate;
mod read;
pub mod refresh;
pub mod source;
mod sweep;
pub mod training;
mod write;
