//! What the browser's program asks of the world behind the pages: to be changed, and how it is. One line of JSON each way.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::Ask;
use edgeway_lab_servers::uc::{Fault, HTTPS_PORT, Service};
use serde_json::{Value, json};

use crate::people::People;
use crate::world::{DOMAIN, UNITY, World, password};

/// The world, and who is in it.
pub(crate) struct Asked {
    people: People,
    world: World,
}

fn text<'q>(question: &'q Value, name: &str) -> Result<&'q str> {
    question.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"))
}

fn is(question: &Value, name: &str) -> bool {
    question.get(name).and_then(Value::as_bool).unwrap_or(false)
}

impl Asked {
    pub(crate) fn of(world: World) -> Self {
        Self { people: People::default(), world }
    }

    /// Does what is asked.
    pub(crate) async fn answer(&mut self, question: &Value) -> Result<Value> {
        let world = &self.world;
        let number = |name: &str| question.get(name).and_then(Value::as_u64).unwrap_or(0);
        match text(question, "ask")? {
            "gather" => self.gather(question).await?,
            "talks" => self.people.talk().await?,
            "call" => return Ok(json!({ "status": self.people.call().await? })),
            "hang_up" => self.people.hang_up().await?,
            "leave" => self.people.leave().await?,
            "maintain" => world.maintain(text(question, "node")?, is(question, "on")).await?,
            "drained" => world.drained(text(question, "node")?).await?,
            "trace" => world.trace().await?,
            "lie" => {
                world.lie(question.get("version").and_then(Value::as_str), question.get("node").and_then(Value::as_str))
            }
            "power" => world.cluster.power(text(question, "node")?, is(question, "on"))?,
            "list" => world.cluster.list(text(question, "node")?, is(question, "listed")),
            "slow" => {
                let fault =
                    Some(Duration::from_secs(number("seconds"))).filter(|time| !time.is_zero()).map(Fault::Slow);
                world.cluster.fault(UNITY, Service::Cupi, fault);
            }
            "sign_in" => return self.sign_in(text(question, "domain")?, text(question, "user")?).await,
            "mailbox" => return self.mailbox(text(question, "user")?).await,
            "authorize" => return self.authorize(text(question, "user")?, number("times")).await,
            other => bail!("there is no {other}"),
        }
        Ok(json!({ "ok": true }))
    }

    async fn gather(&mut self, question: &Value) -> Result<()> {
        let wanted = question.get("chatters").and_then(Value::as_array);
        let mut chatters: Vec<_> = wanted
            .into_iter()
            .flatten()
            .filter_map(|one| {
                let resource = one.get("resource").and_then(Value::as_str).map(str::to_owned);
                Some((one.get("user")?.as_str()?.to_owned(), resource))
            })
            .collect();
        if chatters.is_empty() {
            chatters = ["carol", "dave"].map(|user| (user.to_owned(), None)).to_vec();
        }
        self.people.gather(&self.world, &chatters).await
    }

    /// The whole way of a client to its edge configuration, and for how long its session holds.
    async fn sign_in(&self, domain: &str, user: &str) -> Result<Value> {
        let mut client = self.world.client(domain, user);
        client.find().await?;
        Ok(match client.edge_config().await {
            Ok(_) => {
                let left = client.cookie().and_then(|cookie| cookie.expires.duration_since(SystemTime::now()).ok());
                json!({ "ok": true, "seconds": left.map(|left| left.as_secs()) })
            }
            Err(error) => json!({ "why": error.to_string() }),
        })
    }

    /// Voice mail, by way of the edge.
    async fn mailbox(&self, user: &str) -> Result<Value> {
        let mut client = self.world.client(DOMAIN, user);
        client.find().await?;
        client.edge_config().await?;
        Ok(match client.fetch("https", UNITY, HTTPS_PORT, "/vmrest/mailbox/folders/inbox/messages").await {
            Ok(_) => json!({ "ok": true }),
            Err(error) => json!({ "why": error.to_string() }),
        })
    }

    /// A client without a memory: it shows its credentials every time.
    async fn authorize(&self, user: &str, times: u64) -> Result<Value> {
        let mut client = self.world.client(DOMAIN, user);
        client.find().await?;
        let mut statuses = Vec::new();
        for _ in 0..times {
            let ask = Ask::get("", &format!("/{}/get_edge_config", b64(DOMAIN))).basic(user, &password(user));
            statuses.push(client.ask(ask).await?.status);
        }
        Ok(json!({ "statuses": statuses }))
    }
}
