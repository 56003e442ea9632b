//! What the SDK's errors mean to a source.

use crate::parquet::Error;
use crate::payload::cut;
use crate::{ErrorKind, SourceError};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use std::error::Error as StdError;
use std::path::PathBuf;

/// Longest part of what a server says that is shown.
const MAX_SAID_BYTES: usize = 400;

/// What was asked for.
pub(super) enum Place {
    Bucket,
    File(PathBuf),
}

/// The status of the answer, where there is one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// An error of a source, without the secrets' masking. `bucket` is where it happened.
pub(super) fn source_error<E>(bucket: &str, place: &Place, error: &SdkError<E, HttpResponse>) -> SourceError
where
    E: StdError + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
{
    let place = match place {
        Place::Bucket => format!("bucket {bucket:?}"),
        Place::File(path) => format!("\"{}\"", path.display()),
    };
    match error {
        SdkError::ServiceError(service) => {
            let answer = service.raw().status().as_u16();
            let (kind, what, hint) = answered(answer, service.err().code());
            let error = SourceError::new(kind, format!("{what} {place}")).detail(said(answer, service.err()));
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        SdkError::ResponseError(response) => SourceError::new(
            ErrorKind::Io,
            format!("the server's answer about {place} cannot be read"),
        )
        .detail(format!(
            "Status {}. {}",
            response.raw().status().as_u16(),
            causes(error)
        )),
        SdkError::ConstructionFailure(_) => {
            SourceError::new(ErrorKind::Config, format!("no request can be made for {place}"))
                .detail(causes(error))
        }
        _ if has_no_credentials(error) => SourceError::new(
            ErrorKind::PermissionDenied,
            format!("no credentials were found for {place}"),
        )
        .detail(causes(error))
        .hint("Give access_key_id and secret_access_key, or set anonymous for a public bucket."),
        _ => {
            let text = causes(error);
            let is_tls = text.contains("certificate");
            let error = SourceError::new(ErrorKind::Io, format!("the server of {place} cannot be reached"))
                .detail(text);
            match is_tls {
                true => error
                    .hint("If its certificate is signed by an authority of your own, name that in ca_file."),
                false => error,
            }
        }
    }
}

/// The same for the reading of a file.
pub(super) fn file_error<E>(bucket: &str, path: PathBuf, error: &SdkError<E, HttpResponse>) -> Error
where
    E: StdError + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    match status(error) {
        Some(404) if code != Some("NoSuchBucket") => Error::NotFound { path },
        Some(412 | 416) => Error::Changed { path },
        _ => Error::Store(source_error(bucket, &Place::File(path), error)),
    }
}

fn answered(status: u16, code: Option<&str>) -> (ErrorKind, &'static str, Option<&'static str>) {
    match (status, code) {
        (_, Some("NoSuchBucket")) | (404, _) => (ErrorKind::NotFound, "there is no", None),
        (_, Some("RequestTimeTooSkewed")) => (
            ErrorKind::PermissionDenied,
            "permission denied for",
            Some("Set the clock of this server: requests are signed with the time."),
        ),
        (401 | 403, _) => (
            ErrorKind::PermissionDenied,
            "permission denied for",
            Some("Reading needs s3:ListBucket on the bucket and s3:GetObject on its files."),
        ),
        (301 | 302 | 307 | 308, _)
        | (400, Some("AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")) => (
            ErrorKind::Config,
            "another region has",
            Some("Set region to the bucket's."),
        ),
        (408 | 429, _) | (400, Some("RequestTimeout")) => (ErrorKind::Io, "the server is too busy for", None),
        (400..500, _) => (ErrorKind::Config, "the server refuses what is asked about", None),
        _ => (ErrorKind::Io, "the server failed at", None),
    }
}

fn said(status: u16, error: &(impl ProvideErrorMetadata + RequestId)) -> String {
    let mut text = format!("Status {status}");
    for part in [error.code(), error.message()].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(&clean(part));
    }
    if let Some(id) = error.request_id() {
        text.push_str(&format!(" (request {})", cut(&clean(id), 100)));
    }
    text.push('.');
    text
}

/// The chain of causes, the same text once.
pub(super) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = clean(&error.to_string());
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    cut(&parts.join(": "), 2 * MAX_SAID_BYTES)
}

fn has_no_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return matches!(
                error,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            );
        }
        next = error.source();
    }
    false
}

/// What a server says, short and on one line.
fn clean(text: &str) -> String {
    let text: String = cut(text, MAX_SAID_BYTES)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.trim().trim_end_matches('.').into()
}
