//! The checksums that eve4pve-barc wrote beside its files. It computes and compares; what a wrong one
//! means, its callers say.

use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use std::io::{self, Read};

/// A program that made checksums, as the old tool's `--ckmethod` named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(super) const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// What the names of its files end with, without the dot.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn of_suffix(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.suffix() == suffix)
    }

    fn digest(self) -> Box<dyn DynDigest + Send> {
        match self {
            Self::Md5 => Box::<Md5>::default(),
            Self::Sha1 => Box::<Sha1>::default(),
            Self::Sha224 => Box::<Sha224>::default(),
            Self::Sha256 => Box::<Sha256>::default(),
            Self::Sha384 => Box::<Sha384>::default(),
            Self::Sha512 => Box::<Sha512>::default(),
        }
    }
}

/// The digits of a file that a sum tool wrote: `<hex>  -`. None when it holds no such thing.
pub(super) fn written_sum(bytes: &[u8], algorithm: Algorithm) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let word = text.split_ascii_whitespace().next()?.to_ascii_lowercase();
    let length = algorithm.digest().output_size() * 2;
    (word.len() == length && word.bytes().all(|b| b.is_ascii_hexdigit())).then_some(word)
}

/// A reader that counts and sums what passes.
pub(super) struct Summed<R> {
    input: R,
    length: u64,
    digests: Vec<(Algorithm, Box<dyn DynDigest + Send>)>,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(input: R, algorithms: impl Iterator<Item = Algorithm>) -> Self {
        let digests = algorithms.map(|algorithm| (algorithm, algorithm.digest())).collect();
        Self { input, length: 0, digests }
    }

    /// How many bytes passed, and their sums in hexadecimal digits.
    pub(super) fn finish(self) -> (u64, Vec<(Algorithm, String)>) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let sums = self.digests.into_iter().map(|(algorithm, d)| (algorithm, hex(&d.finalize())));
        (self.length, sums.collect())
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.length += count as u64;
        for (_, digest) in &mut self.digests {
            digest.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_tools() {
        // Of "abc": RFC 1321 A.5 and FIPS 180's examples.
        let beginnings = [
            "900150983cd24fb0",
            "a9993e364706816a",
            "23097d223405d822",
            "ba7816bf8f01cfea",
            "cb00753f45a35e8b",
            "ddaf35a193617aba",
        ];
        let mut reader = Summed::new(&b"abc"[..], Algorithm::ALL.into_iter());
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (length, sums) = reader.finish();
        assert_eq!(length, 3);
        for ((algorithm, sum), beginning) in sums.iter().zip(beginnings) {
            assert!(sum.starts_with(beginning), "{algorithm:?} {sum}");
            let file = format!("{sum}  -\n");
            assert_eq!(written_sum(file.as_bytes(), *algorithm).as_ref(), Some(sum));
        }
    }

    #[test]
    fn what_is_no_sum_is_none() {
        for bytes in [
            &b""[..],
            b"\n",
            b"900150983cd24fb0  -\n",
            b"\xff\xff",
            b"zz0150983cd24fb0d6963f7d28e17f72  -",
        ] {
            assert_eq!(written_sum(bytes, Algorithm::Md5), None);
        }
    }
}
