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
}

impl TlsLayer {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        UnbufferedServerConnection::new(config).map(|connection| Self { connection })
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
        if result.is_err() {
            self.last_words(outgoing);
        }
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
