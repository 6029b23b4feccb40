//! The documents of `show guests --json` and `status --json`. They judge nothing.

use crate::job::JobName;
use crate::job::cover::Severity;
use crate::model::{GuestKind, Moment, VmId};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The guests that a selection means.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownGuests {
    /// The selected guests; with `--explain` all.
    pub guests: Vec<ShownGuest>,
    /// Items of the selection that name no guest.
    pub not_found: Vec<String>,
    /// Selected guests that no command reaches, by the node that is down.
    pub unreachable: BTreeMap<String, Vec<VmId>>,
    /// What the user should look at.
    pub warnings: Vec<String>,
}

/// One guest.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownGuest {
    /// Its number.
    pub vmid: VmId,
    /// Its name.
    pub name: String,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Its node.
    pub node: String,
    /// Its state in PVE's words; null where it is not known.
    pub status: Option<String>,
    /// Whether it is a template.
    pub template: bool,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its pool and those above it.
    pub pools: Option<Vec<String>>,
    /// The storages of its volumes.
    pub storages: Option<Vec<String>>,
    /// Whether it is selected.
    pub selected: bool,
    /// The items of the selection that name it.
    pub named_by: Vec<String>,
    /// The items that exclude it.
    pub excluded_by: Vec<String>,
    /// Both in words.
    pub why: String,
}

/// Whether every guest is covered, and since when not; when that cannot be told it is `status` and
/// `error` alone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusAnswer {
    /// It can be told.
    Known(Coverage),
    /// It cannot.
    Unknown(Unknown),
}

/// Whether every guest is covered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Coverage {
    /// The worst of all.
    pub status: Severity,
    /// Every guest of the cluster that is no template.
    pub guests: Vec<CoveredGuest>,
    /// What concerns no single guest.
    pub problems: Vec<String>,
}

/// That nothing can be told.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unknown {
    /// Always `unknown`.
    pub status: Severity,
    /// Why nothing can be told.
    pub error: String,
}

/// How one guest is covered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CoveredGuest {
    /// Its number.
    pub vmid: VmId,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// How bad it is.
    pub status: Severity,
    /// Why; empty when all is well.
    pub why: String,
    /// The enabled jobs that save it.
    pub jobs: Vec<JobName>,
    /// The enabled jobs that make snapshots of it, which save nothing from a lost storage.
    pub snapshot_jobs: Vec<JobName>,
    /// Its newest point that was not found damaged; null when there is none.
    pub good_point: Option<Moment>,
    /// The age of that point, seconds.
    pub good_age_seconds: Option<i64>,
    /// Its newest point that a verification found whole; null when there is none.
    pub verified_point: Option<Moment>,
    /// The age of that point, seconds.
    pub verified_age_seconds: Option<i64>,
}
