//! Blind and attended transfer.

use crate::cast::{DESK_HZ, Desk, LISTEN, desk_hears, established, hears};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::dialog::Dialog;
use edgeway_interop::kamailio::{PATIENCE, uri};
use edgeway_interop::message::Message;
use edgeway_interop::report::Report;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::Site;
use std::thread::sleep;

/// What a phone of ours outside offers: encrypted audio to nowhere.
const SECURE_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.200\r\ns=-\r\nc=IN IP4 198.51.100.200\r\nt=0 0\r\n\
    m=audio 42000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut alice = site.outside("alice", 0, 440.0)?;
    let mut bob = site.outside("bob", 1, 660.0)?;
    let mut desk = Desk::register(site, "desk", 5070)?;
    alice.wait_registered()?;
    bob.wait_registered()?;
    report.scenario("blind: a phone outside sends its caller to a desk inside", || {
        blind_by_phone(&mut alice, &mut bob, &mut desk)
    });
    report.scenario("blind: a desk inside sends a phone outside to another outside", || {
        blind_by_desk(&mut alice, &mut bob, &mut desk)
    });
    let mut other = Desk::register(site, "clerk", 5072)?;
    let mut wilma = site.wire_outside("wilma")?;
    report.scenario("attended: Replaces names the dialog as the target knows it", || {
        attended(&mut wilma, &mut desk, &mut other)
    });
    Ok(())
}

