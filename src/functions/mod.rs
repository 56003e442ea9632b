//! `#[pg_extern]` wrappers, a file a topic: unpack, one call, pack. Their DDL stands in sql/install.

mod calculus;
mod changepoints;
mod embedding;
mod ingest;
mod plot;
mod stats;
mod trajectory;
