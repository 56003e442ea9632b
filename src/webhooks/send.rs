//! One request over HTTP.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use jiff::Timestamp;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Body, Error as HttpError, Timeout};

use crate::answer::{Verdict, excerpt, retry_after, verdict};
use crate::resolve::Guarded;
use crate::{Error, Outcome, Policy, Request};

/// An answer is read no further, and is cut there while it streams.
const MOST_ANSWER_BYTES: u64 = 4 * 1024;
const MOST_HEADER_BYTES: usize = 16 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// What comes behind the status decides nothing, and is not waited for any longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that is kept for the next request to the same host.
const IDLE_AGE: Duration = Duration::from_secs(15);

/// A client under one policy, with the connections it keeps.
pub fn agent(policy: Arc<Policy>, timeout: Duration, connections: usize, lookups: Arc<AtomicUsize>) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    // Redirects and the environment's proxies would lead to places that nobody has checked.
    let config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("cvx/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_global(Some(timeout))
        .timeout_recv_body(Some(BODY_TIMEOUT))
        .max_response_header_size(MOST_HEADER_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections(connections)
        .max_idle_connections_per_host(connections)
        .max_idle_age(IDLE_AGE)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
    Agent::with_parts(config, connector, Guarded::new(policy, lookups))
}

/// Makes the request and reads the answer.
pub fn send(agent: &Agent, request: &Request) -> Outcome {
    match call(agent, request) {
        Ok(response) => judge(request, response),
        Err(error) => trouble(request, error),
    }
}

fn call(agent: &Agent, request: &Request) -> Result<Response<Body>, HttpError> {
    let wrong = |error: Error| HttpError::Other(Box::new(error));
    let mut builder = agent.post(&request.url);
    for (name, value) in request.all_headers().map_err(wrong)? {
        builder = builder.header(name, value);
    }
    builder.send(request.body.as_str())
}

fn judge(request: &Request, mut response: Response<Body>) -> Outcome {
    let status = response.status().as_u16();
    let verdict = verdict(status);
    let mut read = Vec::new();
    // Also of a success: a connection can be used again once its answer has been read. What cannot be read of it
    // changes nothing.
    let _ = response
        .body_mut()
        .as_reader()
        .take(MOST_ANSWER_BYTES)
        .read_to_end(&mut read);
    let mut error = format!("status {status}");
    let text = excerpt(&request.mask(&String::from_utf8_lossy(&read)));
    if (300..400).contains(&status) {
        error.push_str(": redirects are not followed");
    } else if !text.is_empty() {
        error = format!("{error}: {text}");
    }
    match verdict {
        Verdict::Delivered => Outcome::Delivered { status },
        Verdict::Retry => {
            let header = response.headers().get("retry-after");
            let after = header.and_then(|it| it.to_str().ok());
            Outcome::Retry {
                status: Some(status),
                error,
                after: after.and_then(|it| retry_after(it, Timestamp::now())),
            }
        }
        Verdict::Failed => Outcome::Failed {
            status: Some(status),
            error,
        },
    }
}

/// There was no answer.
fn trouble(request: &Request, error: HttpError) -> Outcome {
    let failed = |error: String| Outcome::Failed { status: None, error };
    let error = match error {
        HttpError::Other(other) => match other.downcast::<Error>() {
            Ok(error) => return failed(error.to_string()),
            Err(other) => other.to_string(),
        },
        HttpError::BadUri(_) | HttpError::Http(_) => return failed(String::from("the URL is malformed")),
        HttpError::HostNotFound => String::from("the host's name does not resolve"),
        HttpError::Timeout(what) => String::from(timeout(what)),
        HttpError::LargeResponseHeader(..) => {
            format!("the answer's header is above {MOST_HEADER_BYTES} bytes")
        }
        HttpError::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    Outcome::Retry {
        status: None,
        error: excerpt(&request.mask(&error)),
        after: None,
    }
}

fn timeout(what: Timeout) -> &'static str {
    match what {
        Timeout::Resolve => "timed out while its host's name was looked up",
        Timeout::Connect => "timed out while connecting",
        _ => "timed out",
    }
}
