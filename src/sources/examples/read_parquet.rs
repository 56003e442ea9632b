//! Reads a Parquet file or folder as the ingest does and prints how fast:
//! `cargo run --release -p cvx-sources --example read_parquet -- PATH ENTITY TIMESTAMP VECTOR DIMS [BATCH]`,
//! with the names of the three columns and the dimensions of the vectors.

use cvx_sources::SourceError;
use cvx_sources::parquet::{Config, ParquetConnector};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> std::process::ExitCode {
    let Err(error) = run() else {
        return std::process::ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    if let Some(error) = error.downcast_ref::<SourceError>() {
        error
            .detail
            .iter()
            .for_each(|detail| eprintln!("detail: {detail}"));
        error.hint.iter().for_each(|hint| eprintln!("hint: {hint}"));
    }
    std::process::ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, entity_id, ts, vector, dims, rest @ ..] = &args[..] else {
        return Err("arguments: PATH ENTITY TIMESTAMP VECTOR DIMS [BATCH]".into());
    };
    let mut config = Config::new(path, dims.parse()?, entity_id, ts, vector);
    if let Some(batch) = rest.first() {
        config.batch_size = batch.parse()?;
    }
    let start = Instant::now();
    let mut connector = ParquetConnector::open(config).map_err(SourceError::from)?;
    let (mut rows, mut floats, mut rejected) = (0, 0, BTreeMap::new());
    while let Some(batch) = connector.read_batch().map_err(SourceError::from)? {
        rows += batch.rows_read();
        floats += batch.len() * batch.dims();
        for reject in batch.rejects() {
            rejected
                .entry(reject.reason.code())
                .or_insert((0, reject.clone()))
                .0 += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = floats as f64 * 4e-6;
    println!("{rows} rows, {megabytes:.0} MB of floats in {seconds:.3} s");
    println!(
        "{:.0} rows/s, {:.0} MB/s",
        rows as f64 / seconds,
        megabytes / seconds
    );
    for (code, (count, first)) in rejected {
        println!(
            "rejected {count} as {code}, first {}: {} {}",
            first.position, first.reason, first.payload
        );
    }
    Ok(())
}
