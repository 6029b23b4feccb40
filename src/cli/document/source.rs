//! The document of `verify --source --json`. Not of the rest of verify: that is `verified.rs`.

use crate::model::{DiskKey, Label, Moment, Share, VmId, VolumeId};
use crate::report::Status;
use schemars::JsonSchema;
use serde::Serialize;

/// How restore points compare with the snapshots that they were made from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SourceVerification {
    /// Always `verify`.
    pub operation: &'static str,
    /// Always true: this is a comparison with the source.
    pub source: bool,
    /// `ok` when everything was compared and equal.
    pub status: Status,
    /// The guests of the repository.
    pub guests: Vec<ComparedGuest>,
    /// What `--vmid` and `--label` named and nothing is stored of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_found: Vec<String>,
}

/// How comparing a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceStatus {
    /// Equal.
    Ok,
    /// Something differs.
    Differs,
    /// Not everything could be compared; what was is equal.
    Partial,
    /// Nothing was compared.
    Failed,
}

/// What was found of one guest: `points`, or an `error`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ComparedGuest {
    /// The guest's number.
    pub vmid: VmId,
    /// The guest's directory below the repository.
    pub directory: String,
    /// How it ended.
    pub status: SourceStatus,
    /// Why nothing was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The newest point of each label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<ComparedPoint>>,
    /// Why what was found could not be noted, as in a repository that is mounted read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unnoted: Option<String>,
}

/// One point.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ComparedPoint {
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub time: Moment,
    /// Which of the blocks were compared.
    pub share: Share,
    /// Its disks.
    pub disks: Vec<ComparedDisk>,
}

/// How comparing a disk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskStatus {
    /// Equal.
    Ok,
    /// Something differs.
    Differs,
    /// It could not be compared.
    NotCompared,
}

/// One disk: what was compared, or an `error`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ComparedDisk {
    /// The configuration's key of the volume.
    pub disk: DiskKey,
    /// The volume.
    pub volume: VolumeId,
    /// How it ended.
    pub status: DiskStatus,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many bytes of the source were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many blocks were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// The size of the source and that in the point, bytes; null when they are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Option<(u64, u64)>>,
    /// The blocks that differ, ascending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<DifferingBlock>>,
}

/// A block that differs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DifferingBlock {
    /// Where the difference begins, bytes.
    pub offset: u64,
    /// From its first to its last byte.
    pub length: u64,
    /// Digest of the block in the source: its algorithm, a colon, and hexadecimal digits.
    pub source: String,
    /// Digest of the block in the point.
    pub stored: String,
}
