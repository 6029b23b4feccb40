//! The repository: restore points of guests in a plain directory. Not for deciding what goes in
//! or out: that is `plan`.

mod chain;
mod disk;
mod draft;
mod error;
mod files;
#[cfg(test)]
mod fixture;
mod guest_dir;
mod history;
pub mod image;
mod index_cache;
pub mod layout;
mod lock;
mod manifest;
mod records;
mod removal;
mod restore_txt;
mod scan;
mod seal;
mod store;
mod verify;
mod verify_image;

pub use chain::{BrokenChain, HeldImage, chain_of, images_of_chain, point_usable_as_base};
pub use disk::{Disk, DiskFile, Fault};
pub use draft::{Committed, PointDraft};
pub use error::RepositoryError;
pub use guest_dir::GuestDir;
pub use history::{Debris, History, StoredPoint, Unreadable, UnreadableKind};
pub use layout::{GuestKey, GuestNames, ImageKind};
pub use lock::{Holder, Lock, LockMode, LockOptions};
pub use manifest::{Consistency, FORMAT, ImageEntry, Manifest, Skipped, State};
pub use records::{Attributes, FreezeRecord, GuestRecord, Verified, VerifiedState};
pub use store::Repository;
pub use verify::{DamageFound, Subset, VerifyReport, VerifyRequest};

#[cfg(test)]
mod tests;
