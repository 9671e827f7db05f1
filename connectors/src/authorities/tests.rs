use edgeway_model::sign_in::UserName;
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use super::*;
use crate::proxy::Trust;
use crate::scratch::Scratch;
use crate::users_file::edit::{Costs, hash};

const CORE: &str = "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
                    registrars = [\"tcp:10.0.0.5:5060\"]\n";

fn settings(more: &str) -> CoreSettings {
    edgeway_config::parse_core(&format!("{CORE}{more}"), "core.toml").expect("good settings")
}

/// With an HTTP client where `trust` is a PEM text.
fn needs(trust: Option<&str>) -> Needs {
    let http = trust.map(|pem| {
        let trust = Trust::in_pem(pem.as_bytes(), None).expect("a certificate");
        HttpClient::new(Resolver::default(), trust, true)
    });
    Needs {
        servers: Current::default(),
        fetch_keys: Rc::new(|_| Box::pin(std::future::ready(true))),
        http,
        resolver: Resolver::default(),
        teller: Teller::new().0,
    }
}

fn subject() -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new("alice").expect("a name") }
}

async fn ask(authorities: &Authorities, credential: Credential) -> Verdict {
    let authority = authorities.of(&Deployment::default_one()).expect("there is one");
    authority.check(&subject(), &credential).await
}

fn password() -> Credential {
    Credential::Password(Zeroizing::new("secret".to_owned()))
}

fn bearer() -> Credential {
    Credential::Bearer(Zeroizing::new("a.b.c".to_owned()))
}

#[tokio::test]
async fn each_deployment_has_the_authority_its_settings_name() {
    let folder = Scratch::new("authorities");
    let users = folder.path().join("users");
    let hash = hash(b"secret", Costs::LEAST).expect("a hash");
    std::fs::write(&users, format!("alice:{hash}\n")).expect("a writable folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("a name").self_signed(&key);
    let pem = certificate.expect("a certificate").pem();
    LocalSet::new()
        .run_until(async {
            let none = Authorities::new(&settings(""), &needs(None)).expect("nothing to go wrong");
            assert!(none.of(&Deployment::default_one()).is_none(), "sign-in is off");

            let file = format!("[sign_in]\nauthority = \"users\"\nusers_file = \"{}\"\n", users.display());
            let by_file = Authorities::new(&settings(&file), &needs(None)).expect("a good file");
            assert!(matches!(ask(&by_file, password()).await, Verdict::Good(_)));
            assert!(matches!(ask(&by_file, bearer()).await, Verdict::Refused), "tokens are not taken");
            assert!(by_file.of(&Deployment::new("other").expect("a name")).is_none());

            let asked = needs(Some(&pem));
            let uc = "[sign_in]\nauthority = \"unified_cm\"\noauth = true\n[[unified_cm]]\n\
                      address = \"127.0.0.1:1\"\nuser = \"axl\"\npassword_file = \"/etc/edgeway/axl\"\n";
            let by_uc = Authorities::new(&settings(uc), &asked).expect("nothing to go wrong");
            let verdict = ask(&by_uc, password()).await;
            let Verdict::Unavailable { why, .. } = verdict else { panic!("{verdict:?}") };
            assert!(why.contains("127.0.0.1:1"), "the configured publisher is asked: {why}");
            assert!(matches!(ask(&by_uc, bearer()).await, Verdict::Refused), "no token");

            let only_tokens = settings("[sign_in]\noauth = true\n");
            let by_token = Authorities::new(&only_tokens, &asked).expect("nothing to go wrong");
            assert!(matches!(ask(&by_token, password()).await, Verdict::Refused), "passwords are not taken");
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_said_before_the_core_starts() {
    LocalSet::new()
        .run_until(async {
            for more in [
                "[sign_in]\nauthority = \"users\"\nusers_file = \"/nonexistent/users\"\n",
                "[sign_in]\nauthority = \"ldap\"\nldap.servers = [\"a:636\"]\nldap.bind_dn = \"uid={user}\"\n\
                 ldap.ca = \"/nonexistent/ca.pem\"\n",
            ] {
                let fault = Authorities::new(&settings(more), &needs(None)).map(|_| ()).unwrap_err();
                assert!(fault.to_string().contains("/nonexistent/"), "{fault}");
            }
            let fault = Authorities::new(&settings("[sign_in]\noauth = true\n"), &needs(None)).map(|_| ()).unwrap_err();
            assert!(fault.to_string().contains("HTTP client"), "{fault}");
        })
        .await;
}
