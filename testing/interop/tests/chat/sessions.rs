//! What an operator sees of people who chat, and does about them; and what no log has.

use crate::site::Site;
use anyhow::{Context as _, Result, ensure};
use edgeway_interop::chat_party::{PATIENCE, Party};
use edgeway_interop::host::run;
use edgeway_interop::process::wait_for;
use edgeway_interop::product::Product;
use edgeway_interop::report::Report;
use serde_json::Value;

/// Two people are listed at both nodes and counted; one is disconnected, told so, and comes back.
pub(crate) fn story(report: &Report, product: &Product, alice: &Party, bob: &Party) {
    report.scenario("both nodes list and count who chats", || {
        let [at_core, at_edge] = lists(product)?;
        for party in [alice, bob] {
            let chat = at_core.iter().find(|chat| chat["jid"] == party.jid());
            let chat = chat.with_context(|| format!("{} in {at_core:?}", party.jid()))?;
            ensure!(chat["edge"] == "edge1", "{chat}");
            let client = at_edge.iter().find(|other| other["client"] == chat["client"]);
            let client = client.with_context(|| format!("{} at the edge: {at_edge:?}", chat["client"]))?;
            ensure!(client["core"] == "core1", "{client}");
        }
        for status in [product.core_status()?, product.edge_status()?] {
            ensure!(status["chats"]["current"].as_u64() >= Some(2), "{}", status["chats"]);
        }
        Ok(())
    });
    report.scenario("one is disconnected, and comes back", || {
        let (mark, other) = (bob.mark(), alice.mark());
        let [at_core, _] = lists(product)?;
        let chat = at_core.iter().find(|chat| chat["jid"] == bob.jid()).context("Bob is listed")?;
        run(&mut product.core_command(&["chats", "disconnect", &chat["id"].to_string()])?)?;
        bob.wait_event(mark, "disconnected")?;
        let back = |event: &Value| event["event"] == "started" || event["event"] == "resumed";
        bob.wait(mark, "return", PATIENCE, back)?;
        ensure!(alice.count(other, "disconnected") == 0, "another one was disconnected too");
        wait_for("one entry of Bob's", PATIENCE, || {
            lists(product).is_ok_and(|[at_core, _]| at_core.iter().filter(|chat| chat["jid"] == bob.jid()).count() == 1)
        })
    });
}

/// The lists of core and edge.
fn lists(product: &Product) -> Result<[Vec<Value>; 2]> {
    let ask = |mut command| -> Result<Vec<Value>> {
        let answer: Value = serde_json::from_str(&run(&mut command)?)?;
        Ok(answer["chats"].as_array().with_context(|| format!("chats in {answer}"))?.clone())
    };
    const LIST: &[&str] = &["chats", "list", "--output", "json"];
    Ok([ask(product.core_command(LIST)?)?, ask(product.edge_command(LIST)?)?])
}

/// No log has what was said, or a password, in whatever form it was sent; everything is logged that can be.
pub(crate) fn logs(report: &Report, site: &Site, secrets: &[&str]) {
    let Some(product) = &site.product else { return };
    report.scenario("no log has what was said, or a password", || {
        let logs = product.logs();
        ensure!(logs.len() > 1000, "the logs were not read");
        let found: Vec<&&str> = secrets.iter().filter(|secret| logs.contains(**secret)).collect();
        ensure!(found.is_empty(), "the logs have {found:?}");
        Ok(())
    });
}
