//! The document of `verify --json`. Not of `verify --source`: that is `source.rs`.

use crate::model::VmId;
use crate::report::Status;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What verifying a repository found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verification {
    /// Always `verify`.
    pub operation: &'static str,
    /// `ok` when no guest is damaged or failed and all that was named was found.
    pub status: Status,
    /// The guests of the repository.
    pub guests: Vec<VerifiedGuest>,
    /// What `--vmid` and `--label` named and nothing is stored of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_found: Vec<String>,
}

/// How verifying a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifiedStatus {
    /// No damage.
    Ok,
    /// There is damage.
    Damaged,
    /// It could not be verified.
    Failed,
}

/// What was found of one guest. Where it could not be verified there is an `error` and no count;
/// where it was stopped, the counts are of what was read until then.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifiedGuest {
    /// The guest's number.
    pub vmid: VmId,
    /// How it ended.
    pub status: VerifiedStatus,
    /// Why it could not be verified, or that the user stopped it before all was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The guest's directory below the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How many points were verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<usize>,
    /// How many images were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// How many bytes were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Vec<Damage>>,
    /// The directories of all points that cannot be restored whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points_lost: Option<Vec<PathBuf>>,
    /// How many images have no checksum beside them, as eve4pve-barc could leave them: whether a byte of
    /// them was changed cannot be seen. Absent when all have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_checksum: Option<usize>,
    /// With `--mark`: why the damage could not be noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unnoted: Option<String>,
}

/// One damaged file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What of the volume is lost, as far as that is known: offset and length in bytes.
    pub extents: Vec<(u64, u64)>,
    /// The directories of the points that cannot be restored whole because of it.
    pub points_lost: Vec<PathBuf>,
}
