//! Reads a whole chain at speed: each frame is decompressed once, on many threads, and handed on
//! without a copy. Looking up single places is in `chain`.

use super::chain::ChainReader;
use super::error::{Damage, ImageError};
use super::reader::{FrameTool, ImageReader};
use super::regions;
use super::workers::{Pool, Promise, Workers};
use crate::stream::{Content, Extent, Header, Piece, StreamError, StreamWriter};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::thread;

/// Takes a block of a volume: its offset and its bytes.
pub type TakeBlock<'a, E> = dyn FnMut(u64, &[u8]) -> Result<(), E> + 'a;

/// Takes a piece of a volume and its bytes; zeros have none.
pub(super) type TakePiece<'a, E> = dyn FnMut(&Piece, &[u8]) -> Result<(), E> + 'a;

/// Of how many images of a chain a frame of about 1 MiB is held while a volume is read. A longer
/// chain is read region by region.
const HELD_FRAMES: usize = 96;

/// One frame to decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) image: u32,
    pub(super) frame: usize,
}

pub(super) type Decoded = Result<Vec<u8>, ImageError>;

impl ChainReader {
    /// Hands all data of the volume to `take` with its offset, ascending, every byte once, newest
    /// wins; what is left out reads as zero. Blocks have 1 MiB at most. Memory: 96 frames or a
    /// region of 64 MiB, and a few frames per thread, however long the chain is.
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
        if self.images.len() > HELD_FRAMES {
            return self.by_regions(threads, regions::REGION, take);
        }
        let tasks = self.tasks();
        decode(&self.images, (&tasks, threads), |decoder| {
            let mut current: Vec<Option<(usize, Vec<u8>)>> = Vec::new();
            current.resize_with(self.images.len(), || None);
            for piece in &self.pieces {
                if piece.extent.content == Content::Zero {
                    take(piece, &[])?;
                    continue;
                }
                let slot = &mut current[piece.image as usize];
                let frame = self.frame_of(piece);
                if slot.as_ref().is_none_or(|(held, _)| *held != frame) {
                    let decoded = decoder.next().map_err(E::from)?;
                    if let Some((_, memory)) = slot.replace((frame, decoded)) {
                        decoder.pool.give(memory);
                    }
                }
                let Some((_, bytes)) = slot else { continue };
                let place = self.place(piece, piece.extent.offset..piece.extent.end());
                take(piece, &bytes[place])?;
            }
            Ok(())
        })
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
        let records = split(self.extents(), record.max(1));
        let mut records = records.into_iter();
        // How much of the record that was begun last is still to come.
        let mut left = 0;
        self.for_each_block::<ImageError>(threads, &mut |_, mut bytes| {
            while !bytes.is_empty() {
                if left == 0 {
                    let Some(next) = records.next() else { return Ok(()) };
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

    /// Reads every frame of every image, needed or not, and lists what is damaged. `progress` is
    /// told how many bytes of the files were checked since it was last told.
    ///
    /// # Errors
    /// There are no threads to do it.
    pub fn verify(
        &self,
        threads: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Damage>, ImageError> {
        verify(&self.images, threads, progress)
    }

    /// The frames that hold data of the volume, in the order in which it is first needed. Extents
    /// ascend within an image, so that no frame is needed again once the next one of its image is.
    fn tasks(&self) -> Vec<Task> {
        let mut last = vec![None; self.images.len()];
        let mut tasks = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.extent.content == Content::Data) {
            let task = Task { image: piece.image, frame: self.frame_of(piece) };
            if last[piece.image as usize].replace(task) != Some(task) {
                tasks.push(task);
            }
        }
        tasks
    }
}

impl ImageReader {
    /// As [`ChainReader::verify`], of this image alone.
    ///
    /// # Errors
    /// There are no threads to do it.
    pub fn verify(
        &self,
        threads: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Damage>, ImageError> {
        verify(std::slice::from_ref(self), threads, progress)
    }
}

fn verify(
    images: &[ImageReader],
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Damage>, ImageError> {
    let frames_of = |(image, reader): (u32, &ImageReader)| {
        (0..reader.index().frames().len()).map(move |frame| Task { image, frame })
    };
    let tasks: Vec<Task> = (0..).zip(images).flat_map(frames_of).collect();
    let mut damage = Vec::new();
    decode(images, (&tasks, threads), |decoder| {
        for task in &tasks {
            match decoder.next() {
                Ok(memory) => decoder.pool.give(memory),
                Err(ImageError::Damaged(found)) => damage.push(found),
                Err(error) => return Err(error),
            }
            let frames = images[task.image as usize].index().frames();
            progress(frames[task.frame].stored_length.into());
        }
        Ok(())
    })?;
    damage.extend(images.iter().filter_map(ImageReader::tail_damage));
    Ok(damage)
}

/// Runs `body` while threads decompress the tasks ahead of it.
pub(super) fn decode<T, E: From<ImageError>>(
    images: &[ImageReader],
    (tasks, threads): (&[Task], usize),
    body: impl FnOnce(&mut Ahead<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let window = 2 * threads.max(1);
    let pool = Pool::default();
    thread::scope(|scope| {
        let pool = &pool;
        let read = move |tool: &mut io::Result<FrameTool>, task: Task| {
            let mut bytes = pool.take();
            let no_tool = |error: &mut io::Error| io::Error::other(error.to_string());
            let tool = tool.as_mut().map_err(|error| ImageError::Thread(no_tool(error)))?;
            images[task.image as usize].read_frame(task.frame, tool, &mut bytes).map(|()| bytes)
        };
        let workers = Workers::start(scope, (threads, window), FrameTool::new, read)
            .map_err(|source| E::from(ImageError::Thread(source)))?;
        let waiting = VecDeque::new();
        let mut ahead = Ahead { workers, window, tasks: tasks.iter(), waiting, pool };
        body(&mut ahead)
    })
}

/// Frames that are being decompressed ahead of whoever needs them.
pub(super) struct Ahead<'a> {
    workers: Workers<Task, Decoded>,
    window: usize,
    tasks: std::slice::Iter<'a, Task>,
    waiting: VecDeque<Promise<Decoded>>,
    pub(super) pool: &'a Pool,
}

impl Ahead<'_> {
    /// The next frame, in the order of the tasks.
    pub(super) fn next(&mut self) -> Decoded {
        while self.waiting.len() < self.window {
            let Some(task) = self.tasks.next() else { break };
            self.waiting.push_back(self.workers.give(*task));
        }
        let promise = self.waiting.pop_front();
        let result = promise.and_then(|promise| promise.recv().ok());
        result.unwrap_or_else(|| {
            Err(ImageError::Thread(io::Error::other("a decompressing thread died")))
        })
    }
}

/// Extents cut at the multiples of `record`.
fn split(extents: Vec<Extent>, record: u64) -> Vec<Extent> {
    let mut parts = Vec::new();
    for mut extent in extents {
        while extent.length > 0 {
            let length = extent.length.min(record - extent.offset % record);
            parts.push(Extent { length, ..extent });
            extent.offset += length;
            extent.length -= length;
        }
    }
    parts
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
pub(super) mod tests {
    use super::*;
    use crate::repository::image::{
        ChainLink, Compression, ImageOptions, ImageSink, ZeroRuns, index_path, write_image,
    };
    use std::fs::{self, File};
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

    #[test]
    fn damage_names_the_file_the_frame_and_what_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let frame = ChainReader::open(&links).unwrap().images()[0].index().frames()[1];
        let mut bytes = fs::read(&links[0].path).unwrap();
        bytes[frame.stored_offset as usize + 100] ^= 1;
        fs::write(&links[0].path, bytes).unwrap();

        let chain = ChainReader::open(&links).unwrap();
        let damage = chain.verify(2, &mut |_| ()).unwrap();
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
        assert_eq!(open.tasks().iter().filter(|task| task.image == 0).count(), 2);
        let mut checked = 0;
        assert_eq!(open.verify(1, &mut |bytes| checked += bytes).unwrap(), []);
        let frames = open.images().iter().flat_map(|image| image.index().frames());
        assert_eq!(checked, frames.map(|frame| u64::from(frame.stored_length)).sum::<u64>());
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
        assert_eq!(open.images()[1].index().extents()[0].offset, 2 * MIB);
        assert!(open.images()[1].index_was_rebuilt());
    }

    #[test]
    fn a_cut_off_image_with_its_index_tells_what_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let links = chain(directory.path());
        let base = File::options().write(true).open(&links[0].path).unwrap();
        let frame = ImageReader::open(&links[0].path).unwrap().index().frames()[3];
        base.set_len(frame.stored_offset + 5).unwrap();
        let damage = ImageReader::open(&links[0].path).unwrap().verify(1, &mut |_| ()).unwrap();
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
