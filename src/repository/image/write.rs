//! Makes an image out of a diff stream while the stream passes. It opens and syncs no file.
//!
//! The caller's thread reads and cuts, `threads` threads compress and digest, one writes: each waits
//! for the next only when a bounded queue is full.

use super::codec::Encoder;
use super::compression::Compression;
use super::cut::{Closed, CutError, Cutter, FrameSink, RawFrame, ZeroRuns};
use super::digest::{Digest, FrameDigest, frame_digest};
use super::error::ImageError;
use super::index::ImageIndex;
use super::workers::{Pool, Promise, Workers};
use crate::stream::{Extent, Header, Record, StreamError, StreamReader};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

/// How an image is made.
#[derive(Debug, Clone, Copy)]
pub struct ImageOptions {
    /// What it is compressed with.
    pub compression: Compression,
    /// Threads that compress; at least one is used.
    pub threads: usize,
    /// How zeros stand in it.
    pub zeros: ZeroRuns,
}

/// Where an image goes. Syncing and closing is the caller's: `&mut File` will do for each.
pub struct ImageSink<D: Write + Send, I: Write> {
    /// The image file.
    pub data: D,
    /// Its index, which is written last.
    pub index: I,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The volume's size at the image's end, in bytes.
    pub size: u64,
    /// The snapshot that it starts from; none in a base.
    pub from: Option<String>,
    /// The snapshot that it leads to.
    pub to: Option<String>,
    /// Bytes of the image's stream, uncompressed.
    pub stream_bytes: u64,
    /// Bytes of the image file.
    pub stored_bytes: u64,
    /// Bytes of the volume that stand in the image.
    pub data_bytes: u64,
    /// Bytes of the volume that the source gave and that read as zero, without those written out.
    pub zero_bytes: u64,
    /// The root digest.
    pub digest: Digest,
    /// How many frames it has.
    pub frames: usize,
}

