//! *Status > SIP ladder*: the messages of one call or registration across all nodes, as a picture and as a table.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::layout::{Frame, LADDER, Wish};
use super::limits::LADDER_MESSAGES_MAX;
use super::lists::{Search, read};
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page};

/// Parties drawn side by side; a message between others is in the table only.
const LANES_MAX: usize = 10;

/// Pixels between lanes, and between messages.
const LANE_WIDTH: usize = 190;
const ROW_HEIGHT: usize = 44;
/// Above the first message: the names of the lanes.
const HEAD_HEIGHT: usize = 40;

/// Letters of a lane's name and of an arrow's text that have room.
const LANE_LETTERS: usize = 24;
const ARROW_LETTERS: usize = 60;

#[derive(Template)]
#[template(path = "ladder.html")]
struct Ladder {
    f: Frame,
    updated: Moment,
    user: String,
    call_id: String,
    trace: String,
    asked: bool,
    messages: Vec<Message>,
    picture: Picture,
    silent: Vec<(String, Said)>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    at_ms: u64,
    from: Option<String>,
    to: Option<String>,
    first_line: Option<String>,
    text: Option<String>,
    decision: Option<String>,
}

struct Message {
    at_ms: u64,
    at: Moment,
    node: String,
    from: String,
    to: String,
    first_line: String,
    text: String,
    decision: String,
}

/// Lanes and arrows, with where they are drawn.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    width: usize,
    height: usize,
    lanes: Vec<Lane>,
    arrows: Vec<Arrow>,
}

#[derive(Debug, PartialEq, Eq)]
struct Lane {
    x: usize,
    name: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    from: usize,
    to: usize,
    /// Where its head begins.
    head: usize,
    y: usize,
    text_x: usize,
    text_y: usize,
    text: String,
}

/// `GET /status/ladder`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let f = Frame::new(wish, LADDER, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user", "call_id", "trace"]);
    let asked = !search.filters.is_empty();
    let (mut messages, mut silent) = (Vec::new(), Vec::new());
    if asked {
        let mut question = json!({});
        for (name, value) in &search.filters {
            question[*name] = json!(value);
        }
        let all = pages.office.everywhere("ladder", question).await;
        let read = |(node, answer)| (node, read::<Answered>(answer, "messages"));
        messages = merged(all.answers.into_iter().map(read).collect());
        silent = all.silent.into_iter().map(|silent| (silent.node, f.said(&silent.why))).collect();
    }
    page(&Ladder {
        updated: Moment::of_ms(pages.office.now_ms()),
        user: search.filter("user").to_owned(),
        call_id: search.filter("call_id").to_owned(),
        trace: search.filter("trace").to_owned(),
        asked,
        picture: picture(&messages),
        messages,
        silent,
        f,
    })
}

/// The messages of all nodes. Where they are too many each node has the same room, less what it does not need, so that one
/// of them does not push out what the others say.
fn merged(mut answers: Vec<(String, Vec<Answered>)>) -> Vec<Message> {
    answers.sort_by_key(|(_, messages)| messages.len());
    let mut nodes = answers.len();
    let mut merged: Vec<Message> = Vec::new();
    for (node, mut messages) in answers {
        let share = (LADDER_MESSAGES_MAX - merged.len()) / nodes;
        nodes -= 1;
        messages.sort_by_key(|message| message.at_ms);
        merged.extend(messages.into_iter().take(share).map(|message| shown(&node, message)));
    }
    // Clocks of nodes differ by a little; what one node says stays in its order.
    merged.sort_by_key(|message| message.at_ms);
    merged
}

fn shown(node: &str, message: Answered) -> Message {
    Message {
        at_ms: message.at_ms,
        at: Moment::of_ms(message.at_ms),
        node: node.to_owned(),
        from: message.from.unwrap_or_default(),
        to: message.to.unwrap_or_default(),
        first_line: message.first_line.unwrap_or_default(),
        text: message.text.unwrap_or_default(),
        decision: message.decision.unwrap_or_default(),
    }
}

fn picture(messages: &[Message]) -> Picture {
    let mut names: Vec<&str> = Vec::new();
    for name in messages.iter().flat_map(|message| [message.from.as_str(), message.to.as_str()]) {
        if !name.is_empty() && !names.contains(&name) && names.len() < LANES_MAX {
            names.push(name);
        }
    }
    let x = |lane: usize| LANE_WIDTH / 2 + lane * LANE_WIDTH;
    let place = |name: &str| names.iter().position(|known| *known == name).map(x);
    let mut arrows = Vec::new();
    for message in messages {
        let Some((from, to)) = place(&message.from).zip(place(&message.to)).filter(|(from, to)| from != to) else {
            continue;
        };
        let y = HEAD_HEIGHT + (arrows.len() + 1) * ROW_HEIGHT;
        arrows.push(Arrow {
            from,
            to,
            head: if from < to { to - 8 } else { to + 8 },
            y,
            text_x: usize::midpoint(from, to),
            text_y: y - 7,
            text: cut(&message.first_line, ARROW_LETTERS),
        });
    }
    let lanes: Vec<_> =
        names.iter().enumerate().map(|(lane, name)| Lane { x: x(lane), name: cut(name, LANE_LETTERS) }).collect();
    Picture { width: names.len() * LANE_WIDTH, height: HEAD_HEIGHT + (arrows.len() + 1) * ROW_HEIGHT, lanes, arrows }
}

fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(from: &str, to: &str, line: &str) -> Message {
        let text = |text: &str| Some(text.to_owned());
        shown("core1", Answered { from: text(from), to: text(to), first_line: text(line), ..Answered::default() })
    }

    #[test]
    fn arrows_go_from_lane_to_lane_one_below_the_other() {
        let picture = picture(&[message("phone", "edge1", "INVITE sip:bob"), message("edge1", "phone", "100 Trying")]);
        assert_eq!(picture.lanes.iter().map(|lane| lane.x).collect::<Vec<_>>(), [95, 285]);
        let ends: Vec<_> = picture.arrows.iter().map(|arrow| (arrow.from, arrow.to, arrow.head)).collect();
        assert_eq!(ends, [(95, 285, 277), (285, 95, 103)]);
        assert!(picture.arrows[0].y < picture.arrows[1].y && picture.arrows[1].y < picture.height);
        assert_eq!(super::picture(&[]), Picture { height: HEAD_HEIGHT + ROW_HEIGHT, ..Picture::default() });
    }

    #[test]
    fn no_node_pushes_out_what_others_say_or_speaks_for_them() {
        let said = |node: &str, at: u64, n: usize| {
            let one = serde_json::json!({ "at_ms": at, "node": "core1", "first_line": node });
            let answer = serde_json::json!({ "messages": vec![one; n] });
            (node.to_owned(), read::<Answered>(answer, "messages"))
        };
        let merged = merged(vec![said("edge1", 0, 500), said("core1", 9, 30), said("core2", 9, 500)]);
        let of =
            |node: &str| merged.iter().filter(|message| message.node == node && message.first_line == node).count();
        assert_eq!((merged.len(), of("core1"), of("edge1"), of("core2")), (LADDER_MESSAGES_MAX, 30, 185, 185));
    }

    #[test]
    fn a_crowd_is_not_drawn() {
        let messages: Vec<_> = (0..40).map(|n| message(&format!("a{n}"), &format!("b{n}"), "x")).collect();
        let picture = picture(&messages);
        assert_eq!((picture.lanes.len(), picture.arrows.len()), (LANES_MAX, LANES_MAX / 2));
        assert_eq!(cut("会議室", 2), "会議…");
    }
}
