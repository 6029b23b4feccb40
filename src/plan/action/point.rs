//! What is done to restore points and to what belongs to them in a repository.

use crate::model::{Bytes, ChainId, Label, Moment, Share, counted};
use crate::plan::rule::{Broken, Rule};
use crate::plan::tally::{Seen, Tally};
use crate::plan::{CopiedPoint, NamedPoint, RemovedPoint, repair, verify};

/// What is done to restore points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointAction {
    /// Makes a directory a repository, unless it is one by then.
    InitRepository {
        /// The directory.
        directory: String,
    },
    /// Makes the guest's own directory in the repository, unless it is there by then. It goes again with
    /// the first lock in it where nothing was written to it.
    CreateGuestDirectory,
    /// Removes what an interrupted run left in the repository: a directory without a manifest.
    SweepDebris {
        /// The directory, relative to the guest's.
        directory: String,
    },
    /// Removes files that an interrupted merge left beside images that count.
    SweepLeftovers {
        /// The points, by their directories relative to the guest's.
        points: Vec<String>,
    },
    /// Puts back or makes again what is missing or damaged of stored points.
    Mend(repair::Mend),
    /// Says that snapshots of this chain are to go although no newer ones replace them, and makes
    /// sure that no run of the chain is under way.
    ResetChain {
        /// The chain.
        chain: ChainId,
    },
    /// Notes a label's new chain. To be done before the chain's first snapshot is made: a chain whose
    /// id is lost with a killed run leaves snapshots that nobody may delete.
    BeginChain {
        /// The label.
        label: Label,
        /// The chain.
        chain: ChainId,
    },
    /// Opens a new restore point that nobody sees until its commit.
    Begin {
        /// Its label.
        label: Label,
        /// Its moment.
        moment: Moment,
    },
    /// Makes the restore point exist.
    Commit,
    /// Takes a point from the user and leaves its images to the points that need them.
    Hide(RemovedPoint),
    /// Merges the images of older points, which go, into those of the point that follows them; it
    /// does not need them then.
    Merge {
        /// The point that stays.
        into: RemovedPoint,
        /// The older points, oldest first.
        from: Vec<RemovedPoint>,
    },
    /// Removes a point.
    Delete(RemovedPoint),
    /// Keeps a point whatever the rules of retention say.
    Protect {
        /// The point.
        point: NamedPoint,
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
    /// Lets the rules of retention apply to a point again.
    Unprotect {
        /// The point.
        point: NamedPoint,
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
    /// Gives the other repository's copy of a point the marks that the point has got since:
    /// protection, notes, damage.
    CopyMarks(CopiedPoint),
    /// Copies a point into another repository, and reads there what arrived.
    Copy(CopiedPoint),
    /// Reads in the other repository all that a point needs there.
    VerifyCopy(CopiedPoint),
    /// Gives the source's chain of a label to the other repository, so that its next backup there
    /// can be an increment, and the source a new one.
    HandOverChain {
        /// The label.
        label: Label,
        /// The chain that the source goes on with.
        new: ChainId,
    },
    /// Removes a point that the other repository holds, whole; newest and protected ones, too.
    RemoveMoved(RemovedPoint),
    /// Reads what is stored of a guest and says what of it is damaged. Changes nothing.
    Verify {
        /// The guest's directory, as a person names it.
        directory: String,
        /// Only points of this label.
        label: Option<Label>,
        /// The part of the data that is read; all of it when absent.
        part: Option<Share>,
    },
    /// Notes with the points what a check found.
    Mark(verify::Marks),
}

impl PointAction {
    pub(super) fn words(&self) -> (&'static str, String) {
        let of = |label: &Label, moment: Moment| format!("{label} {moment}");
        match self {
            Self::InitRepository { directory } => ("initialize repository", directory.clone()),
            Self::CreateGuestDirectory => ("create directory", "for the guest".to_owned()),
            Self::SweepDebris { directory } => ("sweep debris", directory.clone()),
            Self::SweepLeftovers { points } => {
                ("sweep leftovers", format!("in {}", points.join(", ")))
            }
            Self::Mend(mend) => mend.words(),
            Self::ResetChain { chain } => ("reset chain", chain.to_string()),
            Self::BeginChain { label, chain } => ("begin chain", format!("{label} {chain}")),
            Self::Begin { label, moment } => ("begin restore point", of(label, *moment)),
            Self::Commit => ("commit restore point", String::new()),
            Self::Hide(point) => ("hide", of(&point.label, point.moment)),
            Self::Merge { into, from } => {
                let into = of(&into.label, into.moment);
                ("merge", format!("{} into {into}", counted(from.len(), "older point")))
            }
            Self::Delete(point) => ("remove", of(&point.label, point.moment)),
            Self::Protect { point, notes } => ("protect", noted(point, notes.as_deref())),
            Self::Unprotect { point, notes } => ("unprotect", noted(point, notes.as_deref())),
            Self::CopyMarks(point) => ("copy marks", of(&point.label, point.moment)),
            Self::Copy(point) => {
                ("copy", format!("{}  {}", of(&point.label, point.moment), Bytes(point.bytes)))
            }
            Self::VerifyCopy(point) => ("verify in target", of(&point.label, point.moment)),
            Self::HandOverChain { label, .. } => ("hand over chain", label.to_string()),
            Self::RemoveMoved(point) => ("remove from source", of(&point.label, point.moment)),
            Self::Verify { directory, label, part } => {
                let label = label.as_ref().map(|label| format!("  of {label}")).unwrap_or_default();
                let part = part.map(|part| format!("  {part}")).unwrap_or_default();
                ("verify points", format!("{directory}{label}{part}"))
            }
            Self::Mark(marks) => marks.words(),
        }
    }

    pub(super) fn destroys(&self) -> bool {
        matches!(
            self,
            Self::SweepDebris { .. }
                | Self::SweepLeftovers { .. }
                | Self::Hide(_)
                | Self::RemoveMoved(_)
                | Self::Delete(_)
        )
    }

    pub(super) fn count(&self, tally: &mut Tally<'_>) {
        match self {
            Self::Mark(_) => tally.marks += 1,
            Self::Begin { .. } => tally.begun += 1,
            Self::Commit => tally.committed += 1,
            Self::ResetChain { chain } => _ = tally.reset.insert(*chain),
            Self::Hide(_) => tally.removing += 1,
            Self::Merge { into, from } => {
                tally.removing += 1;
                tally.merged.extend(from.iter().map(|point| (into.id, point.id)));
            }
            Self::Delete(point) => {
                tally.removing += 1;
                tally.gone.insert(point.id);
            }
            Self::Copy(_) | Self::CopyMarks(_) => tally.copies += 1,
            Self::VerifyCopy(point) => _ = tally.verified.insert(point.id),
            Self::RemoveMoved(point) => {
                tally.moved += 1;
                tally.gone.insert(point.id);
            }
            Self::InitRepository { .. }
            | Self::CreateGuestDirectory
            | Self::SweepDebris { .. }
            | Self::SweepLeftovers { .. }
            | Self::Mend(_)
            | Self::BeginChain { .. }
            | Self::Protect { .. }
            | Self::Unprotect { .. }
            | Self::Verify { .. }
            | Self::HandOverChain { .. } => {}
        }
    }

    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        match self {
            Self::Hide(point) => may_be_removed(point, seen, broken),
            Self::Delete(point) => {
                may_be_removed(point, seen, broken);
                broken.ensure(is_free(point, seen), Rule::NeededImageStays);
            }
            Self::Merge { from, .. } => {
                let are_free = from.iter().all(|point| !point.is_protected && !point.is_newest);
                broken.ensure(are_free, Rule::OnlyFreePointsMerge);
            }
            Self::Verify { .. } => {
                broken.ensure(seen.changes_nothing(), Rule::ChecksChangeNothing);
            }
            Self::BeginChain { .. } => {
                let Tally { snapshots_made, begun, copies, .. } = &seen.before;
                broken.ensure(snapshots_made + begun + copies == 0, Rule::ChainIsBegunFirst);
            }
            // A source that keeps its points keeps its chain.
            Self::HandOverChain { .. } => {
                let is_first = seen.all.moved > 0 && seen.before.moved == 0;
                broken.ensure(is_first && seen.is_copied(), Rule::ChainGoesBetween);
            }
            // One that no user sees needs no copy.
            Self::RemoveMoved(point) => {
                let is_verified = point.is_hidden || seen.before.verified.contains(&point.id);
                broken.ensure(is_verified, Rule::MovedOnceVerified);
                broken.ensure(seen.is_copied(), Rule::MovedAfterAllCopies);
                broken.ensure(is_free(point, seen), Rule::NeededImageStays);
            }
            Self::InitRepository { .. }
            | Self::CreateGuestDirectory
            | Self::SweepDebris { .. }
            | Self::SweepLeftovers { .. }
            | Self::Mend(_)
            | Self::Mark(_)
            | Self::Protect { .. }
            | Self::Unprotect { .. }
            | Self::ResetChain { .. }
            | Self::Begin { .. }
            | Self::Commit
            | Self::CopyMarks(_)
            | Self::Copy(_)
            | Self::VerifyCopy(_) => {}
        }
    }

    /// Whether it makes a guest's points fewer by rules of retention.
    pub fn is_pruning(&self) -> bool {
        matches!(self, Self::Hide(_) | Self::Merge { .. } | Self::Delete(_))
    }
}

/// A person may remove the newest point, but by its name and nothing else with it.
fn may_be_removed(point: &RemovedPoint, seen: &Seen<'_>, broken: &mut Broken) {
    broken.ensure(!point.is_protected, Rule::ProtectedStays);
    broken.ensure(!point.is_newest || point.is_named, Rule::NewestStays);
    broken.ensure(!point.is_named || seen.all.destroying == 1, Rule::NamedGoesAlone);
}

/// Whether whatever needs the point's images was deleted before it, or has them merged into its own.
fn is_free(point: &RemovedPoint, seen: &Seen<'_>) -> bool {
    let before = &seen.before;
    let is_served = |id| before.gone.contains(id) || before.merged.contains(&(*id, point.id));
    point.needed_by.iter().all(is_served)
}

fn noted(point: &NamedPoint, notes: Option<&str>) -> String {
    notes.map_or_else(|| point.to_string(), |notes| format!("{point}  noted {notes:?}"))
}
