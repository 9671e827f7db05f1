#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_sip::fuzzing::sip_multipart(bytes));
