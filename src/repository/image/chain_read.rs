//! Reads a whole chain at speed: each frame is decompressed once, on many threads, and handed on
//! without a copy. Looking up single places is in `chain`.

use super::ahead::{Ahead, read_ahead};
use super::chain::{ChainPieces, ChainReader, place};
use super::error::ImageError;
use super::index_stream::FrameAt;
use super::linked::FramePiece;
use super::reader::FrameTool;
use super::regions;
use crate::stream::{Content, Extent, Header, StreamError, StreamWriter};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

/// Takes a block of a volume: its offset and its bytes.
pub type TakeBlock<'a, E> = dyn FnMut(u64, &[u8]) -> Result<(), E> + 'a;

/// Takes a piece of a volume and its bytes; zeros have none.
pub(super) type TakePiece<'a, E> = dyn FnMut(&FramePiece, &[u8]) -> Result<(), E> + 'a;

/// Of how many images of a chain a frame of about 1 MiB is held while a volume is read. A longer
/// chain is read region by region.
const HELD_FRAMES: usize = 96;

/// How many pieces are looked at before they are needed, with some hundred bytes each.
const PIECES_AHEAD: usize = 1 << 16;

/// One frame of a chain to decompress.
pub(super) struct Job {
    image: u32,
    at: Arc<FrameAt>,
}

impl Job {
    /// The frame that holds the data of a piece.
    pub(super) fn of(piece: &FramePiece) -> Option<Self> {
        let at = piece.of.as_ref().filter(|_| piece.extent.content == Content::Data);
        at.map(|at| Self { image: piece.image, at: Arc::clone(at) })
    }
}

impl ChainReader {
    /// Hands all data of the volume to `take` with its offset, ascending, every byte once, newest
    /// wins; what is left out reads as zero. Blocks have 1 MiB at most. Memory: 96 frames or a
    /// region of 64 MiB, a few frames per thread, and 10 KiB per image, however long the chain and
    /// the indexes of its images are.
    ///
    /// # Errors
    /// A file cannot be read or is damaged; `take` failed. What was handed out before is right.
    pub fn for_each_block<E: From<ImageError>>(
        &self,
        threads: usize,
        take: &mut TakeBlock<'_, E>,
    ) -> Result<(), E> {
        self.for_each_piece(threads, &mut |piece, bytes| take(piece.extent.offset, bytes))
    }

    /// The same piece by piece; pieces of zeros, if there are some, come without bytes.
    pub(super) fn for_each_piece<E: From<ImageError>>(
        &self,
        threads: usize,
        take: &mut TakePiece<'_, E>,
    ) -> Result<(), E> {
        if self.length() > HELD_FRAMES {
            return self.by_regions(threads, regions::REGION, take);
        }
        let read =
            |job: Job, tool: &mut FrameTool, bytes: &mut Vec<u8>| self.read(&job, tool, bytes);
        read_ahead(threads, read, |ahead| {
            let mut pieces = PiecesAhead::of(self);
            let mut held: Vec<Option<(usize, Vec<u8>)>> = Vec::new();
            held.resize_with(self.length(), || None);
            while let Some(piece) = pieces.next(ahead)? {
                let Some(Job { at, .. }) = Job::of(&piece) else {
                    take(&piece, &[])?;
                    continue;
                };
                let slot = &mut held[piece.image as usize];
                if slot.as_ref().is_none_or(|(number, _)| *number != at.number) {
                    let decoded = ahead.next()?;
                    if let Some((_, memory)) = slot.replace((at.number, decoded)) {
                        ahead.give_back(memory);
                    }
                }
                let Some((_, bytes)) = slot else { continue };
                let place = place(&piece, piece.extent.offset..piece.extent.end());
                take(&piece, &bytes[place])?;
            }
            Ok(())
        })
    }

    pub(super) fn read(
        &self,
        job: &Job,
        tool: &mut FrameTool,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        self.image(job.image).read_frame(&job.at, tool, bytes)
    }

