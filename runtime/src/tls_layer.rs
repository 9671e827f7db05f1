//! TLS of one accepted connection, without any buffer of its own.
//!
//! `rustls` is driven through its unbuffered interface: ciphertext in and out lives in buffers all
//! flows of a thread share, so an idle connection keeps nothing but its keys. The caller keeps what
//! [`TlsLayer::receive`] did not consume and presents it again, in front of what came next.

use std::sync::Arc;

use rustls::server::{ServerConfig, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More ciphertext is needed before data can flow.
    Handshaking,
    /// Data flows.
    Established,
    /// The peer said it will send no more (close_notify).
    PeerClosed,
}

/// The keys and the state of one connection.
pub(crate) struct TlsLayer {
    connection: UnbufferedServerConnection,
    /// It has failed. `rustls` panics when a failed connection is shown the same input again.
    failed: bool,
}

impl TlsLayer {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        UnbufferedServerConnection::new(config).map(|connection| Self { connection, failed: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes in ciphertext. Returns how much of it was consumed; plaintext is appended to
    /// `plaintext`, and whatever TLS itself wants to send (handshake messages, alerts) to `outgoing`,
    /// also when the result is an error.
    pub(crate) fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        plaintext: &mut Vec<u8>,
    ) -> (usize, Result<Progress, rustls::Error>) {
        let mut consumed = 0;
        let result = self.advance(incoming, &mut consumed, outgoing, plaintext, |_, _| Ok(()));
        (consumed, result)
    }

    /// Appends `plaintext`, as records, to `outgoing`. `unconsumed` is what `receive` left.
    pub(crate) fn send<'a>(
        &mut self,
        unconsumed: &mut [u8],
        plaintext: impl Iterator<Item = &'a [u8]>,
        outgoing: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        self.write(unconsumed, outgoing, |traffic, outgoing| {
            for bytes in plaintext {
                append(outgoing, sealed_bytes(bytes.len()), |room| traffic.encrypt(bytes, room))?;
            }
            Ok(())
        })
    }

    /// Appends close_notify to `outgoing`.
    pub(crate) fn close(&mut self, unconsumed: &mut [u8], outgoing: &mut Vec<u8>) -> Result<(), rustls::Error> {
        self.write(unconsumed, outgoing, |traffic, outgoing| {
            append(outgoing, ALERT_BYTES_MAX, |room| traffic.queue_close_notify(room))
        })
    }

    fn write(
        &mut self,
        unconsumed: &mut [u8],
        outgoing: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        let mut consumed = 0;
        // Nothing can come out of bytes that gave nothing before.
        let progress = self.advance(unconsumed, &mut consumed, outgoing, &mut Vec::new(), write)?;
        debug_assert_eq!(consumed, 0, "what was left over is an unfinished record");
        match progress {
            Progress::Established => Ok(()),
            Progress::Handshaking | Progress::PeerClosed => Err(rustls::Error::HandshakeNotComplete),
        }
    }

