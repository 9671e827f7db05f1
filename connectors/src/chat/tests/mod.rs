//! Streams of clients through a core, against servers with real TLS.

mod rotation;
mod server;
mod streams;
mod troubles;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use edgeway_config::parse_core;
use edgeway_model::NodeId;
use edgeway_model::chat::{ChatEnd, ChatOpening};
use edgeway_runtime::chat::{ChatStream, Item};
use edgeway_runtime::http::{HttpFact, Inside as _, Teller};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use self::server::{ImServer, Signer};
use crate::inside::CoreInside;
use crate::scratch::Scratch;

/// Longer than anything takes that is to happen at all.
const LONG: Duration = Duration::from_secs(20);

/// A core and what it tells.
struct World {
    inside: Rc<CoreInside>,
    facts: RefCell<UnboundedReceiver<HttpFact>>,
    told: RefCell<Vec<HttpFact>>,
    _scratch: Scratch,
}

/// A server as a line of the settings.
fn entry(server: &ImServer, more: &str) -> String {
    format!("[[xmpp_server]]\naddress = \"{}\"\nca = \"CA\"\n{more}\n", server.address)
}

impl World {
    /// `servers`: entries of the settings, in which `CA` is the file of `signer`.
    fn new(name: &str, signer: &Signer, servers: &[String]) -> Self {
        Self::with_rate(8, name, signer, servers)
    }

    /// The same, where so many attempts at a user are looked at in five minutes.
    fn with_rate(rate: u32, name: &str, signer: &Signer, servers: &[String]) -> Self {
        let scratch = Scratch::new(name);
        let folder = scratch.path().display().to_string();
        let ca = format!("{folder}/ca.pem");
        std::fs::write(&ca, &signer.pem).unwrap();
        let users = crate::users_file::edit::hash(b"right", crate::users_file::edit::Costs::LEAST).unwrap();
        std::fs::write(format!("{folder}/users"), format!("alice:{users}\n")).unwrap();
        let text = format!(
            "node = \"core1\"\nstate_dir = \"{folder}\"\ndomains = [\"example.com\", \"example.org\"]\n[sip]\nlisten = [\"127.0.0.1:5070\"]\n\
             registrars = [\"tcp:127.0.0.1:5071\"]\n[media]\naddress = \"127.0.0.1\"\nports = \"14900-14999\"\n\
             [sign_in]\nauthority = \"users\"\nusers_file = \"{folder}/users\"\n\
             maximum_authorizations_per_period = {rate}\n[http]\nca = \"{ca}\"\n{}",
            servers.concat().replace("\"CA\"", &format!("\"{ca}\""))
        );
        let settings = parse_core(&text, "test").unwrap_or_else(|problems| panic!("{problems}"));
        let (teller, facts) = Teller::new();
        let inside = CoreInside::new(&settings, teller).unwrap();
        Self { inside, facts: RefCell::new(facts), told: RefCell::default(), _scratch: scratch }
    }

    /// A client's stream that an edge carries.
    fn client(&self) -> Client {
        self.client_at("192.0.2.1:40000", "example.com")
    }

    fn client_at(&self, address: &str, domain: &str) -> Client {
        let (edge, core) = ChatStream::pair(32 * 1024);
        let opening = ChatOpening { number: 7, client: address.parse().unwrap(), domain: domain.to_owned() };
        let served = Rc::clone(&self.inside).chat(NodeId::new("edge1").unwrap(), opening, core);
        Client { stream: edge, got: String::new(), signed_in: false, served: spawn_local(served) }
    }

