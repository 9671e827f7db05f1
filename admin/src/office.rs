//! What API and pages have in common: typed questions to the nodes and to the store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_config::CoreSettings;
use edgeway_model::NodeId;
use edgeway_runtime::operate::{OperatorPort, Refusal, RefusalKind};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::accounts::AccountsDesk;
use crate::api::Followers;
use crate::configuration::ConfigurationDesk;
use crate::limits::{
    CURSOR_BYTES_MAX, CURSOR_OF_NODE_BYTES_MAX, NODE_ANSWER_MAX, NODE_ORDER_MAX, NODES_MAX, PAGE_DEFAULT, PAGE_MAX,
};
use crate::store::{Store, StoreFault};
use crate::views::{Everywhere, NodeView, NodesView, Page, Silent, Wanted};

/// The clock, Unix milliseconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What holds for as long as the service runs.
#[derive(Clone, Debug)]
pub struct Settled {
    /// This core.
    pub node: NodeId,
    /// Where it keeps its files.
    pub state_dir: PathBuf,
    /// Names by which the listener is reached, lower case.
    pub names: Vec<String>,
}

impl Settled {
    /// Out of the settings.
    #[must_use]
    pub fn of(settings: &CoreSettings) -> Self {
        let mut names = vec!["localhost".to_owned(), settings.node.as_str().to_ascii_lowercase()];
        names.extend(settings.admin.names.iter().map(|name| name.to_ascii_lowercase()));
        Self { node: settings.node.clone(), state_dir: PathBuf::from(&settings.state_dir), names }
    }
}

/// Asks nodes and store on behalf of whoever is at the door. It checks no roles: the door does.
pub struct Office {
    /// To this node, and by way of it to others.
    pub port: OperatorPort,
    /// Revisions, accounts, audit.
    pub store: Arc<dyn Store>,
    /// Where the configuration is changed.
    pub desk: ConfigurationDesk,
    /// What holds for as long as the service runs.
    pub settled: Settled,
    /// Who may sign in, and who has.
    pub accounts: AccountsDesk,
    /// Those who follow what happens.
    pub followers: Followers,
    now: Now,
}

impl Office {
    /// An office.
    #[must_use]
    pub fn new(port: OperatorPort, store: Arc<dyn Store>, desk: ConfigurationDesk, settled: Settled) -> Arc<Self> {
        Self::with_clock(port, store, desk, settled, Arc::new(unix_ms))
    }

    /// An office with a clock of its own, for tests.
    #[must_use]
    pub fn with_clock(
        port: OperatorPort,
        store: Arc<dyn Store>,
        desk: ConfigurationDesk,
        settled: Settled,
        now: Now,
    ) -> Arc<Self> {
        let accounts = AccountsDesk::new(Arc::clone(&store), settled.state_dir.clone(), Arc::clone(&now));
        Arc::new(Self { port, store, desk, settled, accounts, followers: Followers::new(), now })
    }

    /// What is done once, when the service starts.
    pub async fn open(&self) {
        self.accounts.open().await;
    }

