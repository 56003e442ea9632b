//! Parquet files in a bucket, or in a local folder.

mod config;

pub use config::Config;

#[cfg(feature = "s3")]
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
