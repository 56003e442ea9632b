//! Reads a table of another PostgreSQL as the ingest does and prints how fast:
//! `cargo run --release -p cvx-sources --features postgres --example postgres_read -- DIMS CONFIG`, with the source's
//! configuration as JSON. Passwords are taken from the environment: `"password": {"env": "NAME"}`.

use cvx_sources::{Request, SecretRef, Secrets, SourceConfig, SourceError, Step, Work};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> std::process::ExitCode {
    let Err(error) = run() else {
        return std::process::ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    if let Some(error) = error.downcast_ref::<SourceError>() {
        let more = error.detail.iter().chain(&error.hint);
        more.for_each(|text| eprintln!("{text}"));
    }
    std::process::ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dims, config] = &args[..] else {
        return Err("arguments: DIMS CONFIG".into());
    };
    let config = SourceConfig::parse("postgres", &serde_json::from_str(config)?)?;
    let mut secrets = Vec::new();
    for reference in config.secrets() {
        let SecretRef::Env(name) = &reference else {
            return Err(format!("{reference} is of a database; name a variable instead").into());
        };
        secrets.push((reference.clone(), std::env::var(name)?));
    }
    let request = Request {
        dims: dims.parse()?,
        registered: None,
        work: Work::Incremental,
        watermark: BTreeMap::new(),
        limits: config.common.limits(),
        secrets: Secrets::from_iter(secrets),
        progress: Default::default(),
        stop: Default::default(),
    };
    let start = Instant::now();
    let mut connector = config.open(request)?;
    println!("opened in {:.3} s", start.elapsed().as_secs_f64());
    let (mut rows, mut rejected, mut bytes, mut deliveries) = (0, 0, 0, 0);
    loop {
        match connector.next()? {
            Step::Delivery(delivery) => {
                rows += delivery.batch.len();
                rejected += delivery.batch.rejects().len();
                bytes += delivery.bytes;
                deliveries += 1;
            }
            Step::Idle => {}
            Step::End => break,
        }
    }
    let (seconds, megabytes) = (start.elapsed().as_secs_f64(), bytes as f64 * 1e-6);
    println!(
        "{rows} rows and {rejected} rejects, {megabytes:.0} MB in {seconds:.3} s and {deliveries} batches"
    );
    println!(
        "{:.0} rows/s, {:.0} MB/s",
        rows as f64 / seconds,
        megabytes / seconds
    );
    Ok(())
}