    /// Writes the volume as one diff stream from nothing to `to`, with writes of up to `record`
    /// bytes that do not cross a multiple of it. It fits a volume that reads as zero.
    ///
    /// # Errors
    /// As [`ChainReader::for_each_block`]; the output cannot be written.
    pub fn write_stream(
        &self,
        output: &mut dyn Write,
        to: Option<&str>,
        record: u64,
        threads: usize,
    ) -> Result<(), ImageError> {
        let header = Header { from: None, to: to.map(str::to_owned), size: self.size() };
        let failed = |error| match error {
            StreamError::Write(source) => ImageError::Write(source),
            other => ImageError::Source(other),
        };
        let mut writer = StreamWriter::new(output, &header).map_err(failed)?;
        let mut records = Records { pieces: self.pieces(), rest: None, most: record.max(1) };
        // How much of the record that was begun last is still to come.
        let mut left = 0;
        self.for_each_block::<ImageError>(threads, &mut |_, mut bytes| {
            while !bytes.is_empty() {
                if left == 0 {
                    let Some(next) = records.next()? else { return Ok(()) };
                    writer.begin_write(next.offset, next.length).map_err(failed)?;
                    left = next.length;
                }
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                writer.data(&bytes[..count]).map_err(failed)?;
                left -= count as u64;
                bytes = &bytes[count..];
            }
            Ok(())
        })?;
        writer.finish().map(|_| ()).map_err(failed)
    }
}

/// The pieces of a chain, with their frames asked for before they are needed: each once, in the order in
/// which it is first needed. Extents ascend within an image, so that no frame is needed again once the
/// next one of its image is.
struct PiecesAhead {
    pieces: ChainPieces,
    waiting: VecDeque<FramePiece>,
    /// Of each image, the frame that was asked for last.
    asked: Vec<Option<usize>>,
}

impl PiecesAhead {
    fn of(chain: &ChainReader) -> Self {
        let (waiting, asked) = (VecDeque::new(), vec![None; chain.length()]);
        Self { pieces: chain.pieces(), waiting, asked }
    }

    fn next(&mut self, ahead: &mut Ahead<'_, Job>) -> Result<Option<FramePiece>, ImageError> {
        while ahead.has_room() && self.waiting.len() < PIECES_AHEAD {
            let Some(piece) = self.pieces.next().transpose()? else { break };
            if let Some(job) = Job::of(&piece) {
                let number = Some(job.at.number);
                if std::mem::replace(&mut self.asked[piece.image as usize], number) != number {
                    ahead.ask(job);
                }
            }
            self.waiting.push_back(piece);
        }
        Ok(self.waiting.pop_front())
    }
}

/// The extents of a volume's data, joined where they touch and cut at the multiples of `most`.
struct Records {
    pieces: ChainPieces,
    /// What was read behind the last record.
    rest: Option<Extent>,
    most: u64,
}

