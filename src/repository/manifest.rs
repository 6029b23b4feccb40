//! The manifest of a restore point: the values, and their reading with every doubt as an error.
//! Not for finding or writing it: that is `guest_dir.rs` and `draft.rs`.

use super::image::{Compression, Digest};
use super::layout::{GuestKey, ImageFile, ImageKind};
use crate::model::{
    ChainId, DiskKey, GuestKind, ImageId, Label, Moment, PointId, SnapshotIdentity, VolumeId,
    VolumeShape,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format that this code writes, and the only one it reads.
pub const FORMAT: u64 = 1;

/// The highest order that is believed: above it none is left for the next point.
pub(crate) const SEQ_LIMIT: u64 = 1 << 53;

/// The most values in fields that this version does not know and yet keeps.
const UNKNOWN_LIMIT: usize = 1 << 10;

/// The features that this code knows; a manifest that requires another one is not read.
pub const FEATURES: [&str; 0] = [];

/// What the content of a restore point is worth.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The guest's file systems were frozen, and the thaw confirmed it.
    Frozen,
    /// The guest was stopped.
    Stopped,
    /// As after a loss of power.
    Crash,
}

impl std::fmt::Display for Consistency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Crash => "crash",
        })
    }
}

/// Whether the user sees the point.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is a restore point.
    Committed,
    /// Removed for the user; its images are still needed by later ones.
    Hidden,
}

/// A volume that is not in the point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Its configuration key.
    pub disk: DiskKey,
    /// Why it is not.
    pub reason: String,
    /// Whether the guest's configuration leaves it out; if not, it should have been saved and could
    /// not be. Absent: nobody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_configuration: Option<bool>,
}

/// One volume's image in a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageEntry {
    /// Names the content for ever; it does not change when images merge.
    pub id: ImageId,
    /// The image that this one is an increment on; absent in a base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ImageId>,
    /// The configuration key of the volume.
    pub disk: DiskKey,
    /// The configuration's value for that key (PVE option text).
    pub device: String,
    /// The volume it was read from.
    pub volume: VolumeId,
    /// The volume's size in bytes at that moment.
    pub size: u64,
    /// What is needed to make the volume again.
    pub shape: VolumeShape,
    /// The identity of the snapshot that it was read from.
    pub source: SnapshotIdentity,
    /// The identity of the snapshot that an increment began at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_source: Option<SnapshotIdentity>,
    /// The snapshot name that the stream begins at; absent in a base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The snapshot name that the stream ends at.
    pub to: String,
    /// The file's name in the point's directory.
    #[schemars(with = "String")]
    pub file: ImageFile,
    /// How the file is compressed.
    pub compression: Compression,
    /// Bytes of the uncompressed stream.
    pub stream_bytes: u64,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// Bytes of volume data in the stream.
    pub data_bytes: u64,
    /// The root digest of the file's index.
    pub digest: Digest,
    /// How many increments of older points were merged into it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u32,
    /// Fields of later versions: they survive a rewrite.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl ImageEntry {
    /// How many increments it stands for: those that were merged into it, and itself.
    pub fn increments(&self) -> u32 {
        self.merged.saturating_add(u32::from(self.parent.is_some()))
    }

    /// Base or increment.
    pub fn kind(&self) -> ImageKind {
        match self.parent {
            None => ImageKind::Base,
            Some(_) => ImageKind::Increment,
        }
    }
}

