//! The block-diff stream (`rbd diff v1`): records to bytes and back, and which of many images' bytes
//! are the newest. It reads and writes what it is given and opens nothing itself.
//!
//! Source of the format: Ceph's doc/dev/rbd-diff.rst and `rbd export-diff` of Ceph 16. A stream is the
//! banner `rbd diff v1\n` and then records; integers are little endian:
//!
//! ```text
//! f  le32 length, name          the snapshot it starts from; absent in a base
//! t  le32 length, name          the snapshot it leads to
//! s  le64 size                  the volume's size at its end
//! w  le64 offset, le64 length, the bytes
//! z  le64 offset, le64 length   reads as zero
//! e                             the end; without it a stream is worth nothing
//! ```
//!
//! Nothing in it is a checksum or names the volume: whoever keeps a stream keeps these beside it.

mod extent;
mod layers;
mod reader;
mod record;
mod writer;

pub use extent::{Content, Extent, Piece};
pub use layers::{Layers, newest_pieces};
pub use reader::StreamReader;
pub use record::{BANNER, Header, NAME_LIMIT, Record, StreamError};
pub use writer::{RECORD_HEAD, StreamWriter, header_bytes, record_head};
