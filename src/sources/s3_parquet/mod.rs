//! Parquet files in a bucket, or in a local folder. What is read, and what becomes of each fault: README.md.

#[cfg(feature = "s3")]
mod bucket;
mod config;
#[cfg(feature = "s3")]
mod connector;
#[cfg(feature = "s3")]
mod local;
#[cfg(feature = "s3")]
mod open;
#[cfg(feature = "s3")]
mod partitions;
#[cfg(feature = "s3")]
mod store;
#[cfg(feature = "s3")]
mod tasks;

pub use config::Config;

#[cfg(feature = "s3")]
pub use open::open;
