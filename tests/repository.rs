//! The repository with real image files: verify, RESTORE.txt, format 1, two processes. The commit
//! protocol and the reading of damaged manifests are tested beside the code.

// A test fails by panicking, in its helpers, too; clippy knows only the functions marked as tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

#[path = "repository/bare.rs"]
mod bare;
#[path = "repository/copying.rs"]
mod copying;
#[path = "repository/example.rs"]
mod example;
#[path = "repository/golden.rs"]
mod golden;
#[path = "repository/long_chain.rs"]
mod long_chain;
#[path = "repository/merge_diff.rs"]
mod merge_diff;
#[path = "repository/merging.rs"]
mod merging;
#[path = "repository/missing.rs"]
mod missing;
#[path = "repository/processes.rs"]
mod processes;
#[path = "repository/rescue.rs"]
mod rescue;
#[path = "repository/verifying.rs"]
mod verifying;
