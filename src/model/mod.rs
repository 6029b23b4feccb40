//! The words of the product as plain values: parse and print, no I/O and no policy.
//!
//! Every type here is a term of the glossary. Values are validated when they are made, so that
//! the layers below never see a label, a disk key or a snapshot name that does not hold its form.

mod age;
mod bytes_as_text;
mod count;
mod guest;
pub mod guest_snapshot;
mod id;
mod label;
mod moment;
mod operation;
mod place;
mod rate;
mod share;
mod size;
mod snapshot_name;
mod source;
mod volume;

pub use age::Age;
pub use bytes_as_text::{bytes_of, shown, text_of};
pub use count::counted;
pub use guest::{ClusterId, ClusterName, Guest, GuestKind, Incarnation, VmId};
pub use guest_snapshot::{GuestSnapshot, TimestampFormat};
pub use id::{ChainId, ImageId, InvalidId, Mark, PointId, uuid_text};
pub use label::Label;
pub use moment::{MOVED_ON_AT_MOST, Moment};
pub use operation::{Confirmation, Need, OperationKind, OperationRow};
pub use place::{ClusterRef, NodeName, RemoteName, StorageId, VolumeRef};
pub use rate::Rate;
pub use share::{Share, parts};
pub use size::Bytes;
pub use snapshot_name::SnapshotName;
pub use source::{SnapshotIdentity, VolumeIdentity, VolumeShape};
pub use volume::{DiskKey, SkippedDisk, VolumeId};

/// A text that does not have the form of the value it was to become.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct Invalid {
    /// The text as it was given.
    pub text: String,
    /// What it should have been, with its form.
    pub expected: &'static str,
}

impl Invalid {
    /// Makes the error for `text`, which should have been `expected`.
    pub fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// Lets a value with `FromStr` and `Display` stand as a string in JSON; the schema of the document
/// says in the words of its error what form it has.
macro_rules! serde_as_text {
    ($type:ident, $form:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $form })
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
