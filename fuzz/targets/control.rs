#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfence_model::fuzz::fuzz_control(bytes));