impl Records {
    fn next(&mut self) -> Result<Option<Extent>, ImageError> {
        let begun = match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.extent()?,
        };
        let Some(mut record) = begun else { return Ok(None) };
        let end = (record.offset / self.most + 1).saturating_mul(self.most);
        while record.end() < end {
            match self.extent()? {
                Some(next) if next.offset == record.end() => record.length += next.length,
                next => {
                    self.rest = next;
                    return Ok(Some(record));
                }
            }
        }
        let length = end - record.offset;
        let behind = record.length - length;
        self.rest = (behind > 0).then_some(Extent { offset: end, length: behind, ..record });
        Ok(Some(Extent { length, ..record }))
    }

    fn extent(&mut self) -> Result<Option<Extent>, ImageError> {
        Ok(self.pieces.next().transpose()?.map(|piece| piece.extent))
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
pub(super) mod tests {
    use super::*;
    use crate::repository::image::{
        ChainLink, Compression, Damage, ImageOptions, ImageReader, ImageSink, ZeroRuns, index_path,
        write_image,
    };
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    /// Writes an image whose MiB number n is filled with `fill`, for all n in `parts`.
    fn image(directory: &Path, names: (Option<&str>, &str), parts: &[u64], fill: u8) -> ChainLink {
        let (from, to) = (names.0.map(str::to_owned), names.1.to_owned());
        let header = Header { from: from.clone(), to: Some(to.clone()), size: 8 * MIB };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        for part in parts {
            let noise: Vec<u8> = (0..MIB).map(|n| ((n * n) >> 7) as u8 | fill).collect();
            writer.write(part * MIB, &noise).unwrap();
        }
        let stream = writer.finish().unwrap();
        let path = directory.join(&to);
        let mut data = File::create(&path).unwrap();
        let mut index = File::create(index_path(&path)).unwrap();
        let files = ImageSink { data: &mut data, index: &mut index };
        let options = ImageOptions {
            compression: Compression::Zstd(1),
            threads: 1,
            zeros: ZeroRuns::Aligned,
        };
        let summary = write_image(&mut &stream[..], &header, files, options, &|_| ()).unwrap();
        ChainLink { path, digest: summary.digest, from, to }
    }

    pub(in crate::repository::image) fn chain(directory: &Path) -> Vec<ChainLink> {
        vec![
            image(directory, (None, "a"), &[0, 1, 2, 3], 1),
            image(directory, (Some("a"), "b"), &[2], 2),
            image(directory, (Some("b"), "c"), &[3, 7], 4),
        ]
    }

    fn damage(link: &ChainLink) -> Vec<Damage> {
        ImageReader::open(&link.path).unwrap().verify(2, &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn damage_names_the_file_the_frame_and_what_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let frame = ImageReader::open(&links[0].path).unwrap().index().frames()[1];
        let mut bytes = fs::read(&links[0].path).unwrap();
        bytes[frame.stored_offset as usize + 100] ^= 1;
        fs::write(&links[0].path, bytes).unwrap();

        let chain = ChainReader::open(&links).unwrap();
        let damage = damage(&links[0]);
        let lost = vec![Extent { offset: MIB, length: MIB, content: Content::Data }];
        assert_eq!(damage.len(), 1);
        assert_eq!((damage[0].frame, &damage[0].extents), (Some(1), &lost));
        assert_eq!(damage[0].path, links[0].path);

        let mut first = Vec::new();
        let mut take = |offset, _: &[u8]| -> Result<(), ImageError> {
            first.push(offset);
            Ok(())
        };
        let error = chain.for_each_block(2, &mut take).unwrap_err();
        assert!(matches!(error, ImageError::Damaged(_)), "{error}");
        assert_eq!(first, [0], "only what comes before the damage was handed out");
    }

    #[test]
    fn a_frame_that_nothing_needs_any_more_is_not_read_but_is_verified() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let open = ChainReader::open(&links).unwrap();
        // MiB 2 of the base is covered by b, and MiB 3 by c.
        let jobs = open.pieces().filter_map(|piece| Job::of(&piece.unwrap()));
        assert_eq!(jobs.filter(|job| job.image == 0).count(), 2);
        let base = ImageReader::open(&links[0].path).unwrap();
        let mut checked = 0;
        let told = |bytes| {
            checked += bytes;
            Ok(())
        };
        assert_eq!(base.verify(1, &mut { told }).unwrap(), []);
        let frames = base.index().frames().iter().map(|frame| u64::from(frame.stored_length));
        assert_eq!((checked, base.index().frames().len()), (frames.sum::<u64>(), 5));
    }

    #[test]
    fn images_that_are_no_chain_or_not_those_of_their_manifests_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        for wrong in [
            vec![links[1].clone()],
            vec![links[0].clone(), links[2].clone()],
            vec![links[0].clone(), ChainLink { to: "x".to_owned(), ..links[1].clone() }],
            vec![ChainLink { from: Some("x".to_owned()), ..links[0].clone() }],
        ] {
            let error = ChainReader::open(&wrong).unwrap_err();
            assert!(matches!(error, ImageError::BrokenChain { .. }), "{error}");
        }
        let mut other = links.clone();
        other[1].digest = links[2].digest;
        let error = ChainReader::open(&other).unwrap_err();
        assert!(matches!(error, ImageError::OtherImage { .. }), "{error}");
    }

    #[test]
    fn the_index_of_another_image_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let twin = image(directory.path(), (Some("a"), "twin"), &[5], 2);
        fs::copy(index_path(&twin.path), index_path(&links[1].path)).unwrap();
        let open = ChainReader::open(&links).unwrap();
        let second = |piece: &FramePiece| piece.image == 1;
        let first = open.pieces().map(Result::unwrap).find(second).unwrap();
        assert_eq!(first.extent.offset, 2 * MIB);
        assert!(!open.image(1).has_its_index() && open.image(0).has_its_index());
    }

    #[test]
    fn a_cut_off_image_with_its_index_tells_what_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let base = File::options().write(true).open(&links[0].path).unwrap();
        let frame = ImageReader::open(&links[0].path).unwrap().index().frames()[3];
        base.set_len(frame.stored_offset + 5).unwrap();
        let damage = damage(&links[0]);
        assert_eq!(damage[0].extents[0].offset, 3 * MIB);
        fs::remove_file(index_path(&links[0].path)).unwrap();
        let error = ImageReader::open(&links[0].path).unwrap_err();
        assert!(matches!(error, ImageError::Damaged(Damage { frame: Some(3), .. })), "{error}");
    }

    #[test]
    fn an_error_of_the_taker_ends_the_reading() {
        let directory = tempfile::tempdir().unwrap();
        let open = ChainReader::open(&chain(directory.path())).unwrap();
        let mut calls = 0;
        let result = open.for_each_block(2, &mut |_, _| -> Result<(), ImageError> {
            calls += 1;
            Err(ImageError::Write(io::Error::other("full")))
        });
        assert!(matches!(result, Err(ImageError::Write(_))));
        assert_eq!(calls, 1);
    }
}
