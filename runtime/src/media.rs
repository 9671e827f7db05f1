//! stub
#![allow(missing_docs)]
use std::sync::Arc; use std::net::IpAddr; use bytes::Bytes;
use edgeway_model::{NodeId, media::*};
use tokio::sync::mpsc;
pub enum MediaFact { Event(MediaEvent), Control{peer: NodeId, bytes: Bytes}, Path{peer: NodeId, open: bool} }
#[derive(Clone)] pub struct MediaHandle(mpsc::Sender<MediaFact>, u16);
pub struct MediaConfig { pub bind: IpAddr, pub first_port: u16, pub last_port: u16, pub listen: Option<(std::net::UdpSocket, Option<Arc<rustls::ServerConfig>>)>, pub seed: [u8;32] }
impl MediaHandle {
 pub fn start(c: MediaConfig, f: mpsc::Sender<MediaFact>) -> Result<Self, std::io::Error> { Ok(Self(f, c.first_port)) }
 pub fn command(&self, c: MediaCommand) { if let MediaCommand::BindPorts{pairs} = c { let ports = (0..pairs).map(|i| PortPair{rtp: self.1 + 2*i}).collect(); let _ = self.0.try_send(MediaFact::Event(MediaEvent::PortsBound{ports})); } }
 pub fn send_control(&self, _p: NodeId, _b: Bytes) {}
 pub fn dial(&self, _p: NodeId, _a: String, _c: Arc<rustls::ClientConfig>) {}
 pub fn forget(&self, _p: &NodeId) {}
 pub fn set_server_config(&self, _c: Arc<rustls::ServerConfig>) {}
 pub fn is_open(&self, _p: &NodeId) -> bool { false }
 pub fn totals(&self) -> (u64,u64) { (0,0) }
 pub fn shutdown(&self) {}
}
