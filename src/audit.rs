//! Compares a restore point's volume with the snapshot that it was made from, block by block. Not
//! for damage in the repository: `verify` finds that without the source.
//!
//! Ceph and ZFS have shipped wrong diffs; such an image is whole, has its digest, and holds the
//! wrong bytes. Only the source can tell.

use crate::cancel::Cancel;
use crate::model::{Share, counted};
use crate::progress::{Meter, Progress};
use crate::repository::image::{ChainReader, ImageError};
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
    let meter = watch.progress.begin("audit", numbers.len() as u64 * source.block_size());
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let found: Mutex<Result<Audited, AuditStopped>> = Mutex::new(Ok(Audited::default()));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let compared = compare((chain, source), *number, watch, meter.as_ref());
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match (compared, found.as_mut()) {
                (Ok(block), Ok(sum)) => sum.add(block),
                (Err(error), Ok(_)) => {
                    stop.store(true, Ordering::Relaxed);
                    *found = Err(error);
                }
                (_, Err(_)) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..watch.threads.clamp(1, numbers.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    meter.end();
    let mut audited = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    audited.differences.sort_by_key(|difference| difference.extent.offset);
    let sizes = (source.size(), chain.size());
    audited.sizes = (sizes.0 != sizes.1).then_some(sizes);
    Ok(audited)
}

/// One block: how many bytes of the source were read, and what differs.
fn compare(
    (chain, source): (&ChainReader, &Blocks),
    number: u64,
    watch: &Watch,
    meter: &dyn Meter,
) -> Result<(u64, Option<Difference>), AuditStopped> {
    if watch.cancel.is_cancelled() {
        return Err(AuditStopped::Interrupted);
    }
    let (offset, length) = (number * source.block_size(), source.length(number));
    let theirs = source.read(number).map_err(|error| AuditStopped::Source(Box::new(error)))?;
    meter.add(length);
    // Neither side has anything there: no byte was read, and none is compared.
    if theirs.is_none() && !chain.holds_data(offset, length) {
        return Ok((0, None));
    }
    let read = theirs.as_ref().map_or(0, Vec::len);
    let go_on = || watch.cancel.check();
    watch.throttle.pass(read, &go_on).map_err(|_| AuditStopped::Interrupted)?;
    let theirs = theirs.unwrap_or_else(|| vec![0; usize::try_from(length).unwrap_or(usize::MAX)]);
    let mut ours = vec![0; theirs.len()];
    chain.read_at(offset, &mut ours).map_err(|error| AuditStopped::Image(Box::new(error)))?;
    Ok((read as u64, difference(offset, &theirs, &ours)))
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
    fn add(&mut self, (bytes, difference): (u64, Option<Difference>)) {
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
}
