//! Who uses the system while its pages are looked at: a call, chats, registrations, some of them with hostile names.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_lab_servers::xmpp::ChatClient;
use edgeway_lab_servers::{Call, CallState, Phone, PhoneConfig, PhoneError};

use crate::world::{HOSTILE, World};

/// How long a call is listened to.
const LISTENED: Duration = Duration::from_millis(600);

/// How often somebody who is told to come again does, and after how long.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// All of them.
#[derive(Default)]
pub(crate) struct People {
    /// What phones were told when they signed in: they need not sign in again.
    known: BTreeMap<&'static str, PhoneConfig>,
    phones: BTreeMap<&'static str, Phone>,
    call: Option<(Call, Call)>,
    chats: Vec<ChatClient>,
}

/// Whose phones there are.
const PHONES: [(&str, Option<&str>); 3] = [("alice", None), ("bob", None), ("mallory", Some(HOSTILE))];

/// Whoever is told to come again does, as people do: a node may just have come back, or a server just have been added.
async fn again<T, F: Future<Output = Result<T, PhoneError>>>(mut of: impl FnMut() -> F) -> Result<T, PhoneError> {
    for _ in 0..TRIES {
        match of().await {
            Err(PhoneError::Refused { status: 503, .. }) => tokio::time::sleep(PAUSE).await,
            other => return other,
        }
    }
    of().await
}

impl People {
    /// Everybody is there: three registrations, a call, two chats of these users.
    pub(crate) async fn gather(&mut self, world: &World, chatters: &[(String, Option<String>)]) -> Result<()> {
        for (user, user_agent) in PHONES {
            if self.phones.contains_key(user) {
                continue;
            }
            let config = match self.known.get(user) {
                Some(config) => config.clone(),
                None => world.phone(user, user_agent).await?,
            };
            self.known.insert(user, config.clone());
            let register = || Phone::register(config.clone());
            let phone = again(register).await.with_context(|| format!("the phone of {user}"))?;
            self.phones.insert(user, phone);
        }
        if self.call.is_none() {
            let (alice, bob) = (self.phone("alice")?, self.phone("bob")?);
            let answering = bob.answer_next(Duration::from_secs(30), Duration::ZERO);
            self.call = Some(tokio::try_join!(again(|| alice.call(bob.aor())), answering)?);
        }
        if self.chats.is_empty() {
            for (user, resource) in chatters {
                self.chats.push(world.chat(user, resource.as_deref()).await?);
            }
        }
        Ok(())
    }

    fn phone(&self, user: &str) -> Result<&Phone> {
        self.phones.get(user).with_context(|| format!("{user} has no phone here"))
    }

    /// Both hear each other, now.
    pub(crate) async fn talk(&self) -> Result<()> {
        let (here, there) = self.call.as_ref().context("there is no call")?;
        let before = [here, there].map(|side| side.stats().received);
        tokio::time::sleep(LISTENED).await;
        for (side, before) in [here, there].into_iter().zip(before) {
            ensure!(side.view().state == CallState::Established, "{:?}", side.view().state);
            ensure!(side.stats().received > before, "nothing is heard");
        }
        Ok(())
    }

    /// Somebody else calls: the status of what comes of it.
    pub(crate) async fn call(&self) -> Result<u16> {
        let (mallory, bob) = (self.phone("mallory")?, self.phone("bob")?);
        match mallory.call(bob.aor()).await {
            Ok(_) => Ok(200),
            Err(PhoneError::Refused { status, .. }) => Ok(status),
            Err(other) => bail!(other),
        }
    }

    /// The call ends.
    pub(crate) async fn hang_up(&mut self) -> Result<()> {
        if let Some((here, mut there)) = self.call.take() {
            here.hang_up().await?;
            there.ended(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    /// Everybody leaves.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        self.hang_up().await?;
        for chat in self.chats.drain(..) {
            // An operator may have ended it before.
            let _ = chat.close().await;
        }
        for (_, phone) in std::mem::take(&mut self.phones) {
            phone.unregister().await?;
        }
        Ok(())
    }
}
