//! Requests that are no calls, and extensions of calls: each crosses both tiers with what it carries.

use crate::cast::Desk;
use anyhow::{Context, Result, ensure};
use edgeway_interop::dialog::Dialog;
use edgeway_interop::kamailio::{PATIENCE, uri};
use edgeway_interop::message::Message;
use edgeway_interop::report::Report;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::Site;

const SUMMARY: &str =
    "Messages-Waiting: yes\r\nMessage-Account: sip:alice@example.test\r\nVoice-Message: 2/8 (0/2)\r\n";
const SUMMARY_TYPE: &str = "Content-Type: application/simple-message-summary\r\n";
const SECURE_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.200\r\ns=-\r\nc=IN IP4 198.51.100.200\r\nt=0 0\r\n\
    m=audio 42000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";
const PIDF: &str = "<?xml version=\"1.0\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:wilma@example.test\">\
    <tuple id=\"a\"><status><basic>open</basic></status></tuple></presence>\r\n";

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut wilma = site.wire_outside("wilma")?;
    let mut desk = Desk::register(site, "desk", 5070)?;
    let mut server = site.wire_inside("server", 5090)?;
    report.scenario("MESSAGE both ways", || messages(&mut wilma, &mut desk.phone));
    report.scenario("message waiting: SUBSCRIBE, NOTIFY, and its end", || waiting(&mut wilma, &mut server));
    report.scenario("message waiting: a NOTIFY nobody asked for", || unsolicited(&mut wilma, &mut server));
    report.scenario("PUBLISH to a presence server, and a change of it", || publish(&mut wilma, &mut server));
    report.scenario("SUBSCRIBE to a dialog of a desk inside", || dialog_event(&mut wilma, &mut desk.phone, "desk"));
    report.scenario("SUBSCRIBE to a dialog of a phone outside", || dialog_event(&mut desk.phone, &mut wilma, "wilma"));
    report.scenario("REFER outside a dialog, with its NOTIFY", || refer(&mut desk.phone, &mut wilma));
    report.scenario("100rel and PRACK, called from inside", || prack(&mut desk, &mut wilma));
    report.scenario("100rel and PRACK, called from outside", || prack_outside(&mut wilma, &mut desk));
    report.scenario("UPDATE and session timers, both ways", || timers(&mut wilma, &mut desk));
    report.scenario("INFO with a package body, both ways", || info(&mut wilma, &mut desk));
    baresip_waiting(report, site, &mut server)
}

/// `from` sends a request to `user`; `to` gets it and answers with `status`; `from` gets that.
fn pass(
    from: &mut WirePhone,
    to: &mut WirePhone,
    (method, user, lines, body): (&str, &str, &str, &str),
    (status, answer_lines): (&str, &str),
) -> Result<(Message, Message)> {
    let request = from.request(method, user, lines, body);
    from.send(&request)?;
    let got = to.wait_request(method, PATIENCE)?;
    ensure!(got.body == body, "{method}: the body became {:?}", got.body);
    unchanged(&got, lines)?;
    to.answer_with(&got, status, answer_lines, "")?;
    let answer = from.wait_response(&request, 200, PATIENCE)?;
    ensure!(answer.first_line().ends_with(status), "{method} was answered {}", answer.first_line());
    unchanged(&answer, answer_lines)?;
    Ok((got, answer))
}

/// Every one of these header lines arrived as it was sent.
fn unchanged(message: &Message, lines: &str) -> Result<()> {
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        ensure!(message.headers(name).contains(&value), "{name} became {:?}", message.headers(name));
    }
    Ok(())
}

/// `from` sends a request in its dialog; `to` gets it and says yes.
fn pass_in(
    from: &mut WirePhone,
    dialog: &mut Dialog,
    to: &mut WirePhone,
    (method, lines, body): (&str, &str, &str),
    answer_lines: &str,
) -> Result<Message> {
    let request = from.send_in(dialog, method, lines, body)?;
    let got = to.wait_request(method, PATIENCE)?;
    unchanged(&got, lines)?;
    ensure!(got.body == body || lines.is_empty(), "{method}: the body became {:?}", got.body);
    to.answer_with(&got, "200 OK", answer_lines, "")?;
    let answer = from.wait_response(&request, 200, PATIENCE)?;
    ensure!(answer.status() == Some(200), "{method}: {}", answer.first_line());
    unchanged(&answer, answer_lines)?;
    Ok(got)
}

fn messages(wilma: &mut WirePhone, desk: &mut WirePhone) -> Result<()> {
    let text = "Content-Type: text/plain;charset=UTF-8\r\n";
    pass(wilma, desk, ("MESSAGE", "desk", text, "Grüße von draußen"), ("200 OK", ""))?;
    pass(desk, wilma, ("MESSAGE", "wilma", text, "and back"), ("202 Accepted", "")).map(drop)
}

