//! A chain of eve4pve-barc's files as one volume. Opening reads every file once, checks it, and notes
//! where what stands; the data is then read in a second pass, file beside file, nothing twice.

use super::super::image::{ImageError, TakeBlock};
use super::content::{self, Content};
use super::scan::{self, LegacyFormat, LegacyLink, Told};
use crate::stream::{Header, Piece, StreamError, StreamWriter, newest_pieces};
use std::io::{self, Read, Write};
use std::path::Path;

/// An open chain: the content of a volume at the moment of its last file, all files found good.
#[derive(Debug)]
pub struct LegacyChain {
    links: Vec<LegacyLink>,
    pieces: Vec<Piece>,
    size: u64,
}

/// The most bytes that are handed on at once.
const BLOCK: u64 = 1 << 20;

/// Zeros that fill so many bytes of a volume, from a multiple of them on, are left out.
const ZERO_RUN: u64 = 64 << 10;

impl LegacyChain {
    /// Reads all files, the base first, and checks each and that it continues the one before.
    ///
    /// # Errors
    /// A file cannot be read or is damaged; the files are no chain; `told` stopped it.
    pub fn open(links: &[LegacyLink], told: &dyn Told) -> Result<Self, ImageError> {
        let mut layers = Vec::with_capacity(links.len());
        let mut before: Option<&str> = None;
        for (link, number) in links.iter().zip(0..) {
            check_names(link, before)?;
            let scanned = scan::scan(link, number, told)?;
            layers.push((scanned.size, scanned.pieces));
            before = Some(&link.to);
        }
        let size = layers.last().map_or(0, |(size, _)| *size);
        Ok(Self { links: links.to_vec(), pieces: newest_pieces(layers), size })
    }

    /// The volume's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are read for it. Runs of zeros among them are not handed on.
    pub fn data_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.extent.length).sum()
    }

    /// Hands all data of the volume to `take` with its offset, ascending, newest wins; what is left
    /// out reads as zero. Blocks have 1 MiB at most. Memory: one block, and a decompressor per file.
    ///
    /// # Errors
    /// A file cannot be read any more as it was when the chain was opened; `take` failed.
    pub fn for_each_block<E: From<ImageError>>(
        &self,
        take: &mut TakeBlock<'_, E>,
    ) -> Result<(), E> {
        let told = |_: u64| Ok(());
        let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or(usize::MAX)];
        let mut last_use = vec![0; self.links.len()];
        for (number, piece) in self.pieces.iter().enumerate() {
            last_use[piece.image as usize] = number;
        }
        let mut open: Vec<Option<Source<'_>>> = self.links.iter().map(|_| None).collect();
        for (number, piece) in self.pieces.iter().enumerate() {
            let image = piece.image as usize;
            let source = match &mut open[image] {
                Some(source) => source,
                closed => closed.insert(Source::open(&self.links[image], &told)?),
            };
            source.skip_to(piece.at)?;
            let (mut offset, end) = (piece.extent.offset, piece.extent.end());
            while offset < end {
                // Blocks end at multiples of their size, so that aligned zeros are seen as such.
                let stop = end.min((offset / BLOCK + 1) * BLOCK);
                let block = &mut buffer[..length_of(stop - offset)];
                source.read(block)?;
                hand_on(offset, block, take)?;
                offset = stop;
            }
            // A chain may have more files than a process may keep open.
            if last_use[image] == number {
                open[image] = None;
            }
        }
        Ok(())
    }

    /// Writes the volume as one diff stream from nothing to `to`, with writes of up to `record`
    /// bytes (a multiple of 1 MiB) that do not cross a multiple of it. It fits a volume that reads as
    /// zero.
    ///
    /// # Errors
    /// As [`LegacyChain::for_each_block`]; the output cannot be written.
    pub fn write_stream(
        &self,
        output: &mut dyn Write,
        to: Option<&str>,
        record: u64,
    ) -> Result<(), ImageError> {
        let header = Header { from: None, to: to.map(str::to_owned), size: self.size };
        let failed = |error| match error {
            StreamError::Write(source) => ImageError::Write(source),
            other => ImageError::Source(other),
        };
        let mut writer = StreamWriter::new(output, &header).map_err(failed)?;
        let (mut start, mut gathered) = (0, Vec::new());
        self.for_each_block::<ImageError>(&mut |offset, bytes| {
            let end = start + gathered.len() as u64;
            if offset != end || offset % record.max(1) == 0 {
                writer.write(start, &gathered).map_err(failed)?;
                gathered.clear();
                start = offset;
            }
            gathered.extend_from_slice(bytes);
            Ok(())
        })?;
        writer.write(start, &gathered).map_err(failed)?;
        writer.finish().map(|_| ()).map_err(failed)
    }
}

fn length_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn check_names(link: &LegacyLink, before: Option<&str>) -> Result<(), ImageError> {
    let LegacyFormat::Stream(header) = &link.format else { return Ok(()) };
    let broken = |why: String| Err(ImageError::BrokenChain { path: link.path.clone(), why });
    if header.from.as_deref() != before {
        let from = header.from.as_deref().unwrap_or("nothing");
        let before = before.unwrap_or("nothing");
        return broken(format!("it starts from {from}, and before it stands {before}"));
    }
    link.check_name().or_else(broken)
}

/// Hands a block on without the runs of zeros in it.
fn hand_on<E>(offset: u64, block: &[u8], take: &mut TakeBlock<'_, E>) -> Result<(), E> {
    let end = offset + block.len() as u64;
    let mut data_from = None;
    let mut at = offset;
    while at < end {
        let stop = end.min((at / ZERO_RUN + 1) * ZERO_RUN);
        let run = &block[length_of(at - offset)..length_of(stop - offset)];
        let is_zero = run.iter().all(|byte| *byte == 0);
        match (is_zero, data_from) {
            (false, None) => data_from = Some(at),
            (true, Some(from)) => {
                take(from, &block[length_of(from - offset)..length_of(at - offset)])?;
                data_from = None;
            }
            _ => {}
        }
        at = stop;
    }
    match data_from {
        Some(from) => take(from, &block[length_of(from - offset)..]),
        None => Ok(()),
    }
}

/// A file that is read forwards only.
struct Source<'a> {
    path: &'a Path,
    content: Content<'a>,
    position: u64,
}

impl<'a> Source<'a> {
    fn open(link: &'a LegacyLink, told: &'a dyn Told) -> Result<Self, ImageError> {
        let content = content::open(&link.path, link.ends_compressed, told)
            .map_err(|error| scan::failed(&link.path, error))?;
        Ok(Self { path: &link.path, content, position: 0 })
    }

    fn skip_to(&mut self, at: u64) -> Result<(), ImageError> {
        let wanted = at.saturating_sub(self.position);
        let skipped = io::copy(&mut (&mut self.content).take(wanted), &mut io::sink())
            .map_err(|error| scan::failed(self.path, error))?;
        self.position += skipped;
        if self.position == at { Ok(()) } else { Err(self.changed()) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), ImageError> {
        let count = content::fill(&mut self.content, buffer)
            .map_err(|error| scan::failed(self.path, error))?;
        self.position += count as u64;
        if count == buffer.len() { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> ImageError {
        scan::damaged(self.path, "it changed while it was read")
    }
}
