#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_connectors::fuzzing::ldap_answer(bytes));
