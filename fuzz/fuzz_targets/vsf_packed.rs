#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vaso::format::vsf::fuzzing::packed(data));
