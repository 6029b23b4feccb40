//! `index.json`: a cache of all manifests of a guest, so that a listing over the network reads one
//! file. Not a truth: an entry counts only while its files' facts are those of the cached ones.

use super::disk::Disk;
use super::history::StoredPoint;
use super::layout;
use super::manifest::Manifest;
use super::records::Attributes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The schema of the file.
pub fn index_schema() -> Value {
    crate::schema::of_sealed::<IndexCache>()
}

/// What tells one state of a file from another without reading it: inode, size, and the times of
/// the last change of content and of anything, as (seconds, nanoseconds).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FileFacts {
    /// Its inode.
    inode: u64,
    /// Its size, bytes.
    size: u64,
    /// The last change of its content: seconds and nanoseconds.
    modified: (i64, i64),
    /// The last change of anything of it: seconds and nanoseconds.
    changed: (i64, i64),
}

/// The facts of a point's two files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PointFacts {
    /// Those of the manifest.
    manifest: FileFacts,
    /// Those of the attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes: Option<FileFacts>,
}

impl PointFacts {
    /// The facts of the files in a point's directory; `None` when it holds no manifest. That a file
    /// is absent only the directory's listing tells: an NFS client answers for up to a minute from
    /// its memory that a name is not there, and reads a directory anew whenever it is opened.
    pub(crate) fn of(disk: &Disk, dir: &Path) -> io::Result<Option<Self>> {
        let listed = disk.names(dir)?;
        let facts = |name: &str| match listed.iter().any(|listed| listed == name) {
            true => facts_of_listed(disk, dir, name),
            false => Ok(None),
        };
        let Some(manifest) = facts(layout::MANIFEST)? else { return Ok(None) };
        Ok(Some(Self { manifest, attributes: facts(layout::ATTRIBUTES)? }))
    }

    /// Whether there is a file of attributes.
    pub(crate) fn has_attributes(&self) -> bool {
        self.attributes.is_some()
    }
}

/// The facts of a file that the directory lists; `None` only when it lists it no longer. To open a
/// file asks the server where looking at its name might not.
fn facts_of_listed(disk: &Disk, dir: &Path, name: &str) -> io::Result<Option<FileFacts>> {
    let path = dir.join(name);
    if let Some(facts) = disk.facts(&path)? {
        return Ok(Some(file_facts(facts)));
    }
    match disk.open(&path).and_then(|file| file.metadata()) {
        Ok(facts) => Ok(Some(file_facts(facts))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match disk.names(dir)?.iter().any(|listed| listed == name) {
                true => Err(error),
                false => Ok(None),
            }
        }
        Err(error) => Err(error),
    }
}

fn file_facts(facts: std::fs::Metadata) -> FileFacts {
    FileFacts {
        inode: facts.ino(),
        size: facts.size(),
        modified: (facts.mtime(), facts.mtime_nsec()),
        changed: (facts.ctime(), facts.ctime_nsec()),
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Entry {
    /// What the two files were when they were read.
    facts: PointFacts,
    /// The manifest.
    manifest: Manifest,
    /// The attributes.
    attributes: Attributes,
}

/// All manifests and attributes of a guest: `index.json`, a cache that may be removed.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct IndexCache {
    /// The points, by `label/stamp`.
    points: BTreeMap<String, Entry>,
}

impl IndexCache {
    /// Reads the cache; whatever is wrong with it makes it empty, never an error.
    pub(crate) fn read(disk: &Disk, guest_dir: &Path) -> Self {
        let bytes = disk.read(&guest_dir.join(layout::INDEX)).unwrap_or_default();
        let cache = super::seal::open(&bytes).ok();
        cache.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }

    /// The point as it was read when its files had these facts.
    pub(crate) fn point(&self, facts: &PointFacts, dir: &Path) -> Option<StoredPoint> {
        let entry = self.points.get(&key(dir)?).filter(|entry| entry.facts == *facts)?;
        if !entry.manifest.is_known() {
            return None;
        }
        let (manifest, attributes) = (entry.manifest.clone(), entry.attributes.clone());
        Some(StoredPoint { manifest, attributes, dir: dir.to_owned() })
    }

    /// The cache of points, each with the facts that its files had before they were read.
    pub(crate) fn of(points: &[(StoredPoint, PointFacts)]) -> Self {
        let mut cache = Self::default();
        for (point, facts) in points {
            let Some(key) = key(&point.dir) else { continue };
            let (manifest, attributes) = (point.manifest.clone(), point.attributes.clone());
            cache.points.insert(key, Entry { facts: facts.clone(), manifest, attributes });
        }
        cache
    }

    /// The text of the file. It is sealed: a cache must not be damaged where the truth is not.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        super::seal::close(self)
    }
}

fn key(dir: &Path) -> Option<String> {
    let stamp = dir.file_name()?.to_str()?;
    let label = dir.parent()?.file_name()?.to_str()?;
    Some(format!("{label}/{stamp}"))
}
