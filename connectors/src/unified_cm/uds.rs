//! Unified CM as an authority: the call manager itself says whether a password or token is right.
//!
//! ```text
//!  clusterUser?username=  at one node of each cluster     where the user is at home
//!  user/<id>/devices      at home, with the credentials   401: refused. This is the check
//!  user/<id>, servers, user/<id>/extensions               what else is known of the user
//! ```
//! A node that does not answer, or not as it should, is passed over for another of its cluster. Only nodes that
//! discovery has found are ever asked: an answer that names another host leads nowhere. A user nobody knows costs
//! the same round trips, to the same nodes, as a wrong password.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use edgeway_model::sign_in::{Deployment, Profile, Subject, UserName};
use edgeway_policy::discovery::{Product, Snapshot, UcNode};
use edgeway_runtime::http::LocalFuture;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::time::{Sleep, sleep};
use zeroize::Zeroizing;

use super::uds_xml::{self, ClusterUser, UdsXmlFault};
use crate::authorities::limits::{
    CHECK_WITHIN, PASSWORD_BYTES_MAX, UDS_ANSWER_BYTES_MAX, UDS_ANSWER_WITHIN, UDS_CLUSTERS_MAX, UDS_NODES_TRIED_MAX,
    UDS_OTHERS_WITHIN,
};
use crate::discovery::Current;
use crate::proxy::{ClientFault, HttpClient, Target};
use crate::sign_in::authority::{Authority, Credential, Known, Reached, Verdict};

/// The Unified CM clusters of a deployment.
pub struct UnifiedCm {
    deployment: Deployment,
    /// Publishers as configured: asked before anything has been discovered.
    publishers: Vec<(String, u16)>,
    servers: Current,
    http: HttpClient,
    /// Chooses where a user nobody knows would be at home, the same each time.
    choose: RandomState,
}

/// The nodes of one cluster, in the order they are asked.
type Nodes = Vec<Target>;

/// A question to UDS, and how its answer is read.
struct Question<'a, T> {
    path: &'a str,
    authorization: Option<&'a HeaderValue>,
    read: fn(&[u8]) -> Result<T, UdsXmlFault>,
    /// Whether 404 is an answer. Where it is not, UDS does not run there.
    may_be_missing: bool,
    /// Set once any node has answered anything.
    heard: &'a Cell<bool>,
}

/// Why there is no answer.
enum Trouble {
    /// The credentials are not right, or not for this.
    Refused,
    /// The user is at home in a cluster that is none of the deployment's.
    Elsewhere,
    /// Nobody of a cluster has answered as it should.
    Unavailable(String),
}

impl UnifiedCm {
    /// The clusters of `deployment` in `servers`; `publishers` (host, port) as long as there are none.
    #[must_use]
    pub fn new(deployment: Deployment, publishers: Vec<(String, u16)>, servers: Current, http: HttpClient) -> Self {
        Self { deployment, publishers, servers, http, choose: RandomState::new() }
    }

    async fn ask(&self, user: &UserName, credential: &Credential, heard: &Cell<bool>) -> Verdict {
        let Some(authorization) = authorization(user, credential) else { return Verdict::Refused };
        let clusters = self.clusters();
        if clusters.is_empty() {
            let why = "no Unified CM of the deployment is known yet".to_owned();
            return Verdict::Unavailable { why, reached: Reached::NotAsked };
        }
        match self.known(user, &authorization, clusters, heard).await {
            Ok(known) => Verdict::Good(Box::new(known)),
            Err(Trouble::Refused) => Verdict::Refused,
            Err(Trouble::Elsewhere) => Verdict::Elsewhere,
            Err(Trouble::Unavailable(why)) => Verdict::Unavailable { why, reached: reached(heard) },
        }
    }

