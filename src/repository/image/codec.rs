//! Compresses and decompresses single frames in memory. It knows neither files nor threads.

use super::compression::{Codec, Compression};
use std::io::{self, Read, Write};
use zstd::zstd_safe::{self, CParameter};

/// A frame is closed as soon as it has so many bytes.
pub(super) const FRAME_TARGET: usize = 1 << 20;

/// More bytes no frame has: all but one of the target, one write of 1 MiB, the header with two names.
/// What a foreign file says beyond it is not believed.
pub(super) const FRAME_LIMIT: usize = FRAME_TARGET + (1 << 20) + (32 << 10);

/// More bytes no compressed frame has, whatever the codec.
pub(super) const STORED_LIMIT: usize = FRAME_LIMIT + FRAME_LIMIT / 32 + (64 << 10);

/// One thread's compressor.
pub(super) enum Encoder {
    None,
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    Gzip,
    Bzip2,
}

impl Encoder {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip,
            Compression::Bzip2 => Self::Bzip2,
            Compression::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                Self::Zstd(Box::new(compressor))
            }
        })
    }

    /// Compresses `frame` into `output`, whose memory is used again. `false`: the frame is stored as
    /// it is and `output` is empty.
    pub(super) fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        match self {
            Self::None => return Ok(false),
            Self::Zstd(compressor) => {
                output.reserve(zstd_safe::compress_bound(frame.len()));
                compressor.compress_to_buffer(frame, output)?;
            }
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(&mut *output, level);
                encoder.write_all(frame)?;
                encoder.finish()?;
            }
            Self::Bzip2 => {
                let level = bzip2::Compression::best();
                let mut encoder = bzip2::write::BzEncoder::new(&mut *output, level);
                encoder.write_all(frame)?;
                encoder.finish()?;
            }
        }
        Ok(true)
    }
}

/// One thread's decompressor, for every codec but [`Codec::None`].
pub(super) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decoder {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()? })
    }

    /// Decompresses the frame that `input` begins with into `output`, whose memory is used again,
    /// and says how many bytes of `input` it took.
    pub(super) fn decode(
        &mut self,
        codec: Codec,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> io::Result<usize> {
        output.clear();
        match codec {
            Codec::None => Err(io::Error::other("the file is not compressed")),
            Codec::Zstd => self.decode_zstd(input, output),
            Codec::Gzip => {
                let mut rest = input;
                bounded(flate2::bufread::GzDecoder::new(&mut rest), output)?;
                Ok(input.len() - rest.len())
            }
            Codec::Bzip2 => {
                let mut rest = input;
                bounded(bzip2::bufread::BzDecoder::new(&mut rest), output)?;
                Ok(input.len() - rest.len())
            }
        }
    }

    fn decode_zstd(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let taken = zstd_safe::find_frame_compressed_size(input)
            .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
        let size = zstd_safe::get_frame_content_size(input).ok().flatten();
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| *size <= FRAME_LIMIT);
        output.reserve(size.ok_or_else(|| io::Error::other("the frame is too long"))?);
        self.zstd.decompress_to_buffer(&input[..taken], output)?;
        Ok(taken)
    }
}

fn bounded(decoder: impl Read, output: &mut Vec<u8>) -> io::Result<()> {
    output.reserve(FRAME_TARGET + (64 << 10));
    let count = decoder.take(FRAME_LIMIT as u64 + 1).read_to_end(output)?;
    if count > FRAME_LIMIT {
        return Err(io::Error::other("the frame is too long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_end_where_they_end() {
        let frame: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n)).to_le_bytes()).collect();
        for compression in [Compression::Zstd(1), Compression::Gzip, Compression::Bzip2] {
            let (mut stored, mut back) = (Vec::new(), Vec::new());
            Encoder::new(compression).unwrap().encode(&frame, &mut stored).unwrap();
            assert_eq!(Codec::recognise(&stored), Some(compression.codec()));
            let length = stored.len();
            stored.extend(b"what follows");
            let mut decoder = Decoder::new().unwrap();
            let taken = decoder.decode(compression.codec(), &stored, &mut back).unwrap();
            assert_eq!((taken, back == frame), (length, true), "{compression}");
            let cut = decoder.decode(compression.codec(), &stored[..length - 1], &mut back);
            assert!(cut.is_err(), "{compression}");
        }
    }

    #[test]
    fn a_frame_that_grows_without_end_is_refused() {
        let bomb = vec![0; 64 << 20];
        for compression in [Compression::Zstd(1), Compression::Gzip, Compression::Bzip2] {
            let (mut stored, mut back) = (Vec::new(), Vec::new());
            Encoder::new(compression).unwrap().encode(&bomb, &mut stored).unwrap();
            let result = Decoder::new().unwrap().decode(compression.codec(), &stored, &mut back);
            assert!(result.is_err() && back.capacity() < (8 << 20), "{compression}");
        }
    }
}
