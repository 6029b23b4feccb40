//! Whom we trust at the other end of a TLS connection: the system's certificates, a file of them,
//! or one pinned certificate. Opens no connection.

use super::error::ApiError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Which certificates are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts.
    System,
    /// Those signed by a certificate of this file (PEM): `/etc/pve/pve-root-ca.pem`.
    CaFile(PathBuf),
    /// This one and no other.
    Pinned(Fingerprint),
    /// Any: whoever sits between can read the credentials.
    Anything,
}

/// The SHA-256 of a certificate, as `pvenode cert info` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl FromStr for Fingerprint {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        const FORM: &str = "a SHA-256 fingerprint (32 pairs of hexadecimal digits)";
        let wrong = || ApiError::Form(text.to_owned(), FORM);
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        f.pad(&pairs.join(":"))
    }
}

/// What a client needs to open connections.
///
/// # Errors
/// The file of certificates cannot be read, or holds none.
pub(super) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let rule = match trust {
        Trust::Anything => Rule::Anything,
        Trust::Pinned(fingerprint) => Rule::Pinned(*fingerprint),
        Trust::System => Rule::Signed(signed(system_roots(), &provider)?),
        Trust::CaFile(path) => Rule::Signed(signed(file_roots(path)?, &provider)?),
    };
    let verifier = Arc::new(Verifier { rule, provider: provider.clone() });
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// A store without certificates trusts nobody, and the verifier then says whom it saw.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn file_roots(path: &PathBuf) -> Result<RootCertStore, ApiError> {
    let failed = |why: String| ApiError::Certificates {
        path: path.clone(),
        source: std::io::Error::other(why),
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn signed(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, ApiError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let built = builder.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(Some(built))
}

#[derive(Debug)]
enum Rule {
    Signed(Option<Arc<WebPkiServerVerifier>>),
    Pinned(Fingerprint),
    Anything,
}

/// Says what it saw when it refuses, so that a person can compare and pin it.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        let why = match &self.rule {
            Rule::Anything => return Ok(ServerCertVerified::assertion()),
            Rule::Pinned(pinned) if *pinned == seen => return Ok(ServerCertVerified::assertion()),
            Rule::Pinned(pinned) => format!("is not the pinned {pinned}"),
            Rule::Signed(None) => "is not trusted: this system trusts no certificate".to_owned(),
            Rule::Signed(Some(signed)) => {
                let verified = signed.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                );
                match verified {
                    Ok(verified) => return Ok(verified),
                    Err(error) => format!("is not trusted ({error})"),
                }
            }
        };
        let advice = "compare it with `pvenode cert info` on the node, then give --fingerprint, or --ca-file";
        Err(rustls::Error::General(format!("its certificate, fingerprint {seen}, {why}; {advice}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons() {
        let plain = "0a".repeat(32);
        let fingerprint: Fingerprint = plain.parse().unwrap();
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        assert!(fingerprint.to_string().starts_with("0A:0A:"));
        for text in ["", "0a", &"0g".repeat(32), &"0a".repeat(20)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(client_config(&Trust::CaFile(path.clone())).is_err());
        std::fs::write(&path, "no certificate\n").unwrap();
        let error = client_config(&Trust::CaFile(path)).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
}
