//! Two users chat: sign-in, a message each way, and a connection that is cut without a message being lost.

use std::time::Instant;

use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, ChatError, Mechanism};

use super::inside::IM;
use super::limits::{SIGN_IN_AGAIN, SIGN_IN_MAX};
use super::screen::{Screen, short};
use super::story::{DOMAIN, EDGE_HOST, Failure, Lab, Step, bounded};

const STEP: &str = "chat";

impl Lab {
    /// The whole of it.
    pub(super) async fn chat(&self, screen: &mut Screen) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut alice = self.chat_of("alice", Mechanism::ScramSha256).await?;
        let mut bob = self.chat_of("bob", Mechanism::Plain).await?;
        screen.done(&format!(
            "alice (SCRAM-SHA-256) and bob (PLAIN) signed in to chat at {IM} through edge and core in {}",
            short(begun.elapsed())
        ));
        let begun = Instant::now();
        tell(&mut alice, &mut bob, "bob", "are you there?").await?;
        tell(&mut bob, &mut alice, "alice", "yes").await?;
        screen.done(&format!("alice wrote to bob and bob to alice in {}", short(begun.elapsed())));

        let begun = Instant::now();
        let kept = bob.cut().ok_or_else(|| Failure::new(STEP, "the session cannot be resumed"))?;
        let jid = kept.jid.clone();
        bounded(STEP, alice.message(&jid, "are you still there?")).await?.step(STEP)?;
        let config = self.chat_config("bob", Mechanism::Plain)?;
        let resuming = ChatClient::resume(&config, kept);
        let mut bob = bounded("resumption", resuming).await?.step("resumption")?;
        let (_, text) = bounded(STEP, bob.next_message()).await?.step(STEP)?;
        if text != "are you still there?" {
            return Err(Failure::new("resumption", format!("another message came: {text}")));
        }
        tell(&mut bob, &mut alice, "alice", "again").await?;
        screen.done(&format!(
            "bob's connection was cut; he resumed his session in {}, and no message was lost",
            short(begun.elapsed())
        ));
        for client in [alice, bob] {
            bounded(STEP, client.close()).await?.step(STEP)?;
        }
        Ok(())
    }

    fn chat_config(&self, user: &str, mechanism: Mechanism) -> Result<ChatConfig, Failure> {
        let place = self.chat.ok_or_else(|| Failure::new(STEP, "the edge takes no chat"))?;
        let config = ChatConfig::new(place, DOMAIN, user, self.password(user), &self.certificates.ca_pem);
        Ok(ChatConfig { mechanism, tls_name: EDGE_HOST.to_owned(), ..config })
    }

    /// Signs in; asked again while no core has dialled the edge for chat, as a client does. None of that counts as
    /// an attempt.
    async fn chat_of(&self, user: &str, mechanism: Mechanism) -> Result<ChatClient, Failure> {
        let config = self.chat_config(user, mechanism)?;
        let until = Instant::now() + SIGN_IN_MAX;
        loop {
            match bounded(STEP, ChatClient::start(&config)).await? {
                Err(ChatError::Stream(..)) if Instant::now() < until => tokio::time::sleep(SIGN_IN_AGAIN).await,
                started => return started.step(STEP),
            }
        }
    }
}

/// One message, heard at the other end as it was said.
async fn tell(from: &mut ChatClient, to: &mut ChatClient, user: &str, text: &str) -> Result<(), Failure> {
    bounded(STEP, from.message(&format!("{user}@{DOMAIN}"), text)).await?.step(STEP)?;
    let (_, heard) = bounded(STEP, to.next_message()).await?.step(STEP)?;
    if heard == text { Ok(()) } else { Err(Failure::new(STEP, format!("{user} heard something else: {heard}"))) }
}
