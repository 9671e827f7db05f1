//! A scripted softphone: registers with digest and the outbound parameters, places and answers
//! calls with real media, and measures what it hears.
//!
//! One task per phone owns the connection, the dialogs and the transactions; [`Phone`] and [`Call`]
//! are handles to it. Every wait ends: by an answer, by a bound of [`crate::limits`], or by the one
//! the caller gives. The phone follows RFC 3261 (dialogs, transactions), RFC 5626 (one flow to one
//! proxy, CRLF keepalive), RFC 3264, RFC 4568, RFC 3262, RFC 3311 and RFC 3515: it has early media on
//! demand, holds by re-INVITE or UPDATE, and transfers and is transferred blind.

mod actor;
mod calls;
mod connection;
mod dialog;
mod early;
mod guard;
mod media;
mod rtp;
mod sdp;
mod tone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub use media::{MediaGap, MediaStats, Sound};
pub use sdp::{SrtpSuite, Unusable};

use crate::limits::{ANSWER_MAX, CALLS_MAX, CONNECT_MAX, EVENTS_QUEUE_MAX, RINGING_MAX};
use crate::observe::Observer;
use media::SharedTally;

/// How a phone reaches its proxy or registrar.
#[derive(Clone, Debug)]
pub enum PhoneTransport {
    /// TLS; the certificate is checked against `ca_pem` and `name`.
    Tls {
        /// Where to.
        server: SocketAddr,
        /// The name the certificate must carry; also sent as SNI.
        name: String,
        /// The trusted certificates, PEM.
        ca_pem: String,
    },
    /// Plain TCP.
    Tcp {
        /// Where to.
        server: SocketAddr,
    },
    /// UDP.
    Udp {
        /// Where to.
        server: SocketAddr,
    },
}

impl PhoneTransport {
    pub(crate) const fn server(&self) -> SocketAddr {
        match self {
            Self::Tls { server, .. } | Self::Tcp { server } | Self::Udp { server } => *server,
        }
    }

    pub(crate) const fn via(&self) -> &'static str {
        match self {
            Self::Tls { .. } => "TLS",
            Self::Tcp { .. } => "TCP",
            Self::Udp { .. } => "UDP",
        }
    }

    pub(crate) const fn param(&self) -> &'static str {
        match self {
            Self::Tls { .. } => "tls",
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
        }
    }
}

/// Whether media is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaSecurity {
    /// SDES SRTP, of the suite of the configuration, and nothing else.
    Srtp,
    /// Plain RTP and nothing else.
    Plain,
}

/// Everything a phone is told before it starts.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// The user part of its address of record.
    pub user: String,
    /// Its digest user name; `None`: `user`.
    pub digest_user: Option<String>,
    /// The name of the device, told in the Contact as phones of a call manager do.
    pub device: Option<String>,
    /// What it says it is.
    pub user_agent: String,
    /// Its password.
    pub password: String,
    /// The domain of its address of record.
    pub domain: String,
    /// How it reaches its proxy.
    pub transport: PhoneTransport,
    /// Pre-loaded Route values for requests outside a dialog, e.g. `<sip:edge:5061;transport=tls;lr>`.
    pub routes: Vec<String>,
    /// Whether media is encrypted.
    pub security: MediaSecurity,
    /// With what.
    pub suite: SrtpSuite,
    /// Whether it has a camera: offers and takes a video stream of 1,200-byte packets.
    pub video: bool,
    /// Whether RTCP may share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The address media is received on.
    pub media_address: IpAddr,
    /// What it plays.
    pub sound: Sound,
    /// The tone it expects to hear; `None` takes any steady tone.
    pub expected_hz: Option<u32>,
    /// Whether packets carry the moment of sending, for the delay measured at the other lab phone.
    pub probe: bool,
    /// Expiry asked for in REGISTER, seconds.
    pub expires_secs: u32,
    /// The UUID of `+sip.instance` (RFC 5626 §4.1); `None` makes one up.
    pub instance: Option<String>,
    /// How often the double CRLF goes out on a stream (RFC 5626 §4.4.1); `None` never.
    pub keepalive: Option<Duration>,
    /// Whether it reconnects and registers again when its connection is lost.
    pub reconnect: bool,
    /// The port to send from; 0 takes any.
    pub local_port: u16,
    /// Told of every message.
    pub observer: Observer,
}

