//! What a data file of eve4pve-barc holds, by its content. It reads from files and keeps nothing.

use super::scan::{LegacyFormat, Told};
use crate::repository::disk::open_file;
use crate::stream::{BANNER, StreamError, StreamReader};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A reader of the uncompressed content.
pub(super) type Content<'a> = Box<dyn Read + 'a>;

/// Opens the content of a file. A name without a compression's ending was always written plain; under
/// one with it the first bytes decide, as the old tool wrote plain data there, too.
pub(super) fn open<'a>(
    path: &Path,
    ends_compressed: bool,
    told: &'a dyn Told,
) -> io::Result<Content<'a>> {
    let mut file = Watched { file: open_file(path)?, told };
    if !ends_compressed {
        return Ok(Box::new(file));
    }
    let mut magic = [0; 3];
    let count = fill(&mut file, &mut magic)?;
    let whole = io::Cursor::new(magic[..count].to_vec()).chain(file);
    // RFC 1952 2.3.1; the manual of bzip2.
    Ok(match &magic[..count] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        b"BZh" => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        _ => Box::new(whole),
    })
}

/// Reads as far as it takes to know what a file is. The text says why it cannot be used.
pub(super) fn probe(path: &Path, ends_compressed: bool) -> Result<LegacyFormat, String> {
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    let mut content = open(path, ends_compressed, &|_| Ok(())).map_err(unreadable)?;
    let mut banner = [0; BANNER.len()];
    let count = fill(&mut content, &mut banner).map_err(unreadable)?;
    if count == 0 {
        return Err("it is empty".to_owned());
    }
    if banner[..count] != BANNER[..count] {
        return Ok(LegacyFormat::Raw);
    }
    let whole = banner[..count].chain(content);
    let header = StreamReader::new(whole).and_then(|mut reader| reader.read_header());
    header.map(LegacyFormat::Stream).map_err(|error| match error {
        StreamError::Read { source, .. } => unreadable(source),
        other => other.to_string(),
    })
}

/// Fills the buffer as far as there is something to fill it with.
pub(super) fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file whose reader is told of, and who may stop it.
struct Watched<'a> {
    file: File,
    told: &'a dyn Told,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.told.read(count as u64)?;
        Ok(count)
    }
}
