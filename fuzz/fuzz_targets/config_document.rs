#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    edgeway_config::fuzzing::documents(bytes);
    edgeway_config::fuzzing::document_text(bytes);
    edgeway_config::fuzzing::interleaved(bytes);
});
