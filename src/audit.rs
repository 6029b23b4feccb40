//! Compares a restore point's volume with the snapshot that it was made from, block by block. Not
//! for damage in the repository: `verify` finds that without the source.
//!
//! Ceph and ZFS have shipped wrong diffs; such an image is whole, has its digest, and holds the
//! wrong bytes. Only the source can tell. Where it can list what it holds, the blocks that neither side
//! has are not asked for, so that a thin volume costs what it holds.

use crate::cancel::Cancel;
use crate::model::{Share, counted};
use crate::progress::{Meter, Progress};
use crate::repository::image::{ChainReader, ImageError};
use crate::stall::Pulse;
use crate::storage::{Blocks, StorageError};
use crate::stream::{Content, Extent};
use crate::throttle::Throttle;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Who is told, who may stop it, and how fast it may be.
pub struct Watch<'a> {
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
    /// How many bytes may be read from the source.
    pub throttle: &'a Throttle,
    /// How many blocks are compared at once.
    pub threads: usize,
    /// Beats with every answer of one of the two sides.
    pub pulse: &'a Pulse,
}

/// A block that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From the first to the last byte of the block that differs.
    pub extent: Extent,
    /// BLAKE3 of the block in the source.
    pub source: blake3::Hash,
    /// BLAKE3 of the block in the restore point.
    pub stored: blake3::Hash,
}

/// What an audit did and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audited {
    /// How many blocks were compared.
    pub blocks: u64,
    /// How many bytes of the source were read.
    pub bytes: u64,
    /// Size of the source and size in the restore point, where they differ.
    pub sizes: Option<(u64, u64)>,
    /// The blocks that differ, ascending.
    pub differences: Vec<Difference>,
}

/// Why an audit stopped.
#[derive(Debug, thiserror::Error)]
pub enum AuditStopped {
    /// The restore point cannot be read.
    #[error("the restore point cannot be read")]
    Image(#[source] Box<ImageError>),
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] Box<StorageError>),
    /// The user wished to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Compares one share of the blocks. Blocks the thread.
///
/// # Errors
/// One of the two cannot be read, or the user wished to stop: then nothing is known.
pub fn audit(
    chain: &ChainReader,
    source: &Blocks,
    share: Share,
    watch: &Watch,
) -> Result<Audited, AuditStopped> {
    let numbers: Vec<u64> = share.blocks(source.count()).collect();
    let begin = || watch.progress.begin("audit", numbers.len() as u64 * source.block_size());
    let mut meter = begin();
    let go_on = || {
        watch.pulse.beat();
        !watch.cancel.is_cancelled()
    };
    let asked = numbers.len() as u64;
    let mut listed = watch.pulse.through_storage(|| source.listed(asked, &go_on));
    let mut audited = loop {
        let both = Both { chain, source, listed: listed.as_deref() };
        let compared = both.compared(&numbers, watch, meter.as_ref());
        meter.end();
        match compared? {
            Some(audited) => break audited,
            None => (listed, meter) = (None, begin()),
        }
    };
    audited.differences.sort_by_key(|difference| difference.extent.offset);
    let sizes = (source.size(), chain.size());
    audited.sizes = (sizes.0 != sizes.1).then_some(sizes);
    Ok(audited)
}

/// What is compared, and the blocks that the source can hold anything of, where it has a list.
struct Both<'a> {
    chain: &'a ChainReader,
    source: &'a Blocks,
    listed: Option<&'a [u64]>,
}

/// What became of one block.
enum Compared {
    /// Neither side has anything there: no byte was read.
    Nothing,
    /// So many bytes of the source were read, and this differs.
    Bytes(u64, Option<Difference>),
    /// The source holds it, and its list lacks it.
    Unlisted,
}

