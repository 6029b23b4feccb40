//! The repository: restore points of guests in a plain directory. Not for deciding what goes in or
//! out: that is `plan`.
//!
//! # Format 1
//! Everything is below `pve-ferry/` in the directory that the user gives, which a person's run begins
//! ([`Repository::begin`]): without it there is no repository. Directories are 0700,
//! files 0600. Names that do not have these forms are foreign and are left alone. A repository may be a
//! stranger's: no symbolic link below the given directory is followed, nothing but regular files is
//! opened, and a JSON document has 4 MiB and 32,768 values at most.
//!
//! ```text
//! pve-ferry/<cluster name>-<8 hex>/<vmid>-<8 hex>/     first 8 digits of the cluster id; incarnation
//!     guest.json      the guest, and the chain of each label
//!     RESTORE.txt     how to get everything back without us; derived
//!     manifests/<16 hex>.json         a sealed copy of the manifest of the point of that id
//!     manifests/<16 hex>.attributes.json, manifests/guest.json      and of what else is sealed
//!     locks/<16 hex>.lock
//!     <label>/<YYYYMMDDTHHMMSSZ>/                      a restore point, or debris
//!         manifest.json     its presence makes the point exist
//!         guest.conf        PVE's configuration file, byte by byte
//!         guest.fw          the firewall rules, when there were some
//!         <disk key>.base.<suffix>, <disk key>.increment.<suffix>, each with .idx behind it
//!         <disk key>.base.<8 hex>.<suffix> and so on: an image that was merged
//!         attributes.json   absent: all defaults
//! ```
//! Suffixes and content of image files: [`image`]. `*.tmp` are unfinished writes of the file named
//! before it.
//!
//! ## Values
//! All JSON is UTF-8, one object. Ids are lower-case hexadecimal digits in strings: points and images
//! 16, chains and incarnations 8; a cluster id is a UUID. Moments are RFC 3339 in UTC, to the second.
//! Sizes are bytes. Digests are `blake3:` and 64 digits. A field that is not described here is to be
//! kept by whoever rewrites the file.
//!
//! ## manifest.json
//! A *sealed* object: its last field is `seal`, in this very form at the end of the file, where `X` is
//! the BLAKE3 of all bytes before the comma:
//!
//! ```text
//! ,\n  "seal": "blake3:X"\n}\n
//! ```
//! A manifest without a fitting seal is damaged. Fields:
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 1. Another number: a later format; see below |
//! | `requires` | features that a reader must know; none are defined yet |
//! | `point` | the point's id, random |
//! | `seq` | the order of the guest's points, growing with each commit. Names and times give no order |
//! | `chain` | the chain's id: snapshots `ferry.<chain>.<label>.<stamp>` on the volumes belong to it |
//! | `label`, `time` | the same as the names of the directories; else the manifest is in a wrong place |
//! | `cluster_name`, `cluster`, `vmid`, `incarnation` | the guest |
//! | `kind` | `qemu` or `lxc` |
//! | `name`, `node` | the guest's name (may be empty) and where it ran |
//! | `consistency` | `frozen`, `stopped` or `crash` |
//! | `state` | `committed`, or `hidden`: gone for the user, kept for the points that need its images |
//! | `config_digest`, `firewall_digest` | of guest.conf and guest.fw; absent when there is no such file |
//! | `images` | see below |
//! | `adopted` | which point of eve4pve-barc it was made of, `barc/<vmid>/<label>/<stamp>`; else absent |
//! | `skipped` | `disk` and `reason` of each volume that is not in the point; `by_configuration`: whether the guest's configuration left it out, absent where nobody noted it |
//!
//! Each image:
//!
//! | field | meaning |
//! |---|---|
//! | `id` | random; it names the content and stays when images merge |
//! | `parent` | the id of the image that an increment follows, in any point of this guest; absent in a base |
//! | `disk`, `device` | the configuration's key and its value |
//! | `volume` | PVE's volume id |
//! | `size` | the volume's size at that moment |
//! | `shape` | what is needed to make the volume: `size`, `object_size`, `features`, `data_pool`, `striping`, `volblocksize` |
//! | `source`, `base_source` | the snapshots that the stream was read from and since: `driver`, the volume's identity, `snapshot`, `name` |
//! | `from`, `to` | the snapshot names in the stream; `from` is absent in a base and else the parent's `to` |
//! | `file` | the file's name in the same directory |
//! | `compression` | `none`, `zstd:LEVEL`, `gzip`, `bzip2`; the content decides, this is for people |
//! | `stream_bytes`, `stored_bytes`, `data_bytes` | of the uncompressed stream, of the file, of volume data in it |
//! | `digest` | the image's root digest |
//! | `merged` | how many increments of older points were merged into it; absent: none |
//!
//! A volume's content is its chain: from the image along `parent` to the base, applied in the other
//! direction. A point is whole when that is so for each of its images.
//!
//! ## Reading what one does not know
//! A manifest of another format, or with an unknown feature, is a point of a later version. A manifest
//! that cannot be read is a damaged point. Both exist: they are listed, their directory is no debris,
//! and nothing at all is removed from their guest. On a later version's guest no increments are made;
//! a new base may be. A directory without a manifest (certainly: its listing lacks the name) is a
//! damaged point, too, when a sealed copy in `manifests/` says that a point stood there, or when it holds images
//! and some point needs an image that no readable point holds. Otherwise what is ours in it is debris of
//! an unfinished run and is removed under an exclusive lock; a copy that is word for word its
//! `manifest.json.tmp` belongs to a commit that was cut off, and goes first. Names that are not ours stay in any
//! directory, with the directory. While an image that a point needs is missing, nothing is removed from its guest.
//!
//! ## manifests/
//! A commit writes the copy of the manifest before the rename that makes the point exist, so that the
//! copy alone makes none exist; it is written again after the manifest is, and goes before it.
//! Copies of attributes and of guest.json follow these. A repository of an early version may have none.
//! `repair` puts a manifest back from its copy when all images that it names are what it says.
//!
//! ## guest.json
//! A sealed object; one of an early version has no `seal` and is read all the same. `cluster_name`, `cluster`, `vmid`, `incarnation`, `kind`, `name`, and `chains`: the chain id per
//! label. It is written before a chain's first snapshot is made. Lost, it follows from the newest
//! manifests. `last_seq`, absent where it is 0: the highest `seq` that a point had which was removed
//! when no higher one was there; written before that. The next point's `seq` is above it, too, since
//! a copy of the removed point may stand in another repository.
//!
//! ## attributes.json
//! A sealed object, as guest.json. `point` (the id of the point that it belongs to; another one: not believed), `notes`, `protected`,
//! `verified` (`state` `ok` or `failed`, `at`, `why`), `failed_images` (ids of images of this point
//! that were found damaged: no increment is based on a chain with one), `audited` (the last comparison
//! with the source: `share` with `n` and `of`, blocks n-1, n-1+of, ...; `at`; `failed_images` whose
//! volumes differ, which only a comparison of all blocks clears; `why`). Unreadable, or missing while
//! its copy is there, it protects.
//!
//! ## Merging
//! An image and those it follows directly become one: written beside the old file under another name,
//! read back and compared with what it was made of, fsynced; then the manifest is replaced: `id`, `to`
//! and `source` stay, `parent`, `from` and `base_source` become those of the oldest, and `merged` counts. Only then the old
//! file is removed. So the manifest tells which file counts; a file in a point's directory that has an
//! image's or an index's name and stands in no manifest is debris, as is `manifest.json.tmp`.
//!
//! ## Copying
//! A point may be copied into another repository, to the same place below `pve-ferry/`, with all its
//! files and a manifest of the same content; never without the points that its images need, which may
//! be hidden there. In `guest.json` the label gets a new chain, and only by a move the source's, whose
//! manifests' `chain` therefore may be another repository's (the rule: `custody.rs`). Until the manifest is
//! there, such a directory is debris; an image whose index stands beside it had arrived. A point that is
//! there already is given the marks that it has in the source: protection, a note where it has none, and
//! damage (`marks.rs`), before anything goes from the source.
//!
//! ## Commit, removal, locks
//! A commit fsyncs all files, writes `manifest.json.tmp`, fsyncs it and the directory, confirms the
//! lock, renames, fsyncs the directory. Removal unlinks the sealed copies and then the manifest first. Other files are replaced by
//! rename. Every change needs an exclusive lock; restoring, verifying and copying need a shared one. A
//! lock is a file with `host`, `boot_id`, `machine_id`, `pid`, `pid_namespace`, `started`, `random`, `mode`,
//! `what`, `since`; how it is taken: `lock/mod.rs`. Whoever cannot understand a lock file respects it; on a full file
//! system one may be without its content.

