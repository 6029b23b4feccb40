//! Tests of the repository as a whole. Not for real images: `tests/repository.rs`.

mod chains;
mod commit;
mod foreign;
mod reading;
