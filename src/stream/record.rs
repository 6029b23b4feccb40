//! What a diff stream is made of, and how it can be broken. No bytes are read or written here.

use std::fmt;
use std::io;

/// The first 12 bytes of every stream of version 1.
pub const BANNER: &[u8; 12] = b"rbd diff v1\n";

/// The longest snapshot name that is read, in bytes. Ceph's own names are much shorter; the limit
/// only keeps a foreign stream from asking for memory.
pub const NAME_LIMIT: u32 = 4096;

/// One record of a diff stream. The bytes of a write follow it and are read apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// `f`: the snapshot that the stream starts from.
    From(String),
    /// `t`: the snapshot that the stream leads to.
    To(String),
    /// `s`: the volume's size in bytes at the end of the stream.
    Size(u64),
    /// `w`: bytes of the volume; they follow the record.
    Write {
        /// Where they begin in the volume, in bytes.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// `z`: a part of the volume that reads as zero.
    Zero {
        /// Where it begins in the volume, in bytes.
        offset: u64,
        /// How many bytes it has.
        length: u64,
    },
    /// `e`: the end mark.
    End,
}

/// The records before the data: between which snapshots the stream leads, and to which size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The snapshot it starts from; none in a base.
    pub from: Option<String>,
    /// The snapshot it leads to; none when it was taken from the live volume.
    pub to: Option<String>,
    /// The volume's size in bytes at its end.
    pub size: u64,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_deref().unwrap_or("nothing");
        let to = self.to.as_deref().unwrap_or("the live volume");
        write!(f, "from {from} to {to}, {} bytes", self.size)
    }
}

/// Why a diff stream cannot be read or written. Positions are bytes from the stream's beginning.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The underlying reader failed.
    #[error("the diff stream cannot be read at byte {position}")]
    Read {
        /// Where.
        position: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The underlying writer failed.
    #[error("the diff stream cannot be written")]
    Write(#[source] io::Error),
    /// It ended before its end mark.
    #[error("the diff stream is cut off at byte {position}, before its end mark")]
    Truncated {
        /// Where.
        position: u64,
    },
    /// It does not begin with the banner of version 1.
    #[error("this is no diff stream: it does not begin with \"rbd diff v1\"")]
    Banner,
    /// A record has a tag that version 1 does not know.
    #[error("unknown record {tag:#04x} in the diff stream at byte {position}")]
    UnknownRecord {
        /// The first byte of the record.
        tag: u8,
        /// Where.
        position: u64,
    },
    /// A name is longer than [`NAME_LIMIT`] or is no UTF-8.
    #[error("the diff stream has no valid snapshot name at byte {position}")]
    Name {
        /// Where.
        position: u64,
    },
    /// A record stands where it must not: a second size, a name after data, data before the size.
    #[error("a record of the diff stream at byte {position} is out of place")]
    OutOfPlace {
        /// Where.
        position: u64,
    },
    /// A write or a zero goes back or overlaps the one before.
    #[error("the extent {offset}+{length} of the diff stream at byte {position} goes back")]
    GoesBack {
        /// Where the extent begins in the volume.
        offset: u64,
        /// How long it is.
        length: u64,
        /// Where.
        position: u64,
    },
    /// A write or a zero ends beyond the volume's size.
    #[error(
        "the extent {offset}+{length} of the diff stream at byte {position} ends beyond the size {size}"
    )]
    BeyondSize {
        /// Where the extent begins in the volume.
        offset: u64,
        /// How long it is.
        length: u64,
        /// The size that the stream announced.
        size: u64,
        /// Where.
        position: u64,
    },
    /// Bytes follow the end mark.
    #[error("bytes follow the end mark of the diff stream at byte {position}")]
    Trailing {
        /// Where.
        position: u64,
    },
    /// The caller wrote something that would make the stream wrong.
    #[error("{0} would make the diff stream wrong; nothing of it was written")]
    Misuse(&'static str),
}
