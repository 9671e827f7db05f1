//! What must hold for any bytes whatever that come from a server or a client, as functions that panic where it does
//! not. Not for production.

use std::time::Duration;

use edgeway_http_proxy::bearer::claimed_user;

use crate::authorities::limits::{
    LDAP_ANSWER_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_SKEW, UDS_NAME_BYTES_MAX, UDS_NAMES_MAX, USERS_FILE_PROBLEMS_MAX,
};
use crate::discovery::token_keys;
use crate::ldap::message;
use crate::oauth::token::{Expected, Token};
use crate::unified_cm::{axl, uds_xml};
use crate::users_file::format::Users;

/// An answer of AXL to each of our questions, and a set of token keys.
pub fn axl_xml(bytes: &[u8]) {
    axl::read_anything(bytes);
    if let Ok(keys) = token_keys::parse(bytes) {
        assert!(keys.iter().all(|key| !key.id.is_empty() && key.public.len() > 256), "only good keys come out");
    }
}

/// Reads an answer of UDS as each kind there is: what comes out is bounded, and made of names.
pub fn uds_xml(bytes: &[u8]) {
    if let Ok(uds_xml::ClusterUser::Found { home }) = uds_xml::cluster_user(bytes) {
        names(&[home]);
    }
    for list in [uds_xml::devices(bytes), uds_xml::servers(bytes), uds_xml::extensions(bytes)] {
        names(&list.unwrap_or_default());
    }
    names(&uds_xml::user(bytes).unwrap_or_default().im_servers);
}

fn names(list: &[String]) {
    assert!(list.len() <= UDS_NAMES_MAX, "bounded");
    for name in list {
        assert!((1..=UDS_NAME_BYTES_MAX).contains(&name.len()), "a name has a length");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?&<>\"'@%".contains(&byte)),
            "nothing but a name"
        );
    }
}

/// Reads a bearer token: what is taken has the form, names the same user to all who ask, and is good for a time.
pub fn access_token(bytes: &[u8]) {
    const NOW_MS: u64 = 1_700_000_000_000;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(token) = Token::read(text) else { return };
    assert_eq!(token.claimed_user(), claimed_user(text), "one user, whoever reads it");
    assert!(text.len() <= TOKEN_BYTES_MAX && text.split('.').count() == 3, "three parts, bounded");
    assert!(!token.is_signed_by(b"no key"), "no key has signed nothing");
    if let Ok(said) = token.check(&Expected::default(), NOW_MS) {
        assert_eq!(Some(&said.user), token.claimed_user().as_ref(), "one user");
        assert!(Duration::from_millis(said.until_ms) + TOKEN_SKEW > Duration::from_millis(NOW_MS), "not expired");
    }
}

/// Reads what a directory answers: a length that is told is bounded, and a result is read or refused.
pub fn ldap_answer(bytes: &[u8]) {
    if let Ok(Some((head, content))) = message::length(bytes) {
        assert!(head <= 6 && content <= LDAP_ANSWER_BYTES_MAX, "bounded");
    }
    for asked in [message::Asked::Bind, message::Asked::StartTls] {
        let _ = message::result(bytes, 1, asked);
    }
}

/// Reads a users file: problems are bounded, on lines that exist, and show nothing of the file.
pub fn users_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count();
    match Users::parse(text) {
        Ok(users) => assert!(users.by_name.len() <= lines && users.costs.len() == users.by_name.len(), "a line each"),
        Err(problems) => {
            assert!((1..=USERS_FILE_PROBLEMS_MAX).contains(&problems.len()), "between one and the bound");
            assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)), "on lines that exist");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_corpora_pass() {
        let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let targets: [(&str, Target); 4] = [
            ("uds_xml", super::uds_xml),
            ("access_token", super::access_token),
            ("ldap_answer", super::ldap_answer),
            ("users_file", super::users_file),
        ];
        for (name, target) in targets {
            let mut count = 0;
            for entry in std::fs::read_dir(fuzz.join(name)).expect("the corpus is committed") {
                target(&std::fs::read(entry.expect("an entry").path()).expect("a readable file"));
                count += 1;
            }
            assert!(count > 0, "{name} has a corpus");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_pass(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            super::uds_xml(&bytes);
            super::access_token(&bytes);
            super::ldap_answer(&bytes);
            super::users_file(&bytes);
        }
    }
}
