//! What clients are told of services inside: of discovery where it knows them, else of the name system.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use edgeway_http_proxy::edge_config::{
    CISCO_PHONE_TFTP, CISCO_UDS, CUPLOGIN, Found, Server, Service, SrvServer, TFTP_SERVER, services_asked,
};
use edgeway_model::Moment;
use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind, SrvRecord};
use edgeway_model::sign_in::{Deployment, Session};
use edgeway_policy::discovery::{Cluster, Product};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::LocalFuture;
use tokio::time::timeout;

use super::limits::{LOOKUP_WITHIN, SERVERS_MAX, SERVICES_FOR, SERVICES_MAX};
use crate::discovery::Current;

/// Looks SRV records up; none if there are none, or nobody says.
pub type Srv = Rc<dyn Fn(String) -> LocalFuture<'static, Vec<SrvRecord>>>;

/// Asks the name servers of a resolver.
#[must_use]
pub fn srv_by(resolver: Resolver) -> Srv {
    let resolver = Rc::new(resolver);
    Rc::new(move |name| {
        let resolver = Rc::clone(&resolver);
        Box::pin(async move {
            let query = DnsQuery { kind: RecordKind::Srv, name };
            match timeout(LOOKUP_WITHIN, resolver.answer(&query)).await {
                Ok(DnsAnswer::Srv { records, .. }) => records,
                Ok(
                    DnsAnswer::Naptr { .. }
                    | DnsAnswer::Addresses { .. }
                    | DnsAnswer::Nothing
                    | DnsAnswer::Failed { .. },
                )
                | Err(_) => Vec::new(),
            }
        })
    })
}

/// What is known of services inside.
pub struct Services {
    servers: Current,
    srv: Srv,
    kept: RefCell<BTreeMap<String, (Moment, Vec<SrvServer>)>>,
}

impl Services {
    /// From discovery and the name system.
    #[must_use]
    pub fn new(servers: Current, srv: Srv) -> Self {
        Self { servers, srv, kept: RefCell::default() }
    }

    /// The services a client asks for, in its order; all it knows if it names none.
    pub async fn asked(&self, deployment: &Deployment, domain: &str, asked: &[String], now: Moment) -> Vec<Service> {
        let mut services = Vec::new();
        for name in services_asked(asked) {
            services.push(Service { name: name.to_owned(), found: self.one(deployment, domain, name, now).await });
        }
        services
    }

    async fn one(&self, deployment: &Deployment, domain: &str, name: &str, now: Moment) -> Found {
        match name {
            TFTP_SERVER => {
                let mut addresses: Vec<String> = Vec::new();
                for address in self.clusters(deployment).into_iter().flat_map(|cluster| cluster.tftp) {
                    if addresses.len() < SERVERS_MAX && !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                Found::Addresses(addresses)
            }
            CISCO_UDS => {
                let known = self.uds(deployment);
                if known.is_empty() {
                    return Found::Servers(self.looked_up(domain, name, now).await);
                }
                let server = |server: Server| SrvServer {
                    priority: 1,
                    weight: 1,
                    port: server.tls_port,
                    address: server.address,
                };
                Found::Servers(known.into_iter().map(server).collect())
            }
            CUPLOGIN | CISCO_PHONE_TFTP => Found::Servers(self.looked_up(domain, name, now).await),
            // Names that nobody knows are never looked up: a client does not choose what is asked inside.
            _ => Found::NameError,
        }
    }

    /// UDS servers of the user's home cluster; of the deployment where nobody knows it.
    #[must_use]
    pub fn user_uds(&self, deployment: &Deployment, session: Option<&Session>) -> Vec<Server> {
        let all = self.uds(deployment);
        let home = session.map(|session| session.profile.uds_servers.as_slice()).unwrap_or_default();
        if home.is_empty() {
            return all;
        }
        let port = |name: &str| all.iter().find(|server| server.address == name).map_or(8443, |server| server.tls_port);
        let server = |name: &String| Server { address: name.clone(), tls_port: port(name) };
        home.iter().take(SERVERS_MAX).map(server).collect()
    }

    fn uds(&self, deployment: &Deployment) -> Vec<Server> {
        let nodes = self.clusters(deployment).into_iter().flat_map(|cluster| cluster.nodes);
        let served = nodes.filter(|node| node.https_port != 0);
        served.take(SERVERS_MAX).map(|node| Server { address: node.name, tls_port: node.https_port }).collect()
    }

    fn clusters(&self, deployment: &Deployment) -> Vec<Cluster> {
        let snapshot = self.servers.snapshot();
        let ours = |cluster: &&Cluster| cluster.product == Product::UnifiedCm && cluster.deployment == *deployment;
        snapshot.clusters.iter().filter(ours).cloned().collect()
    }

    /// What the name system says, kept for a moment: many sign in at a time.
    async fn looked_up(&self, domain: &str, service: &str, now: Moment) -> Vec<SrvServer> {
        let name = format!("{service}._tcp.{domain}");
        if let Some((at, servers)) = self.kept.borrow().get(&name)
            && now.since(*at) < SERVICES_FOR
        {
            return servers.clone();
        }
        let mut records = (self.srv)(name.clone()).await;
        records.sort_by(|one, other| one.priority.cmp(&other.priority).then(other.weight.cmp(&one.weight)));
        // A target of "." says that there is no such service (RFC 2782).
        let servers: Vec<_> = records
            .into_iter()
            .filter(|record| !record.target.trim_end_matches('.').is_empty())
            .take(SERVERS_MAX)
            .map(|record| SrvServer {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                address: record.target.trim_end_matches('.').to_owned(),
            })
            .collect();
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= SERVICES_MAX {
            kept.retain(|_, (at, _)| now.since(*at) < SERVICES_FOR);
        }
        if kept.len() < SERVICES_MAX {
            kept.insert(name, (now, servers.clone()));
        }
        servers
    }
}
