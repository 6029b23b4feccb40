//! Checks one image file against its manifest entry. Not for what its damage costs: `verify.rs`
//! knows the points.

use super::chain::HeldImage;
use super::disk::open_file;
use super::error::RepositoryError;
use super::image::{Damage, Frame, ImageError, ImageIndex, ImageReader, index_path};
use super::verify::is_of_the_file;
use crate::stream::Extent;
use std::io;
use std::path::{Path, PathBuf};

/// Told bytes as they are read; an error stops the reading.
type Told<'a> = &'a (dyn Fn(u64) -> io::Result<()> + Sync);

/// What a damage costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Costs {
    /// Data.
    Points,
    /// Only convenience: an index or a seek table, which follow from the data.
    Nothing,
}

impl Costs {
    pub(super) fn points(self) -> bool {
        self == Self::Points
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) file: PathBuf,
    pub(super) what: String,
    pub(super) extents: Vec<Extent>,
    pub(super) costs: Costs,
}

impl Finding {
    fn of(damage: Damage, costs: Costs) -> Self {
        let Damage { path, frame, extents, what } = damage;
        let frame = frame.map_or_else(String::new, |frame| format!("frame {frame}: "));
        Self { file: path, what: format!("{frame}{what}"), extents, costs }
    }

    fn lost(file: &Path, what: String) -> Self {
        Self { file: file.to_owned(), what, extents: Vec::new(), costs: Costs::Points }
    }
}

/// Checks everything but the content: the file is there and has its length, the index is its own.
///
/// # Errors
/// The file system does not answer, which says nothing of the image.
pub(super) fn outside(held: &HeldImage<'_>) -> Result<Vec<Finding>, RepositoryError> {
    let finding = match wrong_length(held)? {
        None => indexed(held)?.err(),
        wrong => wrong,
    };
    Ok(finding.into_iter().collect())
}

/// What a file that is missing, cut off or too long has lost.
pub(super) fn wrong_length(held: &HeldImage<'_>) -> Result<Option<Finding>, RepositoryError> {
    let path = held.path();
    let length = match open_file(&path).and_then(|file| file.metadata()) {
        Ok(facts) if facts.len() == held.image.stored_bytes => return Ok(None),
        Ok(facts) => facts.len(),
        // A directory, say, in its place: that is no failure of the system, and as good as nothing.
        Err(error) if is_of_the_file(&error) => {
            return Ok(Some(Finding::lost(&path, error.to_string())));
        }
        Err(error) => return Err(RepositoryError::io("look at", &path, error)),
    };
    let what = format!("it has {length} bytes instead of {}", held.image.stored_bytes);
    let index = open_file(&index_path(&path)).and_then(|mut file| ImageIndex::read(&mut file));
    let index = index.ok().filter(|index| index.root_digest() == held.image.digest);
    let extents = index.map_or_else(Vec::new, |index| extents_behind(&index, length));
    Ok(Some(Finding { extents, ..Finding::lost(&path, what) }))
}

fn extents_behind(index: &ImageIndex, length: u64) -> Vec<Extent> {
    let cut = |frame: &Frame| frame.stored_offset + u64::from(frame.stored_length) > length;
    let frames = index.frames().iter().enumerate().filter(|(_, frame)| cut(frame));
    frames.flat_map(|(number, _)| index.extents_of(number)).collect()
}

/// Reads every frame.
///
/// # Errors
/// The file cannot be read, which says nothing of what it holds.
pub(super) fn content(
    held: &HeldImage<'_>,
    threads: usize,
    progress: Told<'_>,
) -> Result<Vec<Finding>, RepositoryError> {
    if let Some(finding) = wrong_length(held)? {
        return Ok(vec![finding]);
    }
    let path = held.path();
    let (reader, mut findings) = match indexed(held)? {
        Ok(reader) => (reader, Vec::new()),
        // Without a good index the whole file is read once, which checks as much, by one thread.
        Err(bad_index) => {
            return Ok(match scanned(held)? {
                Ok(_) => {
                    // All of it was read: a wish to stop is kept for the next image.
                    progress(held.image.stored_bytes).unwrap_or_default();
                    vec![bad_index]
                }
                Err(lost) => vec![bad_index, lost],
            });
        }
    };
    if let Some(what) = contradiction(held, &reader) {
        findings.push(Finding::lost(&path, what));
    }
    findings.extend(frames(&reader, threads, progress)?);
    findings.extend(reader.tail_damage().map(|damage| Finding::of(damage, Costs::Nothing)));
    Ok(findings)
}

