//! Where embeddings come from.
//!
//! A connector reads some outside place and yields [`Batch`]es of [`Record`]s that PostgreSQL will accept,
//! together with the rows it will not ([`Reject`]) and why. Nothing here knows PostgreSQL: what a record may
//! hold is checked by [`validate`], so that a record means the same whichever connector brought it and is
//! refused for the same reasons, in the same words.
//!
//! Each connector is a folder and a Cargo feature: `mod` (the work), `config`, `error`, README.

mod batch;
pub mod config;
mod connector;
pub mod kafka;
mod payload;
pub mod postgres;
mod progress;
mod record;
mod registered;
mod reject;
mod request;
pub mod s3_parquet;
mod secret;
mod text;
pub mod time;

#[cfg(feature = "parquet")]
pub mod parquet;

pub use batch::Batch;
pub use config::{Common, Filter, Needs, SourceConfig};
pub use connector::{Connector, Delivery, ErrorKind, Position, SourceError, Step};
pub use payload::Payload;
pub use progress::{Progress, SharedProgress};
pub use record::{MAX_DIMS, MAX_ENTITY_ID_BYTES, MAX_TEXT_BYTES, Record};
pub use registered::Registered;
pub use reject::{Reject, RejectReason, validate, validate_attrs};
pub use request::{Limits, Request, Stop, Work};
pub use secret::{SecretRef, Secrets};
pub use text::TextColumn;
