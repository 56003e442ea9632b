//! Topics of Kafka: see README.md.

#[cfg(feature = "kafka")]
mod avro;
#[cfg(feature = "kafka")]
mod client;
mod config;
#[cfg(feature = "kafka")]
mod decode;
#[cfg(feature = "kafka")]
mod fields;
#[cfg(feature = "kafka")]
mod json;
#[cfg(feature = "kafka")]
mod number;
#[cfg(feature = "kafka")]
mod partitions;
#[cfg(feature = "kafka")]
mod paths;
mod properties;
#[cfg(feature = "kafka")]
mod question;
#[cfg(feature = "kafka")]
mod registry;
#[cfg(feature = "kafka")]
mod replay;
#[cfg(feature = "kafka")]
mod stream;
#[cfg(feature = "kafka")]
mod trouble;
#[cfg(feature = "kafka")]
mod value;
#[cfg(feature = "kafka")]
mod vector;

pub use config::Config;
#[cfg(feature = "kafka")]
pub use decode::{Decoder, Outcome};

/// Opens a topic. Nothing is connected yet: that is the first steps' work.
///
/// # Errors
/// [`crate::ErrorKind::Config`] for fields, filters or settings that make no sense.
#[cfg(feature = "kafka")]
pub fn open(
    config: &Config,
    common: &crate::Common,
    request: crate::Request,
) -> Result<Box<dyn crate::Connector>, crate::SourceError> {
    Ok(match request.work {
        crate::Work::Replay(_) => Box::new(replay::Replay::open(config, common, request)?),
        _ => Box::new(stream::Stream::open(config, common, request)?),
    })
}
