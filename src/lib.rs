//! pve-ferry backs guests of a Proxmox VE cluster up into a plain directory and brings them back.
//!
//! # The idea
//!
//! Every command that acts is an [`operation::Operation`], run by the one loop, [`run::run`] (or
//! [`run::confirmed`], where a person is asked first): *select* guests; then for each guest, in its turn,
//! ask the operation for a plan (it *locks*, *surveys* the world into facts and *plans*, which is a pure
//! function), *check* the plan against the safety rules, *execute* it, and ask again until nothing is left
//! to do; then *report*. A plan is data: printed, it is the dry run, the debug log and the golden test.
//! What a failure means stands in the plan, too; the one engine decides nothing. Recovery is not special:
//! the next survey sees what a crash left, and the next plan cleans it up.
//!
//! # The map
//!
//! In reading order, which is the order of layers. A module uses its own layer and those above it,
//! never one below; `tests/tidy.rs` checks that, and the other invariants named here.
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | words | [`model`], [`report`] | the glossary as values; what a run did. No I/O |
//! | decisions | [`select`], [`retention`], [`pve_config`], [`plan`], [`stream`], [`job`], [`schema`] | facts in, plan out; the diff stream's records; PVE's texts. No process, file, network, environment, clock or random source |
//! | drivers | [`transport`], [`storage`], [`repository`], [`pve`], and small ones beside them | each knows one outside thing. `repository` and `stream` are plain std, without a runtime |
//! | work | [`cluster`], [`context`], [`survey`], [`execute`], [`operation`], [`run`] | reads facts, carries plans out by noun, one file per command, one loop |
//! | front | [`cli`] | the ways in |
//!
//! # Invariants
//!
//! What is deliberately absent, so that it can be relied on:
//!
//! - Processes start in `transport/local.rs` only; quoting for a remote shell stands in
//!   `transport/ssh.rs` only; stdout is printed to in `cli/output.rs` only; the wall clock is read
//!   in `clock.rs` only. A survey issues no command that changes anything.
//! - [`storage`] and [`repository`] do not know each other: what moves between them is a stream.
//! - A snapshot or point whose whole name and identity are not ours is never deleted.
//! - The snapshot that the next increment needs goes only after its successor is committed.
//! - A frozen scope holds nothing but snapshot creation. A guard on the guest's node freezes and thaws,
//!   whatever becomes of us, and no run is ok whose guest was not seen thawed.
//! - Hooks stand around steps (`execute/hooked.rs`), turns and runs (`run/hooked.rs`), never
//!   inside a frozen scope. Who is told of a run, or cannot be told, never changes its result.
//! - A restore point exists when its `manifest.json` has been renamed into place, and not before.
//! - A transfer counts when every process ended well, the end mark was seen and sizes agree.
//! - A disk or guest that was left out is named, and is never "ok" unless its own configuration
//!   says so.
//! - How a command ended is returned as data to whoever started it (`cli/end.rs`): the record of a job's
//!   run is made of that, never of printed text.
//! - Whoever waits for another run says so in [`waits`], so that a job's run can tell for whom it waits.
//! - Every file and JSON document that others read or write has its schema from the type that is read
//!   or written; `schema` is the only door to what makes schemas, `cli/reference` lists all formats.
//!
//! The format of a repository stands in [`repository`], the safety rules of plans in
//! [`plan::check`].

pub mod model;
pub mod report;

pub mod job;
pub mod plan;
pub mod pve_config;
pub mod retention;
pub mod schema;
pub mod select;
pub mod stream;

pub mod cancel;
pub mod clock;
pub mod entropy;
pub mod hooks;
pub mod notify;
pub mod progress;
pub mod secret;
pub mod stall;
pub mod throttle;
pub mod transport;
pub mod waits;

pub mod storage;

pub mod pve;
pub mod repository;

pub mod node;

pub mod cluster;
pub mod context;

pub mod survey;

pub mod assemble;
pub mod audit;
pub mod execute;
pub mod operation;
pub mod run;
pub mod told;

pub mod cli;
