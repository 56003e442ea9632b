//! `#[pg_extern]` wrappers, a file a topic: unpack, one call, pack. Their DDL stands in sql/install.

mod align;
mod backtest;
mod bocpd;
mod calculus;
mod canonical;
mod changepoints;
mod embedding;
mod ingest;
mod model;
mod monitor;
mod plot;
mod point_in_time;
mod population;
mod significance;
mod source;
mod space_report;
mod stats;
mod trajectory;
mod view;
mod workers;
