//! Reads the JSON answers of `rbd` and `ceph`. Pure: runs nothing.
//!
//! Unknown fields are ignored and absent ones are named; the fixtures in `tests/data/outputs` are
//! answers of real clusters.

use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use crate::storage::{ObjectMap, Result, SnapshotFacts, StorageError, VolumeFacts};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// `rbd info`.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub name: String,
    pub id: String,
    pub size: u64,
    pub object_size: u64,
    #[serde(default)]
    pub features: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    /// Since Ceph 14; snapshots of other kinds (trash, groups) count too.
    snapshot_count: Option<u64>,
    pub data_pool: Option<String>,
    pub stripe_unit: Option<u64>,
    pub stripe_count: Option<u64>,
    pub parent: Option<Parent>,
    #[serde(default)]
    pub block_name_prefix: String,
    mirroring: Option<Mirroring>,
}

/// Only where mirroring is on does it say on which side the image is.
#[derive(Debug, Deserialize)]
struct Mirroring {
    primary: Option<Truth>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Parent {
    pub pool: String,
    #[serde(default)]
    pub pool_namespace: String,
    pub image: String,
    pub snapshot: String,
    #[serde(default)]
    pub overlap: u64,
}

#[derive(Debug, Deserialize)]
struct Snapshot {
    id: u64,
    name: String,
    size: u64,
    #[serde(default)]
    protected: Truth,
}

/// `"true"` as a text today; a plain boolean would be no surprise.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Truth {
    Plain(bool),
    Text(String),
    #[default]
    Absent,
}

#[derive(Debug, Deserialize)]
struct Status {
    watchers: Watchers,
}

/// A list today, a map in Ceph before 13.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Watchers {
    List(Vec<serde_json::Value>),
    Map(BTreeMap<String, serde_json::Value>),
}

#[derive(Debug, Deserialize)]
struct Usage {
    images: Vec<UsedImage>,
}

#[derive(Debug, Deserialize)]
struct UsedImage {
    provisioned_size: u64,
    used_size: u64,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    fsid: String,
}

#[derive(Debug, Deserialize)]
struct Space {
    pools: Vec<Pool>,
}

#[derive(Debug, Deserialize)]
struct SpaceBesideFsid {
    df: Space,
}

#[derive(Debug, Deserialize)]
struct Pool {
    name: String,
    stats: PoolStats,
}

#[derive(Debug, Deserialize)]
struct PoolStats {
    max_avail: u64,
}

pub(super) fn info(json: &[u8], object: &str) -> Result<Info> {
    read(json, "rbd info", object)
}

pub(super) fn names(json: &[u8], object: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = read(json, "rbd ls", object)?;
    names.sort();
    Ok(names)
}

/// Oldest first: numbers only grow.
pub(super) fn snapshots(
    json: &[u8],
    object: &str,
    volume: &VolumeIdentity,
) -> Result<Vec<SnapshotFacts>> {
    let mut snapshots: Vec<Snapshot> = read(json, "rbd snap ls", object)?;
    snapshots.sort_by_key(|snapshot| snapshot.id);
    Ok(snapshots.into_iter().map(|snapshot| snapshot.facts(volume)).collect())
}

pub(super) fn watchers(json: &[u8], object: &str) -> Result<usize> {
    let status: Status = read(json, "rbd status", object)?;
    Ok(match status.watchers {
        Watchers::List(list) => list.len(),
        Watchers::Map(map) => map.len(),
    })
}

/// What the image and its snapshots use together, which is at least what one of them holds.
pub(super) fn used_bytes(json: &[u8], object: &str) -> Result<u64> {
    let usage: Usage = read(json, "rbd du", object)?;
    let sum = usage.images.iter().fold(0_u64, |sum, image| sum.saturating_add(image.used_size));
    let size = usage.images.iter().map(|image| image.provisioned_size).max();
    Ok(sum.min(size.unwrap_or(0)))
}

pub(super) fn fsid(json: &[u8], object: &str) -> Result<String> {
    let cluster: Cluster = read(json, "ceph fsid", object)?;
    if cluster.fsid.len() == 36 {
        return Ok(cluster.fsid);
    }
    Err(wrong("ceph fsid", object, format!("{:?} is no fsid", cluster.fsid).into()))
}

/// What fits into the pool after replication; none when the pool does not show, as for a user
/// who may not see it.
pub(super) fn free_bytes(json: &[u8], object: &str, pool: &str) -> Result<Option<u64>> {
    let space: Space = read(json, "ceph df", object)?;
    Ok(space.of(pool))
}

