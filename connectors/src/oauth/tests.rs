use std::cell::RefCell;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_config::sign_in::AuthoritySettings;
use edgeway_model::sign_in::{Profile, UserName};
use edgeway_policy::discovery::{Cluster, OauthKey, Snapshot};
use zeroize::Zeroizing;

use super::*;
use crate::sign_in::authority::Known;

/// A call manager that knows alice whatever she shows.
struct Clusters {
    verdicts: RefCell<Vec<Verdict>>,
}

impl Authority for Clusters {
    fn check<'a>(&'a self, subject: &'a Subject, _: &'a Credential) -> LocalFuture<'a, Verdict> {
        let good = Verdict::Good(Box::new(Known {
            user: subject.user.clone(),
            spelled: None,
            devices: Some(vec!["CSFALICE".to_owned()]),
            numbers: Vec::new(),
            profile: Profile::default(),
            until_ms: None,
        }));
        let verdict = self.verdicts.borrow_mut().pop().unwrap_or(good);
        Box::pin(std::future::ready(verdict))
    }
}

struct Signer {
    id: String,
    pair: RsaKeyPair,
}

impl Signer {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    fn key(&self) -> OauthKey {
        OauthKey { id: self.id.clone(), public: self.pair.public_key().as_der().unwrap().as_ref().to_vec() }
    }

