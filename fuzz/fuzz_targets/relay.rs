#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_media::fuzzing::relay(bytes));
