use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::scratch::Scratch;

const SETTING: &str = "unified_cm.hq.password";

fn place(scratch: &Scratch) -> KeyPlace {
    KeyPlace::of(scratch.path(), None)
}

fn ring() -> KeyRing {
    let place = KeyPlace::File("secret.key".into());
    let line = place.new_line().expect("randomness");
    KeyRing::parse(&place, line.as_bytes()).expect("a key")
}

#[test]
fn a_secret_opens_where_it_was_sealed_after_a_restart_too() {
    let scratch = Scratch::new("seal");
    let sealed = Seal::of(scratch.path()).seal(SETTING, "geheim, 秘密").expect("sealed");
    assert!(is_sealed(&sealed) && sealed.starts_with("sealed:v1:") && !sealed.contains("geheim"), "{sealed}");
    assert_eq!(*Seal::with(place(&scratch)).open(SETTING, &sealed).expect("opened"), "geheim, 秘密");
    let mode = fs::metadata(scratch.path().join(KEY_FILE_NAME)).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn opening_makes_no_key() {
    let scratch = Scratch::new("seal-open");
    let sealed = ring().seal(SETTING, "x").expect("sealed");
    let fault = Seal::with(place(&scratch)).open(SETTING, &sealed).expect_err("no key");
    assert!(matches!(fault, SealFault::OtherKey { .. }), "{fault}");
    assert!(!scratch.path().join(KEY_FILE_NAME).exists());
}

#[test]
fn two_that_make_the_first_key_at_once_make_one() {
    let scratch = Scratch::new("seal-race");
    let sealed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let place = place(&scratch);
                scope.spawn(move || Seal::with(place).seal(SETTING, &number.to_string()).expect("sealed"))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let seal = Seal::with(place(&scratch));
    for (number, sealed) in sealed.iter().enumerate() {
        assert_eq!(*seal.open(SETTING, sealed).expect("opened"), number.to_string());
    }
}

#[test]
fn a_new_key_seals_and_the_old_ones_open() {
    let scratch = Scratch::new("seal-rotate");
    let seal = Seal::with(place(&scratch));
    let elsewhere = Seal::with(place(&scratch));
    let old = seal.seal(SETTING, "old").expect("sealed");
    assert_eq!(*elsewhere.open(SETTING, &old).expect("opened"), "old");
    seal.rotate().expect("rotated");
    let new = seal.seal(SETTING, "new").expect("sealed");
    assert_ne!(old.split(':').nth(2), new.split(':').nth(2));
    assert!(seal.is_outdated(&old).expect("known") && !seal.is_outdated(&new).expect("known"));
    for (sealed, text) in [(&old, "old"), (&new, "new")] {
        assert_eq!(*seal.open(SETTING, sealed).expect("opened"), text);
        // Another process, which has read the file before there was a second key.
        assert_eq!(*elsewhere.open(SETTING, sealed).expect("opened"), text);
    }
    // The old key is taken out by hand.
    let text = fs::read_to_string(scratch.path().join(KEY_FILE_NAME)).expect("keys");
    let first = format!("# the only one\n{}", text.lines().next().expect("a line"));
    fs::write(scratch.path().join(KEY_FILE_NAME), first).expect("written");
    seal.forget();
    assert_eq!(*seal.open(SETTING, &new).expect("opened"), "new");
    assert!(matches!(seal.open(SETTING, &old), Err(SealFault::OtherKey { .. })));
}

#[test]
fn keys_are_bounded() {
    let scratch = Scratch::new("seal-many");
    let seal = Seal::with(place(&scratch));
    for _ in 0..SEALING_KEYS_MAX {
        seal.rotate().expect("room");
    }
    let before = fs::read(scratch.path().join(KEY_FILE_NAME)).expect("keys");
    assert!(matches!(seal.rotate(), Err(SealFault::Keys { .. })));
    assert_eq!(fs::read(scratch.path().join(KEY_FILE_NAME)).expect("keys"), before);
    assert!(matches!(seal.seal(SETTING, &"x".repeat(SECRET_BYTES_MAX + 1)), Err(SealFault::TooLong { .. })));
    let longest = "x".repeat(SECRET_BYTES_MAX);
    let sealed = seal.seal(SETTING, &longest).expect("sealed");
    assert_eq!(*seal.open(SETTING, &sealed).expect("opened"), longest);
}

#[test]
fn the_service_managers_key_comes_first_and_is_not_written() {
    let scratch = Scratch::new("seal-credential");
    let folder = scratch.path().join("credentials");
    fs::create_dir(&folder).expect("a folder");
    assert_eq!(KeyPlace::of(scratch.path(), Some(&folder)), KeyPlace::File(scratch.path().join(KEY_FILE_NAME)));
    fs::write(folder.join(CREDENTIAL_NAME), place(&scratch).new_line().expect("a key").as_bytes()).expect("written");
    let seal = Seal::with(KeyPlace::of(scratch.path(), Some(&folder)));
    assert_eq!(seal.place(), &KeyPlace::Credential(folder.join(CREDENTIAL_NAME)));
    let sealed = seal.seal(SETTING, "x").expect("sealed");
    assert_eq!(*seal.open(SETTING, &sealed).expect("opened"), "x");
    assert!(matches!(seal.rotate(), Err(SealFault::Keys { .. })));
    assert!(!scratch.path().join(KEY_FILE_NAME).exists());
}

#[test]
fn a_file_that_is_no_good_is_left_alone() {
    let scratch = Scratch::new("seal-damaged");
    let file = scratch.path().join(KEY_FILE_NAME);
    let good = place(&scratch).new_line().expect("a key");
    for text in
        ["", "# nothing\n", "edgeway-key:v1:AAAA\n", "edgeway-key:v2:x\n", "\u{0}\u{1}", &good[..good.len() - 3]]
    {
        pki::replace(&file, text.as_bytes()).expect("written");
        for fault in [
            Seal::with(place(&scratch)).seal(SETTING, "hunter2").map(drop),
            Seal::with(place(&scratch)).open(SETTING, &ring().seal(SETTING, "x").expect("sealed")).map(drop),
        ] {
            let fault = fault.expect_err("no key");
            assert!(matches!(fault, SealFault::Keys { .. }), "{text:?}: {fault}");
        }
        assert_eq!(fs::read(&file).expect("there"), text.as_bytes());
    }
    pki::replace(&file, good.as_bytes()).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let fault = Seal::with(place(&scratch)).seal(SETTING, "x").expect_err("open to others");
    assert!(fault.to_string().contains("chmod 600"), "{fault}");
}

#[test]
fn what_is_printed_names_no_key() {
    let scratch = Scratch::new("seal-debug");
    let seal = Seal::with(place(&scratch));
    seal.seal(SETTING, "hunter2").expect("sealed");
    let text = fs::read_to_string(scratch.path().join(KEY_FILE_NAME)).expect("keys");
    let letters = text.trim().strip_prefix(KEY_V1).expect("a key");
    assert!(!format!("{seal:?}").contains(letters));
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens(setting in ".{0,80}", secret in ".{0,200}") {
        let ring = ring();
        let sealed = ring.seal(&setting, &secret).expect("sealed");
        prop_assert!(sealed.is_ascii());
        prop_assert_eq!(&*ring.open(&setting, &sealed).expect("opened"), &secret);
        prop_assert_ne!(sealed, ring.seal(&setting, &secret).expect("sealed"), "each time with another nonce");
    }

    #[test]
    fn what_was_moved_or_changed_does_not_open_and_is_not_told(
        secret in "[a-z]{12,40}",
        other in "[a-z.]{1,20}",
        at in any::<prop::sample::Index>(),
        letter in "[A-Za-z0-9_-]",
    ) {
        let ring = ring();
        let sealed = ring.seal(SETTING, &secret).expect("sealed");
        let mut tampered = sealed.clone();
        let at = at.index(sealed.len());
        tampered.replace_range(at..=at, &letter);
        let mut faults = vec![ring.open(&other, &sealed).expect_err("another setting").to_string()];
        if tampered != sealed {
            faults.push(ring.open(SETTING, &tampered).expect_err("changed").to_string());
        }
        let cut = &sealed[..at];
        faults.push(ring.open(SETTING, cut).expect_err("cut").to_string());
        faults.push(self::ring().open(SETTING, &sealed).expect_err("another key").to_string());
        let body = sealed.rsplit(':').next().expect("a body");
        for fault in faults {
            prop_assert!(!fault.contains(&secret) && !fault.contains(body), "{}", fault);
        }
    }

    #[test]
    fn whatever_is_opened_is_refused_without_a_panic(sealed in "(sealed:v1:)?[0-9a-f]{0,17}:?.{0,60}") {
        prop_assert!(ring().open(SETTING, &sealed).is_err());
    }
}