    /// Asks the store, on a thread that may wait.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn stored<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let store = Arc::clone(&self.store);
        let asked = tokio::task::spawn_blocking(move || ask(store.as_ref()));
        asked.await.unwrap_or_else(|_| Err(StoreFault::Unavailable("the store does not answer".to_owned())))
    }

    /// Asks one node; `None`: this core. For questions that are answered at once.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn ask(&self, node: Option<&NodeId>, path: &str, body: Value) -> Result<Value, Refusal> {
        self.ask_within(node, path, body, NODE_ANSWER_MAX).await
    }

    /// Orders something of one node, which may take its time.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn order(&self, node: Option<&NodeId>, path: &str, body: Value) -> Result<Value, Refusal> {
        self.ask_within(node, path, body, NODE_ORDER_MAX).await
    }

    async fn ask_within(
        &self,
        node: Option<&NodeId>,
        path: &str,
        body: Value,
        within: Duration,
    ) -> Result<Value, Refusal> {
        let node = node.filter(|node| **node != self.settled.node);
        match tokio::time::timeout(within, self.port.ask(node, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::unavailable(format!("it did not answer within {} s", within.as_secs()))),
        }
    }

    /// The node that is meant by a name out of a request.
    ///
    /// # Errors
    /// [`Refusal`]: it is no name of a node.
    pub fn node(&self, name: &str) -> Result<NodeId, Refusal> {
        NodeId::new(name).ok_or_else(|| Refusal::not_found("there is no node of that name"))
    }

    /// The nodes this core is linked with now, by name.
    pub async fn linked(&self) -> Vec<NodeId> {
        let status = self.ask(None, "status", json!({})).await.unwrap_or_default();
        let mut nodes: Vec<_> = linked_in(&status).filter(|(_, up)| *up).map(|(node, _)| node).collect();
        nodes.truncate(NODES_MAX);
        nodes
    }

    /// Asks this core and every node it is linked with, each for its part; bounded in time.
    pub async fn everywhere(&self, path: &str, body: Value) -> Everywhere {
        let mut questions = vec![(self.settled.node.clone(), body.clone())];
        questions.extend(self.linked().await.into_iter().map(|node| (node, body.clone())));
        self.each(path, questions).await
    }

    /// Asks one node, in the shape of [`Office::everywhere`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn one(&self, node: &NodeId, path: &str, body: Value) -> Result<Everywhere, Refusal> {
        let answer = self.ask(Some(node), path, body).await?;
        Ok(Everywhere { answers: vec![(node.as_str().to_owned(), answer)], silent: Vec::new() })
    }

    /// Asks several nodes at once, each its own question.
    async fn each(&self, path: &str, questions: Vec<(NodeId, Value)>) -> Everywhere {
        let mut asked = JoinSet::new();
        for (node, body) in questions {
            let (port, path, own) = (self.port.clone(), path.to_owned(), node == self.settled.node);
            asked.spawn(async move {
                let asks = port.ask((!own).then_some(&node), &path, body);
                let answer = match tokio::time::timeout(NODE_ANSWER_MAX, asks).await {
                    // A node that has nothing of this kind has none of it.
                    Ok(Err(refusal)) if refusal.kind == RefusalKind::NotFound => Ok(Value::Null),
                    Ok(answer) => answer.map_err(|refusal| refusal.why),
                    Err(_) => Err(format!("it did not answer within {} s", NODE_ANSWER_MAX.as_secs())),
                };
                (node, answer)
            });
        }
        let mut all = Everywhere::default();
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((node, Ok(answer))) => all.answers.push((node.as_str().to_owned(), answer)),
                Ok((node, Err(why))) => all.silent.push(Silent { node: node.as_str().to_owned(), why }),
                Err(_) => {}
            }
        }
        let own = self.settled.node.as_str();
        all.answers.sort_by(|(a, _), (b, _)| (a != own, a).cmp(&(b != own, b)));
        all.silent.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }

    /// All nodes with their status; those that are linked no more are there, too, as silent.
    pub async fn nodes(&self) -> NodesView {
        let all = self.everywhere("status", json!({})).await;
        let own = self.settled.node.as_str();
        let view = |(node, status): &(String, Value)| NodeView {
            node: node.clone(),
            role: status.get("role").and_then(Value::as_str).unwrap_or_default().to_owned(),
            own: node == own,
            answers: true,
            status: status.clone(),
        };
        let mut nodes: Vec<_> = all.answers.iter().map(view).collect();
        let mut silent = all.silent;
        let known = all.answers.iter().find(|(node, _)| node == own);
        for (node, _) in known.into_iter().flat_map(|(_, status)| linked_in(status)).take(NODES_MAX) {
            let name = node.as_str();
            if nodes.iter().all(|known| known.node != name) && silent.iter().all(|known| known.node != name) {
                silent.push(Silent { node: name.to_owned(), why: "there is no link with it".to_owned() });
            }
        }
        nodes.extend(silent.iter().map(|one| NodeView {
            node: one.node.clone(),
            role: String::new(),
            own: false,
            answers: false,
            status: Value::Null,
        }));
        NodesView { nodes, silent }
    }

    /// The node of that name, if this core knows it.
    async fn known(&self, name: &str) -> Result<NodeId, Refusal> {
        let node = self.node(name)?;
        let is_known = node == self.settled.node || {
            let status = self.ask(None, "status", json!({})).await.unwrap_or_default();
            linked_in(&status).any(|(linked, _)| linked == node)
        };
        if is_known { Ok(node) } else { Err(Refusal::not_found(format!("no node {node} is linked with this one"))) }
    }

    /// One page of a list, over all nodes or of one. Each node is asked for its share of the page; the cursor says how far
    /// each has come.
    ///
    /// # Errors
    /// [`Refusal`]: the cursor is none of ours, or the one node that is asked does not answer.
    pub async fn list(&self, path: &str, name: &str, wanted: &Wanted) -> Result<Page, Refusal> {
        let cursors = wanted.after.as_deref().map(read_cursor).transpose()?;
        let nodes = match (&wanted.node, &cursors) {
            (Some(node), _) => vec![self.known(node).await?],
            (None, Some(cursors)) => cursors.keys().map(|node| self.node(node)).collect::<Result<_, _>>()?,
            (None, None) => {
                let mut nodes = vec![self.settled.node.clone()];
                nodes.extend(self.linked().await);
                nodes
            }
        };
        let limit = if wanted.limit == 0 { PAGE_DEFAULT } else { wanted.limit.min(PAGE_MAX) };
        let share = (limit / nodes.len().max(1)).max(1);
        let question = |node: NodeId| {
            let mut body = Map::new();
            body.insert("limit".to_owned(), share.into());
            // None at all rather than null: not everybody who answers takes null for it.
            let after = cursors.as_ref().and_then(|cursors| cursors.get(node.as_str()).cloned());
            body.extend(after.map(|after| ("after".to_owned(), after)));
            body.extend(wanted.filters.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))));
            (node, Value::Object(body))
        };
        let alone = wanted.node.is_some();
        let all = self.each(path, nodes.into_iter().map(question).collect()).await;
        if let Some(silent) = all.silent.first().filter(|_| alone) {
            return Err(Refusal::unavailable(format!("{}: {}", silent.node, silent.why)));
        }
        Ok(merged(all, name, share))
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.now)()
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The peers of a status, and whether their links are up.
fn linked_in(status: &Value) -> impl Iterator<Item = (NodeId, bool)> {
    let links = status.get("links").and_then(Value::as_array).into_iter().flatten();
    let mut nodes: Vec<_> = links
        .filter_map(|link| {
            let peer = NodeId::new(link.get("peer")?.as_str()?)?;
            Some((peer, link.get("state").and_then(Value::as_str) == Some("up")))
        })
        .collect();
    nodes.sort();
    nodes.dedup_by(|a, b| a.0 == b.0);
    nodes.into_iter()
}

