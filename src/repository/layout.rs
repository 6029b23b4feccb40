//! The names of directories and files in a repository, made and read back whole. Not for touching them.

use super::image::{Codec, Compression};
use crate::model::{
    ClusterId, ClusterName, DiskKey, Incarnation, Invalid, Label, Moment, VmId, serde_as_text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Below the path that the user gives: everything of ours.
pub(crate) const ROOT: &str = "pve-ferry";
/// Its presence makes a restore point exist.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The name a manifest bears until it is committed.
pub(crate) const MANIFEST_TMP: &str = "manifest.json.tmp";
/// The name of a manifest that is put back, until it is there.
pub(crate) const MANIFEST_MENDED: &str = "manifest.json.mended";
/// What changes of a point after its commit.
pub(crate) const ATTRIBUTES: &str = "attributes.json";
/// The guest's configuration as it was.
pub(crate) const CONFIG: &str = "guest.conf";
/// The guest's firewall rules as they were.
pub(crate) const FIREWALL: &str = "guest.fw";
/// What is known of the guest itself.
pub(crate) const GUEST: &str = "guest.json";
/// How to get everything back without us.
pub(crate) const RESTORE: &str = "RESTORE.txt";
/// The sealed copies of manifests, attributes and guest.json.
pub(crate) const COPIES: &str = "manifests";
/// Who works on the guest.
pub(crate) const LOCKS: &str = "locks";

/// A guest in a repository: cluster and incarnation, not the vmid alone.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct GuestKey {
    /// The cluster's name.
    pub cluster_name: ClusterName,
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The guest's number.
    pub vmid: VmId,
    /// What tells it from an earlier guest of that number.
    pub incarnation: Incarnation,
}

impl GuestKey {
    /// The names of the guest's two directories.
    pub fn names(&self) -> GuestNames {
        GuestNames {
            cluster_name: self.cluster_name.clone(),
            cluster_short: self.cluster.short().to_owned(),
            vmid: self.vmid,
            incarnation: self.incarnation,
        }
    }
}

/// What the directory names of a guest tell: `<cluster>-<8 hex>/<vmid>-<8 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestNames {
    /// The cluster's name.
    pub cluster_name: ClusterName,
    /// The first 8 hexadecimal digits of the cluster's id.
    pub cluster_short: String,
    /// The guest's number.
    pub vmid: VmId,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl GuestNames {
    /// The cluster's directory.
    pub fn cluster_dir(&self) -> String {
        format!("{}-{}", self.cluster_name, self.cluster_short)
    }

    /// The guest's directory within the cluster's.
    pub fn guest_dir(&self) -> String {
        format!("{}-{}", self.vmid, self.incarnation)
    }

    /// Reads both names whole; `None` when they are not ours.
    pub fn parse(cluster_dir: &str, guest_dir: &str) -> Option<Self> {
        let (name, short) = cluster_dir.rsplit_once('-')?;
        let (vmid, incarnation) = guest_dir.split_once('-')?;
        // The short cluster id has the form of an incarnation: 8 lower-case hexadecimal digits.
        short.parse::<Incarnation>().ok()?;
        Some(Self {
            cluster_name: name.parse().ok()?,
            cluster_short: short.to_owned(),
            vmid: vmid.parse().ok()?,
            incarnation: incarnation.parse().ok()?,
        })
    }
}

/// Whether an image needs another one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// It holds the whole volume.
    Base,
    /// It holds what changed since its parent.
    Increment,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Base => "base",
            Self::Increment => "increment",
        })
    }
}

/// The name of an image file, of the very form that we give: `scsi0.base.rbd.zst`, and
/// `scsi0.base.0123abcd.rbd.zst` of one that was merged. A manifest may come from a stranger, and its
/// names are written to and removed: there is no other way to one than through this form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageFile(String);

const IMAGE_FILE_FORM: &str = "the name of an image file (as scsi0.base.rbd.zst)";

