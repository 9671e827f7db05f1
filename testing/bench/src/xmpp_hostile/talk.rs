//! One stranger's connection: to the place in a stream where it is to misbehave, and what it is told then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_interop::kamailio::DOMAIN;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::classes::{Class, Place, Stage};
use super::world::{PASSWORD, World, user};

/// The longest anything honest takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what is still harmless has to get as far as it can, before the rest comes.
const AHEAD: Duration = Duration::from_millis(2);
/// What is said at once.
const PIECE_BYTES: usize = 16 * 1024;
/// How long one who goes on when it was told to go may do so: longer than the edge listens.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// A stream's header.
pub(super) fn header() -> String {
    format!(
        "<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Told {
    /// The condition of the stream error; empty if there was none.
    pub(super) condition: String,
    /// From the first byte that was too much to that error.
    pub(super) took: Duration,
}

trait Both: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Both for T {}

/// One connection.
pub(super) struct Talk {
    stream: Box<dyn Both + Unpin>,
}

impl Talk {
    /// Goes as far as to where an element may come, or a header.
    pub(super) async fn reach(world: &World, number: usize, stage: Stage, place: Place) -> Result<Self> {
        let going = timeout(PATIENCE, Self::go(world, number, stage, place)).await;
        going
            .context("it takes too long")
            .and_then(|went| went)
            .with_context(|| format!("on the way: {}", stage.name()))
    }

    async fn go(world: &World, number: usize, stage: Stage, place: Place) -> Result<Self> {
        let at = if stage == Stage::Outside { world.start_tls } else { world.direct_tls };
        let tcp = connect(at, number).await?;
        let stream: Box<dyn Both + Unpin> = match stage {
            Stage::Outside => Box::new(tcp),
            Stage::SignIn | Stage::SignedIn => {
                Box::new(world.tls.connect(ServerName::try_from(DOMAIN)?, tcp).await.context("TLS")?)
            }
        };
        let mut talk = Self { stream };
        if stage == Stage::SignedIn {
            talk.ask(&header(), "</stream:features>").await?;
            let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", user(number)));
            let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>");
            talk.ask(&auth, "<success").await?;
        }
        if place == Place::Element {
            talk.ask(&header(), "</stream:features>").await?;
            if stage == Stage::SignedIn {
                let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                            <resource>bench</resource></bind></iq>";
                talk.ask(bind, "</iq>").await?;
            }
        }
        Ok(talk)
    }

    /// Says something, and reads until something has come.
    pub(super) async fn ask(&mut self, text: &str, until: &str) -> Result<String> {
        self.say(text.as_bytes()).await?;
        let (mut got, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let count = self.stream.read(&mut piece).await?;
            got.extend_from_slice(piece.get(..count).unwrap_or_default());
            let text = String::from_utf8_lossy(&got);
            if text.contains(until) {
                return Ok(text.into_owned());
            }
            if count == 0 || text.contains("<failure") || text.contains("<stream:error") {
                bail!("no {until}: {text}");
            }
        }
    }

    /// Says something.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Says what is harmless, and what is not once that has `arrived`; hears the answer. One who does not `heed` it goes
    /// on until it is cut off.
    pub(super) async fn offend(
        mut self,
        class: &Class,
        heeds: bool,
        arrived: impl Future<Output = ()>,
    ) -> Result<Told> {
        for piece in class.harmless.chunks(PIECE_BYTES) {
            self.say(piece).await.context("what is harmless")?;
        }
        sleep(AHEAD).await;
        timeout(PATIENCE, arrived).await.context("what is harmless does not arrive")?;
        let (mut reader, mut writer) = split(self.stream);
        let begun = Instant::now();
        let saying = async {
            for piece in class.offence.pieces() {
                if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
        };
        let mut saying = pin!(saying);
        let mut said = false;
        let told = {
            let mut hearing = pin!(timeout(PATIENCE, hear(&mut reader, begun)));
            loop {
                tokio::select! {
                    told = &mut hearing => break told.context("no answer")?,
                    () = &mut saying, if !said => said = true,
                }
            }
        };
        if !heeds && !said && timeout(CUT_WITHIN, saying).await.is_err() {
            bail!("it was never cut off");
        }
        Ok(told)
    }
}

/// Reads until a stream error has come, or the end.
async fn hear(reader: &mut (impl AsyncRead + Unpin), begun: Instant) -> Told {
    const ERROR: &str = "<stream:error><";
    let (mut got, mut piece) = (Vec::new(), vec![0; 4096]);
    loop {
        let count = reader.read(&mut piece).await.unwrap_or(0);
        let took = begun.elapsed();
        got.extend_from_slice(piece.get(..count).unwrap_or_default());
        let text = String::from_utf8_lossy(&got);
        let whole = text.contains("</stream:error></stream:stream>");
        if whole || count == 0 {
            let error = text.split_once(ERROR).filter(|_| whole).map_or("", |(_, error)| error);
            let condition = error.split([' ', '/', '>']).next().unwrap_or_default().to_owned();
            return Told { condition, took };
        }
    }
}

/// Each from an address of its own, as far as there are.
async fn connect(at: SocketAddr, number: usize) -> Result<TcpStream> {
    let [_, _, high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 2, high, low)), 0))?;
    let tcp = socket.connect(at).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