fn waiting(wilma: &mut WirePhone, server: &mut WirePhone) -> Result<()> {
    let lines = "Event: message-summary\r\nAccept: application/simple-message-summary\r\nExpires: 600\r\n";
    let (got, answer) = pass(wilma, server, ("SUBSCRIBE", "wilma", lines, ""), ("200 OK", "Expires: 600\r\n"))?;
    let mut voice_mail = server.dialog_of(&got)?;
    let notify = format!("Event: message-summary\r\nSubscription-State: active;expires=600\r\n{SUMMARY_TYPE}");
    pass_in(server, &mut voice_mail, wilma, ("NOTIFY", &notify, SUMMARY), "")?;
    let mut phone = Dialog::of_caller(&answer)?;
    let end = "Event: message-summary\r\nExpires: 0\r\n";
    pass_in(wilma, &mut phone, server, ("SUBSCRIBE", end, ""), "Expires: 0\r\n")?;
    let last = "Event: message-summary\r\nSubscription-State: terminated;reason=timeout\r\n";
    pass_in(server, &mut voice_mail, wilma, ("NOTIFY", last, ""), "").map(drop)
}

fn unsolicited(wilma: &mut WirePhone, server: &mut WirePhone) -> Result<()> {
    let lines = format!("Event: message-summary\r\nSubscription-State: active\r\n{SUMMARY_TYPE}");
    pass(server, wilma, ("NOTIFY", "wilma", &lines, SUMMARY), ("200 OK", "")).map(drop)
}

fn publish(wilma: &mut WirePhone, server: &mut WirePhone) -> Result<()> {
    let lines = "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\n";
    pass(wilma, server, ("PUBLISH", "wilma", lines, PIDF), ("200 OK", "SIP-ETag: one\r\nExpires: 600\r\n"))?;
    let change = "Event: presence\r\nSIP-If-Match: one\r\nExpires: 0\r\n";
    pass(wilma, server, ("PUBLISH", "wilma", change, ""), ("200 OK", "SIP-ETag: two\r\nExpires: 0\r\n")).map(drop)
}

fn dialog_event(watcher: &mut WirePhone, watched: &mut WirePhone, user: &str) -> Result<()> {
    let lines = "Event: dialog;include-session-description\r\nAccept: application/dialog-info+xml\r\nExpires: 60\r\n";
    let (got, _) = pass(watcher, watched, ("SUBSCRIBE", user, lines, ""), ("200 OK", "Expires: 60\r\n"))?;
    let mut dialog = watched.dialog_of(&got)?;
    let notify =
        "Event: dialog\r\nSubscription-State: active;expires=60\r\nContent-Type: application/dialog-info+xml\r\n";
    let body = "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\"/>";
    pass_in(watched, &mut dialog, watcher, ("NOTIFY", notify, body), "").map(drop)
}

fn refer(desk: &mut WirePhone, wilma: &mut WirePhone) -> Result<()> {
    let lines = format!("Refer-To: <{}>\r\nReferred-By: <{}>\r\n", uri("clerk"), uri("desk"));
    let (got, _) = pass(desk, wilma, ("REFER", "wilma", &lines, ""), ("202 Accepted", ""))?;
    let mut dialog = wilma.dialog_of(&got)?;
    let notify =
        "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\nContent-Type: message/sipfrag\r\n";
    pass_in(wilma, &mut dialog, desk, ("NOTIFY", notify, "SIP/2.0 200 OK\r\n"), "").map(drop)
}

/// The callee rings reliably, the caller acknowledges that, then the call is answered and ended.
fn reliable(caller: &mut WirePhone, offer: &str, callee: &mut WirePhone, answer: &str) -> Result<()> {
    let user = callee.user().to_owned();
    let invite = caller.invite(&user, "Supported: 100rel, timer\r\n", offer)?;
    let request = callee.wait_request("INVITE", PATIENCE)?;
    ensure!(
        request.header("Supported").is_some_and(|value| value.contains("100rel")),
        "{:?}",
        request.header("Supported")
    );
    callee.answer_with(&request, "183 Session Progress", "Require: 100rel\r\nRSeq: 7\r\n", answer)?;
    let progress = caller.wait_response(&invite, 101, PATIENCE)?;
    ensure!(progress.header("RSeq") == Some("7"), "{progress:?}");
    ensure!(!progress.body.is_empty(), "the early answer is gone");
    let mut dialog = Dialog::of_caller(&progress)?;
    let number = progress.sequence().context("CSeq")?.0;
    pass_in(caller, &mut dialog, callee, ("PRACK", &format!("RAck: 7 {number} INVITE\r\n"), ""), "")?;
    // RFC 3261 §13.2.2.4: the ACK carries the INVITE's number.
    callee.answer_with(&request, "200 OK", "", "")?;
    let (mut dialog, _) = caller.wait_answered(&invite)?;
    callee.wait_request("ACK", PATIENCE)?;
    // The PRACK took the next number.
    dialog.skip();
    let ended = caller.send_in(&mut dialog, "BYE", "", "")?;
    let bye = callee.wait_request("BYE", PATIENCE)?;
    callee.answer(&bye, "200 OK")?;
    caller.wait_response(&ended, 200, PATIENCE).map(drop)
}

