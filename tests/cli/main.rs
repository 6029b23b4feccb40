//! The built program with fake tools on its PATH: texts, JSON, exit codes, and the order of the
//! commands that it runs. Not for what happens inside: `tests/faults`.

// A helper of a test may fail as loudly as the test itself, and the program under test is started
// here and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod adopt;
mod asking;
mod begun;
mod breaking;
mod cluster;
mod completions;
mod copying;
mod damaged;
mod documents;
mod env;
mod foreign;
mod frozen;
mod golden;
mod hanging;
mod hooks;
mod jobs;
mod package;
mod phases;
mod removal;
mod repair;
mod reset;
#[path = "../common/schema.rs"]
mod schema;
mod show;
mod snapshot;
mod snapshot_jobs;
mod snapshot_told;
mod told;
mod untold;
mod usage;
mod verifying;
mod waiting;
mod work;