    async fn known(
        &self,
        user: &UserName,
        authorization: &HeaderValue,
        clusters: Vec<Nodes>,
        heard: &Cell<bool>,
    ) -> Result<Known, Trouble> {
        let id = encoded(user.as_str());
        let devices = Question {
            path: &format!("/cucm-uds/user/{id}/devices"),
            authorization: Some(authorization),
            read: uds_xml::devices,
            may_be_missing: false,
            heard,
        };
        let home = match self.home(&id, &clusters, heard).await? {
            Home::At(nodes) => nodes,
            Home::Nowhere(nodes, why) => {
                // As long as for a user there is: the answer means nothing.
                self.of_cluster(&nodes, &Question { may_be_missing: true, ..devices }).await?;
                return Err(why);
            }
        };
        let (devices, answered) = self.of_cluster(&home, &devices).await?;
        let devices = devices.ok_or(Trouble::Refused)?;
        // Whoever has just answered is asked first, and named first to the client.
        let nodes = first(home, &answered);
        let with = Some(authorization);
        let (user_path, extensions_path) = (format!("/cucm-uds/user/{id}"), format!("/cucm-uds/user/{id}/extensions"));
        let (told, servers, numbers) = tokio::join!(
            self.besides(&nodes, &user_path, with, uds_xml::user, heard),
            self.besides(&nodes, "/cucm-uds/servers", None, uds_xml::servers, heard),
            self.besides(&nodes, &extensions_path, with, uds_xml::extensions, heard),
        );
        let (told, servers, numbers) = (told?, servers?, numbers?);
        let snapshot = self.servers.snapshot();
        let im_nodes: Vec<&str> =
            self.nodes_of(&snapshot, Product::ImAndPresence).map(|node| node.name.as_str()).collect();
        let im_servers = told.im_servers.iter().filter_map(|server| known_as(server, im_nodes.iter().copied()));
        Ok(Known {
            user: user.clone(),
            // Another user's name would be another user: what was asked is what holds.
            spelled: told.name.filter(|name| UserName::new(name).is_some_and(|name| name == *user)),
            devices: Some(devices),
            numbers,
            profile: Profile { uds_servers: uds_servers(&nodes, &servers), im_servers: im_servers.collect() },
            until_ms: None,
        })
    }

    /// Asks one node of each cluster where the user is at home: without their knowing of each other there may be
    /// an answer from one only, and all are asked for every user. Once one knows, the others are not waited for much
    /// longer: a cluster that is down is no matter of another's users.
    async fn home(&self, id: &str, clusters: &[Nodes], heard: &Cell<bool>) -> Result<Home, Trouble> {
        let question = Question {
            path: &format!("/cucm-uds/clusterUser?username={id}"),
            authorization: None,
            read: uds_xml::cluster_user,
            may_be_missing: false,
            heard,
        };
        let mut asked: Vec<LocalFuture<'_, _>> = Vec::new();
        for nodes in clusters {
            asked.push(Box::pin(self.of_cluster(nodes, &question)));
        }
        let knows = |answer: &Result<(Option<ClusterUser>, Target), Trouble>| match answer {
            Ok((Some(ClusterUser::Found { home }), _)) => at_home(clusters, home).is_some(),
            Ok((Some(ClusterUser::Unknown) | None, _)) | Err(_) => false,
        };
        let answers = all(asked, knows).await;
        // Of each cluster, whoever has just answered is asked on, whether the user is known there or not: nodes do not
        // answer alike fast.
        let inquired: Vec<Nodes> = clusters
            .iter()
            .zip(&answers)
            .map(|(nodes, answer)| match answer {
                Some(Ok((_, answered))) => first(nodes.clone(), answered),
                Some(Err(_)) | None => nodes.clone(),
            })
            .collect();
        let (mut strange, mut unavailable, mut nowhere) = (None, None, Vec::new());
        for (nodes, answer) in inquired.iter().zip(answers) {
            let Some(answer) = answer else { continue };
            match answer {
                Ok((Some(ClusterUser::Found { home }), _)) => match at_home(&inquired, &home) {
                    Some(home) => return Ok(Home::At(home)),
                    None => strange = Some(nodes),
                },
                Ok((Some(ClusterUser::Unknown) | None, _)) => nowhere.push(nodes),
                Err(Trouble::Refused | Trouble::Elsewhere) => {
                    unavailable.get_or_insert_with(|| "UDS wants a password to find users (clusterUser)".to_owned());
                }
                Err(Trouble::Unavailable(why)) => _ = unavailable.get_or_insert(why),
            }
        }
        if let Some(nodes) = strange {
            if self.all_are_known() {
                return Ok(Home::Nowhere(nodes.clone(), Trouble::Elsewhere));
            }
            let why = "the home cluster of the user is not known yet: discover it, or refresh the servers";
            return Err(Trouble::Unavailable(why.to_owned()));
        }
        // The user may live where nobody answers.
        let chosen = usize::try_from(self.choose.hash_one(id) % nowhere.len().max(1) as u64).unwrap_or(0);
        match (unavailable, nowhere.get(chosen)) {
            (Some(why), _) => Err(Trouble::Unavailable(why)),
            (None, Some(nodes)) => Ok(Home::Nowhere(Nodes::clone(nodes), Trouble::Refused)),
            (None, None) => Err(Trouble::Unavailable("no Unified CM has said anything of the user".to_owned())),
        }
    }