/// Reads a whole diff stream from `source`, which must be the one that `expect` tells, and writes it
/// as an image. `progress` is told how many bytes of data were taken since it was last told.
///
/// The names and the size are compared before anything is written; the end mark and that nothing
/// follows it are checked before this succeeds. The source's own success is the caller's to check.
///
/// # Errors
/// The stream is broken or another one; the image cannot be written. Then the files are worth nothing.
pub fn write_image<D: Write + Send, I: Write>(
    source: &mut dyn Read,
    expect: &Header,
    files: ImageSink<D, I>,
    options: ImageOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<ImageSummary, ImageError> {
    let mut reader = StreamReader::new(source).map_err(ImageError::Source)?;
    let found = reader.read_header().map_err(ImageError::Source)?;
    if &found != expect {
        return Err(ImageError::Unexpected { expected: expect.clone(), found });
    }
    let input = Input { reader, progress };
    write_frames_of(&found, files, options, |cutter| cut(input, cutter))
}

/// Writes what `feed` gives to the cutter as an image.
///
/// # Errors
/// Feeding failed; the image cannot be written. Then the files are worth nothing.
pub(super) fn write_frames_of<D: Write + Send, I: Write>(
    header: &Header,
    files: ImageSink<D, I>,
    options: ImageOptions,
    feed: impl FnOnce(&mut Cutter<Sink<'_>>) -> Result<(), CutError>,
) -> Result<ImageSummary, ImageError> {
    let ImageSink { mut data, index: mut index_file } = files;
    let (index, counts) = compress(header, &mut data, options, feed)?;
    let tail = index.tail();
    data.write_all(&tail).and_then(|()| data.flush()).map_err(ImageError::Write)?;
    index.write(&mut index_file).map_err(ImageError::Write)?;
    Ok(ImageSummary {
        size: header.size,
        stream_bytes: index.stream_length(),
        stored_bytes: index.file_length(),
        data_bytes: counts.0,
        zero_bytes: counts.1,
        digest: index.root_digest(),
        frames: index.frames().len(),
        from: header.from.clone(),
        to: header.to.clone(),
    })
}

/// The stream behind its header.
struct Input<'a, R: Read> {
    reader: StreamReader<R>,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// A frame as it goes into the file.
struct Encoded {
    stored: Vec<u8>,
    /// How many bytes of `stored` are the frame.
    length: usize,
    stream_length: usize,
    digest: FrameDigest,
    extents: Vec<Extent>,
}

type Coder = io::Result<Encoder>;
type Encoding = io::Result<Encoded>;

/// Memory for frames and for their compressed form.
#[derive(Default)]
struct Pools {
    raw: Pool,
    stored: Pool,
}

fn compress<D: Write + Send>(
    header: &Header,
    data: &mut D,
    options: ImageOptions,
    feed: impl FnOnce(&mut Cutter<Sink<'_>>) -> Result<(), CutError>,
) -> Result<(ImageIndex, (u64, u64)), ImageError> {
    let threads = options.threads.max(1);
    let pools = Pools::default();
    let (order, in_order) = sync_channel(2 * threads);
    let index = ImageIndex::new(header.clone(), options.compression.codec());
    thread::scope(|scope| {
        let pools = &pools;
        let tool = move || Encoder::new(options.compression);
        let encode = move |encoder: &mut Coder, frame| encode(encoder, frame, pools);
        let workers =
            Workers::start(scope, (threads, threads), tool, encode).map_err(ImageError::Thread)?;
        let sink = Sink { workers, order, pools };
        let writer = Builder::new()
            .name("image-writer".to_owned())
            .spawn_scoped(scope, move || write_frames(&in_order, data, index, pools))
            .map_err(ImageError::Thread)?;
        let cut = Cutter::new(header, options.zeros, sink).and_then(|mut cutter| {
            feed(&mut cutter)?;
            cutter.finish()
        });
        let died = || Err(ImageError::Thread(io::Error::other("the writing thread died")));
        let written = writer.join().unwrap_or_else(|_| died());
        match cut {
            Err(CutError::Stream(error)) => Err(ImageError::Source(error)),
            Err(CutError::Image(error)) => Err(error),
            // The writer knows why it took no more.
            Err(CutError::Closed) => written.and_then(|_| died().map(|index| (index, (0, 0)))),
            Ok(counts) => written.map(|index| (index, counts)),
        }
    })
}

/// Where the cutter's frames go: to a free worker, and in order to the writer.
pub(super) struct Sink<'a> {
    workers: Workers<RawFrame, Encoding>,
    order: SyncSender<Promise<Encoding>>,
    pools: &'a Pools,
}

impl FrameSink for Sink<'_> {
    fn put(&mut self, frame: RawFrame) -> Result<(), Closed> {
        let promise = self.workers.give(frame);
        self.order.send(promise).map_err(|_| Closed)
    }

    fn memory(&mut self) -> Vec<u8> {
        self.pools.raw.take()
    }
}

fn cut<R: Read>(input: Input<'_, R>, cutter: &mut Cutter<Sink<'_>>) -> Result<(), CutError> {
    let Input { mut reader, progress } = input;
    loop {
        match reader.next_record()? {
            Record::Write { offset, length } => {
                copy_write(&mut reader, cutter, offset..offset + length, progress)?;
            }
            Record::Zero { offset, length } => cutter.zeros(offset, length)?,
            Record::End => break,
            Record::From(_) | Record::To(_) | Record::Size(_) => {
                return Err(StreamError::OutOfPlace { position: reader.position() }.into());
            }
        }
    }
    reader.finish()?;
    Ok(())
}

fn copy_write<R: Read>(
    reader: &mut StreamReader<R>,
    cutter: &mut Cutter<Sink<'_>>,
    mut range: std::ops::Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), CutError> {
    while range.start < range.end {
        let length = Cutter::<Sink<'_>>::piece_length(range.start, range.end - range.start);
        // At most 1 MiB, so that it fits into a usize everywhere.
        #[allow(clippy::cast_possible_truncation)]
        let count = length as usize;
        cutter.data(range.start, count, |buffer| reader.read_data(buffer).map(|_| ()))?;
        progress(length);
        range.start += length;
    }
    Ok(())
}

fn encode(encoder: &mut Coder, frame: RawFrame, pools: &Pools) -> Encoding {
    let encoder = encoder.as_mut().map_err(|error| io::Error::other(error.to_string()))?;
    let digest = frame_digest(frame.bytes());
    let mut stored = pools.stored.take();
    let compressed = encoder.encode(frame.bytes(), &mut stored)?;
    let stream_length = frame.used;
    let extents = frame.extents;
    if compressed {
        pools.raw.give(frame.memory);
        return Ok(Encoded { length: stored.len(), stored, stream_length, digest, extents });
    }
    let stored = frame.memory;
    Ok(Encoded { stored, length: stream_length, stream_length, digest, extents })
}

fn write_frames<D: Write>(
    in_order: &Receiver<Promise<Encoding>>,
    data: &mut D,
    mut index: ImageIndex,
    pools: &Pools,
) -> Result<ImageIndex, ImageError> {
    for promise in in_order {
        let died = |_| ImageError::Thread(io::Error::other("a compressing thread died"));
        let frame = promise.recv().map_err(died)?.map_err(ImageError::Compress)?;
        data.write_all(&frame.stored[..frame.length]).map_err(ImageError::Write)?;
        index.push(short(frame.length), short(frame.stream_length), frame.digest, &frame.extents);
        pools.stored.give(frame.stored);
    }
    Ok(index)
}

/// Frames have a few MiB at most; see `codec::FRAME_LIMIT`.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Content, StreamWriter};

    const OPTIONS: ImageOptions =
        ImageOptions { compression: Compression::Zstd(1), threads: 2, zeros: ZeroRuns::Aligned };

    fn header(from: Option<&str>, size: u64) -> Header {
        Header { from: from.map(str::to_owned), to: Some("s2".to_owned()), size }
    }

    /// The stream of 8 MiB of data.
    fn source(header: &Header) -> Vec<u8> {
        let mut writer = StreamWriter::new(Vec::new(), header).unwrap();
        writer.write(0, &vec![5; 8 << 20]).unwrap();
        writer.finish().unwrap()
    }

    /// The records of the image that is made of `source`.
    fn records(source: &[u8], header: &Header, zeros: ZeroRuns) -> Vec<(Content, u64, u64)> {
        let (mut data, mut index) = (Vec::new(), Vec::new());
        let files = ImageSink { data: &mut data, index: &mut index };
        let options = ImageOptions { zeros, ..OPTIONS };
        write_image(&mut &source[..], header, files, options, &|_| ()).unwrap();
        let index = ImageIndex::read(&mut &index[..]).unwrap();
        index.extents().map(|e| (e.content, e.offset, e.length)).collect()
    }

    #[test]
    fn unaligned_zeros_are_written_and_only_aligned_ones_are_zero_records() {
        use Content::{Data, Zero};
        let header = header(Some("s1"), (200 << 20) + 5);
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        writer.zero(1000, (128 << 10) - 1000).unwrap();
        writer.zero(300_000, 1000).unwrap();
        writer.zero(1 << 20, (199 << 20) + 5).unwrap();
        let source = writer.finish().unwrap();
        let expected = vec![
            (Data, 1000, (64 << 10) - 1000),
            (Zero, 64 << 10, 64 << 10),
            (Data, 300_000, 1000),
            (Zero, 1 << 20, 63 << 20),
            (Zero, 64 << 20, 64 << 20),
            (Zero, 128 << 20, 64 << 20),
            (Zero, 192 << 20, 8 << 20),
            (Data, 200 << 20, 5),
        ];
        assert_eq!(records(&source, &header, ZeroRuns::Aligned), expected);
        let written = records(&source, &header, ZeroRuns::Written);
        assert!(written.iter().all(|(content, ..)| *content == Data));
        assert_eq!(written.iter().map(|record| record.2).sum::<u64>(), {
            (128 << 10) - 1000 + 1000 + (199 << 20) + 5
        });
    }

    #[test]
    fn zero_runs_in_data_become_zero_records_and_are_left_out_of_a_base() {
        use Content::{Data, Zero};
        let mut volume = vec![1; 3 << 20];
        volume[(64 << 10) + 1..(2 << 20) + 7].fill(0);
        let make = |header: &Header| {
            let mut writer = StreamWriter::new(Vec::new(), header).unwrap();
            writer.write(0, &volume).unwrap();
            writer.finish().unwrap()
        };
        let increment = header(Some("s1"), 3 << 20);
        let expected = vec![
            (Data, 0, 128 << 10),
            (Zero, 128 << 10, (2 << 20) - (128 << 10)),
            (Data, 2 << 20, 1 << 20),
        ];
        assert_eq!(records(&make(&increment), &increment, ZeroRuns::Aligned), expected);
        let base = header(None, 3 << 20);
        assert_eq!(records(&make(&base), &base, ZeroRuns::Aligned), [expected[0], expected[2]]);
    }

    #[test]
    fn another_stream_than_the_one_asked_for_is_refused_before_anything_is_written() {
        let sent = header(Some("s1"), 8 << 20);
        for asked in [header(None, 8 << 20), header(Some("s0"), 8 << 20), header(Some("s1"), 1)] {
            let (mut data, mut index) = (Vec::new(), Vec::new());
            let files = ImageSink { data: &mut data, index: &mut index };
            let source = source(&sent);
            let error = write_image(&mut &source[..], &asked, files, OPTIONS, &|_| ()).unwrap_err();
            assert!(matches!(error, ImageError::Unexpected { .. }), "{error}");
            assert!(data.is_empty() && index.is_empty());
        }
    }

    #[test]
    fn a_source_that_breaks_off_is_an_error_wherever_it_does() {
        let header = header(None, 8 << 20);
        let source = source(&header);
        for length in [0, 11, 30, 5000, 1 << 20, 3 << 20, source.len() - 1] {
            let (mut data, mut index) = (Vec::new(), Vec::new());
            let files = ImageSink { data: &mut data, index: &mut index };
            let result = write_image(&mut &source[..length], &header, files, OPTIONS, &|_| ());
            let error = result.unwrap_err();
            assert!(matches!(error, ImageError::Source(StreamError::Truncated { .. })), "{error}");
            assert!(index.is_empty(), "an index makes an image look whole");
        }
    }

    /// A disk with room for so many bytes.
    struct FullDisk(usize);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_ends_the_work_with_its_error() {
        let header = header(None, 8 << 20);
        let source = source(&header);
        let none = ImageOptions { compression: Compression::None, ..OPTIONS };
        for (data, index) in [(0, 1000), (3 << 20, 1000), (8 << 20, 1000), (9 << 20, 10)] {
            let files = ImageSink { data: FullDisk(data), index: FullDisk(index) };
            let error = write_image(&mut &source[..], &header, files, none, &|_| ()).unwrap_err();
            let ImageError::Write(error) = error else { panic!("{error}") };
            assert_eq!(error.raw_os_error(), Some(28));
        }
    }

    #[test]
    fn progress_tells_of_all_data_and_threads_do_not_change_the_image() {
        let header = header(None, 8 << 20);
        let source = source(&header);
        let told = std::sync::atomic::AtomicU64::new(0);
        let mut images = Vec::new();
        for threads in [0, 1, 5] {
            told.store(0, std::sync::atomic::Ordering::Relaxed);
            let (mut data, mut index) = (Vec::new(), Vec::new());
            let files = ImageSink { data: &mut data, index: &mut index };
            let tell = |count| {
                told.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            };
            let options = ImageOptions { threads, ..OPTIONS };
            write_image(&mut &source[..], &header, files, options, &tell).unwrap();
            assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 8 << 20);
            images.push((data, index));
        }
        assert!(images.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
