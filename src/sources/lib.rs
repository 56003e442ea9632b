//! Where embeddings come from.
//!
//! A connector reads some outside place and yields [`Batch`]es of [`Record`]s that PostgreSQL will accept,
//! together with the rows it will not ([`Reject`]) and why. Nothing here knows PostgreSQL: what a record may
//! hold is checked by [`validate`], so that a record means the same whichever connector brought it and is
//! refused for the same reasons, in the same words.
//!
//! Each connector is a folder and a Cargo feature: `mod` (the work), `config`, `error`, README.

mod batch;
mod connector;
mod payload;
mod record;
mod registered;
mod reject;
mod text;
pub mod time;

#[cfg(feature = "parquet")]
pub mod parquet;

pub use batch::Batch;
pub use connector::{Connector, ErrorKind, Progress, SourceError};
pub use payload::Payload;
pub use record::{MAX_DIMS, MAX_ENTITY_ID_BYTES, MAX_TEXT_BYTES, Record};
pub use registered::Registered;
pub use reject::{Reject, RejectReason, validate, validate_attrs};
pub use text::TextColumn;
