//! Topics of Kafka: see README.md.

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
mod paths;
#[cfg(feature = "kafka")]
mod value;
#[cfg(feature = "kafka")]
mod vector;

pub use config::Config;
#[cfg(feature = "kafka")]
pub use decode::{Decoder, Outcome};

#[cfg(feature = "kafka")]
pub fn open(
    config: &Config,
    common: &crate::Common,
    request: crate::Request,
) -> Result<Box<dyn crate::Connector>, crate::SourceError> {
    let _ = (config, common, request);
    Err(crate::SourceError::new(
        crate::ErrorKind::Unsupported,
        "not built yet",
    ))
}
