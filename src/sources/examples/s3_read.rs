//! Reads an s3_parquet source as the engine does and prints how fast, with no watermark:
//! `cargo run --release -p cvx-sources --features s3 --example s3_read -- DIMS CONFIG`, with the source's configuration
//! as JSON. A secret is the environment variable that it names: `{"env": "NAME"}`.

use cvx_sources::{Request, Secrets, SharedProgress, SourceConfig, SourceError, Step, Stop, Work};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
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
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dims, config] = &args[..] else {
        return Err("arguments: DIMS CONFIG".into());
    };
    let config = SourceConfig::parse("s3_parquet", &serde_json::from_str(config)?)?;
    let secrets = config.secrets().into_iter().map(|reference| {
        let name = match &reference {
            cvx_sources::SecretRef::Env(name) | cvx_sources::SecretRef::Secret(name) => name.clone(),
        };
        std::env::var(&name).map(|value| (reference, value))
    });
    let secrets: Secrets = secrets.collect::<Result<_, _>>()?;
    let started = Instant::now();
    let mut connector = config.open(Request {
        dims: dims.parse()?,
        registered: None,
        work: Work::Incremental,
        watermark: BTreeMap::new(),
        limits: config.common.limits(),
        secrets,
        progress: SharedProgress::default(),
        stop: Stop::default(),
    })?;
    let (mut rows, mut rejected, mut fetched, mut own, mut files) = (0, 0, 0, 0, 0);
    while let Step::Delivery(delivery) = connector.next()? {
        rows += delivery.batch.len();
        rejected += delivery.batch.rejects().len();
        own += delivery.batch.bytes();
        fetched += delivery.bytes;
        let is_whole = |value: &serde_json::Value| value.get("row").is_none();
        files += delivery
            .positions
            .iter()
            .filter(|it| it.value.as_ref().is_some_and(is_whole))
            .count();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{rows} rows and {rejected} rejects of {files} files in {seconds:.3} s");
    println!(
        "{:.0} rows/s, {:.0} MB/s of records",
        rows as f64 / seconds,
        own as f64 / seconds / 1e6
    );
    println!(
        "{fetched} bytes fetched for {own} of records: {:.3}",
        fetched as f64 / own as f64
    );
    Ok(())
}
