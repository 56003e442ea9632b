//! Topics of Kafka.

mod config;

pub use config::Config;

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
