//! The JSON documents that commands print with `--json`, as types: what is printed is what their
//! schemas say. Not the report of a run: that is `report.rs`'s, and the plans of a dry run are
//! `cli/report.rs`'s.

mod guests;
mod jobs;
mod points;
mod source;
mod verified;

pub use guests::{Coverage, CoveredGuest, ShownGuest, ShownGuests, Unknown};
pub use jobs::{DamagedJob, JobDefinition, JobGuest, JobList, ListedJob};
pub use points::{BarcImage, BarcImageKind, BarcPoint, BarcWord, ListedImage, ListedPoint, Point, RestorePoints};
pub use source::{
    ComparedDisk, ComparedGuest, ComparedPoint, DifferingBlock, DiskStatus, SourceStatus,
    SourceVerification,
};
pub use verified::{Damage, Verification, VerifiedGuest, VerifiedStatus};
