//! The certificates of a node, as its operator sees them.

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateUse {
    /// To clients: SIP over TLS, HTTPS and chat.
    Clients,
    /// To other nodes, on links. Renewed by the core that holds the authority.
    Link,
    /// Signs the certificates of nodes.
    Authority,
    /// To SIP servers inside, and to those that connect from there.
    Inside,
    /// To administrators.
    Admin,
}

impl CertificateUse {
    /// A stable word, for programs and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Link => "link",
            Self::Authority => "authority",
            Self::Inside => "inside",
            Self::Admin => "admin",
        }
    }

    /// What to do when it ends soon.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Clients | Self::Inside => {
                "Renew it at the authority that issued it and replace the files in place: they are read again by \
                 themselves, and no connection is lost."
            }
            Self::Link => {
                "It renews itself while the core that holds the authority can be reached: see that it runs, and that \
                 the link with it is up."
            }
            Self::Authority => {
                "Plan its replacement: every node must join again with the new one. See docs/manual/links.md."
            }
            Self::Admin => {
                "Replace the files of admin.certificate, or remove the self-made one and start the core anew."
            }
        }
    }
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// What it is shown for.
    pub used_for: CertificateUse,
    /// The names it holds for, as they stand in it.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Since when it holds, Unix seconds.
    pub not_before_unix: u64,
    /// Until when, Unix seconds.
    pub not_after_unix: u64,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
}
