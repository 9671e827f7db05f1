//! Who answers what: the node, the desk of maintenance mode, the HTTP thread.

use std::cell::Cell;
use std::rc::Rc;

use edgeway_model::NodeId;
use edgeway_model::world::{ConfigurationStatus, Observable};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_local;

use super::lists::{self, Now};
use super::{Asked, Live, Question, Refusal, Told, Work};
use crate::admin;
use crate::clock::unix_ms;
use crate::http::HttpHandle;
use crate::limits::{OPERATOR_QUESTIONS_ASKED_MAX, OPERATOR_QUESTIONS_QUEUED_MAX};
use crate::maintenance::Desk;
use crate::reactor::Reactor;

type Answer = oneshot::Sender<Result<Value, Refusal>>;

/// On the reactor's thread.
pub(crate) struct Switchboard<N: Observable + 'static> {
    reactor: Rc<Reactor<N>>,
    maintenance: Rc<Desk<N>>,
    http: Option<HttpHandle>,
    /// Where settings can change: at a core. An edge gets its own from cores.
    live: Option<Rc<dyn Live>>,
    /// What this node is called, and whether it is an edge.
    own: String,
    is_edge: bool,
}

impl<N: Observable + 'static> Switchboard<N> {
    pub(crate) fn new(
        reactor: Rc<Reactor<N>>,
        maintenance: Rc<Desk<N>>,
        http: Option<HttpHandle>,
        live: Option<Rc<dyn Live>>,
    ) -> Rc<Self> {
        let status = reactor.status();
        Rc::new(Self { reactor, maintenance, http, live, is_edge: status.role == "edge", own: status.node })
    }

    /// Answers until nobody can ask any more.
    ///
    /// What this thread knows itself is answered at once, one after the other. What somebody else must be asked for waits
    /// for a place, and holds up nothing else.
    pub(crate) async fn run(self: Rc<Self>, mut asked: Asked) {
        let places = Rc::new(Places::default());
        let writers = Rc::new(Places::default());
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(question, answer) => match self.known(&question) {
                    Some(Known::Said(known)) => drop(answer.send(known)),
                    Some(Known::Rows(write)) => write_down(&writers, write, answer),
                    None => Rc::clone(&self).ask_others(&places, question, answer),
                },
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
                Work::Tell(Told::Refused) => self.reactor.count_reload(false),
                Work::Tell(Told::Alarm(alarm)) => self.reactor.raise_alarm(alarm),
                Work::Tell(Told::AlarmOver { id, about }) => self.reactor.end_alarm(id, &about),
            }
        }
    }

    fn ask_others(self: Rc<Self>, places: &Rc<Places>, question: Question, answer: Answer) {
        let Some(place) = Places::queue(places) else {
            return drop(answer.send(Err(too_many())));
        };
        spawn_local(async move {
            let answered = place.when_free(self.found_out(question)).await;
            let _ = answer.send(answered);
        });
    }

    fn now(&self) -> Now {
        Now { unix_ms: unix_ms(), moment: self.reactor.now() }
    }

    /// The other node that is asked.
    fn other<'a>(&self, question: &'a Question) -> Option<&'a NodeId> {
        question.node.as_ref().filter(|node| node.as_str() != self.own)
    }

    /// The answer, unless somebody else must be asked for it.
    fn known(&self, question: &Question) -> Option<Known> {
        if self.other(question).is_some() {
            return None;
        }
        let body = &question.body;
        let now = self.now();
        match question.path.as_str() {
            "registrations" => {
                let page = lists::wish(body).map(|wish| self.reactor.registration_page(&wish));
                return Some(Known::rows(page, move |page| lists::registrations(page, now)));
            }
            "calls" => {
                let page = lists::wish(body).map(|wish| self.reactor.call_page(&wish));
                return Some(Known::rows(page, move |page| lists::calls(page, now)));
            }
            _ => {}
        }
        Some(Known::Said(match question.path.as_str() {
            "status" => Ok(admin::json(&self.reactor.status())),
            "metrics" => Ok(json!({ "text": crate::metrics::render(&self.reactor.status()) })),
            "calls/show" | "calls/end" if self.is_edge => {
                Err(Refusal::not_found("an edge knows of a call that it relays, and no more: ask the core that has it"))
            }
            "calls/show" => lists::call(body).and_then(|named| {
                let call = lists::meant(self.reactor.call(named.0), &named)?;
                Ok(lists::call_detail(call, now))
            }),
            "calls/end" => lists::call(body).and_then(|named| {
                let call = lists::meant(self.reactor.call(named.0), &named)?.call;
                self.reactor.end_call(call.id);
                // Who keeps a record of it wants to know which call it was.
                let call_id = call.call_id.as_ref().map(|call_id| call_id.reveal().as_str());
                tracing::info!(
                    event = "call.end_ordered",
                    id = call.id,
                    call = call_id,
                    "an operator has ended a call"
                );
                Ok(json!({ "ended": true, "call_id": call_id }))
            }),
            "events" => self.reactor.events().list(body),
            "links" => {
                let links: Vec<_> = self.reactor.status().links.iter().map(admin::link).collect();
                Ok(json!({ "links": links }))
            }
            path @ ("attempts" | "ladder" | "trace/start" | "trace/stop") => self.reactor.trace().ask(path, body),
            _ => return None,
        }))
    }

    async fn found_out(&self, question: Question) -> Result<Value, Refusal> {
        if let Some(node) = self.other(&question) {
            if self.is_edge {
                return Err(Refusal::invalid("an edge asks no other node: ask a core"));
            }
            let Some(asks) = self.reactor.asks_of(node) else {
                return Err(match self.reactor.status().links.iter().any(|link| link.peer == node.as_str()) {
                    true => Refusal::unavailable(format!("there is no link with {node} now")),
                    false => Refusal::not_found(format!("no node {node} is linked with this one")),
                });
            };
            return asks.ask(&question.path, &question.body).await;
        }
        if question.path == "maintenance" {
            return self.maintenance.ask(&question.body).await.map_err(Refusal::invalid);
        }
        let Some(http) = &self.http else {
            return Err(Refusal::not_found(format!("there is no {}", question.path)));
        };
        match http.operate(question.path, question.body).await {
            Ok(outcome) => outcome.map_err(Refusal::invalid),
            Err(_) => Err(Refusal::unavailable("the HTTP side has ended")),
        }
    }
}