impl PhoneConfig {
    /// A phone as the lab wants it: SRTP over TLS, plain RTP otherwise; 450 Hz; probes on.
    #[must_use]
    pub fn new(user: &str, password: &str, domain: &str, transport: PhoneTransport) -> Self {
        let security =
            if matches!(transport, PhoneTransport::Tls { .. }) { MediaSecurity::Srtp } else { MediaSecurity::Plain };
        Self {
            user: user.to_owned(),
            digest_user: None,
            device: None,
            user_agent: "Edgeway lab phone".to_owned(),
            password: password.to_owned(),
            domain: domain.to_owned(),
            transport,
            routes: Vec::new(),
            security,
            suite: SrtpSuite::AesCm128HmacSha1_80,
            video: false,
            rtcp_mux: false,
            media_address: Ipv4Addr::LOCALHOST.into(),
            sound: Sound::Tone { hz: 450 },
            expected_hz: None,
            probe: true,
            expires_secs: 600,
            instance: None,
            keepalive: Some(Duration::from_secs(20)),
            reconnect: true,
            local_port: 0,
            observer: Observer::none(),
        }
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// What observers are told it is called: the person, where the address of record is a number.
    pub(crate) fn name(&self) -> &str {
        self.digest_user.as_ref().unwrap_or(&self.user)
    }
}

/// Why a phone could not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// No connection to the proxy.
    #[error("no connection to {server}: {why}")]
    Connect {
        /// Where to.
        server: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// The proxy's certificate is not to be trusted: wrong authority, wrong name, expired.
    #[error("the certificate of {server} is refused: {why}")]
    Certificate {
        /// Whose.
        server: SocketAddr,
        /// What is wrong with it.
        why: String,
    },
    /// A final answer other than 2xx.
    #[error("refused: {status} {reason}")]
    Refused {
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// No answer within the bound.
    #[error("no answer to {what} in time")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
    },
    /// The connection was lost while waiting.
    #[error("the connection was lost: {why}")]
    ConnectionLost {
        /// Why.
        why: String,
    },
    /// No port for media, or a description that cannot be used.
    #[error("no media: {why}")]
    Media {
        /// Why.
        why: String,
    },
    /// The call is not in a state that allows this.
    #[error("not possible now: {why}")]
    WrongState {
        /// What is in the way.
        why: &'static str,
    },
    /// The phone has been switched off.
    #[error("the phone is switched off")]
    Off,
}

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallState {
    /// The INVITE is out.
    Calling,
    /// 180 was received, or sent.
    Ringing,
    /// A 2xx made the dialog.
    Established,
    /// Over.
    Ended(Ending),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This side hung up.
    HungUpHere,
    /// The other side hung up.
    HungUpThere,
    /// It was refused, by either side.
    Refused {
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The caller gave up before the answer.
    Cancelled,
    /// An answer or an ACK was missing.
    TimedOut,
    /// The media could not be agreed on.
    NoMedia,
    /// The connection is gone.
    ConnectionLost,
}

/// What can be watched of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// Where it stands.
    pub state: CallState,
    /// Held by this side.
    pub held_here: bool,
    /// Held by the other side.
    pub held_there: bool,
}

pub(crate) enum Command {
    Register { expires: u32, reply: oneshot::Sender<Result<u32, PhoneError>> },
    Request { method: String, uri: String, reply: oneshot::Sender<Result<u16, PhoneError>> },
    Dial { uri: String, reply: oneshot::Sender<Result<Call, PhoneError>> },
    Answer { call: u64, reply: oneshot::Sender<Result<(), PhoneError>> },
    Refuse { call: u64, status: u16, reason: String, reply: oneshot::Sender<Result<(), PhoneError>> },
    Progress { call: u64, reply: oneshot::Sender<Result<(), PhoneError>> },
    Transfer { call: u64, uri: String, reply: oneshot::Sender<Result<(), PhoneError>> },
    Hold { call: u64, on: bool, update: bool, reply: oneshot::Sender<Result<(), PhoneError>> },
    HangUp { call: u64, reply: Option<oneshot::Sender<Result<(), PhoneError>>> },
    Reset,
}

/// A phone that is switched on. Dropping it switches it off, without a word to anyone.
pub struct Phone {
    commands: mpsc::Sender<Command>,
    offers: Mutex<mpsc::Receiver<Call>>,
    registered: watch::Receiver<bool>,
    aor: String,
    task: AbortHandle,
}

impl Phone {
    /// Connects, and registers.
    pub async fn register(config: PhoneConfig) -> Result<Self, PhoneError> {
        let phone = Self::start(config).await?;
        phone.refresh().await?;
        Ok(phone)
    }

