//! Image files: one volume's content, or what changed in it, as a compressed diff stream with an index
//! beside it. What images belong together, only manifests know.
//!
//! # Format 1
//! An image is a stream of [`crate::stream`] that stock tools restore with nothing of ours:
//! `zstd -dc FILE | rbd import-diff - POOL/IMAGE`. Beyond that:
//! - Writes have at most 1 MiB and do not cross a multiple of 1 MiB of the volume.
//! - Zero records begin and end at multiples of 64 KiB and do not cross a multiple of 64 MiB. Whoever
//!   applies them as discards would lose what is not aligned (librbd drops it without a word); so
//!   zeros that are not aligned are written as data. A base has no zero records: it goes to a volume
//!   that reads as zero.
//! - A frame is a run of whole records (the first one also has banner, names and size; the last one
//!   the end mark). It is closed before the next record once it has 1 MiB or more.
//! - zstd: each frame is a zstd frame with content size and checksum; then a seek table of zstd's
//!   seekable format. gzip, bzip2: each frame is a member. none: the bare stream.
//! - A frame's digest is BLAKE3 over its uncompressed bytes; the root digest is BLAKE3 over
//!   `pve-ferry image 1\n` and the frames' digests in order.
//! - The index beside it (`.idx` behind the name) is described in `index_file.rs`. It is a cache.

mod ahead;
mod chain;
mod chain_read;
mod check;
mod codec;
mod compression;
mod content;
mod cut;
mod digest;
mod error;
mod handles;
mod import;
mod index;
mod index_file;
mod index_stream;
mod linked;
mod merge;
mod reader;
mod regions;
mod scan;
mod window;
mod workers;
mod write;

pub use chain::{ChainLink, ChainReader};
pub use chain_read::TakeBlock;
pub use compression::{Codec, Compression};
pub use cut::ZeroRuns;
pub use digest::{Digest, FrameDigest};
pub use error::{Damage, ImageError};
pub use import::{ImportedImage, import_volume};
pub use index::{Frame, ImageIndex, index_path};
pub(in crate::repository) use merge::{MergeSource, Merged, merge_images};
pub use reader::ImageReader;
pub use write::{ImageOptions, ImageSink, ImageSummary, write_image};
