//! How fast messages become records: `kafka_bench [DIMS] [SECONDS]` decodes messages of that many dimensions (default 128 and
//! 768) without a broker, in each form a vector comes in, and prints records and megabytes a second on one core.

use cvx_sources::kafka::{Decoder, Outcome};
use cvx_sources::{
    Batch, Limits, Request, Secrets, SharedProgress, SourceConfig, Stop, Work, config::TypeConfig,
};
use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;
use serde_json::json;
use std::error::Error;
use std::time::{Duration, Instant};

const MESSAGES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dims = match args.next() {
        Some(text) => vec![text.parse()?],
        None => vec![128, 768],
    };
    let seconds = args.next().map_or(Ok(2.0), |text| text.parse::<f64>())?;
    println!("dims form records/s MB/s bytes/record");
    for dims in dims {
        for form in ["float32", "double", "6 digits", "base64"] {
            run(dims, form, Duration::from_secs_f64(seconds))?;
        }
    }
    Ok(())
}

fn run(dims: usize, form: &str, time: Duration) -> Result<(), Box<dyn Error>> {
    let source = json!({"brokers": ["none:1"], "topic": "t", "entity_id_field": "id", "vector_field": "embedding",
        "timestamp_field": "created_at"});
    let source = SourceConfig::parse("kafka", &source)?;
    let TypeConfig::Kafka(config) = &source.of_type else {
        return Err("not a topic".into());
    };
    let request = Request {
        dims,
        registered: None,
        work: Work::Incremental,
        watermark: Default::default(),
        limits: Limits::default(),
        secrets: Secrets::default(),
        progress: SharedProgress::default(),
        stop: Stop::default(),
    };
    let mut decoder = Decoder::new(config, &source.common, &request)?;
    let messages: Vec<OwnedMessage> = (0..MESSAGES).map(|n| message(n, dims, form)).collect();
    let bytes: usize = messages
        .iter()
        .map(|it| rdkafka::Message::payload(it).map_or(0, <[u8]>::len))
        .sum();
    let (begun, mut rounds) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let mut batch = Batch::new(dims, MESSAGES, None);
        for message in &messages {
            if decoder.decode(message, &mut batch)? != Outcome::Taken {
                return Err(format!("{:?}", batch.rejects().first()).into());
            }
        }
        rounds += 1;
    }
    let rate = f64::from(rounds) / begun.elapsed().as_secs_f64();
    println!(
        "{dims} {form:?} {:.0} {:.0} {}",
        rate * MESSAGES as f64,
        rate * bytes as f64 / 1e6,
        bytes / MESSAGES
    );
    Ok(())
}

/// Elements as a sine makes them: dense in digits, as an encoder's are.
fn message(n: usize, dims: usize, form: &str) -> OwnedMessage {
    let element = |i: usize| ((n * dims + i) as f64 * 0.618_033_988_75).sin() / (dims as f64).sqrt();
    let elements = (0..dims).map(element);
    let vector = match form {
        "float32" => array(elements.map(|x| (x as f32).to_string())),
        // What Python's json prints of a float32: its value as a double.
        "double" => array(elements.map(|x| f64::from(x as f32).to_string())),
        "6 digits" => array(elements.map(|x| format!("{x:.6}"))),
        _ => {
            let bytes: Vec<u8> = elements.flat_map(|x| (x as f32).to_le_bytes()).collect();
            format!(
                "\"{}\"",
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
            )
        }
    };
    let payload = format!(
        r#"{{"id":"content-{n}","created_at":"2026-01-01T00:00:{:02}Z","embedding":{vector}}}"#,
        n % 60
    );
    let payload = Some(payload.into_bytes());
    OwnedMessage::new(
        payload,
        None,
        "t".into(),
        Timestamp::CreateTime(0),
        0,
        n as i64,
        None,
    )
}

fn array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}
