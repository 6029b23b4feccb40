//! The content of a memory volume at one moment: sparse blocks that snapshots share. Not a cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes per block; what was never written is not there and reads as zero.
pub(super) const BLOCK: usize = 4096;

const ZERO: [u8; BLOCK] = [0; BLOCK];

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8; BLOCK]>>,
}

/// A run of bytes that differs from an older content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub offset: u64,
    pub length: u64,
    /// The bytes; none where it reads as zero now.
    pub data: Option<Vec<u8>>,
}

/// Longer runs are cut, as RBD's are at objects.
const LONGEST: u64 = 4 << 20;

impl Content {
    pub(super) fn new(size: u64) -> Self {
        Self { size, blocks: BTreeMap::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn used(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }

    /// All bytes from the beginning to the size.
    pub(super) fn read_all(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.size)];
        for (number, block) in &self.blocks {
            let offset = index(number * BLOCK as u64);
            let length = BLOCK.min(bytes.len().saturating_sub(offset));
            bytes[offset..offset + length].copy_from_slice(&block[..length]);
        }
        bytes
    }

    /// Fills a buffer of zeros with the bytes from `offset` on; beyond the size they stay.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        for (at, byte) in (offset..self.size).zip(buffer) {
            if let Some(block) = self.blocks.get(&(at / BLOCK as u64)) {
                *byte = block[index(at % BLOCK as u64)];
            }
        }
    }

    /// Whether any block of a part was written and not zeroed since.
    pub(super) fn holds(&self, offset: u64, length: u64) -> bool {
        self.blocks_in(offset, offset.saturating_add(length)).next().is_some()
    }

    /// Writes bytes; whoever calls has checked that they lie within the size.
    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        let mut at = offset;
        while !data.is_empty() {
            let start = index(at % BLOCK as u64);
            let length = data.len().min(BLOCK - start);
            let block = self.blocks.entry(at / BLOCK as u64).or_insert_with(|| Arc::new(ZERO));
            Arc::make_mut(block)[start..start + length].copy_from_slice(&data[..length]);
            data = &data[length..];
            at += length as u64;
        }
    }

    /// Makes a range read as zero; whole blocks of it vanish.
    pub(super) fn zero(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let touched: Vec<u64> = self.blocks_in(offset, end).collect();
        for number in touched {
            let begin = number * BLOCK as u64;
            let from = index(offset.saturating_sub(begin).min(BLOCK as u64));
            let to = index((end - begin).min(BLOCK as u64));
            if (from, to) == (0, BLOCK) {
                self.blocks.remove(&number);
            } else if let Some(block) = self.blocks.get_mut(&number) {
                Arc::make_mut(block)[from..to].fill(0);
            }
        }
    }

    /// Changes the size; what lies beyond a smaller one is lost for ever.
    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.zero(size, u64::MAX - size);
        }
        self.size = size;
    }

    /// What differs from an older content, in ascending order; everything that was ever written
    /// when there is none.
    pub(super) fn changes_since(&self, older: Option<&Self>) -> Vec<Change> {
        let nothing = Self::default();
        let older = older.unwrap_or(&nothing);
        let numbers: BTreeSet<u64> =
            self.blocks.keys().chain(older.blocks.keys()).copied().collect();
        let mut changes: Vec<Change> = Vec::new();
        for change in numbers.into_iter().filter_map(|number| self.change(older, number)) {
            match changes.last_mut() {
                Some(last) if last.absorbs(&change) => last.append(change),
                _ => changes.push(change),
            }
        }
        changes
    }

    fn change(&self, older: &Self, number: u64) -> Option<Change> {
        let offset = number * BLOCK as u64;
        let length = self.size.saturating_sub(offset).min(BLOCK as u64);
        let (now, then) = (self.blocks.get(&number), older.blocks.get(&number));
        if length == 0 || now == then {
            return None;
        }
        let data = now.map(|block| block[..index(length)].to_vec());
        Some(Change { offset, length, data })
    }

    fn blocks_in(&self, offset: u64, end: u64) -> impl Iterator<Item = u64> + '_ {
        let range = offset / BLOCK as u64..end.div_ceil(BLOCK as u64);
        self.blocks.range(range).map(|(number, _)| *number)
    }
}

impl Change {
    fn absorbs(&self, next: &Self) -> bool {
        self.offset + self.length == next.offset
            && self.data.is_some() == next.data.is_some()
            && self.length + next.length <= LONGEST
    }

    fn append(&mut self, next: Self) {
        self.length += next.length;
        if let (Some(data), Some(more)) = (&mut self.data, next.data) {
            data.extend(more);
        }
    }
}

/// A test's volume fits into memory, so its offsets fit into an index.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Action {
        Write(u64, Vec<u8>),
        Zero(u64, u64),
        Resize(u64),
    }

    const MOST: u64 = 40_000;

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0..MOST, proptest::collection::vec(any::<u8>(), 0..9000))
                .prop_map(|(at, data)| Action::Write(at, data)),
            (0..MOST, 0..20_000_u64).prop_map(|(at, length)| Action::Zero(at, length)),
            (0..MOST).prop_map(Action::Resize),
        ]
    }

    fn apply(content: &mut Content, model: &mut Vec<u8>, action: &Action) {
        match action {
            Action::Write(at, data) => {
                let room = model.len().saturating_sub(index(*at));
                let data = &data[..data.len().min(room)];
                content.write(*at, data);
                model.iter_mut().skip(index(*at)).zip(data).for_each(|(to, from)| *to = *from);
            }
            Action::Zero(at, length) => {
                content.zero(*at, *length);
                model.iter_mut().skip(index(*at)).take(index(*length)).for_each(|b| *b = 0);
            }
            Action::Resize(size) => {
                content.resize(*size);
                model.resize(index(*size), 0);
            }
        }
    }

    proptest! {
        #[test]
        fn content_equals_a_plain_vector_and_changes_lead_from_one_to_the_next(
            first in proptest::collection::vec(action(), 0..12),
            second in proptest::collection::vec(action(), 0..12),
        ) {
            let (mut content, mut model) = (Content::new(MOST), vec![0; index(MOST)]);
            first.iter().for_each(|action| apply(&mut content, &mut model, action));
            prop_assert_eq!(&content.read_all(), &model);
            let older = content.clone();
            second.iter().for_each(|action| apply(&mut content, &mut model, action));
            let mut copy = older.clone();
            copy.resize(content.size());
            for change in content.changes_since(Some(&older)) {
                match &change.data {
                    Some(data) => copy.write(change.offset, data),
                    None => copy.zero(change.offset, change.length),
                }
            }
            prop_assert_eq!(copy.read_all(), model);
        }
    }
}
