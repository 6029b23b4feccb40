//! Where a volume is: cluster, node, storage. Not what it is: that is its identity.

use super::{Invalid, VolumeId, serde_as_text};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

const NODE_FORM: &str = "a node name (letters, digits and -, at most 63)";
const STORAGE_FORM: &str = "a storage id (a letter, then letters, digits, -, _ and .)";
const REMOTE_FORM: &str = "the name of a remote cluster (a letter, then letters, digits, - and _)";
const PLACE_FORM: &str = "a volume ([//REMOTE][/NODE/]storage:name)";

/// A text with a form, which a map keyed by it is asked with as plain text.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $form:ident, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.to_owned())) } else { Err(Invalid::new(text, $form)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        serde_as_text!($name, $form);
    };
}

name!(
    /// A node of a cluster: its host name without a domain, as `/etc/pve/nodes` has it.
    NodeName, NODE_FORM, |text| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let ends = !text.starts_with('-') && !text.ends_with('-');
        (1..=63).contains(&text.len()) && ends && text.bytes().all(letters)
    }
);

name!(
    /// A storage's id in storage.cfg. Where the storage is node-local, each node has another one of
    /// this id.
    StorageId, STORAGE_FORM, |text| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(letters)
    }
);

name!(
    /// What this cluster's own configuration calls another cluster.
    RemoteName, REMOTE_FORM, |text| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(letters)
    }
);

/// Which cluster is meant, as seen from the machine that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ClusterRef {
    /// The cluster that this node belongs to.
    #[default]
    Home,
    /// Another one, by the name that it has here.
    Remote(RemoteName),
}

impl fmt::Display for ClusterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.pad("this cluster"),
            Self::Remote(name) => f.pad(name.as_str()),
        }
    }
}

/// One volume among all that can be reached: `storage:name` alone may be another one on each node.
///
/// A shared volume of this cluster prints as PVE writes it, `ceph:vm-100-disk-0`; a node stands before
/// it between slashes (`/pve2/local-zfs:vm-100-disk-0`), a remote cluster behind two
/// (`//site-b/ceph:vm-100-disk-0`, `//site-b/pve2/local-zfs:vm-100-disk-0`). No storage id begins so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeRef {
    /// The cluster.
    pub cluster: ClusterRef,
    /// The node whose volume it is; none where the storage is the same on all of them.
    pub node: Option<NodeName>,
    /// Storage and name, as the guest's configuration has them.
    pub id: VolumeId,
}

impl VolumeRef {
    /// A volume of this cluster that all its nodes see.
    pub fn shared(id: VolumeId) -> Self {
        Self { cluster: ClusterRef::Home, node: None, id }
    }
}

impl FromStr for VolumeRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, PLACE_FORM);
        let (cluster, rest) = match text.strip_prefix("//") {
            Some(rest) => {
                let (remote, _) = rest.split_once('/').ok_or_else(invalid)?;
                let cluster = remote.parse().map(ClusterRef::Remote).map_err(|_| invalid())?;
                (cluster, &rest[remote.len()..])
            }
            None => (ClusterRef::Home, text),
        };
        // A volume's name has slashes of its own, but only behind the colon.
        let (place, _) = rest.split_once(':').ok_or_else(invalid)?;
        let (node, id) = match place.rfind('/') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => ("", rest),
        };
        let node = match node.strip_prefix('/') {
            Some(node) => Some(node.parse().map_err(|_| invalid())?),
            None if node.is_empty() => None,
            None => return Err(invalid()),
        };
        // A single slash without a node stands only behind a remote cluster.
        if node.is_none() && (cluster == ClusterRef::Home) == rest.starts_with('/') {
            return Err(invalid());
        }
        Ok(Self { cluster, node, id: id.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for VolumeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = match &self.cluster {
            ClusterRef::Home => String::new(),
            ClusterRef::Remote(name) => format!("//{name}"),
        };
        let node = match (&self.node, &self.cluster) {
            (Some(node), _) => format!("/{node}/"),
            (None, ClusterRef::Remote(_)) => "/".to_owned(),
            (None, ClusterRef::Home) => String::new(),
        };
        f.pad(&format!("{cluster}{node}{}", self.id))
    }
}

serde_as_text!(VolumeRef, PLACE_FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_volume_of_this_cluster_prints_as_pve_writes_it() {
        let id: VolumeId = "ceph:base-9-disk-0/vm-100-disk-0".parse().unwrap();
        let volume = VolumeRef::shared(id.clone());
        assert_eq!(volume.to_string(), id.to_string());
        assert_eq!(id.to_string().parse(), Ok(volume));
    }

    #[test]
    fn volumes_of_all_places_round_trip_and_are_different_ones() {
        let texts = [
            "local-zfs:vm-100-disk-0",
            "/pve1/local-zfs:vm-100-disk-0",
            "/pve2/local-zfs:vm-100-disk-0",
            "//site-b/local-zfs:vm-100-disk-0",
            "//site-b/pve2/local-zfs:vm-100-disk-0",
            "//site-b/pve2/local:100/vm-100-disk-0.qcow2",
        ];
        let volumes = texts.map(|text| text.parse::<VolumeRef>().unwrap());
        assert_eq!(volumes.clone().map(|volume| volume.to_string()), texts);
        for (at, volume) in volumes.iter().enumerate() {
            assert!(volumes[..at].iter().all(|other| other != volume), "{volume}");
        }
        let far = &volumes[4];
        assert_eq!(far.cluster, ClusterRef::Remote("site-b".parse().unwrap()));
        assert_eq!(far.node.as_ref().map(NodeName::as_str), Some("pve2"));
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in [
            "",
            "/",
            "//",
            "ceph",
            "/ceph:x",
            "pve1/ceph:x",
            "///ceph:x",
            "//site-b",
            "//site-b:x",
            "//9/ceph:x",
            "//site-b//ceph:x",
            "/pve1/pve2/ceph:x",
            "/-pve/ceph:x",
            "/pve1/:x",
            "/pve1/ceph:",
        ] {
            assert!(text.parse::<VolumeRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_have_the_form_that_pve_gives_them() {
        assert!("pve-1".parse::<NodeName>().is_ok() && "9".parse::<NodeName>().is_ok());
        for text in ["", "pve.1", "pve_1", "-pve", "pve-", "a/b", &"a".repeat(64)] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
        assert!("local-zfs".parse::<StorageId>().is_ok() && "a.b_c".parse::<StorageId>().is_ok());
        for text in ["", "9a", "a:b", "a/b", "a b"] {
            assert!(text.parse::<StorageId>().is_err(), "{text}");
        }
        assert!("site.b".parse::<RemoteName>().is_err());
    }
}
