//! The core's end: every stream an edge opens goes to [`Inside::chat`].

use std::rc::Rc;
use std::time::Duration;

use edgeway_model::{NodeId, Role};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::super::limits::REPLACED_BEFORE;
use super::line::Line;
use super::pump::{Pump, Turn};
use crate::http::Inside;
use crate::http::dials::{Carried, Opened, Proof, Served, Standing, Tls};

/// Chat streams of clients that come to this core.
pub(crate) struct Chats {
    inside: Rc<dyn Inside>,
}

impl Chats {
    pub(crate) fn new(inside: Rc<dyn Inside>) -> Self {
        Self { inside }
    }
}

/// How long a connection takes new streams that may last so long: another one is dialled before it ends.
pub(super) fn replaced_after(lasts: Duration) -> Duration {
    lasts.saturating_sub(REPLACED_BEFORE.min(lasts / 10))
}

/// A connection that has proven its edge.
pub(crate) struct Connection {
    line: Rc<Line>,
    pump: Pump<Tls>,
    since: Instant,
    lasts: Duration,
    proof: Proof,
}

impl Carried for Chats {
    const WHAT: &'static str = "chat streams of clients";

    type Connection = Connection;

    async fn open(&self, Opened { tls, lasts, proof }: Opened) -> Result<Connection, String> {
        let line = Line::new(Role::Core);
        let pump = Pump::new(Rc::clone(&line), tls);
        Ok(Connection { line, pump, since: Instant::now(), lasts, proof })
    }

    async fn serve(&self, edge: &NodeId, mut connection: Connection, standing: &Rc<Standing>) -> Served {
        let replaced = sleep_until(connection.since + replaced_after(connection.lasts));
        tokio::pin!(replaced);
        loop {
            tokio::select! {
                turn = connection.pump.turn() => match turn {
                    Turn::Ended(why) => return Served::Ended(why),
                    Turn::Opened(opening, stream) => {
                        spawn_local(Rc::clone(&self.inside).chat(edge.clone(), opening, stream));
                    }
                    Turn::Leaving => break,
                },
                () = &mut replaced => break,
                () = standing.checked() => connection.line.check(),
                () = standing.drained() => {
                    connection.line.leave();
                    connection.line.finish();
                    connection.pump.close().await;
                    return Served::Ended("this core stops".to_owned());
                }
            }
        }
        connection.line.leave();
        standing.carry_on(carry_on(connection, Rc::clone(standing)));
        Served::Replaced
    }
}

/// What becomes of a connection that another one takes the place of: its streams go on until they end. When its certificate has
/// ended, only if the edge has proven itself anew.
async fn carry_on(mut connection: Connection, standing: Rc<Standing>) {
    let expiry = sleep_until(connection.since + connection.lasts);
    tokio::pin!(expiry);
    let mut outlives = false;
    loop {
        tokio::select! {
            turn = connection.pump.turn() => match turn {
                Turn::Ended(_) => break,
                Turn::Leaving | Turn::Opened(..) => {}
            },
            () = &mut expiry, if !outlives => {
                outlives = standing.is_connected();
                if !outlives {
                    break;
                }
            }
        }
    }
    drop(connection.proof);
}