    /// Waits until something was told.
    async fn told(&self, wanted: impl Fn(&HttpFact) -> bool) -> HttpFact {
        timeout(LONG, async {
            loop {
                while let Ok(fact) = self.facts.borrow_mut().try_recv() {
                    self.told.borrow_mut().push(fact);
                }
                if let Some(fact) = self.told.borrow().iter().find(|fact| wanted(fact)) {
                    return fact.clone();
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("it is told")
    }

    /// How often something was counted.
    fn counted(&self, what: &str) -> usize {
        while let Ok(fact) = self.facts.borrow_mut().try_recv() {
            self.told.borrow_mut().push(fact);
        }
        self.told.borrow().iter().filter(|fact| matches!(fact, HttpFact::Counted(name) if *name == what)).count()
    }

    async fn ask(&self, path: &str, question: Value) -> Value {
        Rc::clone(&self.inside).operate(path.to_owned(), question).await.unwrap()
    }

    /// The sessions an operator sees.
    async fn sessions(&self) -> Vec<Value> {
        self.ask("chats", json!({})).await["chats"].as_array().unwrap().clone()
    }
}

/// A client, seen from its edge.
struct Client {
    stream: ChatStream,
    got: String,
    signed_in: bool,
    served: JoinHandle<()>,
}

impl Client {
    fn send(&self, text: &str) {
        self.stream.send(Bytes::copy_from_slice(text.as_bytes()));
    }

    fn header(&self) {
        self.header_to("example.com");
    }

    fn header_to(&self, domain: &str) {
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
        ));
    }

    fn auth(&self, user: &str) {
        let payload = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0right"));
        self.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{payload}</auth>"));
    }

    /// With a token of which only a server knows whose it is, and perhaps a name.
    fn auth_by_token(&self, user: Option<&str>) {
        let authzid = user.map(|user| format!("a={user}")).unwrap_or_default();
        let message = format!("n,{authzid},\u{1}auth=Bearer opaque\u{1}\u{1}");
        let payload = base64::engine::general_purpose::STANDARD.encode(message);
        self.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='OAUTHBEARER'>{payload}</auth>"));
    }

    /// Waits until something was heard that holds `wanted`; gives all up to there.
    async fn until(&mut self, wanted: &str) -> String {
        let heard = timeout(LONG, async {
            loop {
                if let Some(at) = self.got.find(wanted) {
                    let rest = self.got.split_off(at + wanted.len());
                    return Ok(std::mem::replace(&mut self.got, rest));
                }
                match self.stream.receive().await {
                    Item::Bytes(bytes) => self.got.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Item::SignedIn => self.signed_in = true,
                    Item::End(how) => return Err(how),
                }
            }
        });
        match heard.await {
            Ok(Ok(text)) => text,
            Ok(Err(how)) => panic!("it ended as {how:?} and {wanted} was not heard, but {}", self.got),
            Err(_) => panic!("{wanted} was not heard, but {}", self.got),
        }
    }

    /// Waits for so many bytes.
    async fn exactly(&mut self, count: usize) -> String {
        while self.got.len() < count {
            match timeout(LONG, self.stream.receive()).await.expect("it goes on") {
                Item::Bytes(bytes) => self.got.push_str(std::str::from_utf8(&bytes).unwrap()),
                Item::SignedIn | Item::End(_) => panic!("{} of {count} bytes", self.got.len()),
            }
        }
        std::mem::take(&mut self.got)
    }

    /// Waits for the end; what was heard until then.
    async fn end(&mut self) -> (ChatEnd, String) {
        let ended = timeout(LONG, async {
            loop {
                match self.stream.receive().await {
                    Item::Bytes(bytes) => self.got.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Item::SignedIn => self.signed_in = true,
                    Item::End(how) => return how,
                }
            }
        });
        (ended.await.expect("it ends"), std::mem::take(&mut self.got))
    }

    /// Its features, before sign-in.
    async fn features(&mut self) -> String {
        self.header();
        self.until("</stream:features>").await
    }

    /// Until it is bound.
    async fn sign_in(&mut self, user: &str) {
        self.features().await;
        self.auth(user);
        self.bind().await;
    }

    /// From the answer to its credentials until it is bound.
    async fn bind(&mut self) {
        self.until("<success").await;
        assert!(self.signed_in, "the edge knows before the client does");
        self.header();
        self.until("</stream:features>").await;
        self.send("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        self.until("</iq>").await;
    }

    /// Until the core has done with it.
    async fn served(self) {
        drop(self.stream);
        timeout(LONG, self.served).await.expect("it ends").expect("it does not panic");
    }
}

/// Waits until something is the case.
async fn soon(what: &str, is: impl Fn() -> bool) {
    let waited = timeout(LONG, async {
        while !is() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
