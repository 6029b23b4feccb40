//! Carries what persons and checks noted about a point to the copy that another repository has of
//! it. Not for a point that is only now copied: its attributes go along with its files (`copy.rs`).

use super::error::RepositoryError;
use super::guest_dir::GuestDir;
use super::history::StoredPoint;
use super::lock::Lock;
use super::records::{Attributes, AuditRecord, Verified, VerifiedState};
use crate::model::ImageId;
use std::collections::BTreeSet;

impl StoredPoint {
    /// The attributes of this point when it also bears the marks of the same point elsewhere:
    /// protected when one of them is, damaged where one of them is; a note of its own stays. A point
    /// that is hidden here does not become protected: nobody could see it to take that back.
    pub fn attributes_with(&self, other: &StoredPoint) -> Attributes {
        let (own, theirs) = (&self.attributes, &other.attributes);
        let mut merged = own.clone();
        merged.protected |= theirs.protected && !self.manifest.is_hidden();
        if own.notes.is_empty() {
            merged.notes.clone_from(&theirs.notes);
        }
        merged.verified = worse(own.verified.as_ref(), theirs.verified.as_ref());
        merged.failed_images = union(&own.failed_images, &theirs.failed_images);
        merged.audited = differing(own.audited.as_ref(), theirs.audited.as_ref());
        for (field, value) in &theirs.other {
            merged.other.entry(field.clone()).or_insert_with(|| value.clone());
        }
        merged
    }
}

impl GuestDir {
    /// Gives this directory's copy of a point the marks that the point has in another repository,
    /// durably; and says whether that changed something. A point that is not here stays away.
    ///
    /// # Errors
    /// No exclusive lock here, or the file system fails; the copy has its old marks then.
    pub fn copy_marks(&self, lock: &Lock, source: &StoredPoint) -> Result<bool, RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let Some(present) = history.point(source.manifest.point) else { return Ok(false) };
        let merged = present.attributes_with(source);
        if merged == present.attributes {
            return Ok(false);
        }
        self.set_attributes(lock, present, &merged)?;
        Ok(true)
    }
}

/// A reading that found no damage there tells nothing of the files here, one that found some may.
fn worse(own: Option<&Verified>, theirs: Option<&Verified>) -> Option<Verified> {
    let failed = |verified: &&Verified| verified.state == VerifiedState::Failed;
    own.filter(failed).or(theirs.filter(failed)).or(own).cloned()
}

fn union(own: &[ImageId], theirs: &[ImageId]) -> Vec<ImageId> {
    let missing = theirs.iter().filter(|id| !own.contains(id));
    own.iter().chain(missing).copied().collect()
}

/// Only what was found to differ goes over: what was found equal is no mark.
fn differing(own: Option<&AuditRecord>, theirs: Option<&AuditRecord>) -> Option<AuditRecord> {
    let known: BTreeSet<ImageId> = own.iter().flat_map(|a| &a.failed_images).copied().collect();
    let is_new = |theirs: &&AuditRecord| theirs.failed_images.iter().any(|id| !known.contains(id));
    let Some(theirs) = theirs.filter(is_new) else { return own.cloned() };
    let Some(own) = own else { return Some(theirs.clone()) };
    let why: Vec<&str> = [own, theirs].iter().filter_map(|a| a.why.as_deref()).collect();
    Some(AuditRecord {
        share: own.share,
        at: own.at.max(theirs.at),
        failed_images: union(&own.failed_images, &theirs.failed_images),
        why: (!why.is_empty()).then(|| why.join("; ")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::model::{Moment, Share};

    fn point(attributes: Attributes) -> StoredPoint {
        let manifest = fixture::manifest(vec![fixture::image(1, None)]);
        StoredPoint { manifest, attributes, dir: "daily/x".into() }
    }

    fn merged(own: &Attributes, theirs: &Attributes) -> Attributes {
        point(own.clone()).attributes_with(&point(theirs.clone()))
    }

    fn verified(state: VerifiedState) -> Attributes {
        let verified = Verified { state, at: Moment::from_unix(7), why: None };
        Attributes { verified: Some(verified), ..Attributes::default() }
    }

    fn audited(failed: &[u64], why: &str) -> Attributes {
        let failed_images = failed.iter().map(|id| ImageId(*id)).collect();
        let why = (!why.is_empty()).then(|| why.to_owned());
        let audited =
            AuditRecord { share: Share::ALL, at: Moment::from_unix(7), failed_images, why };
        Attributes { audited: Some(audited), ..Attributes::default() }
    }

    #[test]
    fn protection_notes_and_damage_come_along_and_nothing_own_is_lost() {
        let marked = Attributes {
            notes: "the auditor's".into(),
            protected: true,
            failed_images: vec![ImageId(1), ImageId(2)],
            other: serde_json::from_str(r#"{"later": 1}"#).unwrap(),
            ..Attributes::default()
        };
        let plain = Attributes::default();
        assert_eq!(merged(&plain, &marked), marked);
        assert_eq!(merged(&marked, &plain), marked);
        let own = Attributes {
            notes: "mine".into(),
            failed_images: vec![ImageId(2), ImageId(3)],
            ..Attributes::default()
        };
        let both = merged(&own, &marked);
        assert_eq!((both.notes.as_str(), both.protected), ("mine", true));
        assert_eq!(both.failed_images, [ImageId(2), ImageId(3), ImageId(1)]);
        assert_eq!(merged(&both, &marked), both, "once is enough");
    }

    #[test]
    fn a_failure_wins_and_a_success_elsewhere_proves_nothing_here() {
        let (ok, failed) = (verified(VerifiedState::Ok), verified(VerifiedState::Failed));
        assert_eq!(merged(&ok, &failed), failed);
        assert_eq!(merged(&failed, &ok), failed);
        assert_eq!(merged(&Attributes::default(), &ok), Attributes::default());
        assert_eq!(merged(&Attributes::default(), &audited(&[], "")), Attributes::default());
        let (one, two) = (audited(&[1], "scsi0"), audited(&[2], "scsi1"));
        assert_eq!(merged(&audited(&[], ""), &one), one);
        assert_eq!(merged(&one, &two), audited(&[1, 2], "scsi0; scsi1"));
        assert_eq!(merged(&one, &audited(&[], "")), one);
    }

    #[test]
    fn a_point_that_is_hidden_here_learns_of_damage_only() {
        let mut hidden = point(Attributes::default());
        hidden.manifest.state = super::super::State::Hidden;
        let mut marked = audited(&[1], "scsi0");
        marked.protected = true;
        let merged = hidden.attributes_with(&point(marked.clone()));
        assert_eq!((merged.protected, &merged.audited), (false, &marked.audited));
    }
}
