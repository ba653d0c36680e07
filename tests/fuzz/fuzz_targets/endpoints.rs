#![no_main]

#[path = "../targets/endpoints.rs"]
mod endpoints;

libfuzzer_sys::fuzz_target!(|data: &[u8]| endpoints::run(data));
