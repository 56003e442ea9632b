//! The S3/Parquet connector, against folders and against a server that speaks S3.
#![cfg(feature = "s3")]

#[path = "../common/mod.rs"]
mod common;
mod folder;
mod harness;
