//! One pass over a data file: is it whole and what its checksum says, and where in its stream which
//! part of the volume stands. It hands no data on: that is `chain`'s second pass.

use super::super::image::{Damage, ImageError};
use super::content;
use super::sums::{Algorithm, Summed, written_sum};
use crate::repository::disk::{facts, open_file};
use crate::stream::{Content, Extent, Header, Piece, Record, StreamError, StreamReader};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a data file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegacyFormat {
    /// The whole volume, byte by byte.
    Raw,
    /// A diff stream that says this of itself.
    Stream(Header),
}

/// Told how many bytes of files were read; an error stops the reading.
pub trait Told: Sync {
    /// So many bytes more.
    ///
    /// # Errors
    /// The reading shall stop.
    fn read(&self, bytes: u64) -> io::Result<()>;
}

impl<F: Fn(u64) -> io::Result<()> + Sync> Told for F {
    fn read(&self, bytes: u64) -> io::Result<()> {
        self(bytes)
    }
}

/// A data file and what is known of it before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyLink {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes as it is stored.
    pub stored_bytes: u64,
    /// What it holds.
    pub format: LegacyFormat,
    /// The snapshot that it was made from: `barc<label><stamp>`.
    pub to: String,
    /// The volume's size in bytes by the guest's configuration; a raw file must not be shorter.
    pub configured_size: Option<u64>,
    pub(super) ends_compressed: bool,
}

impl LegacyLink {
    /// Whether it has a compressed file's name.
    pub fn may_be_compressed(&self) -> bool {
        self.ends_compressed
    }

    /// Whether a stream leads to the snapshot that its file is named after; if not, what contradicts.
    pub(super) fn check_name(&self) -> Result<(), String> {
        match &self.format {
            LegacyFormat::Stream(header) if header.to.as_deref() != Some(&self.to) => {
                Err(format!("its stream leads {header}, its name says {}", self.to))
            }
            _ => Ok(()),
        }
    }
}

/// What a whole file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The volume's size in bytes.
    pub size: u64,
    /// Its parts, with their places in the uncompressed stream.
    pub pieces: Vec<Piece>,
}

/// The error of a file that is damaged.
pub(super) fn damaged(path: &Path, what: impl Into<String>) -> ImageError {
    let (path, what) = (path.to_owned(), what.into());
    ImageError::Damaged(Damage { path, frame: None, extents: Vec::new(), what })
}

/// An error of the system is one; every other one is a decompressor's, and damage.
pub(super) fn failed(path: &Path, source: io::Error) -> ImageError {
    if source.raw_os_error().is_some() {
        return ImageError::Read { path: path.to_owned(), source };
    }
    damaged(path, format!("its compressed data is broken ({source})"))
}

/// Reads the file to its end and checks all that can be checked of it alone. `image` is its number in
/// the chain.
pub(super) fn scan(link: &LegacyLink, image: u32, told: &dyn Told) -> Result<Scanned, ImageError> {
    let sums = written_sums(&link.path)?;
    let content = content::open(&link.path, link.ends_compressed, told)
        .map_err(|error| failed(&link.path, error))?;
    let mut content = Summed::new(content, sums.iter().map(|(algorithm, _)| *algorithm));
    let scanned = match &link.format {
        LegacyFormat::Raw => raw(link, image, &mut content),
        LegacyFormat::Stream(header) => stream(link, (header, image), &mut content),
    }?;
    let (length, found) = content.finish();
    for ((algorithm, expected), (_, found)) in sums.iter().zip(&found) {
        if expected != found {
            let name = algorithm.suffix();
            let what = format!("its content has the {name} sum {found}, but {expected} was noted");
            return Err(damaged(&link.path, what));
        }
    }
    check_length(link, length)?;
    Ok(scanned)
}

fn raw(link: &LegacyLink, image: u32, content: &mut dyn Read) -> Result<Scanned, ImageError> {
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count =
            content::fill(content, &mut buffer).map_err(|error| failed(&link.path, error))?;
        size += count as u64;
        if count < buffer.len() {
            break;
        }
    }
    if let Some(configured) = link.configured_size.filter(|configured| size < *configured) {
        let what = format!("it holds {size} bytes of a volume of {configured}: it is cut off");
        return Err(damaged(&link.path, what));
    }
    let extent = Extent { offset: 0, length: size, content: Content::Data };
    let pieces = if size > 0 { vec![Piece { extent, image, at: 0, of: () }] } else { Vec::new() };
    Ok(Scanned { size, pieces })
}

