#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let kinds = skep::steps::Registry::builtin().specs();
        let _ = skep::flow::workflow::parse(text, skep::flow::source::Format::Yaml, &kinds);
    }
});