    /// What is asked besides the check, of whoever has passed it. What UDS does not have, or keeps from this user,
    /// is empty; what it does not say now is not taken for empty, because it would hold for hours.
    async fn besides<T: Default>(
        &self,
        nodes: &[Target],
        path: &str,
        authorization: Option<&HeaderValue>,
        read: fn(&[u8]) -> Result<T, UdsXmlFault>,
        heard: &Cell<bool>,
    ) -> Result<T, Trouble> {
        match self.of_cluster(nodes, &Question { path, authorization, read, may_be_missing: true, heard }).await {
            Ok((answer, _)) => Ok(answer.unwrap_or_default()),
            Err(Trouble::Refused | Trouble::Elsewhere) => Ok(T::default()),
            Err(Trouble::Unavailable(why)) => Err(Trouble::Unavailable(why)),
        }
    }

    /// Asks the nodes of a cluster in turn until one answers as it should, and says which did.
    async fn of_cluster<T>(
        &self,
        nodes: &[Target],
        question: &Question<'_, T>,
    ) -> Result<(Option<T>, Target), Trouble> {
        let mut why = "the cluster has no nodes".to_owned();
        for node in nodes.iter().take(UDS_NODES_TRIED_MAX) {
            match self.of_node(node, question).await {
                Ok(answer) => return Ok((answer, node.clone())),
                Err(no @ (Trouble::Refused | Trouble::Elsewhere)) => return Err(no),
                Err(Trouble::Unavailable(new)) => {
                    tracing::debug!(%node, why = %new, "UDS");
                    why = format!("{node}: {new}");
                }
            }
        }
        Err(Trouble::Unavailable(why))
    }

    async fn of_node<T>(&self, node: &Target, question: &Question<'_, T>) -> Result<Option<T>, Trouble> {
        let mut request = Request::builder().method(Method::GET).uri(question.path).header(ACCEPT, "application/xml");
        if let Some(authorization) = question.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let unavailable = |why: String| Trouble::Unavailable(why);
        let request = request.body(Bytes::new()).map_err(|_| unavailable("the question cannot be put".to_owned()))?;
        let answer = self.http.fetch(node, request, UDS_ANSWER_BYTES_MAX, UDS_ANSWER_WITHIN).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                question.heard.set(question.heard.get() || is_answer(&fault));
                return Err(unavailable(fault.to_string()));
            }
        };
        question.heard.set(true);
        match answer.status {
            StatusCode::OK => (question.read)(&answer.body).map(Some).map_err(|fault| unavailable(fault.to_string())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Refused),
            StatusCode::NOT_FOUND if question.may_be_missing => Ok(None),
            StatusCode::NOT_FOUND => Err(unavailable("UDS does not run there (404)".to_owned())),
            other => Err(unavailable(format!("UDS answers {}", other.as_u16()))),
        }
    }

    /// The call manager nodes of the deployment, by cluster, each in a random order.
    fn clusters(&self) -> Vec<Nodes> {
        let snapshot = self.servers.snapshot();
        let ours = snapshot.clusters.iter().filter(|cluster| {
            cluster.product == Product::UnifiedCm && cluster.deployment == self.deployment && !cluster.nodes.is_empty()
        });
        let target = |host: &str, port: u16| Target { https: true, host: host.to_owned(), port };
        let mut clusters: Vec<Nodes> = ours
            .map(|cluster| {
                let nodes = cluster.nodes.iter().filter(|node| node.https_port != 0);
                shuffled(nodes.map(|node| target(&node.name, node.https_port)).collect())
            })
            .filter(|nodes| !nodes.is_empty())
            .take(UDS_CLUSTERS_MAX)
            .collect();
        if clusters.is_empty() {
            let publishers = self.publishers.iter().take(UDS_CLUSTERS_MAX);
            clusters = publishers.map(|(host, port)| vec![target(host, *port)]).collect();
        }
        clusters
    }

    /// Whether something is known of each cluster that is configured.
    fn all_are_known(&self) -> bool {
        let snapshot = self.servers.snapshot();
        self.publishers.iter().all(|(host, _)| snapshot.cluster(Product::UnifiedCm, host).is_some())
    }

    fn nodes_of<'a>(&'a self, snapshot: &'a Snapshot, product: Product) -> impl Iterator<Item = &'a UcNode> {
        let ours = snapshot.clusters.iter().filter(move |cluster| cluster.product == product);
        ours.filter(|cluster| cluster.deployment == self.deployment).flat_map(|cluster| &cluster.nodes)
    }
}

/// Where a user is at home.
enum Home {
    /// In the cluster of these nodes.
    At(Nodes),
    /// Nowhere, or nowhere here. These are the nodes of a cluster that says so, and what it comes to.
    Nowhere(Nodes, Trouble),
}

