//! Certificates of a lab or a test: an authority made on the spot, and what it signs, right and wrong.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pems {
    /// The chain.
    pub chain: String,
    /// The private key.
    pub key: String,
}

/// A certificate authority.
pub struct LabCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl LabCa {
    /// A new one.
    ///
    /// # Errors
    /// What the certificate library says.
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = ca.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(ca, key) })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for these names and addresses.
    ///
    /// # Errors
    /// What the certificate library says.
    pub fn issue(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Pems, rcgen::Error> {
        self.sign(server(names, addresses)?)
    }

    /// One that ended long ago.
    ///
    /// # Errors
    /// What the certificate library says.
    pub fn issue_expired(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Pems, rcgen::Error> {
        let mut params = server(names, addresses)?;
        (params.not_before, params.not_after) = (date_time_ymd(2015, 1, 1), date_time_ymd(2016, 1, 1));
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Pems, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pems { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A certificate that signs itself and says it is an authority (`CA:TRUE`), as a call manager makes when it is
/// installed.
///
/// # Errors
/// What the certificate library says.
pub fn self_signed(names: &[&str], addresses: &[IpAddr]) -> Result<Pems, rcgen::Error> {
    let mut params = server(names, addresses)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    params.use_authority_key_identifier_extension = false;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pems { chain: certificate.pem(), key: key.serialize_pem() })
}

fn server(names: &[&str], addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("server"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