    fn token(&self, user: &str, audience: &str, seconds: i64) -> String {
        let until = i64::try_from(unix_ms() / 1_000).unwrap() + seconds;
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let signed = format!(
            "{}.{}",
            encode(format!(r#"{{"alg":"RS256","kid":"{}"}}"#, self.id)),
            encode(format!(r#"{{"sub":"{user}","aud":"{audience}","exp":{until}}}"#))
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn cluster(deployment: &str, keys: Vec<OauthKey>) -> Cluster {
    Cluster {
        product: Product::UnifiedCm,
        publisher: "cucm1.example.com".to_owned(),
        deployment: Deployment::new(deployment).unwrap(),
        version: "12.5.1".to_owned(),
        mixed_mode: false,
        nodes: Vec::new(),
        tftp: Vec::new(),
        oauth: true,
        token_keys: keys,
    }
}

fn snapshot(clusters: Vec<Cluster>) -> Snapshot {
    Snapshot { revision: 1, taken_ms: 1, clusters }
}

struct Site {
    current: Current,
    asked: Rc<Cell<usize>>,
    /// Whether all of them answer.
    all: Rc<Cell<bool>>,
    clusters: Rc<Clusters>,
    tokens: Tokens,
}

impl Site {
    /// Whoever asks for keys finds `later` from then on.
    fn new(now: Snapshot, later: Option<Snapshot>, audiences: &[&str]) -> Self {
        let current = Current::new(now);
        let asked = Rc::new(Cell::new(0));
        let (swap, count) = (current.clone(), Rc::clone(&asked));
        let later = Rc::new(RefCell::new(later));
        let all = Rc::new(Cell::new(true));
        let told = Rc::clone(&all);
        let fetch_keys: FetchKeys = Rc::new(move |_| {
            let all = told.get();
            count.set(count.get() + 1);
            let (swap, later) = (swap.clone(), Rc::clone(&later));
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(later) = later.borrow_mut().take() {
                    swap.swap(later);
                }
                all
            })
        });
        let settings = DeploymentSettings {
            name: Deployment::default_one(),
            domains: vec!["example.com".to_owned()],
            registrars: Vec::new(),
            authority: AuthoritySettings::UnifiedCm,
            oauth: true,
            oauth_audiences: audiences.iter().map(|one| (*one).to_owned()).collect(),
        };
        let clusters = Rc::new(Clusters { verdicts: RefCell::default() });
        let tokens = Tokens::new(&settings, current.clone(), fetch_keys, Rc::clone(&clusters) as Rc<dyn Authority>);
        Self { current, asked, all, clusters, tokens }
    }

    async fn check(&self, user: &str, token: &str) -> Verdict {
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new(user).unwrap() };
        self.tokens.check(&subject, &Credential::Bearer(Zeroizing::new(token.to_owned()))).await
    }
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused)
}

#[tokio::test]
async fn a_token_of_the_deployments_cluster_is_taken_for_its_user_until_it_ends() {
    let signer = Signer::new("k1");
    let site = Site::new(snapshot(vec![cluster("default", vec![signer.key()])]), None, &[]);
    let Verdict::Good(known) = site.check("Alice", &signer.token("alice", SCOPE, 900)).await else { panic!("good") };
    let until = known.until_ms.unwrap();
    assert!((unix_ms() + 890_000..=unix_ms() + 900_000).contains(&until), "{until}");
    assert_eq!(known.devices, Some(vec!["CSFALICE".to_owned()]));
    for wrong in [
        signer.token("bob", SCOPE, 900),
        signer.token("alice", SCOPE, -120),
        signer.token("alice", "somebody else", 900),
        Signer::new("k1").token("alice", SCOPE, 900),
        "nonsense".to_owned(),
        String::new(),
    ] {
        assert!(is_refused(&site.check("alice", &wrong).await));
    }
    for ours in ["example.com", SCOPE] {
        assert!(matches!(site.check("alice", &signer.token("alice", ours, 900)).await, Verdict::Good(_)), "{ours}");
    }
    let subject = Subject { deployment: Deployment::new("other").unwrap(), user: UserName::new("alice").unwrap() };
    let credential = Credential::Bearer(Zeroizing::new(signer.token("alice", SCOPE, 900)));
    assert!(is_refused(&site.tokens.check(&subject, &credential).await));
    let password = Credential::Password(Zeroizing::new("x".to_owned()));
    let subject = Subject { deployment: Deployment::default_one(), ..subject };
    assert!(is_refused(&site.tokens.check(&subject, &password).await));
    assert_eq!(site.asked.get(), 0, "what is wrong in itself asks nobody");
}

#[tokio::test]
async fn keys_of_other_deployments_sign_nothing_here() {
    let (ours, theirs) = (Signer::new("k1"), Signer::new("k2"));
    let clusters = vec![cluster("default", vec![ours.key()]), cluster("other", vec![theirs.key()])];
    let site = Site::new(snapshot(clusters), None, &[]);
    assert!(is_refused(&site.check("alice", &theirs.token("alice", SCOPE, 900)).await));
    assert_eq!(site.asked.get(), 1);
}

#[tokio::test]
async fn configured_audiences_are_the_only_ones() {
    let signer = Signer::new("k1");
    let site = Site::new(snapshot(vec![cluster("default", vec![signer.key()])]), None, &["ours"]);
    assert!(is_refused(&site.check("alice", &signer.token("alice", SCOPE, 900)).await));
    assert!(matches!(site.check("alice", &signer.token("alice", "ours", 900)).await, Verdict::Good(_)));
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_by_all_who_need_it() {
    let (old, new) = (Signer::new("k1"), Signer::new("k2"));
    let later = snapshot(vec![cluster("default", vec![old.key(), new.key()])]);
    let site = Site::new(snapshot(vec![cluster("default", vec![old.key()])]), Some(later), &[]);
    let token = new.token("alice", SCOPE, 900);
    let (first, second) = tokio::join!(site.check("alice", &token), site.check("alice", &token));
    assert!(matches!((first, second), (Verdict::Good(_), Verdict::Good(_))));
    assert_eq!(site.asked.get(), 1);
    // Made up ones do not make us ask again.
    let stranger = Signer::new("k3");
    for _ in 0..20 {
        assert!(is_refused(&site.check("alice", &stranger.token("alice", SCOPE, 900)).await));
    }
    assert_eq!(site.asked.get(), 1);
    assert_eq!(site.current.snapshot().clusters[0].token_keys.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_no_refusal_until_all_have_answered() {
    let (old, new) = (Signer::new("k1"), Signer::new("k2"));
    let later = snapshot(vec![cluster("default", vec![old.key(), new.key()])]);
    let site = Site::new(snapshot(vec![cluster("default", vec![old.key()])]), None, &[]);
    let token = new.token("alice", SCOPE, 900);
    site.all.set(false);
    for _ in 0..5 {
        let verdict = site.check("alice", &token).await;
        assert!(matches!(verdict, Verdict::Unavailable { reached: Reached::NotAsked, .. }), "{verdict:?}");
        assert!(matches!(site.check("alice", &old.token("alice", SCOPE, 900)).await, Verdict::Good(_)));
    }
    assert_eq!(site.asked.get(), 1, "not at a stranger's pace");
    // It is back, and has told its keys.
    tokio::time::advance(TOKEN_KEYS_FAILED_FOR).await;
    site.all.set(true);
    site.current.swap(later);
    assert!(matches!(site.check("alice", &token).await, Verdict::Good(_)));
    assert!(is_refused(&site.check("alice", &Signer::new("k3").token("alice", SCOPE, 900)).await));
    assert_eq!(site.asked.get(), 2);
}

#[tokio::test]
async fn without_keys_nothing_can_be_said() {
    let signer = Signer::new("k1");
    for clusters in [vec![], vec![cluster("default", vec![])]] {
        let site = Site::new(snapshot(clusters), None, &[]);
        let verdict = site.check("alice", &signer.token("alice", SCOPE, 900)).await;
        assert!(matches!(verdict, Verdict::Unavailable { .. }), "{verdict:?}");
    }
    // One that issues none has none to wait for.
    let silent = Cluster { oauth: false, ..cluster("default", vec![]) };
    let site = Site::new(snapshot(vec![silent]), None, &[]);
    assert!(is_refused(&site.check("alice", &signer.token("alice", SCOPE, 900)).await));
}

#[tokio::test]
async fn what_the_cluster_says_of_a_good_token_counts() {
    let signer = Signer::new("k1");
    let site = Site::new(snapshot(vec![cluster("default", vec![signer.key()])]), None, &[]);
    let token = signer.token("alice", SCOPE, 900);
    site.clusters.verdicts.borrow_mut().push(Verdict::Refused);
    assert!(is_refused(&site.check("alice", &token).await), "withdrawn there");
    site.clusters.verdicts.borrow_mut().push(Verdict::Unavailable { why: "down".to_owned(), reached: Reached::Nobody });
    assert!(matches!(site.check("alice", &token).await, Verdict::Unavailable { .. }));
}