/// The same out of the document of `ask-ceph`.
pub(super) fn free_bytes_beside_fsid(json: &[u8], object: &str, pool: &str) -> Result<Option<u64>> {
    let space: SpaceBesideFsid = read(json, "ask-ceph", object)?;
    Ok(space.df.of(pool))
}

impl Space {
    fn of(self, pool: &str) -> Option<u64> {
        let found = self.pools.into_iter().find(|candidate| candidate.name == pool);
        found.map(|pool| pool.stats.max_avail)
    }
}

impl Info {
    /// Whether the image says so itself; one of an older Ceph does not.
    pub(super) fn has_no_snapshots(&self) -> bool {
        self.snapshot_count == Some(0)
    }

    fn has_fast_diff(&self) -> bool {
        self.object_map() == ObjectMap::Valid && self.features.iter().any(|f| f == "fast-diff")
    }

    pub(super) fn facts(
        self,
        name: &str,
        identity: VolumeIdentity,
        snapshots: Vec<SnapshotFacts>,
    ) -> VolumeFacts {
        VolumeFacts {
            name: name.to_owned(),
            identity,
            object_map: self.object_map(),
            tells_used: self.has_fast_diff(),
            parent: self.parent.as_ref().map(Parent::spec),
            snapshots,
            migrating: self.is_migrating(),
            mirror_target: self.is_mirror_target(),
            shape: VolumeShape {
                size: self.size,
                object_size: Some(self.object_size),
                striping: self.stripe_unit.zip(self.stripe_count).filter(|(_, count)| *count > 1),
                features: self.features,
                data_pool: self.data_pool,
                volblocksize: None,
            },
        }
    }

    /// Whether a migration was prepared and is neither committed nor aborted.
    pub(super) fn is_migrating(&self) -> bool {
        self.features.iter().any(|feature| feature == "migrating")
    }

    fn is_mirror_target(&self) -> bool {
        let primary = self.mirroring.as_ref().and_then(|mirroring| mirroring.primary.as_ref());
        primary.is_some_and(|primary| !primary.is_true())
    }

    fn object_map(&self) -> ObjectMap {
        if !self.features.iter().any(|feature| feature == "object-map") {
            return ObjectMap::None;
        }
        // The words are "object map invalid" and "fast diff invalid".
        if self.flags.iter().any(|flag| flag.contains("invalid")) {
            return ObjectMap::Invalid;
        }
        ObjectMap::Valid
    }
}

impl Parent {
    fn spec(&self) -> String {
        let Self { pool, pool_namespace, image, snapshot, .. } = self;
        match pool_namespace.as_str() {
            "" => format!("{pool}/{image}@{snapshot}"),
            namespace => format!("{pool}/{namespace}/{image}@{snapshot}"),
        }
    }
}

impl Snapshot {
    fn facts(self, volume: &VolumeIdentity) -> SnapshotFacts {
        SnapshotFacts {
            size: self.size,
            protected: self.protected.is_true(),
            identity: SnapshotIdentity {
                volume: volume.clone(),
                snapshot: self.id.to_string(),
                name: self.name,
            },
        }
    }
}

impl Truth {
    fn is_true(&self) -> bool {
        match self {
            Self::Plain(truth) => *truth,
            Self::Text(text) => text == "true",
            Self::Absent => false,
        }
    }
}

fn read<T: DeserializeOwned>(json: &[u8], tool: &'static str, object: &str) -> Result<T> {
    // `ceph` puts an empty line before its answer.
    serde_json::from_slice(json.trim_ascii()).map_err(|error| wrong(tool, object, error.into()))
}