fn stream(
    link: &LegacyLink,
    (expected, image): (&Header, u32),
    content: &mut dyn Read,
) -> Result<Scanned, ImageError> {
    let failed = |error| match error {
        StreamError::Read { source, .. } => failed(&link.path, source),
        other => damaged(&link.path, other.to_string()),
    };
    let mut reader = StreamReader::new(content).map_err(failed)?;
    let header = reader.read_header().map_err(failed)?;
    if header != *expected {
        return Err(damaged(&link.path, "it changed while it was read"));
    }
    let mut pieces = Vec::new();
    loop {
        let (offset, length, content) = match reader.next_record().map_err(failed)? {
            Record::Write { offset, length } => (offset, length, Content::Data),
            Record::Zero { offset, length } => (offset, length, Content::Zero),
            Record::End => break,
            _ => return Err(damaged(&link.path, "a record stands behind the data")),
        };
        if length > 0 {
            let extent = Extent { offset, length, content };
            add(&mut pieces, Piece { extent, image, at: reader.position(), of: () });
        }
        if pieces.len() as u64 > most_pieces(link.stored_bytes) {
            let why = format!("it has more than {} records, too many for its size", pieces.len());
            return Err(damaged(&link.path, why));
        }
    }
    reader.finish().map_err(failed)?;
    Ok(Scanned { size: header.size, pieces })
}

/// Adds a piece; zeros that touch the zeros before them are one with them.
fn add(pieces: &mut Vec<Piece>, piece: Piece) {
    let is_zero = |piece: &Piece| piece.extent.content == Content::Zero;
    match pieces.last_mut() {
        Some(last)
            if is_zero(last) && is_zero(&piece) && last.extent.end() == piece.extent.offset =>
        {
            last.extent.length += piece.extent.length;
        }
        _ => pieces.push(piece),
    }
}

/// How many pieces are held in memory of a file of so many bytes. A record has 17 bytes and its data;
/// only one that was made for it could hold more than this, and fill the memory with a small file.
fn most_pieces(stored_bytes: u64) -> u64 {
    (4 << 20) + stored_bytes / 2
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file beside another one, when it is there.
fn read_beside(path: &Path) -> Result<Option<Vec<u8>>, ImageError> {
    match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            let mut bytes = Vec::new();
            let read = opened.and_then(|file| file.take(4096).read_to_end(&mut bytes));
            read.map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
            Ok(Some(bytes))
        }
    }
}

fn written_sums(path: &Path) -> Result<Vec<(Algorithm, String)>, ImageError> {
    let mut sums = Vec::new();
    for algorithm in Algorithm::ALL {
        let file = beside(path, &format!(".{}", algorithm.suffix()));
        let Some(bytes) = read_beside(&file)? else { continue };
        let sum = written_sum(&bytes, algorithm).ok_or_else(|| {
            damaged(path, format!("its .{} file holds no checksum", algorithm.suffix()))
        })?;
        sums.push((algorithm, sum));
    }
    Ok(sums)
}

/// The uncompressed lengths that were noted beside a file.
pub(super) fn written_lengths(path: &Path) -> Result<Vec<u64>, ImageError> {
    let mut lengths = Vec::new();
    for algorithm in Algorithm::ALL {
        let file = beside(path, &format!(".{}.size", algorithm.suffix()));
        let Some(bytes) = read_beside(&file)? else { continue };
        let length = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        lengths.push(length.ok_or_else(|| {
            damaged(path, format!("its .{}.size file holds no length", algorithm.suffix()))
        })?);
    }
    Ok(lengths)
}

/// The names of the checksums beside a file.
pub(super) fn sums_beside(path: &Path) -> Vec<&'static str> {
    let suffixes = Algorithm::ALL.into_iter().map(Algorithm::suffix);
    let is_there = |suffix: &&str| {
        let facts = facts(&beside(path, &format!(".{suffix}")));
        facts.ok().flatten().is_some_and(|facts| facts.is_file())
    };
    suffixes.filter(is_there).collect()
}

fn check_length(link: &LegacyLink, length: u64) -> Result<(), ImageError> {
    match written_lengths(&link.path)?.into_iter().find(|written| *written != length) {
        Some(written) => {
            let what = format!("its content has {length} bytes, but {written} were noted");
            Err(damaged(&link.path, what))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_touch_are_one_piece_and_nothing_else_is() {
        let mut pieces = Vec::new();
        let (data, zero) = (Content::Data, Content::Zero);
        for (offset, length, content) in
            [(0, 1, zero), (1, 1, zero), (2, 1, data), (3, 1, data), (4, 1, zero), (6, 1, zero)]
        {
            let extent = Extent { offset, length, content };
            add(&mut pieces, Piece { extent, image: 0, at: 0, of: () });
        }
        let found: Vec<_> = pieces.iter().map(|p| (p.extent.offset, p.extent.length)).collect();
        assert_eq!(found, [(0, 2), (2, 1), (3, 1), (4, 1), (6, 1)]);
    }
}
