#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfence_guest::fuzz::fuzz_frames(bytes));
