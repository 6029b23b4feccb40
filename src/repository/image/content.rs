//! A digest of what an image does to a volume, whatever its records, frames and compression are. It
//! is computed twice, over what goes into a merge and over what came out; it is never stored.

use super::cut::is_zero;

const GRANULE: usize = 64 << 10;

/// Takes the pieces of an image in ascending order.
///
/// The volume is looked at in parts of 64 KiB. In an increment a part counts with its covered bytes
/// and their places, except that wholly covered parts of zeros count by their number; in a base a
/// part counts whole, with zeros where nothing covers it, and one of zeros does not count.
pub(super) struct ContentDigest {
    hasher: blake3::Hasher,
    is_base: bool,
    /// The part that is being collected: its number, its bytes, and what of them is covered.
    number: u64,
    bytes: Box<[u8]>,
    covered: Vec<(usize, usize)>,
    /// Parts of zeros that end before `number`: the first one's number and how many they are.
    zeros: (u64, u64),
}

impl ContentDigest {
    pub(super) fn new(is_base: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            is_base,
            number: 0,
            bytes: vec![0; GRANULE].into_boxed_slice(),
            covered: Vec::new(),
            zeros: (0, 0),
        }
    }

    /// Bytes of the volume from `offset` on.
    pub(super) fn data(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (start, length) = self.place(offset, bytes.len() as u64);
            self.bytes[start..start + length].copy_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            offset += length as u64;
        }
    }

    /// So many zeros from `offset` on.
    pub(super) fn zeros(&mut self, mut offset: u64, mut length: u64) {
        while length > 0 {
            let whole = length / GRANULE as u64;
            if offset % GRANULE as u64 == 0 && whole > 0 {
                self.close();
                self.zero_parts(offset / GRANULE as u64, whole);
                offset += whole * GRANULE as u64;
                length -= whole * GRANULE as u64;
                continue;
            }
            let (start, count) = self.place(offset, length);
            self.bytes[start..start + count].fill(0);
            offset += count as u64;
            length -= count as u64;
        }
    }

    pub(super) fn finish(mut self) -> [u8; 32] {
        self.close();
        self.put_zeros();
        self.hasher.finalize().into()
    }

    /// Where in the part of `offset` so many bytes go, and how many of them; they are covered now.
    fn place(&mut self, offset: u64, length: u64) -> (usize, usize) {
        let number = offset / GRANULE as u64;
        if number != self.number {
            self.close();
            self.number = number;
        }
        // Both are at most a granule, so that they fit into a usize everywhere.
        #[allow(clippy::cast_possible_truncation)]
        let start = (offset % GRANULE as u64) as usize;
        #[allow(clippy::cast_possible_truncation)]
        let length = length.min((GRANULE - start) as u64) as usize;
        match self.covered.last_mut() {
            Some((_, end)) if *end == start => *end += length,
            _ => self.covered.push((start, start + length)),
        }
        (start, length)
    }

    fn close(&mut self) {
        let covered = std::mem::take(&mut self.covered);
        if covered.is_empty() {
            return;
        }
        let whole = self.is_base || covered == [(0, GRANULE)];
        if whole && is_zero(&self.bytes) {
            self.zero_parts(self.number, 1);
        } else {
            self.put_zeros();
            let parts = if self.is_base { vec![(0, GRANULE)] } else { covered };
            for (start, end) in parts {
                self.head(b"data", self.number * GRANULE as u64 + start as u64, end - start);
                self.hasher.update(&self.bytes[start..end]);
            }
        }
        self.bytes.fill(0);
    }

    fn zero_parts(&mut self, number: u64, count: u64) {
        if self.is_base {
            return;
        }
        if self.zeros.0 + self.zeros.1 != number {
            self.put_zeros();
            self.zeros = (number, 0);
        }
        self.zeros.1 += count;
    }

    fn put_zeros(&mut self) {
        let (number, count) = std::mem::take(&mut self.zeros);
        if count > 0 {
            self.head(b"zero", number, count);
        }
    }

    fn head(&mut self, tag: &[u8; 4], first: u64, second: impl TryInto<u64>) {
        self.hasher.update(tag);
        self.hasher.update(&first.to_le_bytes());
        self.hasher.update(&second.try_into().unwrap_or(u64::MAX).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = GRANULE as u64;

    /// `Some(byte)` is data, `None` zeros.
    fn digest(is_base: bool, pieces: &[(u64, u64, Option<u8>)]) -> [u8; 32] {
        let mut digest = ContentDigest::new(is_base);
        for (offset, length, byte) in pieces {
            match byte {
                Some(b) => digest.data(*offset, &vec![*b; usize::try_from(*length).unwrap()]),
                None => digest.zeros(*offset, *length),
            }
        }
        digest.finish()
    }

    #[test]
    fn how_the_same_content_is_cut_makes_no_difference() {
        let whole = digest(false, &[(100, 3 * PART, Some(7)), (5 * PART, 4 * PART, None)]);
        let cut = [
            (100, PART, Some(7)),
            (100 + PART, 2 * PART, Some(7)),
            (5 * PART, 10, None),
            (5 * PART + 10, PART - 10, Some(0)),
            (6 * PART, 2 * PART, None),
            (8 * PART, PART, Some(0)),
        ];
        assert_eq!(digest(false, &cut), whole);
        let base = digest(true, &[(100, 3 * PART, Some(7))]);
        assert_eq!(digest(true, &cut), base);
        assert_ne!(base, whole);
    }

    #[test]
    fn every_difference_of_place_length_or_byte_is_seen() {
        let pieces = [(100, 50, Some(7)), (PART, 2 * PART, None), (4 * PART, 10, None)];
        let right = digest(false, &pieces);
        for (n, change) in [(0, (101, 50)), (0, (100, 51)), (1, (PART, PART)), (2, (4 * PART, 11))]
        {
            let mut wrong = pieces;
            (wrong[n].0, wrong[n].1) = change;
            assert_ne!(digest(false, &wrong), right, "{change:?}");
        }
        let mut wrong = pieces;
        wrong[0].2 = Some(8);
        assert_ne!(digest(false, &wrong), right);
        assert_ne!(digest(false, &pieces[..2]), right);
    }
}
