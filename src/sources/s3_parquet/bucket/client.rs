//! The SDK's client: where it connects to, with which credentials, for how long it waits.

use crate::parquet::Error;
use crate::s3_parquet::Config;
use crate::s3_parquet::config::TextOrSecret;
use crate::{ErrorKind, SecretRef, Secrets, SourceError};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, ConfigBag, Credentials, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use http_body_util::Limited;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Longest answer: a page of a listing, or one piece of a file, with much to spare.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Longest file of certificates.
const MAX_CA_BYTES: u64 = 4 << 20;

/// How long one request may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub connect: Duration,
    /// Until an answer begins, and between two parts of it.
    pub read: Duration,
    /// All attempts together, until an answer begins.
    pub operation: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(30),
            operation: Duration::from_secs(60),
        }
    }
}

/// Makes the client. May ask the default chain's providers for credentials later, at the first request.
pub(super) async fn client(
    config: Config,
    secrets: Secrets,
    patience: Patience,
) -> Result<Client, SourceError> {
    let http = http(config.ca_file.as_deref())?;
    let region = config
        .region
        .clone()
        .or_else(|| config.endpoint.is_some().then(|| String::from("us-east-1")))
        .map(Region::new);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        .read_timeout(patience.read)
        .operation_attempt_timeout(patience.read)
        .operation_timeout(patience.operation)
        .build();
    let builder = match credentials(&config, &secrets)? {
        Some(credentials) => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials)
            .region(region.unwrap_or_else(|| Region::new("us-east-1"))),
        None if config.anonymous => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .allow_no_auth()
            .region(region.unwrap_or_else(|| Region::new("us-east-1"))),
        None => from_environment(region, http.clone(), timeouts.clone()).await,
    };
    let builder = builder
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts)
        .force_path_style(config.path_style)
        // Other servers than Amazon's lack the newer checksums; TLS and Parquet's own remain.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(Cap);
    let builder = match &config.endpoint {
        Some(endpoint) => builder.endpoint_url(endpoint),
        None => builder,
    };
    Ok(Client::from_conf(builder.build()))
}

/// What the server's environment, its files or its instance's role say.
async fn from_environment(
    region: Option<Region>,
    http: SharedHttpClient,
    timeouts: TimeoutConfig,
) -> Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts);
    if let Some(region) = region {
        loader = loader.region(region);
    }
    let shared = loader.load().await;
    let region = shared
        .region()
        .cloned()
        .unwrap_or_else(|| Region::new("us-east-1"));
    Builder::from(&shared).region(region)
}

/// The credentials that the configuration gives.
fn credentials(config: &Config, secrets: &Secrets) -> Result<Option<Credentials>, SourceError> {
    let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) else {
        return Ok(None);
    };
    let value = |reference: &SecretRef| {
        secrets
            .get(reference)
            .map(str::to_owned)
            .ok_or_else(|| SourceError::new(ErrorKind::Config, format!("{reference} has no value")))
    };
    let id = match id {
        TextOrSecret::Secret(reference) => value(reference)?,
        TextOrSecret::Text(text) => text.clone(),
    };
    let token = config.session_token.as_ref().map(value).transpose()?;
    Ok(Some(Credentials::new(id, value(secret)?, token, None, "cvx")))
}

/// TLS by rustls with ring, trusting the operating system's authorities and those of `ca_file`. Proxies of
/// the environment are not used, redirects are not followed.
fn http(ca_file: Option<&str>) -> Result<SharedHttpClient, SourceError> {
    let mut trusted = TrustStore::default();
    if let Some(path) = ca_file {
        trusted = trusted.with_pem_certificate(certificates(Path::new(path))?);
    }
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| {
            SourceError::new(ErrorKind::Config, "TLS cannot be set up").detail(error.to_string())
        })?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}

/// A file of certificates, checked here because the client panics over one that cannot be read.
fn certificates(path: &Path) -> Result<Vec<u8>, SourceError> {
    let size = fs::metadata(path).map_err(|e| Error::io(path, &e))?.len();
    let unusable = |why: String| {
        SourceError::new(
            ErrorKind::Config,
            format!("ca_file \"{}\" holds no usable certificate", path.display()),
        )
        .detail(why)
    };
    if size > MAX_CA_BYTES {
        return Err(unusable(format!("It has {size} bytes.")));
    }
    let pem = fs::read(path).map_err(|e| Error::io(path, &e))?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let parsed = parsed.map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in parsed {
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("It holds none in PEM form.".into()));
    }
    Ok(pem)
}

/// Cuts answers off: the SDK reads listings and errors whole, however long they are.
#[derive(Debug)]
struct Cap;

impl Intercept for Cap {
    fn name(&self) -> &'static str {
        "cap"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, MAX_ANSWER_BYTES));
        Ok(())
    }
}
