//! Property tests: what holds for every input, not for the one that somebody thought of. Examples
//! stand beside the code.

#[path = "properties/jobs.rs"]
mod jobs;
#[path = "properties/reset.rs"]
mod reset;
#[path = "properties/retention.rs"]
mod retention;
#[path = "properties/streams.rs"]
mod streams;

#[path = "properties/snapshots.rs"]
mod snapshots;
