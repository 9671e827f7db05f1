#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeway_link::fuzzing::chat_frames(bytes));
