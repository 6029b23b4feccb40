//! libFuzzer's way into the target `manifest`; what it checks stands in `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pve_ferry_fuzz::manifest(data));
