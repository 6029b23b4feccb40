//! Whole operations on a cluster in memory: round trips, and everything that can go wrong going
//! wrong in turn. After each fault the scopes are closed, nothing that was there is lost, and the
//! next run converges. Not for texts and exit codes of the program: `tests/cli`.

// A helper of a test may fail as loudly as the test itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod adopt;
mod audit;
mod barc;
mod ceph;
mod config;
mod copy;
mod departed;
mod disk;
mod freezing;
mod hangs;
mod hooks;
mod host;
mod identity;
mod interruptions;
mod killed;
mod left_out;
mod link;
mod merging;
mod nodes;
mod points;
mod power;
mod prune;
mod races;
mod reset;
mod restore;
mod round_trip;
mod situation;
mod snapshot;
mod storage;
mod verify;