    /// Connects, and does no more.
    pub async fn start(config: PhoneConfig) -> Result<Self, PhoneError> {
        let aor = config.aor();
        let (commands, inbox) = mpsc::channel(EVENTS_QUEUE_MAX);
        let (offered, offers) = mpsc::channel(CALLS_MAX);
        let (registering, registered) = watch::channel(false);
        let actor = actor::Actor::connect(config, commands.downgrade(), offered, registering).await?;
        let task = tokio::spawn(actor.run(inbox)).abort_handle();
        Ok(Self { commands, offers: Mutex::new(offers), registered, aor, task })
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> &str {
        &self.aor
    }

    /// Registers (again) now; the seconds granted.
    pub async fn refresh(&self) -> Result<u32, PhoneError> {
        self.ask("REGISTER", 3 * ANSWER_MAX, |reply| Command::Register { expires: u32::MAX, reply }).await
    }

    /// Removes the registration.
    pub async fn unregister(&self) -> Result<(), PhoneError> {
        let gone = |reply| Command::Register { expires: 0, reply };
        self.ask("REGISTER", 3 * ANSWER_MAX, gone).await.map(|_| ())
    }

    /// Whether the last REGISTER succeeded and its connection still stands.
    #[must_use]
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.clone()
    }

    /// Sends a request outside any dialog; the final status. Does not answer challenges.
    pub async fn request(&self, method: &str, uri: &str) -> Result<u16, PhoneError> {
        let (method, uri) = (method.to_owned(), uri.to_owned());
        self.ask("the request", 3 * ANSWER_MAX, |reply| Command::Request { method, uri, reply }).await
    }

    /// Calls, and waits for the answer.
    pub async fn call(&self, uri: &str) -> Result<Call, PhoneError> {
        let mut call = self.dial(uri).await?;
        call.answered(RINGING_MAX).await?;
        Ok(call)
    }

    /// Calls, and returns as soon as the INVITE is out.
    pub async fn dial(&self, uri: &str) -> Result<Call, PhoneError> {
        let uri = uri.to_owned();
        self.ask("INVITE", CONNECT_MAX, |reply| Command::Dial { uri, reply }).await
    }

    /// The next call offered to this phone; it rings already.
    pub async fn next_call(&self, within: Duration) -> Result<Call, PhoneError> {
        let mut offers = self.offers.lock().await;
        match timeout(within, offers.recv()).await {
            Ok(Some(call)) => Ok(call),
            Ok(None) => Err(PhoneError::Off),
            Err(_) => Err(PhoneError::TimedOut { what: "a call" }),
        }
    }

    /// Waits for the next call, lets it ring for `ringing`, and answers it.
    pub async fn answer_next(&self, within: Duration, ringing: Duration) -> Result<Call, PhoneError> {
        let mut call = self.next_call(within).await?;
        tokio::time::sleep(ringing).await;
        call.answer().await?;
        Ok(call)
    }

    /// Cuts the connection with a TCP reset, as a NAT that lost its table does. The phone comes back
    /// by itself if its configuration says so.
    pub async fn reset_connection(&self) {
        let _ = self.commands.send(Command::Reset).await;
    }

    async fn ask<T>(
        &self,
        what: &'static str,
        within: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, PhoneError>>) -> Command,
    ) -> Result<T, PhoneError> {
        ask(&self.commands, what, within, command).await
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    what: &'static str,
    within: Duration,
    command: impl FnOnce(oneshot::Sender<Result<T, PhoneError>>) -> Command,
) -> Result<T, PhoneError> {
    let (reply, answer) = oneshot::channel();
    commands.send(command(reply)).await.map_err(|_| PhoneError::Off)?;
    match timeout(within, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(PhoneError::Off),
        Err(_) => Err(PhoneError::TimedOut { what }),
    }
}

/// One call. Dropping it hangs up.
pub struct Call {
    id: u64,
    call_id: String,
    remote: String,
    commands: mpsc::WeakSender<Command>,
    view: watch::Receiver<CallView>,
    tally: SharedTally,
    video: Option<SharedTally>,
}

impl Call {
    /// Its Call-ID, at this side.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The other side, as its From or our To names it.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// Where it stands.
    #[must_use]
    pub fn view(&self) -> CallView {
        self.view.borrow().clone()
    }

    /// The media so far; also after the call.
    #[must_use]
    pub fn stats(&self) -> MediaStats {
        self.tally.stats()
    }

    /// From now on [`MediaStats::gap`] is of what is heard from now on.
    pub fn count_gaps_anew(&self) {
        self.tally.count_gaps_anew();
    }

    /// The video so far; `None` without a camera.
    #[must_use]
    pub fn video_stats(&self) -> Option<MediaStats> {
        self.video.as_ref().map(SharedTally::stats)
    }

    /// Waits until the other side rings (or has answered).
    pub async fn ringing(&mut self, within: Duration) -> Result<(), PhoneError> {
        self.reach("ringing", within, |state| matches!(state, CallState::Ringing | CallState::Established)).await
    }

    /// Waits until the call is established.
    pub async fn answered(&mut self, within: Duration) -> Result<(), PhoneError> {
        self.reach("the answer", within, |state| *state == CallState::Established).await
    }