/// A restore point, one guest at one moment: `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The number of the format; this is 1.
    pub format: u64,
    /// Features that a reader must know to understand this point.
    pub requires: Vec<String>,
    /// Names the point for ever.
    pub point: PointId,
    /// The order of the points of a guest. Set by the commit.
    pub seq: u64,
    /// The chain that the point was made in: the snapshots on the volumes bear its id. Of a copied
    /// point it may be another repository's: whose chain is whose says `guest.json`.
    pub chain: ChainId,
    /// The label. Set by the commit to that of the directory.
    pub label: Label,
    /// The moment. Set by the commit to that of the directory.
    pub time: Moment,
    /// The guest: cluster and incarnation, not the vmid alone.
    #[serde(flatten)]
    pub guest: GuestKey,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// The guest's name; empty when it has none.
    pub name: String,
    /// The node that it ran on.
    pub node: String,
    /// What the content is worth.
    pub consistency: Consistency,
    /// Whether the user sees it.
    pub state: State,
    /// The digest of guest.conf. Set by the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<Digest>,
    /// The digest of guest.fw, when there is one. Set by the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_digest: Option<Digest>,
    /// The volumes' images.
    pub images: Vec<ImageEntry>,
    /// The volumes that were left out.
    pub skipped: Vec<Skipped>,
    /// Fields of later versions: they survive a rewrite.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Manifest {
    /// The image of a disk.
    pub fn image(&self, disk: &DiskKey) -> Option<&ImageEntry> {
        self.images.iter().find(|image| image.disk == *disk)
    }

    /// Whether the user has removed it.
    pub fn is_hidden(&self) -> bool {
        self.state == State::Hidden
    }

    /// Reads the content of a manifest file.
    ///
    /// # Errors
    /// The text is damaged or of another version; the error says which.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnreadableManifest> {
        let damaged = UnreadableManifest::Damaged;
        let value = super::seal::value(bytes).map_err(damaged)?;
        // A later format may be sealed in another way, so its number is looked for first.
        if let Some(why) = newer(&value) {
            return Err(UnreadableManifest::Newer(why));
        }
        let value = super::seal::check(bytes, value).map_err(damaged)?;
        let manifest: Self = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        manifest.sound().map_err(damaged)?;
        Ok(manifest)
    }

    fn sound(&self) -> Result<(), String> {
        if self.seq > SEQ_LIMIT {
            return Err(format!("its order is {}, as no guest has points", self.seq));
        }
        let others = self.images.iter().map(|image| &image.other).chain([&self.other]);
        let unknown: usize = others.flat_map(Map::values).map(count).sum();
        if unknown > UNKNOWN_LIMIT {
            return Err(format!("{unknown} values of it are in fields that nobody knows"));
        }
        for (n, image) in self.images.iter().enumerate() {
            if image.parent.is_some() != image.from.is_some() {
                return Err(format!("image {} is neither base nor increment", image.id));
            }
            let twin = |other: &ImageEntry| {
                other.disk == image.disk || other.id == image.id || other.file == image.file
            };
            if self.images[..n].iter().any(twin) {
                return Err(format!("image {} of {} stands there twice", image.id, image.disk));
            }
        }
        Ok(())
    }

    /// The text of the manifest file.
    ///
    /// # Errors
    /// serde_json's; no value of these types makes one.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        super::seal::close(self)
    }
}

/// Why a manifest could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnreadableManifest {
    /// It was written by a version that knows more.
    Newer(String),
    /// It is no manifest, or not whole.
    Damaged(String),
}

fn newer(value: &Value) -> Option<String> {
    let format = value.get("format")?.as_u64()?;
    if format != FORMAT {
        return Some(format!("its format is {format}, and this version reads {FORMAT}"));
    }
    let required = value.get("requires")?.as_array()?;
    let unknown: Vec<&str> = required
        .iter()
        .map(|feature| feature.as_str().unwrap_or("(no text)"))
        .filter(|feature| !FEATURES.contains(feature))
        .collect();
    let list = unknown.join(", ");
    (!unknown.is_empty()).then(|| format!("it requires what this version does not know: {list}"))
}

/// How many values a value is made of.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use serde_json::json;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Manifest, UnreadableManifest> {
        let manifest = fixture::manifest(vec![fixture::image(1, None)]);
        let mut value = serde_json::to_value(&manifest).unwrap();
        change(&mut value);
        Manifest::parse(super::super::seal::close(&value).unwrap().as_bytes())
    }

    /// The seal is no signature: whoever writes a manifest can make a right one.
    #[test]
    fn no_manifest_names_a_file_that_is_no_image_of_ours() {
        assert!(read(|_| ()).is_ok());
        for name in ["/etc/passwd", "../../x.rbd", "manifest.json", "..", "scsi0.base.rbd/../x"] {
            let error = read(|value| value["images"][0]["file"] = json!(name)).unwrap_err();
            assert!(matches!(error, UnreadableManifest::Damaged(_)), "{name}: {error:?}");
        }
    }

    #[test]
    fn unknown_fields_are_kept_as_long_as_they_are_few() {
        let kept = read(|value| value["later"] = json!(vec![0; 1000])).unwrap();
        assert_eq!(kept.other["later"].as_array().map(Vec::len), Some(1000));
        let deep = json!({ "a": { "b": vec![0; 1030] } });
        for place in ["later", "images"] {
            let many = read(|value| match place {
                "images" => value["images"][0]["later"] = deep.clone(),
                _ => value["later"] = deep.clone(),
            });
            assert!(many.is_err(), "{place}");
        }
    }

    #[test]
    fn an_order_after_which_no_other_fits_is_damage() {
        assert!(read(|value| value["seq"] = json!(SEQ_LIMIT)).is_ok());
        assert!(read(|value| value["seq"] = json!(u64::MAX - 1)).is_err());
    }
}