fn wrong(
    tool: &'static str,
    object: &str,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> StorageError {
    StorageError::Answer { tool, object: object.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! real {
        ($file:literal) => {
            include_bytes!(concat!("../../../tests/data/outputs/rbd-16.2.15/", $file)).as_slice()
        };
    }

    fn volume() -> VolumeIdentity {
        VolumeIdentity::Memory { id: 1 }
    }

    fn facts(json: &[u8]) -> VolumeFacts {
        info(json, "c:v").unwrap().facts("v", volume(), Vec::new())
    }

    #[test]
    fn a_real_image_is_understood() {
        let facts = facts(real!("info.json"));
        assert_eq!((facts.shape.size, facts.shape.object_size), (10_485_760, Some(1 << 20)));
        assert_eq!(
            facts.shape.features,
            ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"]
        );
        assert_eq!((facts.shape.striping, facts.shape.data_pool), (None, None));
        assert_eq!((facts.object_map, facts.parent), (ObjectMap::Valid, None));
        assert_eq!(info(real!("info.json"), "c:v").unwrap().id, "10bfc3736178");
    }

    #[test]
    fn clones_data_pools_striping_and_wrong_maps_are_seen() {
        let clone = facts(real!("info-clone.json"));
        assert_eq!(clone.parent.as_deref(), Some("data/fx@__base__"));
        let shape = facts(real!("info-data-pool.json")).shape;
        assert_eq!(shape.data_pool.as_deref(), Some("ec1"));
        assert_eq!(facts(real!("info-striped.json")).shape.striping, Some((65_536, 4)));
        let spoiled = info(real!("info-object-map-invalid.json"), "c:v").unwrap();
        assert!(!spoiled.has_fast_diff());
        assert_eq!(spoiled.object_map(), ObjectMap::Invalid);
    }

    #[test]
    fn images_that_are_migrated_or_written_by_another_cluster_are_seen() {
        let plain = facts(real!("info.json"));
        assert!(!plain.migrating && !plain.mirror_target);
        let text = String::from_utf8_lossy(real!("info.json")).into_owned();
        let migrated = facts(text.replace("\"layering\"", "\"layering\",\"migrating\"").as_bytes());
        assert!(migrated.migrating);
        let error = migrated.refuse_migrating("c:v@s").unwrap_err().to_string();
        assert!(error.starts_with("c:v@s is in use (its volume is being migrated"), "{error}");
        for (mirroring, target) in [
            (r#"{"mode":"snapshot","global_id":"x","state":"enabled","primary":false}"#, true),
            (r#"{"mode":"snapshot","global_id":"x","state":"enabled","primary":true}"#, false),
            (r#"{"global_id":"x","state":"enabled","primary":"false"}"#, true),
            (r#"{"state":"disabled"}"#, false),
        ] {
            let mirrored = text.replacen('{', &format!("{{\"mirroring\":{mirroring},"), 1);
            assert_eq!(facts(mirrored.as_bytes()).mirror_target, target, "{mirroring}");
        }
    }

    #[test]
    fn real_snapshots_are_read_with_their_protection() {
        let snapshots = snapshots(real!("snap-ls.json"), "c:v", &volume()).unwrap();
        let seen: Vec<(&str, &str, bool)> = snapshots
            .iter()
            .map(|s| (s.identity.snapshot.as_str(), s.identity.name.as_str(), s.protected))
            .collect();
        let ours = "ferry.1a2b3c4d.daily.20260101T000000Z";
        assert_eq!(seen, [("12", ours, false), ("13", "__base__", true)]);
    }

    #[test]
    fn snapshots_are_sorted_by_number_and_know_plain_booleans() {
        let json =
            br#"[{"id":10,"name":"b","size":1,"protected":true},{"id":9,"name":"a","size":1}]"#;
        let snapshots = snapshots(json, "c:v", &volume()).unwrap();
        let seen: Vec<(&str, bool)> =
            snapshots.iter().map(|s| (s.identity.name.as_str(), s.protected)).collect();
        assert_eq!(seen, [("a", false), ("b", true)]);
    }

    #[test]
    fn watchers_space_and_ids_are_read() {
        assert_eq!(watchers(real!("status.json"), "c:v").unwrap(), 0);
        assert_eq!(watchers(real!("status-watched.json"), "c:v").unwrap(), 1);
        assert_eq!(used_bytes(real!("du.json"), "c:v").unwrap(), 3 << 20);
        let full = String::from_utf8_lossy(real!("du.json")).replace(":0}", ":10485760}");
        assert_eq!(used_bytes(full.as_bytes(), "c:v").unwrap(), 10 << 20);
        let df = real!("ceph-df.json");
        assert_eq!(free_bytes(df, "c:data", "data").unwrap(), Some(7_813_940_736));
        assert_eq!(free_bytes(df, "c:other", "other").unwrap(), None);
        let text = String::from_utf8_lossy(df);
        let both = format!("{{\"fsid\":\"x\",\"df\":{text}}}");
        let beside = free_bytes_beside_fsid(both.as_bytes(), "c", "data").unwrap();
        assert_eq!(beside, Some(7_813_940_736));
        let id = fsid(real!("ceph-fsid.json"), "c").unwrap();
        assert_eq!(id, "d4012840-21ae-415a-aeb8-1dd7b8e8cbca");
        assert_eq!(names(real!("ls.json"), "c").unwrap()[..2], ["fx", "fxclone"]);
    }

    #[test]
    fn other_answers_are_errors_that_name_the_tool_and_the_object() {
        for json in [&b""[..], b"{}", b"[]", b"{\"id\":1}", b"rbd: error"] {
            let error = info(json, "ceph:vm-100-disk-0").unwrap_err().to_string();
            assert!(error.contains("rbd info") && error.contains("ceph:vm-100-disk-0"), "{error}");
        }
        assert!(fsid(b"{\"fsid\":\"x\"}", "c").is_err());
    }
}