mod audit;
mod chain;
mod copies;
mod copy;
mod custody;
mod disk;
mod draft;
mod error;
mod files;
#[cfg(test)]
mod fixture;
mod guest_dir;
mod history;
pub mod image;
pub mod layout;
pub mod legacy;
mod lock;
mod lookup;
mod lost;
mod manifest;
mod marks;
mod mend;
mod merge;
mod records;
mod removal;
mod restore_txt;
mod scan;
mod seal;
mod store;
mod stored_chain;
mod verify;
mod verify_image;

pub use audit::AuditFindings;
pub use chain::{
    BaseCheck, BrokenChain, HeldImage, chain_of, damage_of_chain, images_of_chain, lost_indexes,
    point_usable_as_base,
};
pub use copy::Copying;
pub use disk::{Disk, DiskFile, Fault, FileId, FileOperation, Recording};
pub use draft::{Committed, PointDraft};
pub use error::RepositoryError;
pub use files::Foreign;
pub use guest_dir::GuestDir;
pub use history::{Debris, History, StoredPoint, Unreadable, UnreadableKind};
pub use layout::{GuestKey, GuestNames, ImageFile, ImageKind};
pub use lock::{Holder, Lock, LockMode, LockOptions};
pub use manifest::{Consistency, FORMAT, ImageEntry, Manifest, Skipped, State};
pub use mend::Mending;
pub use merge::MergeOptions;
pub use records::{Attributes, AuditRecord, GuestRecord, Verified, VerifiedState};
pub use removal::Remaining;
pub use store::Repository;
pub use stored_chain::{OpenChain, StoredChain};
pub use verify::{DamageFound, Subset, VerifyReport, VerifyRequest};

#[cfg(test)]
mod tests;