/// What this thread knows itself.
enum Known {
    /// The answer.
    Said(Result<Value, Refusal>),
    /// Rows, to be written down by a thread that may take its time: five hundred of them take longer than a packet waits.
    Rows(Box<dyn FnOnce() -> Value + Send>),
}

impl Known {
    fn rows<T: Send + 'static>(page: Result<T, Refusal>, write: impl FnOnce(T) -> Value + Send + 'static) -> Self {
        match page {
            Ok(page) => Self::Rows(Box::new(move || write(page))),
            Err(refusal) => Self::Said(Err(refusal)),
        }
    }
}

fn write_down(writers: &Rc<Places>, write: Box<dyn FnOnce() -> Value + Send>, answer: Answer) {
    let Some(place) = Places::queue(writers) else { return drop(answer.send(Err(too_many()))) };
    spawn_local(async move {
        let written = place.when_free(tokio::task::spawn_blocking(write)).await;
        let _ = answer.send(written.map_err(|_| Refusal::unavailable("the rows could not be written down")));
    });
}

fn too_many() -> Refusal {
    Refusal::unavailable("too many questions wait for an answer: ask again")
}

/// For questions that somebody else is asked: so many at a time, and so many that wait.
struct Places {
    free: Semaphore,
    queued: Cell<usize>,
}

impl Default for Places {
    fn default() -> Self {
        Self { free: Semaphore::new(OPERATOR_QUESTIONS_ASKED_MAX), queued: Cell::new(0) }
    }
}

impl Places {
    /// `None`: too many are there already.
    fn queue(places: &Rc<Self>) -> Option<Place> {
        let queued = places.queued.get();
        (queued < OPERATOR_QUESTIONS_ASKED_MAX + OPERATOR_QUESTIONS_QUEUED_MAX).then(|| {
            places.queued.set(queued + 1);
            Place(Rc::clone(places))
        })
    }
}

/// Of one question, until it is answered.
struct Place(Rc<Places>);

impl Place {
    async fn when_free<T>(self, work: impl Future<Output = T>) -> T {
        // Nobody closes it.
        let _free = self.0.free.acquire().await;
        work.await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queued.set(self.0.queued.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn so_many_are_asked_at_a_time_so_many_wait_and_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, so_many());
    }

    async fn so_many() {
        let places = Rc::new(Places::default());
        let under_way = Rc::new(Cell::new(0));
        let go_on = Rc::new(Semaphore::new(0));
        let mut tasks = Vec::new();
        for _ in 0..OPERATOR_QUESTIONS_ASKED_MAX + OPERATOR_QUESTIONS_QUEUED_MAX {
            let place = Places::queue(&places).expect("a place");
            let (under_way, go_on) = (Rc::clone(&under_way), Rc::clone(&go_on));
            tasks.push(spawn_local(place.when_free(async move {
                under_way.set(under_way.get() + 1);
                assert!(under_way.get() <= OPERATOR_QUESTIONS_ASKED_MAX);
                go_on.acquire().await.expect("open").forget();
                under_way.set(under_way.get() - 1);
            })));
        }
        assert!(Places::queue(&places).is_none());
        while under_way.get() < OPERATOR_QUESTIONS_ASKED_MAX {
            tokio::task::yield_now().await;
        }
        go_on.add_permits(tasks.len());
        for task in tasks {
            task.await.expect("it ends");
        }
        assert_eq!(places.queued.get(), 0);
        assert!(Places::queue(&places).is_some());
    }
}
