#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tower_api_key::fuzzing::extraction(input));
