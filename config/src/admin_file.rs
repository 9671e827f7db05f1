//! Where administrators sign in, as a core's file says it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::node_file::Claim;
use crate::reader::{Found, Reader};
use crate::settings::{AdminSettings, CertificateFiles};
use crate::values;

/// On this machine only, unless the operator says otherwise.
pub(crate) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);

/// What is written of it: who wants which port is asked before the rest is read.
pub(crate) struct Listener(Found<Option<SocketAddr>>);

impl Listener {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self(reader.read("admin.listen", values::socket_addr_or_off))
    }

    /// The default gives way: where its port is taken by another setting, that setting is not wrong.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let line = self.0.line()?;
        let address = self.0.clone().good()??;
        Some(Claim::written_tcp("admin.listen", line, address))
    }

    pub(crate) fn settings(self, reader: &mut Reader<'_>) -> AdminSettings {
        let chain = reader.read("admin.certificate", values::path);
        let key = reader.read("admin.key", values::path);
        let (has_chain, has_key) = (!matches!(chain, Found::Absent), !matches!(key, Found::Absent));
        if has_key && !has_chain {
            reader.missing("admin.certificate");
        }
        if has_chain && !has_key {
            reader.missing("admin.key");
        }
        AdminSettings {
            listen: self.0.or(Some(LISTEN)),
            certificate: chain.good().zip(key.good()).map(|(chain, key)| CertificateFiles { chain, key }),
            names: reader.list("admin.names", values::host).or(Vec::new()),
        }
    }
}
