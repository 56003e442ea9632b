//! The S3/Parquet connector, against folders and against a server that speaks S3. The server is moto's, run
//! by the Python that CVX_PYTHON names; without it the tests that need one say so and pass.
#![cfg(feature = "s3")]

mod bucket;
#[path = "../common/mod.rs"]
mod common;
mod drift;
mod faults;
mod folder;
mod harness;
mod server;