    /// Runs the connection until it wants more ciphertext. `write` is called when data may be sent.
    fn advance(
        &mut self,
        incoming: &mut [u8],
        consumed: &mut usize,
        outgoing: &mut Vec<u8>,
        plaintext: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), rustls::Error>,
    ) -> Result<Progress, rustls::Error> {
        if self.failed {
            return Err(rustls::Error::General("the connection has failed before".into()));
        }
        let result = self.advance_healthy(incoming, consumed, outgoing, plaintext, write);
        if result.is_err() {
            self.failed = true;
            self.last_words(outgoing);
        }
        result
    }

    fn advance_healthy(
        &mut self,
        incoming: &mut [u8],
        consumed: &mut usize,
        outgoing: &mut Vec<u8>,
        plaintext: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), rustls::Error>,
    ) -> Result<Progress, rustls::Error> {
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(incoming.get_mut(*consumed..).unwrap_or_default());
            let step = match state {
                Err(error) => Some(Err(error)),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut fault = None;
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                plaintext.extend_from_slice(record.payload);
                            }
                            Err(error) => fault = Some(Err(error)),
                        }
                    }
                    fault
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(outgoing, HANDSHAKE_FLIGHT_BYTES, |room| {
                    data.encode(room).map_err(|error| match error {
                        EncodeError::InsufficientSize(size) => EncryptError::InsufficientSize(size),
                        EncodeError::AlreadyEncoded => EncryptError::EncryptExhausted,
                    })
                })
                .err()
                .map(Err),
                // What was encoded stands in `outgoing` and leaves before anything that follows.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Progress::Handshaking)),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    *consumed += discard;
                    return write(&mut traffic, outgoing).map(|()| Progress::Established);
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Ok(Progress::PeerClosed)),
                // Early data is switched off, and states of later versions of rustls are not known.
                Ok(ConnectionState::ReadEarlyData(_) | _) => Some(Err(rustls::Error::HandshakeNotComplete)),
            };
            *consumed += discard;
            if let Some(end) = step {
                return end;
            }
        }
    }

    /// The alert that tells the peer what was wrong.
    fn last_words(&mut self, outgoing: &mut Vec<u8>) {
        // Only what waits is fetched: a broken connection must not be shown any more input.
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            let at = outgoing.len();
            outgoing.resize(at + ALERT_BYTES_MAX, 0);
            let written = data.encode(&mut outgoing[at..]).unwrap_or(0);
            outgoing.truncate(at + written);
        }
    }
}

/// Appends what `write` produces to `outgoing`, with room for `bytes`, or for what it then asks for.
fn append(
    outgoing: &mut Vec<u8>,
    bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), rustls::Error> {
    let at = outgoing.len();
    outgoing.resize(at + bytes, 0);
    let mut written = write(&mut outgoing[at..]);
    if let Err(EncryptError::InsufficientSize(size)) = &written {
        outgoing.resize(at + size.required_size, 0);
        written = write(&mut outgoing[at..]);
    }
    outgoing.truncate(at + written.as_ref().copied().unwrap_or(0));
    match written {
        Ok(_) => Ok(()),
        Err(error) => Err(rustls::Error::General(error.to_string())),
    }
}

/// Room for `bytes` of plaintext as records of at most 16 KiB, each with header, nonce and tag.
const fn sealed_bytes(bytes: usize) -> usize {
    bytes + (bytes / RECORD_BYTES + 1) * RECORD_OVERHEAD
}