impl Authority for UnifiedCm {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        Box::pin(async move {
            if subject.deployment != self.deployment {
                return Verdict::Refused;
            }
            let heard = Cell::new(false);
            let asked = tokio::time::timeout(CHECK_WITHIN, self.ask(&subject.user, credential, &heard)).await;
            asked.unwrap_or_else(|_| Verdict::Unavailable {
                why: format!("no answer from Unified CM within {} s", CHECK_WITHIN.as_secs()),
                reached: reached(&heard),
            })
        })
    }
}

fn reached(heard: &Cell<bool>) -> Reached {
    if heard.get() { Reached::Somebody } else { Reached::Nobody }
}

/// Whether a node has answered, for all that, or was not asked for a reason of ours.
fn is_answer(fault: &ClientFault) -> bool {
    match fault {
        ClientFault::CouldNotConnect(_)
        | ClientFault::Tls(_)
        | ClientFault::Resting { .. }
        | ClientFault::Timeout(_)
        | ClientFault::Broken(_) => false,
        ClientFault::Busy | ClientFault::TooLarge | ClientFault::Request(_) | ClientFault::RequestTooLarge => true,
    }
}

/// The header with the credentials; `None` for what cannot be right.
fn authorization(user: &UserName, credential: &Credential) -> Option<HeaderValue> {
    let text = match credential {
        Credential::Password(password) if password.is_empty() || password.len() > PASSWORD_BYTES_MAX => return None,
        Credential::Password(password) => {
            let pair = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
            Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        }
        Credential::Bearer(token) => Zeroizing::new(format!("Bearer {}", token.as_str())),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A path segment or query value: all but unreserved characters percent-encoded (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The nodes of the cluster that has a node of that name.
fn at_home(clusters: &[Nodes], name: &str) -> Option<Nodes> {
    clusters.iter().find_map(|nodes| {
        known_as(name, nodes.iter().map(|node| node.host.as_str()))?;
        Some(nodes.clone())
    })
}

/// The node that an answer means by `name`: call managers name nodes with or without their domain.
fn known_as<'a>(name: &str, mut nodes: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let exact = nodes.clone().find(|node| node.eq_ignore_ascii_case(name));
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let found = exact.or_else(|| {
        let (short, addresses) = (!name.contains('.'), is_address(name));
        nodes.find(|node| {
            let label = if short { node.split('.').next().unwrap_or(node) } else { node };
            let meant = if short { name } else { name.split('.').next().unwrap_or(name) };
            // One of the two is written without its domain.
            (short || !node.contains('.')) && !addresses && !is_address(node) && label.eq_ignore_ascii_case(meant)
        })
    });
    found.map(str::to_owned)
}

/// The same nodes, `node` before all others.
fn first(mut nodes: Nodes, node: &Target) -> Nodes {
    nodes.sort_by_key(|other| other != node);
    nodes
}

/// UDS servers of the home cluster as clients are told them: who has answered, then those in the order the call
/// manager names them. What it names that we do not know is not told on.
fn uds_servers(nodes: &[Target], told: &[String]) -> Vec<String> {
    let hosts = || nodes.iter().map(|node| node.host.as_str());
    let mut servers: Vec<String> = hosts().take(1).map(str::to_owned).collect();
    let named = told.iter().filter_map(|server| known_as(server, hosts()));
    let named: Vec<String> = named.collect();
    let rest: Vec<String> = if named.is_empty() { hosts().map(str::to_owned).collect() } else { named };
    for server in rest {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// In a random order, so that no node has all the questions.
fn shuffled(mut nodes: Nodes) -> Nodes {
    for end in (1..nodes.len()).rev() {
        let mut random = [0; 8];
        if aws_lc_rs::rand::fill(&mut random).is_ok() {
            let chosen = usize::try_from(u64::from_le_bytes(random) % (end as u64 + 1)).unwrap_or(0);
            nodes.swap(end, chosen);
        }
    }
    nodes
}

/// All answers, asked side by side, in order. After one that is `enough` the others have [`UDS_OTHERS_WITHIN`] left:
/// what is not there by then is `None`.
async fn all<T>(mut asked: Vec<LocalFuture<'_, T>>, enough: impl Fn(&T) -> bool) -> Vec<Option<T>> {
    let mut answers: Vec<Option<T>> = asked.iter().map(|_| None).collect();
    let mut over: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        for (future, answer) in asked.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                if enough(&ready) && over.is_none() {
                    over = Some(Box::pin(sleep(UDS_OTHERS_WITHIN)));
                }
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) {
            return Poll::Ready(());
        }
        match &mut over {
            Some(over) => over.as_mut().poll(context),
            None => Poll::Pending,
        }
    })
    .await;
    answers
}
