//! The rules that no plan may break, in one table. What each asks of a step stands with the noun that it
//! is about, or in `check` where it is about the order of several.

use std::fmt;

/// Makes the enum, the list of all its variants and their sentences of one table, so that none lacks
/// anything.
macro_rules! rules {
    ($($rule:ident => $sentence:literal,)*) => {
        /// A rule that every plan keeps. It is shown as the sentence that it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $sentence] $rule,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            fn sentence(self) -> &'static str {
                match self {
                    $(Self::$rule => $sentence,)*
                }
            }
        }
    };
}

rules! {
    // Volumes.
    OnlyOwnSnapshotsGo => "only snapshots of this chain are deleted",
    BaseGoesOnceProven => "a base is deleted only after its successor is proven",
    LeftVolumesGoFirst => "what an interrupted restore left goes before a restore makes anything",
    // Transfers.
    SavesOwnSnapshots => "a transfer reads a snapshot that this run made",
    RestoresIntoOwnVolumes => "a restore writes only to volumes that it made",
    AuditFollowsCommit => "a point is compared with its source after its commit",
    NothingGoesBeforeAudit => "nothing goes before the comparison with the source",
    // Points.
    ChainIsBegunFirst => "a chain is noted before anything is made in it",
    EverySnapshotIsSaved => "a point is committed when every snapshot is saved",
    ConfigIsReadAgain => "a point is committed after the configuration was read again",
    AdoptionOnlyAdds => "an adoption adds a point and does nothing else",
    ResetSavesNothing => "a chain is reset by a plan that saves nothing",
    RepairTakesNothing => "a repair takes nothing away",
    ChecksChangeNothing => "a plan that checks what is stored changes nothing",
    ProtectedStays => "a protected restore point is never removed",
    NewestStays => "the newest complete restore point is never removed",
    NamedGoesAlone => "a restore point that a person names goes alone",
    RemovalFollowsCommit => "points are removed only after the new one is committed",
    NeededImageStays => "an image that a restore point needs is never deleted",
    OnlyFreePointsMerge => "a protected or newest restore point never merges into another",
    MovedOnceVerified => "a point is moved only after its copy was verified",
    MovedAfterAllCopies => "points are moved only after all copies and their marks",
    ChainGoesBetween => "a chain is handed over between all copies and the first removal",
    // Guests and their configurations.
    VmidIsReserved => "a vmid is reserved before it gets its guest",
    ConfigFollowsVolumes => "configuration comes after all volumes",
    StartFollowsConfig => "a guest is started only after its configuration is written",
    OnlyAutomaticSnapshotsGo => "only automatic snapshots of guests are removed",
    UnfinishedSnapshotStays => "an unfinished snapshot is left to PVE",
    SnapshotGoesAfterNew => "snapshots are removed only after the new one was made",
    RollbackStandsAlone => "a rollback is a plan of its own",
    // Scopes, and what a failure means.
    FrozenOnlyForSnapshots => "a frozen scope contains only snapshot creation",
    NeedsWhatIsBefore => "a step needs only steps that stand before it",
    CommitIsNotUndone => "nothing undoes a plan after its commit",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// The rules that one step breaks.
#[derive(Debug, Default)]
pub(super) struct Broken(Vec<Rule>);

impl Broken {
    /// Notes the rule unless it holds.
    pub(super) fn ensure(&mut self, holds: bool, rule: Rule) {
        if !holds {
            self.0.push(rule);
        }
    }

    /// The rules, each once.
    pub(super) fn rules(mut self) -> Vec<Rule> {
        self.0.dedup();
        self.0
    }
}