fn blind_by_phone(alice: &mut Phone, bob: &mut Phone, desk: &mut Desk) -> Result<()> {
    let marks = (alice.mark(), bob.mark());
    alice.dial("bob")?;
    established(alice, marks.0)?;
    established(bob, marks.1)?;
    sleep(LISTEN / 3);
    alice.clear_recordings()?;
    bob.transfer("desk")?;
    let invite = desk.phone.wait_request("INVITE", PATIENCE).context("the transferred call")?;
    desk.media.talk_to(&invite.body)?;
    let mut dialog = desk.phone.accept(&invite, &desk.media.sdp("sendrecv"))?;
    bob.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE).context("the transferor is done")?;
    sleep(LISTEN);
    hears(alice, DESK_HZ)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    desk.media.fall_silent();
    let mark = alice.mark();
    desk.phone.hang_up(&mut dialog)?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn blind_by_desk(alice: &mut Phone, bob: &mut Phone, desk: &mut Desk) -> Result<()> {
    let marks = (alice.mark(), bob.mark());
    let (mut dialog, answer) = desk.phone.call("alice", &desk.media.sdp("sendrecv"))?;
    desk.media.talk_to(&answer.body)?;
    established(alice, marks.0)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    bob.clear_recordings()?;
    let refer = format!("Refer-To: <{}>\r\nReferred-By: <{}>\r\n", uri("bob"), uri("desk"));
    let answer = desk.phone.exchange_in(&mut dialog, "REFER", &refer, "")?;
    ensure!(answer.status() == Some(202), "REFER: {}", answer.first_line());
    established(bob, marks.1).context("the transferred call")?;
    let progress = final_progress(&mut desk.phone)?;
    ensure!(progress.body.contains(" 200 "), "the last NOTIFY says {}", progress.body);
    desk.media.fall_silent();
    desk.phone.hang_up(&mut dialog)?;
    sleep(LISTEN);
    hears(bob, alice.tone_hz())?;
    let mark = alice.mark();
    bob.hang_up()?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

/// Answers NOTIFYs of a transfer until one tells of its end.
fn final_progress(phone: &mut WirePhone) -> Result<Message> {
    loop {
        let notify = phone.wait_request("NOTIFY", PATIENCE)?;
        phone.answer(&notify, "200 OK")?;
        if !notify.body.starts_with("SIP/2.0 1") {
            return Ok(notify);
        }
    }
}

/// Desk talks to wilma outside and to the clerk inside, and refers wilma to the clerk in its own place. Then the same
/// where the call to be replaced is the one outside.
fn attended(wilma: &mut WirePhone, desk: &mut Desk, clerk: &mut Desk) -> Result<()> {
    let (mut with_wilma, _) = call(&mut desk.phone, wilma, SECURE_OFFER, &desk.media)?;
    let (mut with_clerk, _) = call(&mut desk.phone, &mut clerk.phone, &clerk.media.sdp("sendrecv"), &desk.media)?;
    refer_and_replace(&mut desk.phone, &mut with_wilma, wilma, &with_clerk, &mut clerk.phone, SECURE_OFFER)?;
    refer_and_replace(
        &mut desk.phone,
        &mut with_clerk,
        &mut clerk.phone,
        &with_wilma,
        wilma,
        &clerk.media.sdp("sendrecv"),
    )?;
    for (dialog, other) in [(&mut with_wilma, wilma), (&mut with_clerk, &mut clerk.phone)] {
        let sent = desk.phone.send_in(dialog, "BYE", "", "")?;
        let bye = other.wait_request("BYE", PATIENCE)?;
        other.answer(&bye, "200 OK")?;
        desk.phone.wait_response(&sent, 200, PATIENCE)?;
    }
    Ok(())
}

fn call(
    from: &mut WirePhone,
    to: &mut WirePhone,
    answer: &str,
    media: &edgeway_interop::rtp_party::RtpParty,
) -> Result<(Dialog, Dialog)> {
    let user = to.user().to_owned();
    let invite = from.invite(&user, "", &media.sdp("sendrecv"))?;
    let request = to.wait_request("INVITE", PATIENCE)?;
    to.answer_with(&request, "200 OK", "", answer)?;
    let (caller, _) = from.wait_answered(&invite)?;
    to.wait_request("ACK", PATIENCE)?;
    let callee = to.dialog_of(&request)?;
    Ok((caller, callee))
}

/// `desk` tells `transferee` to take the desk's place in `replaced`, its dialog with `target`.
fn refer_and_replace(
    desk: &mut WirePhone,
    with_transferee: &mut Dialog,
    transferee: &mut WirePhone,
    replaced: &Dialog,
    target: &mut WirePhone,
    offer: &str,
) -> Result<()> {
    // As the target knows it: its own tag is the to-tag (RFC 3891 §3).
    let (to_tag, from_tag) = (Dialog::tag(&replaced.remote), Dialog::tag(&replaced.local));
    let escaped = format!("{}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}", replaced.call_id);
    let refer = format!("Refer-To: <{}?Replaces={escaped}>\r\n", uri(target.user()));
    let sent = desk.send_in(with_transferee, "REFER", &refer, "")?;
    let got = transferee.wait_request("REFER", PATIENCE)?;
    let refer_to = got.header("Refer-To").context("Refer-To")?.to_owned();
    ensure!(refer_to.contains(&escaped), "Refer-To became {refer_to}");
    transferee.answer(&got, "202 Accepted")?;
    let answer = desk.wait_response(&sent, 200, PATIENCE)?;
    ensure!(answer.status() == Some(202), "REFER: {}", answer.first_line());
    let replaces = format!("Replaces: {};to-tag={to_tag};from-tag={from_tag}\r\n", replaced.call_id);
    let user = target.user().to_owned();
    let invite = transferee.invite(&user, &format!("{replaces}Require: replaces\r\n"), offer)?;
    let request = target.wait_request("INVITE", PATIENCE)?;
    let expected = replaces.trim_start_matches("Replaces: ").trim_end();
    ensure!(request.header("Replaces") == Some(expected), "Replaces became {:?}", request.header("Replaces"));
    ensure!(request.header("Require") == Some("replaces"), "Require became {:?}", request.header("Require"));
    ensure!(replaced.remote.contains(&format!(";tag={}", target.tag())), "the to-tag is not the target's");
    target.answer(&request, "603 Decline")?;
    let end = transferee.wait_response(&invite, 200, PATIENCE)?;
    ensure!(end.status() == Some(603), "the transferee was told {}", end.first_line());
    Ok(())
}
