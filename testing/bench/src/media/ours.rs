//! Ours: edge and core with real calls through them, from phones outside to one inside.

use super::streams::{Endpoint, Streams};
use crate::sip::chain::{Chain, ChainUsage, Kind};
use crate::sip::client::{Call, Client};
use crate::sip::crowd::connector;
use anyhow::{Context, Result};
use edgeway_interop::certificates::Authority;
use edgeway_interop::product::EDGE_NAME;
use edgeway_model::Random;
use rustls::pki_types::ServerName;
use std::path::Path;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// The chain and the phones that hold its calls up.
pub(crate) struct Ours {
    runtime: Runtime,
    tls: TlsConnector,
    inside: Client,
    outside: Vec<(Client, Call)>,
    chain: Chain,
}

impl Ours {
    /// Starts the chain and registers the phone inside.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let authority = Authority::create(directory, "authority")?;
        let chain = Chain::start(Kind::Edgeway, &authority.issue(EDGE_NAME)?, directory)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.block_on(async {
            let mut inside = Client::connect_inside(0, chain.registrar_address()).await?;
            inside.register().await?;
            anyhow::Ok(inside)
        });
        let inside = inside.context("the phone inside")?;
        Ok(Self { runtime, tls: connector(&authority.certificate())?, inside, outside: Vec::new(), chain })
    }

    /// What both tiers have used so far.
    pub(crate) fn usage(&self) -> Result<ChainUsage> {
        self.chain.usage()
    }

    /// For profilers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.chain.our_pids()
    }

    /// One more phone outside registers and calls the one inside.
    pub(crate) fn add_call(&mut self, streams: &mut Streams, random: &mut Random) -> Result<()> {
        let (outside, inside) = (Endpoint::open(true, random)?, Endpoint::open(false, random)?);
        let (offer, answer) = (outside.description()?, inside.description()?);
        let (index, edge) = (self.outside.len() + 1, self.chain.edge_address());
        let name = ServerName::try_from(EDGE_NAME)?;
        let (phone, call) = self.runtime.block_on(async {
            let mut phone = Client::connect(index, edge, &self.tls, name).await?;
            phone.register().await?;
            let call = phone.establish(&mut self.inside, &offer, &answer).await?;
            anyhow::Ok((phone, call))
        })?;
        streams.add([(outside, &call.answered), (inside, &call.offered)], random)?;
        self.outside.push((phone, call));
        Ok(())
    }
}