/// The image with the index beside it, when that is whole and of this very image.
fn indexed(held: &HeldImage<'_>) -> Result<Result<ImageReader, Finding>, RepositoryError> {
    let path = held.path();
    let bad = |what: &str| Finding {
        file: index_path(&path),
        what: format!("{what}; `repair` makes it again from the image"),
        extents: Vec::new(),
        costs: Costs::Nothing,
    };
    Ok(match ImageReader::open_indexed(&path) {
        Err(error) => Err(unread(&path, error)?),
        Ok(Some(reader)) if reader.index().root_digest() == held.image.digest => Ok(reader),
        Ok(Some(_)) => Err(bad("it is the index of another image")),
        Ok(None) => Err(bad("it is missing or damaged")),
    })
}

/// An image that is read whole without an index, or what of it is lost.
pub(super) fn scanned(
    held: &HeldImage<'_>,
) -> Result<Result<ImageReader, Finding>, RepositoryError> {
    let path = held.path();
    let reader = match ImageReader::open_scanning(&path) {
        // As everywhere: EIO may pass, so that only what comes again is believed.
        Err(error) if is_eio(&error) => match ImageReader::open_scanning(&path) {
            Err(again) if is_eio(&again) => return Ok(Err(Finding::lost(&path, text(&again)))),
            other => other,
        },
        other => other,
    };
    let reader = match reader {
        Err(error) => return unread(&path, error).map(Err),
        Ok(reader) => reader,
    };
    let found = reader.index().root_digest();
    if found != held.image.digest {
        let what = format!("its digest is {found}, and the manifest says {}", held.image.digest);
        return Ok(Err(Finding::lost(&path, what)));
    }
    let contradiction = contradiction(held, &reader);
    Ok(contradiction.map_or(Ok(reader), |what| Err(Finding::lost(&path, what))))
}

fn is_eio(error: &ImageError) -> bool {
    let ImageError::Read { source, .. } = error else { return false };
    source.raw_os_error() == Some(nix::libc::EIO)
}

/// What an image that could not be opened or read whole has lost: an error of the system tells that
/// only when nothing bears its name; every other one is a decompressor's, and damage.
fn unread(path: &Path, error: ImageError) -> Result<Finding, RepositoryError> {
    match error {
        ImageError::Read { path, source } if !is_of_the_file(&source) => {
            Err(RepositoryError::io("read", &path, source))
        }
        other => Ok(Finding::lost(path, text(&other))),
    }
}

/// What manifest and stream tell differently, although the digest fits.
fn contradiction(held: &HeldImage<'_>, reader: &ImageReader) -> Option<String> {
    let (header, image) = (&reader.index().header, held.image);
    let told = (&image.from, Some(&image.to), image.size);
    let is = (&header.from, header.to.as_ref(), header.size);
    (told != is).then(|| format!("its stream is {header}, which the manifest denies"))
}

/// Reads all frames on several threads.
fn frames(
    reader: &ImageReader,
    threads: usize,
    progress: Told<'_>,
) -> Result<Vec<Finding>, RepositoryError> {
    let lost =
        reader.verify(threads, &mut |bytes| progress(bytes)).map_err(|error| match error {
            ImageError::Read { path, source } => RepositoryError::io("read", &path, source),
            // No thread could be had, say: nothing is known of the image.
            other => RepositoryError::io("read", reader.path(), io::Error::other(other)),
        })?;
    Ok(lost.into_iter().map(|damage| Finding::of(damage, Costs::Points)).collect())
}

/// An error with its causes, in one line.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As of a server that is away: nobody could tell it from damage afterwards, as marks stay.
    #[test]
    fn what_cannot_be_read_for_a_reason_of_the_system_is_no_damage_but_an_error() {
        let path = Path::new("/x/scsi0.base.rbd.zst");
        let read = |source| unread(path, ImageError::Read { path: path.to_owned(), source });
        for errno in [nix::libc::ESTALE, nix::libc::EACCES, nix::libc::EMFILE, nix::libc::EIO] {
            let error = read(io::Error::from_raw_os_error(errno)).unwrap_err();
            assert!(error.to_string().contains("scsi0.base.rbd.zst"), "{error}");
        }
        for lost in [io::ErrorKind::NotFound.into(), io::Error::other("it is a FIFO")] {
            assert_eq!(read(lost).unwrap().file, path);
        }
    }
}
