//! What can go wrong with image files, and what is lost when one is damaged. It decides nothing.

use super::digest::Digest;
use crate::stream::{Extent, Header, StreamError};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The source's stream broke or broke a rule. What was written of the image is worth nothing.
    #[error("the source's stream is not usable; the image is incomplete")]
    Source(#[source] StreamError),
    /// The stream is another one than was asked for.
    #[error("the source sent another stream ({found}) than was asked for ({expected})")]
    Unexpected {
        /// What was asked for.
        expected: Header,
        /// What the stream says of itself.
        found: Header,
    },
    /// The image file or its index cannot be written.
    #[error("the image cannot be written; it is incomplete")]
    Write(#[source] io::Error),
    /// The codec failed.
    #[error("a frame cannot be compressed; the image is incomplete")]
    Compress(#[source] io::Error),
    /// The system gives no thread, or one died.
    #[error("no thread to work on images")]
    Thread(#[source] io::Error),
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not an image, or not one that we wrote.
    #[error("{} is no image of ours: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A part of an image is damaged.
    #[error("{0}")]
    Damaged(Damage),
    /// An image is intact but is not the one that the manifest tells of.
    #[error("{} has the digest {found}, but its manifest says {expected}", path.display())]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: Digest,
        /// What the file has.
        found: Digest,
    },
    /// The images of a chain do not follow one another.
    #[error("{} does not continue the chain: {why}", path.display())]
    BrokenChain {
        /// The first image that does not fit.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

impl ImageError {
    /// The file that holds other bytes than it should; none when the trouble is another one, as a
    /// file system that does not answer.
    pub fn damaged_file(&self) -> Option<&Path> {
        match self {
            Self::Damaged(damage) => Some(&damage.path),
            Self::Foreign { path, .. } | Self::OtherImage { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// A damaged part of an image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The image file.
    pub path: PathBuf,
    /// Which frame, counted from 0; none when it is not inside of a frame.
    pub frame: Option<usize>,
    /// What of the volume is lost with it, in the terms of the index.
    pub extents: Vec<Extent>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged", self.path.display())?;
        if let Some(frame) = self.frame {
            write!(f, " in frame {frame}")?;
        }
        write!(f, ": {}", self.what)?;
        if let (Some(first), Some(last)) = (self.extents.first(), self.extents.last()) {
            let count = self.extents.len();
            write!(f, "; lost: {count} extents in bytes {} to {}", first.offset, last.end())?;
        }
        Ok(())
    }
}