impl FromStr for ImageFile {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let codecs = [Codec::Zstd, Codec::Gzip, Codec::Bzip2, Codec::None];
        let stem = codecs.iter().find_map(|codec| text.strip_suffix(codec.suffix()));
        let mut parts = stem.unwrap_or_default().split('.');
        let disk = parts.next().is_some_and(|disk| disk.parse::<DiskKey>().is_ok());
        let kind = matches!(parts.next(), Some("base" | "increment"));
        let mark = parts.next().is_none_or(|mark| mark.parse::<Incarnation>().is_ok());
        match disk && kind && mark && parts.next().is_none() {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new(text, IMAGE_FILE_FORM)),
        }
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::ops::Deref for ImageFile {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for ImageFile {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

serde_as_text!(ImageFile, IMAGE_FILE_FORM);

/// The name of an image file: `scsi0.base.rbd.zst`.
pub fn image_file(disk: &DiskKey, kind: ImageKind, compression: Compression) -> ImageFile {
    ImageFile(format!("{disk}.{kind}{}", compression.suffix()))
}

/// The name of a merged image's file, `scsi0.increment.0123abcd.rbd.zst`: another one than that of
/// each image it was made of, whatever stands there.
pub(crate) fn merged_file(
    disk: &DiskKey,
    kind: ImageKind,
    mark: Incarnation,
    compression: Compression,
) -> ImageFile {
    ImageFile(format!("{disk}.{kind}.{mark}{}", compression.suffix()))
}

/// Whether a file in a point's directory has the name of an image, of an image's index, or of one of
/// our unfinished writes: without a manifest that names it, it is debris.
pub(crate) fn debris_when_unnamed(name: &str) -> bool {
    let is_draft = |of: &&str| name.strip_suffix(".tmp") == Some(of);
    if name == MANIFEST_MENDED || [MANIFEST, ATTRIBUTES].iter().any(is_draft) {
        return true;
    }
    let image = name.strip_suffix(".idx.tmp").or(name.strip_suffix(".idx")).unwrap_or(name);
    image.parse::<ImageFile>().is_ok()
}

/// Whether a file in a point's directory has a name that we give. All others are foreign (`@eaDir`,
/// `.AppleDouble`, what a file system leaves of a removed file): they are nobody's to remove.
pub(crate) fn is_our_file(name: &str) -> bool {
    let whole = name.strip_suffix(".tmp").unwrap_or(name);
    [MANIFEST, ATTRIBUTES, CONFIG, FIREWALL].contains(&whole) || debris_when_unnamed(name)
}

/// The name of the index beside an image file.
pub fn index_file(image: &str) -> String {
    format!("{image}.idx")
}

/// Reads the name of a point's directory and of the label directory above it.
pub(crate) fn point_names(label: &str, stamp: &str) -> Option<(Label, Moment)> {
    Some((Label::from_str(label).ok()?, Moment::from_stamp(stamp).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_round_trip_even_with_dashes_in_the_cluster() {
        let key = GuestKey {
            cluster_name: "my-lab-1".parse().unwrap(),
            cluster: "0f1e2d3c-0000-4000-8000-000000000001".parse().unwrap(),
            vmid: VmId::try_from(100).unwrap(),
            incarnation: Incarnation(0xabc),
        };
        let names = key.names();
        assert_eq!(names.cluster_dir(), "my-lab-1-0f1e2d3c");
        assert_eq!(names.guest_dir(), "100-00000abc");
        assert_eq!(GuestNames::parse(&names.cluster_dir(), &names.guest_dir()), Some(names));
    }

    #[test]
    fn foreign_directories_are_not_ours() {
        for (cluster, guest) in [
            ("lab", "100-00000abc"),
            ("lab-0f1e2d3", "100-00000abc"),
            ("lab-0F1E2D3C", "100-00000abc"),
            ("lab-0f1e2d3c", "100"),
            ("lab-0f1e2d3c", "99-00000abc"),
            ("lab-0f1e2d3c", "100-00000abc-old"),
            ("lab-0f1e2d3c", "locks"),
        ] {
            assert_eq!(GuestNames::parse(cluster, guest), None, "{cluster}/{guest}");
        }
    }

    #[test]
    fn file_names_never_lead_out_of_the_directory() {
        for name in [
            "",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            ".x",
            "../scsi0.base.rbd.zst",
            "/scsi0.base.rbd.zst",
            "./scsi0.base.rbd.zst",
            "scsi0.base.rbd.zst/",
            "scsi0.base.rbd.zst\n",
            "scsi0.base\0.rbd.zst",
            "SCSI0.base.rbd.zst",
            "scsi0.base.rbd.zst.idx",
            "manifest.json",
            "manifest.json.tmp",
            "attributes.json",
            "guest.conf",
        ] {
            assert!(name.parse::<ImageFile>().is_err(), "{name:?}");
            let json = serde_json::Value::from(name);
            assert!(serde_json::from_value::<ImageFile>(json).is_err(), "{name:?}");
        }
        let disk = "scsi0".parse().unwrap();
        let name = image_file(&disk, ImageKind::Base, Compression::Zstd(1));
        assert_eq!(&*name, "scsi0.base.rbd.zst");
        assert_eq!(name.parse::<ImageFile>().unwrap(), name);
    }

    #[test]
    fn only_names_that_we_give_are_debris() {
        let (disk, kind, mark) = ("scsi0".parse().unwrap(), ImageKind::Base, Incarnation(0xabc));
        for compression in [Compression::Zstd(3), Compression::None, Compression::Gzip] {
            for name in
                [image_file(&disk, kind, compression), merged_file(&disk, kind, mark, compression)]
            {
                assert!(debris_when_unnamed(&name) && debris_when_unnamed(&index_file(&name)));
            }
        }
        assert!(debris_when_unnamed("manifest.json.tmp"));
        for ours in
            ["manifest.json", "guest.conf", "guest.fw", "attributes.json.tmp", "rootfs.base.rbd"]
        {
            assert!(is_our_file(ours), "{ours}");
        }
        for foreign in
            ["@eaDir", ".@__thumb", ".AppleDouble", ".nfs0000a1", "notes.txt", "x.tmp", ""]
        {
            assert!(!is_our_file(foreign), "{foreign}");
        }
        for foreign in [
            "manifest.json",
            "guest.conf",
            "attributes.json",
            "notes.tmp",
            "scsi0.base.rbd.zst.bak",
            "scsi0.base.old.rbd.zst",
            "scsi0.base.00000abc.x.rbd.zst",
            "disk.base.rbd.zst",
            "scsi0.full.rbd.zst",
            "scsi0.rbd.zst",
            "",
        ] {
            assert!(!debris_when_unnamed(foreign), "{foreign}");
        }
    }
}