impl Both<'_> {
    /// All of these blocks; none when the list was seen to be wrong, as it then says nothing about
    /// others either.
    fn compared(
        &self,
        numbers: &[u64],
        watch: &Watch,
        meter: &dyn Meter,
    ) -> Result<Option<Audited>, AuditStopped> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let found: Mutex<Result<Option<Audited>, AuditStopped>> =
            Mutex::new(Ok(Some(Audited::default())));
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let number = numbers.get(next.fetch_add(1, Ordering::Relaxed));
                let Some(number) = number else { return };
                let compared = self.block(*number, watch);
                meter.add(self.source.length(*number));
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                let Ok(Some(sum)) = found.as_mut() else { return };
                match compared {
                    Ok(Compared::Nothing) => sum.add(0, None),
                    Ok(Compared::Bytes(bytes, difference)) => sum.add(bytes, difference),
                    Ok(Compared::Unlisted) => *found = Ok(None),
                    Err(error) => *found = Err(error),
                }
                if !matches!(*found, Ok(Some(_))) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..watch.threads.clamp(1, numbers.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64, watch: &Watch) -> Result<Compared, AuditStopped> {
        if watch.cancel.is_cancelled() {
            return Err(AuditStopped::Interrupted);
        }
        let (offset, length) = (number * self.source.block_size(), self.source.length(number));
        let failed = |error| AuditStopped::Image(Box::new(error));
        let holds_data = || self.chain.holds_data(offset, length).map_err(failed);
        let is_listed = self.listed.is_none_or(|listed| listed.binary_search(&number).is_ok());
        // What the restore point holds is asked for even so: no block is called different, nor a list
        // right, because of what the list lacks.
        if !is_listed && !holds_data()? {
            return Ok(Compared::Nothing);
        }
        let theirs = watch.pulse.through_storage(|| self.source.read(number));
        let theirs = theirs.map_err(|error| AuditStopped::Source(Box::new(error)))?;
        if !is_listed && theirs.is_some() {
            return Ok(Compared::Unlisted);
        }
        if theirs.is_none() && !holds_data()? {
            return Ok(Compared::Nothing);
        }
        let read = theirs.as_ref().map_or(0, Vec::len);
        let go_on = || {
            watch.pulse.beat();
            watch.cancel.check()
        };
        watch.throttle.pass(read, &go_on).map_err(|_| AuditStopped::Interrupted)?;
        let zeros = || vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let theirs = theirs.unwrap_or_else(zeros);
        let mut ours = vec![0; theirs.len()];
        self.chain.read_at(offset, &mut ours).map_err(failed)?;
        watch.pulse.beat();
        Ok(Compared::Bytes(read as u64, difference(offset, &theirs, &ours)))
    }
}

fn difference(offset: u64, source: &[u8], stored: &[u8]) -> Option<Difference> {
    // The comparison of whole slices is the machine's own; byte by byte only where they differ.
    if source == stored {
        return None;
    }
    let differs = |(a, b): (&u8, &u8)| a != b;
    let first = source.iter().zip(stored).position(differs)?;
    let last = source.iter().zip(stored).rposition(differs)?;
    let extent = Extent {
        offset: offset + first as u64,
        length: (last - first + 1) as u64,
        content: Content::Data,
    };
    Some(Difference { extent, source: blake3::hash(source), stored: blake3::hash(stored) })
}

impl Audited {
    fn add(&mut self, bytes: u64, difference: Option<Difference>) {
        self.blocks += 1;
        self.bytes += bytes;
        self.differences.extend(difference);
    }

    /// Whether the restore point holds what its source held, as far as it was compared.
    pub fn is_equal(&self) -> bool {
        self.sizes.is_none() && self.differences.is_empty()
    }

