#![no_main]

#[path = "../targets/subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::run(data));
