//! What goes wrong on the way to another PostgreSQL, as a source's error.

use crate::payload::cut;
use crate::{ErrorKind, Secrets, SourceError};
use std::error::Error;
use std::io;
use tokio_postgres::error::{DbError, SqlState};

/// Longest part of what the other side says that is shown.
const MAX_SHOWN: usize = 1024;

/// Makes errors about one server: its name in them and no secret.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub server: String,
    pub secrets: Secrets,
}

impl Reporter {
    /// An error of the client library, met while doing `what`.
    pub(super) fn error(&self, what: &str, error: &tokio_postgres::Error) -> SourceError {
        if let Some(error) = error.as_db_error() {
            return self.answered(what, error);
        }
        let causes = self.show(&causes(error));
        if let Some(kind) = io_error(error).map(io::Error::kind) {
            return match kind {
                // Of the TLS handshake, and of what is no message of PostgreSQL's protocol.
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if causes.contains("certificate") => self
                    .say(ErrorKind::PermissionDenied, format!("{what}: TLS failed"))
                    .detail(causes)
                    .hint(
                        "The server's certificate must come from an authority in sslrootcert (or the system's), be in \
                         date, and name the host; sslmode can ask for less.",
                    ),
                io::ErrorKind::InvalidData => self
                    .say(ErrorKind::Corrupt, format!("{what}: the answer is not PostgreSQL's protocol"))
                    .detail(causes),
                _ => self.say(ErrorKind::Io, format!("{what}: the connection failed")).detail(causes),
            };
        }
        if error.is_closed() {
            return self.say(ErrorKind::Io, format!("{what}: the server closed the connection"));
        }
        if causes.contains("does not support TLS") {
            return self
                .say(
                    ErrorKind::PermissionDenied,
                    format!("{what}: the server does not offer TLS"),
                )
                .hint("Turn on ssl there, or set sslmode to \"disable\" to send everything as plain text.");
        }
        let kind = match error.to_string().as_str() {
            "authentication error" | "invalid configuration" => ErrorKind::PermissionDenied,
            _ => ErrorKind::Corrupt,
        };
        self.say(kind, what.to_owned()).detail(causes)
    }

    /// An error that the server sent.
    fn answered(&self, what: &str, error: &DbError) -> SourceError {
        let code = error.code();
        let mut detail = format!(
            "{}: {} (SQLSTATE {})",
            error.severity(),
            error.message(),
            code.code()
        );
        for part in [error.detail(), error.where_()].into_iter().flatten() {
            detail.push_str("; ");
            detail.push_str(part);
        }
        let made = self.say(kind(code), what.to_owned()).detail(self.show(&detail));
        match error.hint() {
            Some(hint) => made.hint(self.show(hint)),
            None => made,
        }
    }

    pub(super) fn say(&self, kind: ErrorKind, what: String) -> SourceError {
        SourceError::new(kind, format!("PostgreSQL at {}: {what}", self.server))
    }

    fn show(&self, text: &str) -> String {
        cut(&self.secrets.mask(text), MAX_SHOWN)
    }
}

fn kind(code: &SqlState) -> ErrorKind {
    let transient = [
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    if transient.contains(code)
        || matches!(
            code.code().get(..2),
            Some("08" | "53" | "57" | "58" | "55" | "40" | "25")
        )
    {
        return ErrorKind::Io;
    }
    match code.code() {
        "42501" => ErrorKind::PermissionDenied,
        "3D000" | "3F000" | "42P01" => ErrorKind::NotFound,
        "42601" => ErrorKind::Config,
        "42703" | "42804" | "42883" | "42704" => ErrorKind::WrongSchema,
        "0A000" => ErrorKind::Unsupported,
        code => match code.get(..2) {
            Some("28") => ErrorKind::PermissionDenied,
            Some("42" | "22") => ErrorKind::Config,
            Some("XX") => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        },
    }
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref() {
            return Some(error);
        }
        next = cause.source();
    }
    None
}
