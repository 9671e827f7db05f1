#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_policy::fuzzing::allow_list(bytes));
