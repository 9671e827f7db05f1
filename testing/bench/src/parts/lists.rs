//! Pages of registrations as an operator asks for them: what the thread that carries signalling spends on each. The rows are
//! written down as JSON by another.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use edgeway_model::limits::LISTED_MAX;
use edgeway_model::listing::Wish;
use edgeway_model::{FlowId, Moment};
use edgeway_sip::bindings::Bindings;
use edgeway_sip::message::Message;
use std::time::Duration;

use super::cpu;

/// Lines that are registered.
const LINES: u64 = 50_000;
/// Whom to look for: everybody, one in five thousand, nobody.
const USERS: [Option<&str>; 3] = [None, Some("user4999"), Some("nobody")];

/// Measures and prints.
pub(super) fn run() -> Result<()> {
    let bindings = registered()?;
    println!(
        "\n{LINES} registrations, ms of CPU for each page of {LISTED_MAX}\n\nfilter    pages   rows   mean    max"
    );
    for user in USERS {
        let mut wish = Wish { limit: LISTED_MAX, after: None, user: user.map(str::to_owned) };
        let (mut pages, mut rows, mut sum, mut max) = (0_u32, 0, Duration::ZERO, Duration::ZERO);
        loop {
            let before = cpu();
            let page = bindings.page(&wish);
            let took = cpu().saturating_sub(before);
            (pages, rows, sum, max) = (pages + 1, rows + page.rows.len(), sum + took, max.max(took));
            match page.next {
                Some(next) => wish.after = Some(next),
                None => break,
            }
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{:<9} {pages:>5} {rows:>6} {:>6.2} {:>6.2}", user.unwrap_or("none"), ms(sum / pages), ms(max));
    }
    Ok(())
}

fn registered() -> Result<Bindings> {
    let mut bindings = Bindings::default();
    for line in 0..LINES {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:user{line}@example.com>;tag=1\r\nTo: <sip:user{line}@example.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 REGISTER\r\nUser-Agent: Cisco-CSF/15.0.1 (Linux; desktop)\r\n\
             Contact: <sip:a@192.0.2.1:5061>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{line:012x}>\"\r\n\
             Expires: 600\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text)).map_err(|fault| anyhow!("{fault:?}"))?;
        let answer = request.respond(200, "OK").to_tag("r").build();
        let answer = Message::parse(answer).map_err(|fault| anyhow!("{fault:?}"))?;
        bindings.accept(&request, &answer, FlowId::accepted(0, line), Moment::ZERO);
    }
    Ok(bindings)
}
