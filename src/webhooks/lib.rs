//! Alerts on their way to HTTP receivers.
//!
//! [`Policy`] says where requests may go, [`Request`] is one of them, [`Sender`] makes many at a time on threads of
//! its own, and [`Outcome`] is what became of one. Nothing here knows PostgreSQL or keeps anything: who sends keeps
//! the request until its outcome is stored.

mod address;
mod answer;
mod entry;
mod error;
mod policy;
mod pool;
mod request;
mod resolve;
mod send;
mod sign;
mod target;

pub use answer::Outcome;
pub use error::Error;
pub use policy::Policy;
pub use pool::Sender;
pub use request::{Header, Request, Secret, check_header};
pub use target::Target;
