#![no_main]

#[path = "../../protocols/xmpp/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::compare(bytes);
});
