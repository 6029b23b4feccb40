//! The repository with real image files: verify, RESTORE.txt, format 1, two processes. The commit
//! protocol and the reading of damaged manifests are tested beside the code.

#[path = "repository/example.rs"]
mod example;
#[path = "repository/golden.rs"]
mod golden;
#[path = "repository/processes.rs"]
mod processes;
#[path = "repository/rescue.rs"]
mod rescue;
#[path = "repository/verifying.rs"]
mod verifying;
