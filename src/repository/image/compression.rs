//! How the frames of an image file are compressed: the words of the command line, the file suffixes
//! and what a file's first bytes say. It compresses nothing.

use crate::model::Invalid;
use crate::stream::BANNER;
use std::fmt;
use std::str::FromStr;

/// What a person chooses for new images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The bare stream.
    None,
    /// zstd with this level, 1 to 19.
    Zstd(i32),
    /// gzip, which `pigz` writes, too.
    Gzip,
    /// bzip2.
    Bzip2,
}

/// What an image file is compressed with, whatever the level was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The bare stream.
    None,
    /// Independent zstd frames and a seek table.
    Zstd,
    /// Concatenated gzip members.
    Gzip,
    /// Concatenated bzip2 streams.
    Bzip2,
}

impl Compression {
    /// What the file name ends with, from its first dot on.
    pub fn suffix(self) -> &'static str {
        self.codec().suffix()
    }

    /// The codec without its level.
    pub fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Zstd(_) => Codec::Zstd,
            Self::Gzip => Codec::Gzip,
            Self::Bzip2 => Codec::Bzip2,
        }
    }
}

impl Default for Compression {
    /// `zstd:1`.
    fn default() -> Self {
        Self::Zstd(1)
    }
}

impl Codec {
    /// What the file name ends with, from its first dot on.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => ".rbd",
            Self::Zstd => ".rbd.zst",
            Self::Gzip => ".rbd.gz",
            Self::Bzip2 => ".rbd.bz2",
        }
    }

    /// The codec of a file that begins with these bytes; names do not count.
    /// Sources of the magic numbers: RFC 8878 3.1.1, RFC 1952 2.3.1, bzip2's manual.
    pub fn recognise(beginning: &[u8]) -> Option<Self> {
        let codecs: [(&[u8], Self); 4] = [
            (BANNER, Self::None),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (&[0x1f, 0x8b], Self::Gzip),
            (b"BZh", Self::Bzip2),
        ];
        codecs.into_iter().find(|(magic, _)| beginning.starts_with(magic)).map(|(_, codec)| codec)
    }

    /// The number that stands for it in an index.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
            Self::Gzip => 2,
            Self::Bzip2 => 3,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::None, Self::Zstd, Self::Gzip, Self::Bzip2].into_iter().find(|c| c.number() == number)
    }
}

const FORM: &str = "a compression (none, zstd, zstd:1 to zstd:19, gzip, pigz, bzip2)";

impl FromStr for Compression {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self::None),
            "zstd" => Ok(Self::default()),
            "gzip" | "pigz" => Ok(Self::Gzip),
            "bzip2" => Ok(Self::Bzip2),
            _ => {
                let level = text.strip_prefix("zstd:").and_then(|level| level.parse().ok());
                let level = level.filter(|level| (1..=19).contains(level));
                level.map(Self::Zstd).ok_or_else(|| Invalid::new(text, FORM))
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Zstd(level) => f.pad(&format!("zstd:{level}")),
            Self::Gzip => f.pad("gzip"),
            Self::Bzip2 => f.pad("bzip2"),
        }
    }
}

crate::model::serde_as_text!(Compression, FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_command_line_are_read_and_printed() {
        for (text, printed, suffix) in [
            ("none", "none", ".rbd"),
            ("zstd", "zstd:1", ".rbd.zst"),
            ("zstd:19", "zstd:19", ".rbd.zst"),
            ("pigz", "gzip", ".rbd.gz"),
            ("gzip", "gzip", ".rbd.gz"),
            ("bzip2", "bzip2", ".rbd.bz2"),
        ] {
            let compression: Compression = text.parse().unwrap();
            assert_eq!((compression.to_string().as_str(), compression.suffix()), (printed, suffix));
        }
        for text in ["", "zstd:", "zstd:0", "zstd:20", "zstd:-1", "lz4", "ZSTD"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
