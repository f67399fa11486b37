#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfence_jail::fuzz::fuzz_plan(bytes));
