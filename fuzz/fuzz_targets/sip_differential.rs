#![no_main]

#[path = "../../protocols/sip/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::compare(bytes);
});
