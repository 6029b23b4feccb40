//! What a volume and a snapshot *are*, apart from what they are called: identities and shapes.
//!
//! A name proves nothing: a disk that was removed and made again bears the old name, and so may a
//! snapshot. Increments are based on identities only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity of a volume, by kind of storage.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub enum VolumeIdentity {
    /// A Ceph RBD image. Source: `rbd info --format json` (`id`), `ceph fsid`, doc/man/8/rbd.rst.
    Rbd {
        /// The Ceph cluster's fsid.
        fsid: String,
        /// The pool's name.
        pool: String,
        /// The RBD namespace; empty for the default one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// The image's id, which Ceph never gives twice within a pool.
        image: String,
    },
    /// A volume of the memory driver, the reference for tests.
    Memory {
        /// A number that is never given twice.
        id: u64,
    },
}

/// The identity of a snapshot within its volume.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct SnapshotIdentity {
    /// The volume it belongs to.
    #[serde(flatten)]
    pub volume: VolumeIdentity,
    /// The storage's own number or guid for it, as text (RBD: the snapshot id, which only grows).
    pub snapshot: String,
    /// Its name on the storage. Two identities are one only when the names are one, too.
    pub name: String,
}

/// What is needed to make a volume again as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeShape {
    /// Its size in bytes.
    pub size: u64,
    /// RBD: bytes per object, a power of two (`rbd create --object-size`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_size: Option<u64>,
    /// RBD: enabled image features, in the words of `rbd info`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// RBD: the pool that holds the data, when it is another one than the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_pool: Option<String>,
    /// RBD: stripe unit in bytes and stripe count, when they are not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub striping: Option<(u64, u64)>,
    /// ZFS: bytes per block of a zvol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volblocksize: Option<u64>,
}

impl fmt::Display for VolumeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rbd { fsid, pool, namespace, image } if namespace.is_empty() => {
                write!(f, "rbd image {image} of pool {pool} in cluster {fsid}")
            }
            Self::Rbd { fsid, pool, namespace, image } => {
                write!(f, "rbd image {image} of pool {pool}/{namespace} in cluster {fsid}")
            }
            Self::Memory { id } => write!(f, "memory volume {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_stand_in_json_as_one_flat_object() {
        let identity = SnapshotIdentity {
            volume: VolumeIdentity::Rbd {
                fsid: "f".into(),
                pool: "rbd".into(),
                namespace: String::new(),
                image: "10ab".into(),
            },
            snapshot: "4".into(),
            name: "s".into(),
        };
        let json = serde_json::to_string(&identity).unwrap();
        assert_eq!(
            json,
            r#"{"driver":"rbd","fsid":"f","pool":"rbd","image":"10ab","snapshot":"4","name":"s"}"#
        );
        assert_eq!(serde_json::from_str::<SnapshotIdentity>(&json).unwrap(), identity);
    }
}
