#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_http_proxy::fuzzing::http_stream(bytes));