fn merged(all: Everywhere, name: &str, share: usize) -> Page {
    let mut page = Page { silent: all.silent, ..Page::default() };
    let mut cursors = Map::new();
    for (node, answer) in all.answers {
        let entries = answer.get(name).and_then(Value::as_array).into_iter().flatten();
        page.items.extend(entries.filter_map(Value::as_object).take(share).map(|entry| {
            let mut entry = entry.clone();
            entry.insert("node".to_owned(), node.as_str().into());
            entry
        }));
        page.total = page.total.saturating_add(answer.get("total").and_then(Value::as_u64).unwrap_or(0));
        if let Some(next) = answer.get("next").filter(|next| is_cursor(next)) {
            cursors.insert(node, next.clone());
        }
    }
    page.next = (!cursors.is_empty()).then(|| URL_SAFE_NO_PAD.encode(Value::Object(cursors).to_string()));
    // A cursor that would not be taken back is worse than none.
    page.next = page.next.filter(|cursor| cursor.len() <= CURSOR_BYTES_MAX);
    page
}

/// Nodes say with a number or a short text where they have come to. Anything else would take the room of the others, and
/// end the lists of all of them.
fn is_cursor(next: &Value) -> bool {
    (next.is_number() || next.is_string()) && next.to_string().len() <= CURSOR_OF_NODE_BYTES_MAX
}

fn read_cursor(text: &str) -> Result<BTreeMap<String, Value>, Refusal> {
    let bad = || Refusal::not_found("after: this is no cursor of an earlier page");
    if text.len() > CURSOR_BYTES_MAX {
        return Err(bad());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    let cursors: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    if cursors.is_empty() || cursors.len() > NODES_MAX { Err(bad()) } else { Ok(cursors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lies_about_what_is_next_does_not_end_the_lists_of_others() {
        let answer = |next: Value| json!({ "calls": [{}], "next": next, "total": 1 });
        let bad = [json!("x".repeat(8_000)), json!([[1]]), json!({}), json!(true), json!("\u{1}".repeat(60))];
        for bad in bad {
            let answers = [("core1", json!("1.0")), ("core2", json!(7)), ("edge1", bad)];
            let answers = answers.map(|(node, next)| (node.to_owned(), answer(next))).to_vec();
            let page = merged(Everywhere { answers, silent: Vec::new() }, "calls", 10);
            let cursors = read_cursor(&page.next.expect("a next page")).expect("one of ours");
            assert_eq!(
                cursors.into_iter().collect::<Vec<_>>(),
                [("core1".to_owned(), json!("1.0")), ("core2".to_owned(), json!(7))]
            );
        }
    }
}
