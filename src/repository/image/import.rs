//! Makes a base image out of a volume that somebody else's files hold, and compares another stream of
//! the same volume with it. Whose files these are it does not know.

use super::chain_read::TakeBlock;
use super::content::ContentDigest;
use super::cut::CutError;
use super::error::ImageError;
use super::write::{ImageOptions, ImageSink, ImageSummary, write_frames_of};
use crate::stream::{Header, Record, StreamReader};
use std::io::{self, Read, Write};

/// A base image that was written, and the digest of the volume that it holds.
#[derive(Debug)]
pub struct ImportedImage {
    /// What was written.
    pub summary: ImageSummary,
    content: [u8; 32],
}

/// Writes the volume that `read` hands out, ascending and without its zeros, as a base image. A block
/// does not cross a multiple of 1 MiB. `header` has no `from`.
///
/// # Errors
/// Reading failed; the image cannot be written. Then the files are worth nothing.
pub fn import_volume<D: Write + Send, I: Write>(
    header: &Header,
    files: ImageSink<D, I>,
    options: ImageOptions,
    read: impl FnOnce(&mut TakeBlock<'_, ImageError>) -> Result<(), ImageError>,
) -> Result<ImportedImage, ImageError> {
    let mut content = ContentDigest::new(true);
    let summary = write_frames_of(header, files, options, |cutter| {
        // Why the cutter took no more; the reader is only told that it shall stop.
        let mut stopped: Option<CutError> = None;
        let done = read(&mut |offset, bytes| {
            content.data(offset, bytes);
            let taken = cutter.data(offset, bytes.len(), |room| {
                room.copy_from_slice(bytes);
                Ok(())
            });
            taken.map_err(|error| {
                stopped = Some(error);
                ImageError::Write(io::Error::other("the image takes no more"))
            })
        });
        match stopped {
            Some(error) => Err(error),
            None => done.map_err(CutError::Image),
        }
    })?;
    Ok(ImportedImage { summary, content: content.finish() })
}

impl ImportedImage {
    /// Reads a whole base stream and says whether it makes another volume than the image does.
    /// `progress` is told how many bytes of data were read since it was last told. The source's own
    /// success is the caller's to check.
    ///
    /// # Errors
    /// The stream is broken, or one that starts from a snapshot.
    pub fn differs_from(
        &self,
        source: &mut dyn Read,
        progress: &dyn Fn(u64),
    ) -> Result<Option<String>, ImageError> {
        let mut reader = StreamReader::new(source).map_err(ImageError::Source)?;
        let found = reader.read_header().map_err(ImageError::Source)?;
        if found.from.is_some() {
            let expected = Header { from: None, ..found.clone() };
            return Err(ImageError::Unexpected { expected, found });
        }
        if found.size != self.summary.size {
            let sizes = (found.size, self.summary.size);
            return Ok(Some(format!("it has {} bytes, and the files hold {}", sizes.0, sizes.1)));
        }
        let content = content_of(&mut reader, progress)?;
        reader.finish().map_err(ImageError::Source)?;
        let same = content == self.content;
        Ok((!same).then(|| "its content is another one".to_owned()))
    }
}

fn content_of<R: Read>(
    reader: &mut StreamReader<R>,
    progress: &dyn Fn(u64),
) -> Result<[u8; 32], ImageError> {
    let mut content = ContentDigest::new(true);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.next_record().map_err(ImageError::Source)? {
            Record::Write { mut offset, length } => {
                let end = offset + length;
                while offset < end {
                    let count = reader.read_data(&mut buffer).map_err(ImageError::Source)?;
                    content.data(offset, &buffer[..count]);
                    progress(count as u64);
                    offset += count as u64;
                }
            }
            Record::Zero { offset, length } => content.zeros(offset, length),
            Record::End => return Ok(content.finish()),
            Record::From(_) | Record::To(_) | Record::Size(_) => {
                let position = reader.position();
                let error = crate::stream::StreamError::OutOfPlace { position };
                return Err(ImageError::Source(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::image::{Compression, ZeroRuns};
    use crate::stream::StreamWriter;

    const SIZE: u64 = (2 << 20) + 100;

    fn header() -> Header {
        Header { from: None, to: Some("s".to_owned()), size: SIZE }
    }

    /// An image of a volume with data at two places.
    fn imported() -> ImportedImage {
        let (mut data, mut index) = (Vec::new(), Vec::new());
        let files = ImageSink { data: &mut data, index: &mut index };
        let options =
            ImageOptions { compression: Compression::None, threads: 1, zeros: ZeroRuns::Aligned };
        import_volume(&header(), files, options, |take| {
            take(1000, &[7; 5000])?;
            take(2 << 20, &[9; 100])
        })
        .unwrap()
    }

    fn stream(header: &Header, writes: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut writer = StreamWriter::new(Vec::new(), header).unwrap();
        for (offset, bytes) in writes {
            writer.write(*offset, bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    fn difference(stream: &[u8]) -> Option<String> {
        imported().differs_from(&mut &stream[..], &|_| ()).unwrap()
    }

    #[test]
    fn the_same_volume_is_the_same_however_its_stream_is_cut() {
        let mut first = vec![0; 8192];
        first[1000..6000].fill(7);
        let cut = [
            (0, first[..3000].to_vec()),
            (3000, first[3000..].to_vec()),
            (1 << 20, vec![0; 70_000]),
            (2 << 20, vec![9; 100]),
        ];
        assert_eq!(difference(&stream(&header(), &cut)), None);
    }

    #[test]
    fn another_byte_place_or_size_is_told() {
        let right = [(1000, vec![7; 5000]), (2 << 20, vec![9; 100])];
        assert_eq!(difference(&stream(&header(), &right)), None);
        let mut byte = right.clone();
        byte[0].1[4999] = 8;
        let mut place = right.clone();
        place[0].0 = 1001;
        for wrong in [&byte[..], &place[..], &right[..1]] {
            assert!(difference(&stream(&header(), wrong)).unwrap().contains("content"));
        }
        let larger = Header { size: SIZE + 1, ..header() };
        assert!(difference(&stream(&larger, &right)).unwrap().contains("bytes"));
    }

    #[test]
    fn a_broken_stream_and_an_increment_are_errors() {
        let whole = stream(&header(), &[(1000, vec![7; 5000])]);
        let cut = &whole[..whole.len() - 1];
        assert!(imported().differs_from(&mut &cut[..], &|_| ()).is_err());
        let since = Header { from: Some("r".to_owned()), ..header() };
        let error = imported().differs_from(&mut &stream(&since, &[])[..], &|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Unexpected { .. }), "{error}");
    }

    #[test]
    fn an_error_of_the_reader_or_of_the_file_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(28))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let options =
            ImageOptions { compression: Compression::None, threads: 1, zeros: ZeroRuns::Aligned };
        let files = || ImageSink { data: Vec::new(), index: Vec::new() };
        let gone =
            |_: &mut TakeBlock<'_, ImageError>| Err(ImageError::Thread(io::Error::other("x")));
        let error = import_volume(&header(), files(), options, gone).unwrap_err();
        assert!(matches!(error, ImageError::Thread(_)), "{error}");
        let full = ImageSink { data: Full, index: Vec::new() };
        let large = Header { size: 64 << 20, ..header() };
        let error = import_volume(&large, full, options, |take| {
            (0..64).try_for_each(|n| take(n << 20, &vec![1; 1 << 20]))
        });
        let ImageError::Write(source) = error.unwrap_err() else { panic!("another error") };
        assert_eq!(source.raw_os_error(), Some(28), "the first error is told: {source}");
    }
}
