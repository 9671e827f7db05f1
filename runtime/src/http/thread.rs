//! The thread itself: one runtime, its part, and the orders it is given.

use std::rc::Rc;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;

use super::bulk::{Cores, Edges, Requests};
use super::dials::Dials;
use super::front::Front;
use super::handle::{HttpFault, Order, Part};
use super::{Inside, Teller, naps};
use crate::chat::carrier::{Carriers, Chats};
use crate::chat::{self, ChatFront};
use crate::link::Carries;
use crate::pki::tls::to_chat;

/// Runs until it is told to stop, or nobody can tell it anything any more.
pub(super) fn run(
    part: Part,
    teller: Teller,
    orders: UnboundedReceiver<Order>,
    ready: &SyncSender<Result<(), HttpFault>>,
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    if let Some(counts) = teller.counts.clone() {
        builder.on_thread_park(move || naps::before_waiting(&counts));
    }
    let runtime = match builder.enable_all().build_local(tokio::runtime::LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error.into()))),
    };
    runtime.block_on(async {
        match Worker::start(part, teller) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                worker.run(orders).await;
            }
            Err(fault) => drop(ready.send(Err(fault))),
        }
    });
}

enum Worker {
    Edge { cores: Rc<Cores>, carriers: Rc<Carriers>, front: Rc<Front>, chat: Option<Rc<ChatFront>> },
    Core { edges: Edges, chats: Dials<Chats>, inside: Rc<dyn Inside> },
}

impl Worker {
    fn start(part: Part, teller: Teller) -> Result<Self, HttpFault> {
        match part {
            Part::Front(mut config) => {
                let cores = Rc::new(Cores::new(teller.clone()));
                let carriers = Rc::new(Carriers::new(teller.clone()));
                let chat = config.chat.take();
                let start = |config| ChatFront::start(config, chat::through(&carriers), teller.clone());
                let chat = chat.map(start).transpose()?;
                let front = Front::start(*config, Rc::clone(&cores), teller)?;
                Ok(Self::Edge { cores, carriers, front, chat })
            }
            Part::Inside(make) => {
                let inside = make(teller.clone()).map_err(HttpFault::Configuration)?;
                let edges = Edges::new(Requests::new(Rc::clone(&inside), teller));
                let chats = Dials::new(Chats::new(Rc::clone(&inside)));
                Ok(Self::Core { edges, chats, inside })
            }
        }
    }

    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            if let Order::Stop(done) = order {
                self.drain().await;
                return drop(done);
            }
            if let Order::Turns(answer) = order {
                let _ = answer.send(());
                continue;
            }
            self.carry_out(order);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what one part is asked, the other has no use for")]
    fn carry_out(&mut self, order: Order) {
        match self {
            Self::Edge { cores, carriers, front, chat } => match order {
                Order::Adopt(hello) => match hello.carries {
                    Carries::Requests => cores.adopt(hello),
                    Carries::Chat => carriers.adopt(hello),
                },
                Order::Forget(core) => {
                    cores.forget(&core);
                    carriers.forget(&core);
                    front.forget(&core);
                }
                Order::Revoked(serials) => {
                    cores.revoked(&serials);
                    carriers.revoked(&serials);
                }
                Order::Told(fact) => {
                    cores.told(&fact);
                    carriers.told(&fact);
                    front.told(fact);
                }
                Order::Maintain(on) => {
                    front.maintain(on);
                    if let Some(chat) = chat {
                        chat.refuse_new(on);
                    }
                }
                Order::EndAll => {
                    front.end_all();
                    if let Some(chat) = chat {
                        chat.end_all();
                    }
                }
                Order::Operate { path, question, answer } => {
                    let answered = chat.as_ref().and_then(|chat| chat.operate(&path, &question));
                    let nothing = || Err("an edge has nothing to answer here: ask a core".into());
                    let _ = answer.send(answered.unwrap_or_else(nothing));
                }
                _ => {}
            },
            Self::Core { edges, chats, inside } => match order {
                Order::Dial { edge, address, config } => {
                    chats.dial(edge.clone(), address.clone(), to_chat(&config));
                    edges.dial(edge, address, config);
                }
                Order::Forget(edge) => {
                    edges.forget(&edge);
                    chats.forget(&edge);
                }
                Order::Revoked(serials) => {
                    edges.revoked(&serials);
                    chats.revoked(&serials);
                }
                Order::Told(fact) => {
                    edges.told(&fact);
                    chats.told(&fact);
                    inside.told(fact);
                }
                Order::Maintain(on) => {
                    edges.carried().maintain(on);
                    inside.maintain(on);
                }
                Order::EndAll => {
                    edges.carried().end_all();
                    inside.end_all();
                }
                Order::Prepare { settings, answer } => drop(answer.send(inside.prepare(&settings))),
                Order::Apply(answer) => drop(answer.send(inside.apply())),
                Order::Abort => inside.abort(),
                Order::Operate { path, question, answer } => {
                    let inside = Rc::clone(inside);
                    spawn_local(async move {
                        let _ = answer.send(inside.operate(path, question).await);
                    });
                }
                _ => {}
            },
        }
    }

    async fn drain(self) {
        match self {
            Self::Edge { cores, carriers, front, chat } => {
                let chats = async {
                    if let Some(chat) = &chat {
                        chat.drain().await;
                    }
                };
                tokio::join!(front.drain(), chats);
                carriers.close();
                cores.close();
            }
            Self::Core { edges, chats, inside } => {
                inside.stop().await;
                tokio::join!(edges.drain(), chats.drain());
            }
        }
    }
}
