//! Who answers what: the node, the desk of maintenance mode, the HTTP thread.

use std::rc::Rc;

use edgeway_model::world::{ConfigurationStatus, Observable};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::lists::{self, Now};
use super::{Asked, Live, Question, Refusal, Told, Work};
use crate::admin;
use crate::clock::unix_ms;
use crate::http::HttpHandle;
use crate::maintenance::Desk;
use crate::reactor::Reactor;

/// On the reactor's thread.
pub(crate) struct Switchboard<N: Observable + 'static> {
    reactor: Rc<Reactor<N>>,
    maintenance: Rc<Desk<N>>,
    http: Option<HttpHandle>,
    /// Where settings can change: at a core. An edge gets its own from cores.
    live: Option<Rc<dyn Live>>,
}

impl<N: Observable + 'static> Switchboard<N> {
    pub(crate) fn new(
        reactor: Rc<Reactor<N>>,
        maintenance: Rc<Desk<N>>,
        http: Option<HttpHandle>,
        live: Option<Rc<dyn Live>>,
    ) -> Rc<Self> {
        Rc::new(Self { reactor, maintenance, http, live })
    }

    /// Answers until nobody can ask any more.
    pub(crate) async fn run(self: Rc<Self>, mut asked: Asked) {
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(question, answer) => Rc::clone(&self).ask(question, answer),
                Work::Prepare(settings, answer) => match self.live.clone() {
                    Some(live) => drop(spawn_local(async move { answer.send(live.prepare(settings).await) })),
                    None => drop(answer.send(Err(vec!["this node gets its settings from cores".to_owned()]))),
                },
                Work::Apply(answer) => match self.live.clone() {
                    Some(live) => drop(spawn_local(async move {
                        let applied = live.apply().await;
                        answer.send(applied.then_some(()).ok_or_else(|| Refusal::invalid("nothing was prepared")))
                    })),
                    None => drop(answer.send(Err(Refusal::invalid("nothing was prepared")))),
                },
                Work::Abort => {
                    if let Some(live) = &self.live {
                        live.abort();
                    }
                }
                Work::Tell(Told::Configuration { revision, source }) => {
                    let source = Some(source.to_owned());
                    self.reactor.set_configuration(ConfigurationStatus { revision, source });
                }
                Work::Tell(Told::Alarm(alarm)) => self.reactor.raise_alarm(alarm),
                Work::Tell(Told::AlarmOver { id, about }) => self.reactor.end_alarm(id, &about),
            }
        }
    }

    fn ask(self: Rc<Self>, question: Question, answer: oneshot::Sender<Result<Value, Refusal>>) {
        spawn_local(async move {
            let _ = answer.send(self.answer(question).await);
        });
    }

    fn now(&self) -> Now {
        Now { unix_ms: unix_ms(), moment: self.reactor.now() }
    }

    pub(crate) async fn answer(&self, question: Question) -> Result<Value, Refusal> {
        let status = self.reactor.status();
        if let Some(node) = question.node.filter(|node| node.as_str() != status.node) {
            if status.role == "edge" {
                return Err(Refusal::invalid("an edge asks no other node: ask a core"));
            }
            let Some(asks) = self.reactor.asks_of(&node) else {
                return Err(match status.links.iter().any(|link| link.peer == node.as_str()) {
                    true => Refusal::unavailable(format!("there is no link with {node} now")),
                    false => Refusal::not_found(format!("no node {node} is linked with this one")),
                });
            };
            return asks.ask(&question.path, &question.body).await;
        }
        match question.path.as_str() {
            "status" => Ok(admin::json(&self.reactor.status())),
            "registrations" => {
                let page = self.reactor.registration_page(&lists::wish(&question.body)?);
                Ok(lists::registrations(page, self.now()))
            }
            "calls" => {
                let page = self.reactor.call_page(&lists::wish(&question.body)?);
                Ok(lists::calls(page, self.now()))
            }
            "events" => self.reactor.events().list(&question.body),
            "links" => {
                let links: Vec<_> = self.reactor.status().links.iter().map(admin::link).collect();
                Ok(json!({ "links": links }))
            }
            path @ ("attempts" | "ladder" | "trace/start" | "trace/stop") => {
                self.reactor.trace().ask(path, &question.body)
            }
            "maintenance" => self.maintenance.ask(&question.body).map_err(Refusal::invalid),
            _ => {
                let Some(http) = &self.http else {
                    return Err(Refusal::not_found(format!("there is no {}", question.path)));
                };
                match http.operate(question.path, question.body).await {
                    Ok(outcome) => outcome.map_err(Refusal::invalid),
                    Err(_) => Err(Refusal::unavailable("the HTTP side has ended")),
                }
            }
        }
    }
}
