//! One configured UC server, and one conversation with it at a time.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use edgeway_config::sign_in::{PasswordSettings, UcServerSettings};
use edgeway_policy::discovery::{Cluster, Product, What};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::fault::AskFault;
use super::limits::{CONVERSATION_WITHIN, PASSWORD_BYTES_MAX};
use super::web::{Credentials, Web, WebFault};
use crate::{imp, unified_cm, unity};

/// How the conversation with a server begins.
pub type Connect = Rc<dyn Fn(&UcServerSettings) -> Result<Box<dyn Web>, WebFault>>;

/// One server.
pub(super) struct Server {
    pub(super) product: Product,
    pub(super) settings: UcServerSettings,
    connect: Connect,
    /// Held while it is asked.
    asking: Mutex<()>,
    /// What came of asking.
    pub(super) state: RefCell<State>,
}

/// What is known of a server beside what it says.
#[derive(Clone, Default)]
pub(super) struct State {
    /// When all its answers were last good, Unix milliseconds.
    pub(super) seen_ms: Option<u64>,
    /// Why it could not be read the last time.
    pub(super) fault: Option<AskFault>,
    /// What it says otherwise than the snapshot in use.
    pub(super) drift: Vec<What>,
    /// When its keys were last asked for by themselves, and whether it has answered.
    pub(super) keys_asked: Option<(Instant, bool)>,
    /// Its password file is one that others can read.
    pub(super) password_open: bool,
}

impl Server {
    pub(super) fn new(product: Product, settings: UcServerSettings, connect: Connect) -> Self {
        let (asking, state) = (Mutex::default(), RefCell::default());
        Self { product, settings, connect, asking, state }
    }

    /// Its publisher, as configured.
    pub(super) fn name(&self) -> &str {
        &self.settings.address.host
    }

    /// Asks for everything, and takes all of it or nothing. With `own`, a Unified CM is told of this core.
    pub(super) async fn read(&self, own: Option<&str>) -> Result<Cluster, AskFault> {
        let _one_at_a_time = self.asking.lock().await;
        let asked = timeout(CONVERSATION_WITHIN, self.conversation(own)).await;
        let why = "all of it together took too long";
        asked.unwrap_or(Err(AskFault::Slow { question: "everything", why }))
    }

    async fn conversation(&self, own: Option<&str>) -> Result<Cluster, AskFault> {
        let credentials = self.credentials()?;
        let web = self.web()?;
        match self.product {
            Product::UnifiedCm => unified_cm::cluster::read(&*web, &self.settings, &credentials, own).await,
            Product::ImAndPresence => imp::read(&*web, &self.settings, &credentials).await,
            Product::Unity => unity::read(&*web, &self.settings, &credentials).await,
        }
    }

    pub(super) fn web(&self) -> Result<Box<dyn Web>, AskFault> {
        (self.connect)(&self.settings).map_err(|fault| AskFault::of_web(fault, "anything"))
    }

    /// The password is read when it is used: a new one holds at once, and none is kept.
    fn credentials(&self) -> Result<Credentials, AskFault> {
        let of = |password: Zeroizing<String>| Credentials { user: self.settings.user.clone(), password };
        let path = match &self.settings.password {
            PasswordSettings::File(path) => path,
            PasswordSettings::Open(password) => return Ok(of(Zeroizing::new(password.expose().to_owned()))),
            PasswordSettings::Sealed(_) => {
                return Err(AskFault::Password("it is sealed, and the key it was sealed with is not here".to_owned()));
            }
        };
        let fault = |why: String| AskFault::Password(format!("{path}: {why}"));
        let file = File::open(path).map_err(|error| fault(error.to_string()))?;
        let mode = file.metadata().map_err(|error| fault(error.to_string()))?.mode();
        self.state.borrow_mut().password_open = mode & 0o077 != 0;
        // Room for all of it: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(PASSWORD_BYTES_MAX).unwrap_or(1024) + 1));
        let read = file.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| fault(error.to_string()))?;
        if text.len() as u64 > PASSWORD_BYTES_MAX {
            return Err(fault(format!("it holds more than {PASSWORD_BYTES_MAX} bytes")));
        }
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(fault("it is empty".to_owned()));
        }
        if password.chars().any(char::is_control) {
            return Err(fault("it holds more than one line".to_owned()));
        }
        Ok(of(Zeroizing::new(password.to_owned())))
    }
}
