//! Property tests: what holds for every input, not for the one that somebody thought of. Examples
//! stand beside the code.

#[path = "properties/streams.rs"]
mod streams;

#[path = "properties/snapshots.rs"]
mod snapshots;
