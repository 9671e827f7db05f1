//! Certificates made when the lab starts and forgotten when it ends: a CA the phones trust, and the
//! edge's certificate for its name and address.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// What the lab's edge shows its clients, and what they need to check it.
pub(super) struct Certificates {
    /// The CA, PEM: what a softphone is told to trust.
    pub(super) ca_pem: String,
    /// The edge's certificate, PEM.
    pub(super) chain_pem: String,
    /// Its private key, PEM.
    pub(super) key_pem: String,
}

/// Makes both for an edge reached by `name` and `address`.
pub(super) fn make(name: &str, address: IpAddr) -> Result<Certificates, rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Edgeway lab CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut edge = CertificateParams::new(vec![name.to_owned()])?;
    edge.subject_alt_names.push(SanType::IpAddress(address));
    edge.distinguished_name.push(DnType::CommonName, name);
    edge.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    edge.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    edge.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = edge.signed_by(&key, &issuer)?;
    Ok(Certificates { ca_pem: ca_certificate.pem(), chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
}
