//! A disk of a restore point, whoever wrote it: our images, or the files of eve4pve-barc. It only
//! chooses; reading is in `image` and in `legacy`.

use super::image::{ChainLink, ChainReader, ImageError, TakeBlock};
use super::legacy::{LegacyChain, LegacyLink, Told};
use std::io::Write;

/// The files that together hold a volume, the base first.
#[derive(Debug, Clone)]
pub enum StoredChain {
    /// Our images.
    Ours(Vec<ChainLink>),
    /// Files of eve4pve-barc.
    Barc(Vec<LegacyLink>),
}

/// The content of a volume, to be read.
#[derive(Debug)]
pub enum OpenChain {
    /// Our images.
    Ours(Box<ChainReader>),
    /// Files of eve4pve-barc.
    Barc(LegacyChain),
}

impl From<Vec<ChainLink>> for StoredChain {
    fn from(links: Vec<ChainLink>) -> Self {
        Self::Ours(links)
    }
}

impl StoredChain {
    /// How many bytes [`StoredChain::open`] reads: our images have indexes, the others have not.
    pub fn bytes_to_open(&self) -> u64 {
        match self {
            Self::Ours(_) => 0,
            Self::Barc(links) => links.iter().map(|link| link.stored_bytes).sum(),
        }
    }

    /// Bytes of the volume that hold data, where indexes tell it without reading the images.
    pub fn indexed_data_bytes(&self) -> Option<u64> {
        match self {
            Self::Ours(links) => Some(ChainReader::open_indexed(links).ok()??.data_bytes()),
            Self::Barc(_) => None,
        }
    }

    /// Opens it. `told` hears of the bytes that are read meanwhile and may stop it.
    ///
    /// # Errors
    /// A file cannot be read, is damaged, or does not continue the one before.
    pub fn open(&self, told: &dyn Told) -> Result<OpenChain, ImageError> {
        match self {
            Self::Ours(links) => {
                let chain = ChainReader::open(links)?;
                Ok(OpenChain::Ours(Box::new(chain)))
            }
            Self::Barc(links) => LegacyChain::open(links, told).map(OpenChain::Barc),
        }
    }
}

impl OpenChain {
    /// The volume's size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Ours(chain) => chain.size(),
            Self::Barc(chain) => chain.size(),
        }
    }

    /// Bytes of the volume that hold data; at most, where the files hold their zeros, too.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::Ours(chain) => chain.data_bytes(),
            Self::Barc(chain) => chain.data_bytes(),
        }
    }

    /// Hands all data to `take`, ascending; what is left out reads as zero.
    ///
    /// # Errors
    /// A file cannot be read or is damaged; `take` failed.
    pub fn for_each_block<E: From<ImageError>>(
        &self,
        threads: usize,
        take: &mut TakeBlock<'_, E>,
    ) -> Result<(), E> {
        match self {
            Self::Ours(chain) => chain.for_each_block(threads, take),
            Self::Barc(chain) => chain.for_each_block(take),
        }
    }

    /// Writes the volume as one diff stream for a volume that reads as zero; `record` is a multiple
    /// of 1 MiB that no write crosses.
    ///
    /// # Errors
    /// A file cannot be read or is damaged; the output cannot be written.
    pub fn write_stream(
        &self,
        output: &mut dyn Write,
        record: u64,
        threads: usize,
    ) -> Result<(), ImageError> {
        match self {
            Self::Ours(chain) => chain.write_stream(output, None, record, threads),
            Self::Barc(chain) => chain.write_stream(output, None, record),
        }
    }
}
