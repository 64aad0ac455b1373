#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vaso::format::package::fuzzing::inflate(data));
