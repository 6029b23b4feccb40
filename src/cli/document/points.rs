//! The document of `list --json`. Not for reading a repository.

use crate::model::{
    ChainId, ClusterId, DiskKey, GuestKind, ImageId, Label, Moment, PointId, VmId, VolumeId,
};
use crate::repository::{Consistency, ImageKind, Skipped, VerifiedState};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What a repository holds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RestorePoints {
    /// The points: our own, then those of eve4pve-barc.
    pub restore_points: Vec<Point>,
    /// Points that are there and cannot be read, each in words.
    pub unreadable: Vec<String>,
}

/// A point of ours, or one of eve4pve-barc, which has a field `format`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Point {
    /// One of ours.
    Own(Box<ListedPoint>),
    /// One of eve4pve-barc.
    Barc(Box<BarcPoint>),
}

/// A restore point.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedPoint {
    /// Names the point for ever.
    pub id: PointId,
    /// The order of the guest's points.
    pub seq: u64,
    /// The guest's number.
    pub vmid: VmId,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// The guest's name; empty when it had none.
    pub name: String,
    /// The node that it ran on.
    pub node: String,
    /// The guest's cluster.
    pub cluster: ClusterId,
    /// The point's label.
    pub label: Label,
    /// The chain that it belongs to.
    pub chain: ChainId,
    /// Its moment.
    pub time: Moment,
    /// What its content is worth.
    pub consistency: Consistency,
    /// What the last verification found, or the last comparison with the source; null when there
    /// was none.
    pub verified: Option<VerifiedState>,
    /// When that was.
    pub verified_at: Option<Moment>,
    /// Never pruned.
    pub protected: bool,
    /// Removed for the user, and still needed by later points; printed with `--all` only.
    pub hidden: bool,
    /// What a person wrote about it.
    pub notes: String,
    /// Its directory.
    pub path: PathBuf,
    /// The images of its volumes.
    pub images: Vec<ListedImage>,
    /// The volumes that are not in it.
    pub skipped: Vec<Skipped>,
}

/// One volume's image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedImage {
    /// Names the content for ever.
    pub id: ImageId,
    /// The configuration's key of the volume.
    pub disk: DiskKey,
    /// The volume it was read from.
    pub volume: VolumeId,
    /// Whether it needs another image.
    pub kind: ImageKind,
    /// The volume's size, bytes.
    pub size: u64,
    /// Bytes of the uncompressed stream.
    pub stream_bytes: u64,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// How the file is compressed: none, zstd:LEVEL, gzip, bzip2.
    pub compression: String,
    /// The root digest: its algorithm, a colon, and hexadecimal digits.
    pub digest: String,
    /// The image that an increment needs; null for a base.
    pub base: Option<ImageId>,
    /// The file's name in the point's directory.
    pub file: String,
}

/// Always `barc`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BarcWord {
    /// A point of eve4pve-barc.
    Barc,
}

/// A point that eve4pve-barc wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BarcPoint {
    /// Says that it is one of eve4pve-barc; our own have no such field.
    pub format: BarcWord,
    /// Of eve4pve-barc: its stamp as it stands in file names.
    pub stamp: String,
    /// The guest's number.
    pub vmid: VmId,
    /// Virtual machine or container; null where no configuration was stored.
    pub kind: Option<GuestKind>,
    /// The guest's name; empty where it is not known.
    pub name: String,
    /// The label, which is a directory's name and may be any text.
    pub label: String,
    /// Its moment.
    pub time: Moment,
    /// The directory of the label.
    pub path: PathBuf,
    /// Its images.
    pub images: Vec<BarcImage>,
}

/// What an image of eve4pve-barc is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BarcImageKind {
    /// It holds the whole volume.
    Base,
    /// It holds what changed since the image before it.
    Increment,
    /// It cannot be used.
    Damaged,
}

/// An image that eve4pve-barc wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BarcImage {
    /// The configuration's key of the volume; null where it is not known.
    pub disk: Option<DiskKey>,
    /// Of eve4pve-barc: the volume's name in the file's name.
    pub name: String,
    /// The volume; null where it is not known.
    pub volume: Option<VolumeId>,
    /// Whether it needs another image, or is damaged.
    pub kind: BarcImageKind,
    /// The volume's size, bytes; null where it is not known without reading the whole file.
    pub size: Option<u64>,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// Of eve4pve-barc: the checksums that are stored beside it.
    pub sums: Vec<String>,
    /// Of eve4pve-barc: the snapshot that an increment begins at; null for a base.
    pub from: Option<String>,
    /// Of eve4pve-barc: why the file cannot be used; null when it can.
    pub damage: Option<String>,
    /// The file's name.
    pub file: String,
}
