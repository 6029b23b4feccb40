//! The small records beside the manifests: the guest, a point's attributes.
//! Not for what a point contains: that is the manifest and never changes.

use super::layout::GuestKey;
use super::manifest::SEQ_LIMIT;
use super::seal;
use crate::model::{ChainId, GuestKind, ImageId, Label, Moment, PointId, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is known of a guest: `guest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestRecord {
    /// Cluster, vmid and incarnation.
    #[serde(flatten)]
    pub guest: GuestKey,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Its name when it was last backed up.
    pub name: String,
    /// The chain of each label, which no other repository has: its next point will be of it. It is
    /// written before a chain's first snapshot is made.
    pub chains: BTreeMap<Label, ChainId>,
    /// The highest order that a point of this guest had which is gone from here; absent: none is.
    /// It is never given again, as copies of that point may stand elsewhere.
    #[serde(default, skip_serializing_if = "is_none_gone")]
    pub last_seq: u64,
    /// Fields of later versions: they survive a rewrite.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl GuestRecord {
    /// Reads the content of guest.json.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self =
            serde_json::from_value(seal::open_or_old(bytes)?).map_err(|error| error.to_string())?;
        match record.last_seq < SEQ_LIMIT {
            true => Ok(record),
            false => Err(format!("no point can come after order {}", record.last_seq)),
        }
    }

    /// The text of guest.json.
    ///
    /// # Errors
    /// serde_json's; no value of these types makes one.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        seal::close(self)
    }
}

fn is_none_gone(last_seq: &u64) -> bool {
    *last_seq == 0
}

/// The outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifiedState {
    /// No damage.
    Ok,
    /// Damage: the point, or a point that it needs, cannot be restored whole.
    Failed,
}

/// The last verification of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// How it ended.
    pub state: VerifiedState,
    /// When it was.
    pub at: Moment,
    /// What was damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The last comparison of a point with the snapshots that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The blocks that were compared.
    pub share: Share,
    /// When it was.
    pub at: Moment,
    /// Images of this point whose volumes hold something else than their source held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_images: Vec<ImageId>,
    /// What differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What changes of a point after its commit: `attributes.json`. Absent fields have their default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attributes {
    /// The point that this belongs to, so that a misplaced file is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<PointId>,
    /// What a person wrote about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Never pruned.
    #[serde(default)]
    pub protected: bool,
    /// The last verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Images of this point that were found damaged: no increment is based on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_images: Vec<ImageId>,
    /// The last comparison with the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited: Option<AuditRecord>,
    /// Fields of later versions: they survive a rewrite.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Attributes {
    /// Reads the content of the attributes of `point`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], point: PointId) -> Result<Self, String> {
        let attributes: Self =
            serde_json::from_value(seal::open_or_old(bytes)?).map_err(|error| error.to_string())?;
        match attributes.point == Some(point) {
            true => Ok(attributes),
            false => Err("it belongs to another restore point".to_owned()),
        }
    }

    /// The text of attributes.json.
    ///
    /// # Errors
    /// serde_json's; no value of these types makes one.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        seal::close(self)
    }

    /// Whether the last verification found damage in this point, or a comparison with its source
    /// found something else there.
    pub fn has_failed(&self) -> bool {
        self.verified.as_ref().is_some_and(|verified| verified.state == VerifiedState::Failed)
            || self.audited.as_ref().is_some_and(|audited| !audited.failed_images.is_empty())
    }
}
