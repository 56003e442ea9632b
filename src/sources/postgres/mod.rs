//! Tables of another PostgreSQL. What is read, in which order, and what happens in each fault: README.md.

mod config;

#[cfg(feature = "postgres")]
mod columns;
#[cfg(feature = "postgres")]
mod decode;
#[cfg(feature = "postgres")]
mod error;
#[cfg(feature = "postgres")]
mod guard;
#[cfg(feature = "postgres")]
mod plan;
#[cfg(feature = "postgres")]
mod position;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "a configuration is checked in every build")
)]
mod quote;
#[cfg(feature = "postgres")]
mod reader;
#[cfg(feature = "postgres")]
mod replay;
#[cfg(feature = "postgres")]
mod rows;
#[cfg(feature = "postgres")]
mod session;
#[cfg(feature = "postgres")]
mod tls;
#[cfg(feature = "postgres")]
mod watermark;

pub use config::{Config, SslMode};

/// Connects, looks up the columns and plans the run; the first row is read by the first step.
///
/// # Errors
/// [`crate::ErrorKind::Io`] when the server cannot be reached, [`crate::ErrorKind::PermissionDenied`] when it refuses,
/// cannot be trusted or does not ask for the password, [`crate::ErrorKind::NotFound`] without the database or table,
/// [`crate::ErrorKind::WrongSchema`] when a column is missing or of a type that cannot be read.
#[cfg(feature = "postgres")]
pub fn open(
    config: &Config,
    common: &crate::Common,
    mut request: crate::Request,
) -> Result<Box<dyn crate::Connector>, crate::SourceError> {
    Ok(match &mut request.work {
        crate::Work::Replay(positions) => {
            let positions = std::mem::take(positions);
            Box::new(replay::Replay::open(config, common, request, positions)?)
        }
        _ => Box::new(reader::PostgresConnector::open(config, common, request)?),
    })
}
