#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_xmpp::fuzzing::xmpp_router(bytes));