fn prack(desk: &mut Desk, wilma: &mut WirePhone) -> Result<()> {
    reliable(&mut desk.phone, &desk.media.sdp("sendrecv"), wilma, SECURE_OFFER)
}

fn prack_outside(wilma: &mut WirePhone, desk: &mut Desk) -> Result<()> {
    reliable(wilma, SECURE_OFFER, &mut desk.phone, &desk.media.sdp("sendrecv"))
}

/// A call from wilma to the desk, both dialogs.
fn up(wilma: &mut WirePhone, desk: &mut Desk, lines: &str, answer_lines: &str) -> Result<(Dialog, Dialog)> {
    let invite = wilma.invite("desk", lines, SECURE_OFFER)?;
    let request = desk.phone.wait_request("INVITE", PATIENCE)?;
    unchanged(&request, lines)?;
    desk.phone.answer_with(&request, "200 OK", answer_lines, &desk.media.sdp("sendrecv"))?;
    let (caller, answer) = wilma.wait_answered(&invite)?;
    unchanged(&answer, answer_lines)?;
    desk.phone.wait_request("ACK", PATIENCE)?;
    Ok((caller, desk.phone.dialog_of(&request)?))
}

fn timers(wilma: &mut WirePhone, desk: &mut Desk) -> Result<()> {
    let lines = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n";
    let (mut outside, mut inside) =
        up(wilma, desk, lines, "Session-Expires: 1800;refresher=uac\r\nRequire: timer\r\n")?;
    let refresh = "Session-Expires: 1800;refresher=uac\r\nSupported: timer\r\n";
    let yes = "Session-Expires: 1800;refresher=uac\r\n";
    pass_in(wilma, &mut outside, &mut desk.phone, ("UPDATE", refresh, ""), yes)?;
    pass_in(&mut desk.phone, &mut inside, wilma, ("UPDATE", refresh, ""), yes)?;
    // With an offer: the phone outside gets one it can take, and its answer comes back as plain RTP.
    let request = desk.phone.send_in(&mut inside, "UPDATE", "", &desk.media.sdp("sendonly"))?;
    let got = wilma.wait_request("UPDATE", PATIENCE)?;
    ensure!(got.body.contains("RTP/SAVP") && got.body.contains("a=crypto:"), "the offer became {}", got.body);
    ensure!(got.body.contains("a=sendonly"), "the direction is gone: {}", got.body);
    wilma.answer_with(&got, "200 OK", "", &format!("{SECURE_OFFER}a=recvonly\r\n"))?;
    let answer = desk.phone.wait_response(&request, 200, PATIENCE)?;
    ensure!(answer.body.contains("RTP/AVP") && !answer.body.contains("a=crypto:"), "the answer became {}", answer.body);
    pass_in(&mut desk.phone, &mut inside, wilma, ("BYE", "Reason: Q.850;cause=16\r\n", ""), "").map(drop)
}

fn info(wilma: &mut WirePhone, desk: &mut Desk) -> Result<()> {
    let (mut outside, mut inside) = up(wilma, desk, "Recv-Info: dtmf\r\n", "Recv-Info: dtmf\r\n")?;
    let lines = "Info-Package: dtmf\r\nContent-Disposition: Info-Package\r\nContent-Type: application/dtmf-relay\r\n";
    let body = "Signal=5\r\nDuration=160\r\n";
    pass_in(wilma, &mut outside, &mut desk.phone, ("INFO", lines, body), "")?;
    pass_in(&mut desk.phone, &mut inside, wilma, ("INFO", lines, body), "")?;
    pass_in(wilma, &mut outside, &mut desk.phone, ("BYE", "", ""), "").map(drop)
}

/// baresip's own message waiting against our voice mail.
fn baresip_waiting(report: &Report, site: &Site, server: &mut WirePhone) -> Result<()> {
    let mut alice = None;
    report.scenario("message waiting: baresip subscribes and is notified", || {
        let phone = alice.insert(site.outside_with("alice", 0, 440.0, |setup| setup.message_waiting = true)?);
        let subscribe = server.wait_request("SUBSCRIBE", PATIENCE)?;
        server.answer_with(&subscribe, "200 OK", "Expires: 600\r\n", "")?;
        let mut dialog = server.dialog_of(&subscribe)?;
        let lines = format!("Event: message-summary\r\nSubscription-State: active;expires=600\r\n{SUMMARY_TYPE}");
        let answer = server.exchange_in(&mut dialog, "NOTIFY", &lines, SUMMARY)?;
        ensure!(answer.status() == Some(200), "NOTIFY: {}", answer.first_line());
        let event = phone.wait_event(0, &["MWI_NOTIFY"], PATIENCE)?;
        ensure!(event.detail.contains("2/8"), "baresip understood {}", event.detail);
        Ok(())
    });
    Ok(())
}
