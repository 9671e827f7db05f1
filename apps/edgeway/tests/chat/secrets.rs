//! Neither node logs a password, what goes over the wire of a sign-in, or what people say: not even at trace. This
//! program runs itself again to read what it has logged.

use std::process::Command;

use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, Mechanism};

use crate::house::{House, Plan, im, password, token};

/// Set in the child.
const CHILD: &str = "EDGEWAY_CHAT_SECRETS";

/// The name of this test, as the child is asked for it.
const NAME: &str = "secrets::no_log_holds_a_password_or_a_word_that_was_said";

const SAID: &str = "meet me at the harbour at nine";
const ONE_TIME: &str = "one-time password: ";

async fn chat() {
    let house = House::start("secrets", Plan { nodes: 2, ..Plan::default() }).await;
    house.chat.power(&im(1), false).expect("off");
    let once = house.one_time.issue_to("erin");
    println!("{ONE_TIME}{once}");
    let ways = [
        (Mechanism::Plain, "alice", password("alice")),
        (Mechanism::ScramSha256, "bob", password("bob")),
        (Mechanism::OAuthBearer, "dave", token("dave")),
        (Mechanism::CiscoVtgToken, "erin", once),
    ];
    for (mechanism, user, secret) in ways {
        let mut client = ChatClient::open(&house.user(0, user)).await.expect("open");
        client.authenticate(mechanism, &format!("wrong {}", password(user))).await.expect_err("it is wrong");
        client.authenticate(mechanism, &secret).await.expect("it is right");
        client.bind().await.expect("bound");
        client.enable().await.expect("enabled");
        client.send("<presence/>").await.expect("sent");
        client.message(&format!("{user}@lab.example"), SAID).await.expect("sent");
        assert_eq!(client.next_message().await.expect("heard").1, SAID);
        // A breach, and what was under way.
        let _ = client.send_raw(format!("<message><body>{SAID}<!-- {SAID} -->").as_bytes()).await;
        client.ended().await;
    }
    // Too often, and when nobody can be asked.
    house.chat.power(&im(2), false).expect("off");
    for _ in 0..9 {
        let carol = ChatConfig { mechanism: Mechanism::Plain, ..house.user(0, "carol") };
        assert!(ChatClient::sign_in(&carol).await.is_err());
    }
}

#[test]
fn no_log_holds_a_password_or_a_word_that_was_said() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(chat());
    }
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([NAME, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env("EDGEWAY_LOG", "trace")
        .output()
        .expect("it runs");
    let (said, logged) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{logged}");
    let once = said.lines().find_map(|line| line.split_once(ONE_TIME)).map(|(_, once)| once.trim().to_owned());
    let once = once.expect("a one-time password");

    assert!(logged.contains("chat client"), "chat is logged at all:\n{logged}");
    let mut secrets = vec![SAID.to_owned(), token("dave"), once.clone()];
    secrets.extend(["alice", "bob", "carol", "dave", "erin"].map(password));
    let plain = ["alice", "carol"].map(|user| format!("\0{user}\0{}", password(user)));
    let tokens = [format!("n,a=dave@lab.example,\x01auth=Bearer {}", token("dave"))];
    let payloads = plain.into_iter().chain(tokens).chain([format!("userid=erin@lab.example\0token={once}")]);
    secrets.extend(payloads.map(|payload| b64(&payload)));
    for secret in secrets {
        let line = logged.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret}");
    }
}
