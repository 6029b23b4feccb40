//! Whose a chain is when its points are in two repositories. Not for the points: `copy.rs`.
//!
//! A backup deletes all older snapshots of its chain, so a chain belongs to one repository, and two
//! that both go on must have two. The manifests say in which chain a point was made; `guest.json`
//! alone says which chain the next one will be of.
//! - A copy gives the target a new chain for the label, unless it has one that is not the source's or
//!   that it went on with. Its next backup there is a base: the snapshots of the copied points are the
//!   source's, which may delete them while they are read.
//! - A move hands the source's chain over before the label's newest point goes, so that the next
//!   backup into the target is an increment and clears the snapshots away. The target has it first,
//!   then the source gets a new one: if the run dies between the two, the repeated move ends it, and
//!   in no moment has nobody the chain. Both having it costs a base, never a wrong increment: that
//!   one looks for its very snapshot on the volume.
//! - A target that has begun a chain of its own keeps that, and the source its own, too.

use super::error::RepositoryError;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint};
use super::lock::Lock;
use super::records::GuestRecord;
use crate::model::{ChainId, Label};
use std::collections::BTreeMap;

impl History {
    /// Whether the source of a move may hand its chain of a label over to this directory.
    pub fn takes_chain(&self, label: &Label, source: &History) -> bool {
        let own = self.chain(label);
        own.is_none() || own == source.chain(label) || !self.points_of(label, own).any(|_| true)
    }

    /// Whether a label needs a chain here before points of `source`, which stays, are copied: it has
    /// none, or only the source's, with which nothing went on here.
    pub fn lacks_chain(&self, label: &Label, source: &History) -> bool {
        let own = self.chain(label);
        let only_here = |point: &StoredPoint| source.point(point.manifest.point).is_none();
        let went_on = || self.points_of(label, own).any(only_here);
        own.is_none() || (own == source.chain(label) && !went_on())
    }

    fn points_of(
        &self,
        label: &Label,
        chain: Option<ChainId>,
    ) -> impl Iterator<Item = &StoredPoint> {
        self.points
            .iter()
            .filter(move |p| p.manifest.label == *label && Some(p.manifest.chain) == chain)
    }
}

impl GuestDir {
    /// Gives a label a chain here, beside a source that stays: to be done before the first of its
    /// points is copied.
    ///
    /// # Errors
    /// No exclusive lock, neither directory tells which guest it is about, or the file system fails.
    pub fn begin_chain_beside(
        &self,
        lock: &Lock,
        source: &GuestDir,
        label: &Label,
        chain: ChainId,
    ) -> Result<(), RepositoryError> {
        let without_chains = |record| GuestRecord { chains: BTreeMap::new(), ..record };
        let known = match self.load()?.record {
            Some(record) => Some(record),
            None => source.load()?.record.map(without_chains),
        };
        let nobody = || {
            let (path, label) = (self.path().to_owned(), label.to_string());
            RepositoryError::NoChain { path, label }
        };
        let mut record = known.ok_or_else(nobody)?;
        record.chains.insert(label.clone(), chain);
        self.save_record(lock, &record)
    }

    /// Gives the source's chain of a label to this directory, and the source the new one; and says
    /// whether that was done: not when a chain of its own was begun here.
    ///
    /// # Errors
    /// No exclusive lock on one of both, or a file system fails; to do it again ends it.
    pub fn take_chain(
        &self,
        locks: (&Lock, &Lock),
        source: &GuestDir,
        (label, new): (&Label, ChainId),
    ) -> Result<bool, RepositoryError> {
        let (here, there) = (self.load()?, source.load()?);
        let (Some(mut ours), Some(mut theirs)) = (here.record.clone(), there.record.clone()) else {
            return Ok(false);
        };
        let Some(chain) = there.chain(label).filter(|_| here.takes_chain(label, &there)) else {
            return Ok(false);
        };
        ours.chains.insert(label.clone(), chain);
        self.save_record(locks.0, &ours)?;
        theirs.chains.insert(label.clone(), new);
        source.save_record(locks.1, &theirs)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::model::PointId;

    const THEIRS: ChainId = ChainId(0x1a2b_3c4d);
    const OWN: ChainId = ChainId(7);

    /// What `guest.json` says, and the points by id and the chain that they were made in.
    fn history(chain: ChainId, points: &[(u64, ChainId)]) -> History {
        let point = |(id, chain): &(u64, ChainId)| {
            let mut manifest = fixture::manifest(vec![fixture::image(*id, None)]);
            (manifest.point, manifest.chain) = (PointId(*id), *chain);
            StoredPoint { manifest, attributes: Default::default(), dir: "daily/x".into() }
        };
        let mut record = fixture::record();
        record.chains.insert(fixture::label(), chain);
        let points = points.iter().map(point).collect();
        History { record: Some(record), points, ..History::default() }
    }

    #[test]
    fn beside_a_source_that_stays_the_target_has_a_chain_of_its_own() {
        let label = fixture::label();
        let source = history(THEIRS, &[(1, THEIRS), (2, THEIRS)]);
        assert!(History::default().lacks_chain(&label, &source));
        let shared = history(THEIRS, &[(1, THEIRS)]);
        assert!(shared.lacks_chain(&label, &source), "an interrupted move left it");
        let went_on = history(THEIRS, &[(1, THEIRS), (3, THEIRS)]);
        assert!(!went_on.lacks_chain(&label, &source));
        let own = history(OWN, &[(1, THEIRS)]);
        assert!(!own.lacks_chain(&label, &source), "once is enough");
    }

    #[test]
    fn a_chain_is_handed_over_unless_another_one_was_begun() {
        let label = fixture::label();
        let source = history(THEIRS, &[(1, THEIRS), (2, THEIRS)]);
        assert!(History::default().takes_chain(&label, &source));
        assert!(history(OWN, &[(1, THEIRS)]).takes_chain(&label, &source));
        assert!(history(THEIRS, &[(1, THEIRS), (3, THEIRS)]).takes_chain(&label, &source));
        assert!(!history(OWN, &[(1, THEIRS), (3, OWN)]).takes_chain(&label, &source));
    }
}
