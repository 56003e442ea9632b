//! TLS as libpq's sslmode has it, by rustls with ring: no OpenSSL beside the server's own, nothing process-wide.

use super::config::{Config, SslMode};
use crate::{ErrorKind, SourceError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Largest file of certificates that is read.
const MAX_ROOTS_FILE: u64 = 16 << 20;

/// What makes TLS connections, None where the configuration asks for none.
///
/// # Errors
/// [`ErrorKind::Config`] for a file of certificates that cannot be read or holds none.
pub(super) fn connector(config: &Config) -> Result<Option<MakeRustlsConnect>, SourceError> {
    // As in libpq: a Unix socket knows no TLS.
    if config.sslmode == SslMode::Disable || config.host.starts_with('/') {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        mode: config.sslmode,
        roots: match config.sslmode {
            SslMode::Require => RootCertStore::empty(),
            _ => roots(config.sslrootcert.as_deref())?,
        },
        provider: provider.clone(),
    };
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SourceError::new(ErrorKind::Internal, error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(tls)))
}

fn roots(path: Option<&str>) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = path else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let message = "the system has no certificate authorities to trust";
            return Err(SourceError::new(ErrorKind::Config, message)
                .hint("Install ca-certificates on the server, or name a file of them as sslrootcert."));
        }
        return Ok(roots);
    };
    let bad = |why: String| SourceError::new(ErrorKind::Config, format!("sslrootcert {path:?}: {why}"));
    let size = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?;
    if !size.is_file() || size.len() > MAX_ROOTS_FILE {
        return Err(bad(format!("not a file of at most {MAX_ROOTS_FILE} bytes")));
    }
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".into()));
    }
    Ok(roots)
}

/// Checks a server's certificate as far as the mode asks. The handshake's signature is always checked: whoever answers
/// holds the key of the certificate it shows.
#[derive(Debug)]
struct Verifier {
    mode: SslMode,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull) {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
            if self.mode == SslMode::VerifyFull {
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