/// Plaintext of one record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// Header (5), explicit nonce of TLS 1.2 (8), content type (1), tag (16), and room to spare.
const RECORD_OVERHEAD: usize = 64;
/// An alert in a record, of any version.
const ALERT_BYTES_MAX: usize = 512;
/// Room tried first for a handshake message.
const HANDSHAKE_FLIGHT_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use edgeway_model::Random;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// A client made by rustls' ordinary interface, and the server under test, joined by two vectors.
    struct Pair {
        client: ClientConnection,
        server: TlsLayer,
        /// From the client; the front may be an unfinished record.
        wire: Vec<u8>,
        /// How much of `wire` the server has seen.
        shown: usize,
        outgoing: Vec<u8>,
        plaintext: Vec<u8>,
        /// What the client found wrong with the server.
        complaint: Option<rustls::Error>,
        random: Random,
    }

    impl Pair {
        fn new(version: &'static rustls::SupportedProtocolVersion, seed: u8) -> Self {
            let made = rcgen::generate_simple_self_signed(vec!["edge.example".to_owned()]).expect("certificate");
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).expect("root");
            let provider = Arc::new(default_provider());
            let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .expect("pair");
            let mut client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .expect("version")
                .with_root_certificates(roots)
                .with_no_client_auth();
            // Small records: handshake messages are spread over many of them.
            client.max_fragment_size = Some(64);
            let name = ServerName::try_from("edge.example").expect("name");
            Self {
                client: ClientConnection::new(Arc::new(client), name).expect("client"),
                server: TlsLayer::new(Arc::new(server)).expect("server"),
                wire: Vec::new(),
                shown: 0,
                outgoing: Vec::new(),
                plaintext: Vec::new(),
                complaint: None,
                random: Random::from_seed([seed; 32]),
            }
        }

        /// Moves what the client has, in random pieces, and what the server answers.
        fn step(&mut self) -> Result<Progress, rustls::Error> {
            while self.client.wants_write() {
                self.client.write_tls(&mut self.wire).expect("a vector takes all");
            }
            let mut progress = Ok(Progress::Handshaking);
            while self.shown < self.wire.len() {
                let left = self.wire.len() - self.shown;
                self.shown += 1 + usize::try_from(self.random.below(left.min(200) as u64)).expect("small");
                self.shown = self.shown.min(self.wire.len());
                let shown = &mut self.wire[..self.shown];
                let (consumed, result) = self.server.receive(shown, &mut self.outgoing, &mut self.plaintext);
                self.wire.drain(..consumed);
                self.shown -= consumed;
                progress = result;
                // What is left over must never disturb writing.
                if matches!(progress, Ok(Progress::Established)) {
                    let left_over = &mut self.wire[..self.shown];
                    self.server.send(left_over, [&b"tick"[..]].into_iter(), &mut self.outgoing).expect("send");
                }
            }
            let mut from_server = &self.outgoing[..];
            while !from_server.is_empty() {
                self.client.read_tls(&mut from_server).expect("read");
                if let Err(error) = self.client.process_new_packets() {
                    self.complaint = Some(error);
                    break;
                }
            }
            self.outgoing.clear();
            progress
        }

        fn establish(&mut self) {
            for _ in 0..10 {
                self.step().expect("handshake");
                if !self.client.is_handshaking() && !self.server.is_handshaking() {
                    return;
                }
            }
            panic!("no handshake");
        }
    }

    #[test]
    fn any_cut_gives_the_same_bytes_both_ways() {
        for version in [&TLS12, &TLS13] {
            for seed in 0..12 {
                let mut pair = Pair::new(version, seed);
                pair.establish();
                let mut expected = Vec::new();
                for round in 0..20_u8 {
                    let message = vec![round; usize::from(round) * 37];
                    pair.client.writer().write_all(&message).expect("write");
                    expected.extend_from_slice(&message);
                    if round % 5 == 0 && version.version == rustls::ProtocolVersion::TLSv1_3 {
                        pair.client.refresh_traffic_keys().expect("key update");
                    }
                    pair.step().expect("healthy");
                    assert_eq!(pair.complaint, None, "seed {seed}");
                }
                assert!(pair.plaintext == expected, "seed {seed}");
                let mut ticks = Vec::new();
                let _ = pair.client.reader().read_to_end(&mut ticks);
                assert!(!ticks.is_empty() && ticks.chunks(4).all(|tick| tick == b"tick"), "seed {seed}");
                pair.client.send_close_notify();
                assert_eq!(pair.step(), Ok(Progress::PeerClosed), "seed {seed}");
            }
        }
    }

    /// Every bit flip in the stream of a client, before and after the handshake: an error or a wait,
    /// never a panic, and never plaintext that was not sent.
    #[test]
    fn damaged_streams_end_in_an_error() {
        for (version, seed) in [(&TLS12, 1), (&TLS13, 2)] {
            let mut failed = 0;
            for damage in 0..400_u64 {
                let mut pair = Pair::new(version, seed);
                let after_handshake = damage % 2 == 0;
                if after_handshake {
                    pair.establish();
                }
                let _ = pair.client.writer().write_all(&[b'x'; 300]);
                while pair.client.wants_write() {
                    pair.client.write_tls(&mut pair.wire).expect("write");
                }
                let at = usize::try_from(damage * 7).expect("small") % pair.wire.len();
                pair.wire[at] ^= 1 << (damage % 8);
                failed += u32::from(pair.step().is_err() || pair.complaint.is_some());
                assert!(pair.plaintext.iter().all(|byte| *byte == b'x'));
                // Whatever happened, it may be asked to write, to close and to read on.
                let pieces = [&b"late"[..]].into_iter();
                let _ = pair.server.send(&mut pair.wire[..pair.shown], pieces, &mut pair.outgoing);
                let _ = pair.server.close(&mut pair.wire[..pair.shown], &mut pair.outgoing);
                let _ = pair.step();
            }
            assert!(failed > 300, "only {failed} of 400 were noticed at once");
        }
    }
}
