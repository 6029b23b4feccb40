//! Reads single frames of one image, each checked against its digest. It knows no chain.

use super::codec::Decoder;
use super::compression::Codec;
use super::digest::frame_digest;
use super::error::{Damage, ImageError};
use super::handles::Handle;
use super::index::{Frame, ImageIndex, foreign, index_path};
use crate::repository::disk::open_file;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open image with its index.
#[derive(Debug)]
pub struct ImageReader {
    frames: FrameSource,
    index: ImageIndex,
    index_was_rebuilt: bool,
}

/// An image file, of which single frames are read.
#[derive(Debug)]
pub(super) struct FrameSource {
    path: PathBuf,
    file: Handle,
}

/// What one thread needs to read frames; its memory is used again.
pub(super) struct FrameTool {
    decoder: Decoder,
    stored: Vec<u8>,
}

impl FrameTool {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decoder::new()?, stored: Vec::new() })
    }
}

/// Whether an error of reading, EIO after a second try, says that the bytes are lost: a disk that
/// cannot read a sector has lost it as surely as one that flipped a bit, and what is behind the end of
/// a file is not there. Any other error, as of a server that is away, says nothing of the bytes.
pub(super) fn is_loss(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(nix::libc::EIO)
}

impl ImageReader {
    /// Opens the image at `path`, with the index beside it when that is there and whole; else the
    /// image is read whole to make the index again. Whether the index is this image's, its root
    /// digest tells; whether the image is as long as it says, [`ImageReader::verify`] does.
    ///
    /// # Errors
    /// The file cannot be read; without an index also: it is damaged or no image of ours.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        match Self::open_indexed(path)? {
            Some(reader) => Ok(reader),
            None => Self::open_scanning(path),
        }
    }

    /// Opens the image at `path` only when a good index is beside it; reads nothing else.
    ///
    /// # Errors
    /// The image cannot be opened.
    pub fn open_indexed(path: &Path) -> Result<Option<Self>, ImageError> {
        let frames = FrameSource::open(path)?;
        let index = open_file(&index_path(path)).and_then(|mut file| ImageIndex::read(&mut file));
        Ok(index.ok().map(|index| Self { frames, index, index_was_rebuilt: false }))
    }

    /// Opens the image at `path` and makes its index again, whatever is beside it.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no image of ours.
    pub fn open_scanning(path: &Path) -> Result<Self, ImageError> {
        let index = ImageIndex::scan(path)?;
        Ok(Self { frames: FrameSource::open(path)?, index, index_was_rebuilt: true })
    }

    /// The image's index.
    pub fn index(&self) -> &ImageIndex {
        &self.index
    }

    /// Whether the index file was missing or bad, so that it is worth writing again.
    pub fn index_was_rebuilt(&self) -> bool {
        self.index_was_rebuilt
    }

    /// The image file.
    pub fn path(&self) -> &Path {
        self.frames.path()
    }

    /// The uncompressed bytes of frame `number`, which fit its digest and its records. For single
    /// frames: whoever reads many has memory that is used again.
    ///
    /// # Errors
    /// There is no such frame; the file cannot be read; the frame is damaged.
    pub fn frame(&self, number: usize) -> Result<Vec<u8>, ImageError> {
        let mut tool = FrameTool::new().map_err(|source| self.frames.unreadable(source))?;
        let mut bytes = Vec::new();
        self.read_frame(number, &mut tool, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`ImageReader::frame`], with memory that is used again.
    pub(super) fn read_frame(
        &self,
        number: usize,
        tool: &mut FrameTool,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        let (path, index) = (self.path(), &self.index);
        let frame = index.frames().get(number);
        let frame = frame.ok_or_else(|| foreign(path, format!("no frame {number}")))?;
        let damaged = |what: String| ImageError::Damaged(index.damage(path, number, what));
        self.frames.read(index.codec, frame, tool, bytes)?.map_err(damaged)?;
        match index.agrees(number, bytes) {
            true => Ok(()),
            false => Err(damaged("its records do not fit the index".to_owned())),
        }
    }

    /// What is wrong behind the frames: the seek table, which other tools use, or the length.
    pub fn tail_damage(&self) -> Option<Damage> {
        let expected = self.index.tail();
        let mut found = vec![0; expected.len()];
        let file = self.frames.file.file();
        let read =
            file.as_ref().map(|file| file.read_exact_at(&mut found, self.index.frames_length()));
        let length =
            file.as_ref().ok().and_then(|file| file.metadata().ok()).map(|facts| facts.len());
        let what = if !matches!(read, Ok(Ok(()))) || found != expected {
            "its seek table does not fit its frames; no data is lost"
        } else if length.is_some_and(|length| length > self.index.file_length()) {
            "bytes follow its end; no data is lost"
        } else {
            return None;
        };
        let (path, extents) = (self.path().to_owned(), Vec::new());
        Some(Damage { path, frame: None, extents, what: what.to_owned() })
    }
}

