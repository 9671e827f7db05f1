//! Calls that have lost their client, and calls that have lost their media.
//!
//! Silence alone ends nothing: a call on hold may be silent for hours, and the parties watch each
//! other by session timers (RFC 4028), which pass untouched. After a time without a packet in either
//! direction the operator is told, once per silence.

use edgeway_model::notice::Notice;
use edgeway_model::{Deadline, Moment, NodeId, Pii};

use super::Calls;
use crate::CoreNode;
use crate::limits::LOST_CALL_AFTER;

impl Calls {
    /// The link to this edge was away so long that calls may have ended without us: those that carry
    /// no media end like those that lost their client.
    pub(crate) fn doubt(&mut self, edge: &NodeId, now: Moment) {
        for (key, call) in &mut self.calls {
            if call.edge == *edge && call.established && call.doubted.replace(now).is_none() {
                self.lost.insert((now + LOST_CALL_AFTER, *key));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        let lost = self.lost.first().map(|(at, _)| Deadline { at: *at, why: "call without a client" });
        let silent = self.silent.first().map(|(at, _)| Deadline { at: *at, why: "call without media" });
        let ending = self.ending.first().map(|(at, _)| Deadline { at: *at, why: "call that is to end" });
        let ports = self.bind_again_at.map(|at| Deadline { at, why: "media ports" });
        Deadline::soonest(Deadline::soonest(lost, silent), Deadline::soonest(ending, ports))
    }
}

impl CoreNode {
    /// Ends calls whose client is gone and silent, and tells of calls without media.
    pub(crate) fn watch_calls(&mut self, now: Moment) {
        self.end_lost_calls(now);
        while let Some(&(at, key)) = self.calls.silent.first()
            && at <= now
        {
            self.calls.silent.pop_first();
            self.judge_silence(key, now);
        }
    }

    fn end_lost_calls(&mut self, now: Moment) {
        while let Some(&(at, key)) = self.calls.lost.first() {
            if at > now {
                return;
            }
            self.calls.lost.pop_first();
            let Some(call) = self.calls.calls.get_mut(&key) else { continue };
            // Who was heard since is there.
            call.doubted = call.doubted.filter(|since| call.heard <= *since);
            if call.lost.is_none() && call.doubted.is_none() && call.acknowledged {
                continue;
            }
            let silent_at = call.heard + LOST_CALL_AFTER;
            if silent_at > now {
                self.calls.lost.insert((silent_at, key));
            } else {
                self.end_call(key, "flow lost");
            }
        }
    }

    /// The setting has changed: every call is judged by the new one, its silence until now included.
    pub(crate) fn watch_anew(&mut self, now: Moment) {
        self.calls.silent.clear();
        let Some(after) = self.settings.media_timeout else { return };
        let due = |call: &super::Call| (call.alive + after).max(now);
        let calls = self.calls.calls.iter().filter(|(_, call)| call.established);
        self.calls.silent = calls.map(|(key, call)| (due(call), *key)).collect();
    }

    /// A call is up: its media is watched from now on.
    pub(super) fn watch_media(&mut self, key: u32, now: Moment) {
        if let Some(after) = self.settings.media_timeout {
            self.calls.silent.insert((now + after, key));
        }
    }

    fn judge_silence(&mut self, key: u32, now: Moment) {
        let Some(after) = self.settings.media_timeout else { return };
        let Some(call) = self.call_mut(key) else { return };
        let due = call.alive + after;
        if due > now {
            self.calls.silent.insert((due, key));
            return;
        }
        let told = std::mem::replace(&mut call.silent, true);
        let id = call.id.clone();
        self.calls.silent.insert((now + after, key));
        if !told {
            self.notice(Notice::NoMedia { call: Pii::new(id), silent_for: after });
        }
    }
}