    /// Waits until the call is over, and says how it ended.
    pub async fn ended(&mut self, within: Duration) -> Result<Ending, PhoneError> {
        let over = self.view.wait_for(|view| matches!(view.state, CallState::Ended(_)));
        match timeout(within, over).await {
            Ok(Ok(view)) => match &view.state {
                CallState::Ended(ending) => Ok(ending.clone()),
                CallState::Calling | CallState::Ringing | CallState::Established => Err(PhoneError::Off),
            },
            Ok(Err(_)) => Err(PhoneError::Off),
            Err(_) => Err(PhoneError::TimedOut { what: "the end of the call" }),
        }
    }

    /// Waits until the other side has put the call on hold, or taken it off.
    pub async fn held_there(&mut self, on: bool, within: Duration) -> Result<(), PhoneError> {
        match timeout(within, self.view.wait_for(|view| view.held_there == on)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(PhoneError::Off),
            Err(_) => Err(PhoneError::TimedOut { what: "hold" }),
        }
    }

    /// Answers an offered call.
    pub async fn answer(&mut self) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("the answer", |reply| Command::Answer { call, reply }).await
    }

    /// Says that there is something to hear before an offered call is answered: a 183 with a description,
    /// reliable (RFC 3262) where the caller can. The caller must have offered.
    pub async fn progress(&self) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("the progress", |reply| Command::Progress { call, reply }).await
    }

    /// Sends the other side to `uri` (RFC 3515); returns when it has accepted that. This call goes on until
    /// somebody hangs up.
    pub async fn transfer(&self, uri: &str) -> Result<(), PhoneError> {
        let (call, uri) = (self.id, uri.to_owned());
        self.ask("REFER", |reply| Command::Transfer { call, uri, reply }).await
    }

    /// Refuses an offered call: 486 busy, 603 declined.
    pub async fn refuse(&self, status: u16, reason: &str) -> Result<(), PhoneError> {
        let (call, reason) = (self.id, reason.to_owned());
        self.ask("the refusal", |reply| Command::Refuse { call, status, reason, reply }).await
    }

    /// Puts the call on hold with a re-INVITE: `a=sendonly`, and silence.
    pub async fn hold(&self) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("re-INVITE", |reply| Command::Hold { call, on: true, update: false, reply }).await
    }

    /// Puts the call on hold, or takes it off, with an UPDATE (RFC 3311).
    pub async fn hold_by_update(&self, on: bool) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("UPDATE", |reply| Command::Hold { call, on, update: true, reply }).await
    }

    /// Takes it off hold.
    pub async fn resume(&self) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("re-INVITE", |reply| Command::Hold { call, on: false, update: false, reply }).await
    }

    /// Ends the call in whatever way its state asks for: CANCEL, 603 or BYE.
    pub async fn hang_up(&self) -> Result<(), PhoneError> {
        let call = self.id;
        self.ask("the hang-up", |reply| Command::HangUp { call, reply: Some(reply) }).await
    }

    async fn ask(
        &self,
        what: &'static str,
        command: impl FnOnce(oneshot::Sender<Result<(), PhoneError>>) -> Command,
    ) -> Result<(), PhoneError> {
        let commands = self.commands.upgrade().ok_or(PhoneError::Off)?;
        ask(&commands, what, 3 * ANSWER_MAX, command).await
    }

    async fn reach(
        &mut self,
        what: &'static str,
        within: Duration,
        wanted: impl Fn(&CallState) -> bool,
    ) -> Result<(), PhoneError> {
        let waiting = self.view.wait_for(|view| wanted(&view.state) || matches!(view.state, CallState::Ended(_)));
        let view = match timeout(within, waiting).await {
            Ok(Ok(view)) => view.clone(),
            Ok(Err(_)) => return Err(PhoneError::Off),
            Err(_) => return Err(PhoneError::TimedOut { what }),
        };
        match view.state {
            CallState::Ended(Ending::Refused { status, reason }) => Err(PhoneError::Refused { status, reason }),
            CallState::Ended(Ending::TimedOut) => Err(PhoneError::TimedOut { what }),
            CallState::Ended(Ending::ConnectionLost) => {
                Err(PhoneError::ConnectionLost { why: "during the call".into() })
            }
            CallState::Ended(Ending::NoMedia) => Err(PhoneError::Media { why: "not agreed".into() }),
            CallState::Ended(Ending::HungUpHere | Ending::HungUpThere | Ending::Cancelled) => {
                Err(PhoneError::WrongState { why: "the call is over" })
            }
            CallState::Calling | CallState::Ringing | CallState::Established => Ok(()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let over = matches!(self.view.borrow().state, CallState::Ended(_));
        if let (false, Some(commands)) = (over, self.commands.upgrade()) {
            let _ = commands.try_send(Command::HangUp { call: self.id, reply: None });
        }
    }
}