impl FrameSource {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::Read { path: path.to_owned(), source };
        let file = Handle::open(path).map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The uncompressed bytes of a frame, which fit its digest; or what is wrong with it.
    ///
    /// # Errors
    /// The file cannot be read, which says nothing of the frame.
    pub(super) fn read(
        &self,
        codec: Codec,
        frame: &Frame,
        tool: &mut FrameTool,
        bytes: &mut Vec<u8>,
    ) -> Result<Result<(), String>, ImageError> {
        let length = frame.stored_length as usize;
        let target = if codec == Codec::None { &mut *bytes } else { &mut tool.stored };
        target.resize(length, 0);
        match self.read_stored(target, frame.stored_offset) {
            Err(error) if is_loss(&error) => {
                return Ok(Err(format!("it cannot be read ({error})")));
            }
            read => read.map_err(|error| self.unreadable(error))?,
        }
        if codec != Codec::None {
            match tool.decoder.decode(codec, &tool.stored, bytes) {
                Err(error) => return Ok(Err(format!("not decompressible ({error})"))),
                Ok(taken) if taken != length => {
                    return Ok(Err("its length is another one".to_owned()));
                }
                Ok(_) => {}
            }
        }
        if bytes.len() != frame.stream_length as usize || frame_digest(bytes) != frame.digest {
            return Ok(Err("its content does not fit its digest".to_owned()));
        }
        Ok(Ok(()))
    }

    /// Reads a part of the file. EIO may pass, as where a path to the disk failed: only what comes
    /// again, through a handle of its own, is told as that.
    fn read_stored(&self, target: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.file()?.read_exact_at(target, offset) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                let again = open_file(&self.path).map_err(io::Error::other)?;
                again.read_exact_at(target, offset)
            }
            other => other,
        }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> ImageError {
        ImageError::Read { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::image::{Compression, ImageOptions, ImageSink, ZeroRuns, write_image};
    use crate::stream::{Header, StreamWriter};
    use std::fs::{self, File};

    fn image(directory: &Path) -> ImageReader {
        let path = directory.join("image");
        let header = Header { from: None, to: Some("s".to_owned()), size: 4096 };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        writer.write(0, &[7; 4096]).unwrap();
        let stream = writer.finish().unwrap();
        let mut data = File::create(&path).unwrap();
        let mut index = File::create(index_path(&path)).unwrap();
        let files = ImageSink { data: &mut data, index: &mut index };
        let options =
            ImageOptions { compression: Compression::None, threads: 1, zeros: ZeroRuns::Aligned };
        write_image(&mut &stream[..], &header, files, options, &|_| ()).unwrap();
        ImageReader::open(&path).unwrap()
    }

    #[test]
    fn an_error_of_reading_that_is_no_loss_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = image(directory.path());
        // A handle that only writes: EBADF, as good as ESTALE and ETIMEDOUT, which no test can make.
        let file = File::options().append(true).open(reader.path()).unwrap();
        reader.frames.file = Handle::of(reader.path(), file).unwrap();
        let error = reader.frame(0).unwrap_err();
        assert!(matches!(error, ImageError::Read { .. }), "{error:?}");
        assert_eq!(error.damaged_file(), None);
    }

    #[test]
    fn eio_is_damage_only_when_it_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = image(directory.path());
        // Reading what is not mapped of one's own memory is EIO.
        let broken = PathBuf::from(format!("/proc/{}/mem", std::process::id()));
        reader.frames.file = Handle::of(&broken, File::open(&broken).unwrap()).unwrap();
        assert!(reader.frame(0).is_ok(), "the second try reads it");
        reader.frames.path = broken.clone();
        let error = reader.frame(0).unwrap_err();
        assert_eq!(error.damaged_file(), Some(&*broken));
        // A server that is away does not open it either: nobody knows what it holds.
        reader.frames.path = directory.path().join("gone");
        assert!(matches!(reader.frame(0).unwrap_err(), ImageError::Read { .. }));
    }

    /// No codec notices it here.
    #[test]
    fn one_flipped_bit_of_an_image_without_compression_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let reader = image(directory.path());
        assert!(reader.frame(0).is_ok());
        let mut bytes = fs::read(reader.path()).unwrap();
        bytes[2048] ^= 1;
        fs::write(reader.path(), bytes).unwrap();
        assert_eq!(reader.frame(0).unwrap_err().damaged_file(), Some(reader.path()));
    }

    #[test]
    fn what_is_behind_the_end_of_a_file_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let reader = image(directory.path());
        fs::File::options().write(true).open(reader.path()).unwrap().set_len(10).unwrap();
        assert_eq!(reader.frame(0).unwrap_err().damaged_file(), Some(reader.path()));
    }
}