    /// What differs, in words; none when nothing does. The first blocks are named with both digests.
    pub fn what_differs(&self) -> Option<String> {
        const NAMED: usize = 3;
        let mut parts: Vec<String> = Vec::new();
        if let Some((source, stored)) = self.sizes {
            parts.push(format!("the source has {source} bytes and the point {stored}"));
        }
        for Difference { extent, source, stored } in self.differences.iter().take(NAMED) {
            let (from, to) = (extent.offset, extent.end());
            parts.push(format!(
                "bytes {from} to {to} (the block's digest is blake3:{source} in the source and blake3:{stored} in the point)"
            ));
        }
        let more = self.differences.len().saturating_sub(NAMED);
        if more > 0 {
            parts.push(counted(more, "more block"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::repository::image::{
        ChainLink, Compression, ImageOptions, ImageSink, ZeroRuns, index_path, write_image,
    };
    use crate::storage::scripted::Scripted;
    use crate::stream::{Header, StreamWriter};
    use std::fs::File;

    const BLOCK: u64 = 1 << 16;

    #[test]
    fn a_difference_is_named_from_its_first_to_its_last_byte() {
        let (source, mut stored) = ([7_u8; 64], [7_u8; 64]);
        assert_eq!(difference(1000, &source, &stored), None);
        (stored[3], stored[40]) = (0, 0);
        let found = difference(1000, &source, &stored).unwrap();
        assert_eq!((found.extent.offset, found.extent.length), (1003, 38));
        assert_eq!(found.source, blake3::hash(&source));
        let audited = Audited { differences: vec![found; 5], ..Audited::default() };
        let text = audited.what_differs().unwrap();
        assert!(text.contains("bytes 1003 to 1041"), "{text}");
        assert!(text.contains(&blake3::hash(&stored).to_string()), "{text}");
        assert!(text.ends_with("; 2 more blocks"), "{text}");
        assert!(!audited.is_equal() && Audited::default().is_equal());
    }

    /// A point whose volume of ten blocks has these, each full of sevens.
    fn stored(directory: &std::path::Path, blocks: &[u64]) -> ChainReader {
        let header = Header { from: None, to: Some("s".to_owned()), size: 10 * BLOCK };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        for block in blocks {
            writer.write(block * BLOCK, &[7; 1 << 16]).unwrap();
        }
        let stream = writer.finish().unwrap();
        let path = directory.join("s");
        let mut data = File::create(&path).unwrap();
        let mut index = File::create(index_path(&path)).unwrap();
        let files = ImageSink { data: &mut data, index: &mut index };
        let (compression, zeros) = (Compression::Zstd(1), ZeroRuns::Aligned);
        let options = ImageOptions { compression, threads: 1, zeros };
        let made = write_image(&mut &stream[..], &header, files, options, &|_| ()).unwrap();
        let link = ChainLink { path, digest: made.digest, from: None, to: "s".to_owned() };
        ChainReader::open(&[link]).unwrap()
    }

    fn source(there: &[(u64, u8)], listed: &[u64]) -> Blocks {
        let extent = |block: &u64| block * BLOCK..(block + 1) * BLOCK;
        let scripted = Scripted {
            there: there.iter().copied().collect(),
            listed: Some(listed.iter().map(extent).collect()),
            ..Scripted::default()
        };
        Blocks::scripted(10 * BLOCK, BLOCK, scripted)
    }

    fn audited(chain: &ChainReader, source: &Blocks) -> Audited {
        let (throttle, cancel) = (Throttle::new(None), Cancel::default());
        let pulse = Pulse::default();
        let watch = Watch {
            progress: &Silent,
            cancel: &cancel,
            throttle: &throttle,
            threads: 2,
            pulse: &pulse,
        };
        audit(chain, source, Share::ALL, &watch).unwrap()
    }

    #[test]
    fn of_a_source_that_lists_what_it_holds_no_other_block_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let chain = stored(directory.path(), &[0, 3]);
        // That an object is listed says no more than that it can be there: 8 was deleted.
        let source = source(&[(0, 7), (3, 7), (5, 9)], &[0, 3, 5, 8]);
        let audited = audited(&chain, &source);
        assert_eq!(source.asked(), [0, 3, 5, 8]);
        assert_eq!((audited.blocks, audited.bytes), (10, 3 * BLOCK), "all ten were compared");
        let differing: Vec<u64> = audited.differences.iter().map(|d| d.extent.offset).collect();
        assert_eq!(differing, [5 * BLOCK], "the point lacks it");
    }

    #[test]
    fn a_block_of_the_point_is_asked_for_though_the_source_does_not_list_it() {
        let directory = tempfile::tempdir().unwrap();
        let chain = stored(directory.path(), &[0, 3]);
        let source = source(&[(0, 7)], &[0]);
        let audited = audited(&chain, &source);
        assert_eq!(source.asked(), [0, 3]);
        assert_eq!(audited.differences.len(), 1, "the source has nothing there");
    }

    #[test]
    fn a_list_that_lacks_a_block_that_is_there_is_believed_in_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let chain = stored(directory.path(), &[0, 3]);
        // Block 6 is in no point and in no list.
        let source = source(&[(0, 7), (3, 7), (6, 1)], &[0]);
        let audited = audited(&chain, &source);
        assert_eq!(source.asked(), (0..10).collect::<Vec<_>>());
        assert_eq!(audited.blocks, 10);
        assert_eq!(audited.differences[0].extent.offset, 6 * BLOCK);
        assert_eq!(audited.differences.len(), 1);
    }
}
