//! What the program can do to guests and repositories: one table, with a row for each operation. No
//! other file compares the name of an operation with a literal. Does nothing itself.

use std::fmt;

/// An operation: a command that acts on guests or restore points, alone or as a job. Commands that only
/// show something are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Saves guests as restore points.
    Backup,
    /// Removes restore points by rules of retention.
    Prune,
    /// Reads what is stored, or compares it with its source.
    Verify,
    /// Brings restore points into another repository.
    Copy,
    /// Makes snapshots of guests through PVE, and removes those that the retention does not keep.
    SnapshotCreate,
    /// Removes snapshots of guests through PVE.
    SnapshotPrune,
    /// Puts a guest back to one of its snapshots through PVE.
    SnapshotRollback,
    /// Brings a guest or single volumes back from a restore point.
    Restore,
    /// Writes a volume of a restore point into one file.
    Assemble,
    /// Mends what can be mended in a repository.
    Repair,
    /// Removes one restore point.
    Delete,
    /// Keeps one restore point whatever the retention says.
    Protect,
    /// Lets the retention apply to a restore point again.
    Unprotect,
    /// Removes our snapshots from volumes.
    Reset,
    /// Takes chains of eve4pve-barc over.
    Adopt,
}

/// Something that must be there for an operation to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The files of this node's cluster below `/etc/pve`.
    HomeFiles,
    /// PVE's API, of this node or of a host that is named.
    Api,
    /// A repository.
    Repository,
    /// Volumes of ZFS on this machine.
    LocalZfs,
}

/// When a person is asked before an operation changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Never: what it takes away, rules or the words of the command name.
    Never,
    /// On a terminal, where the rules leave nothing.
    NothingKept,
    /// On a terminal, where it was chosen from lists and not typed.
    Chosen,
    /// Always; without a terminal `--yes` must be given.
    Always,
}

/// What is known of an operation before it runs. The options are those of its command, by their long
/// names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationRow {
    /// The words of its command, as reports, hooks, metrics and JSON documents have them.
    pub name: &'static str,
    /// The kind of its sections in `jobs.cfg`; none where it makes no sense without a person.
    pub job: Option<&'static str>,
    /// The option that names the repository into which it puts restore points. The run of a job does
    /// not make that repository.
    pub writes: Option<&'static str>,
    /// The option that names the repository that must hold what it works on: it reads it, marks
    /// something there, or takes something away.
    pub reads: Option<&'static str>,
    /// Whether a job that names no node runs on every node for the guests that are there.
    pub follows_guests: bool,
    /// The second argument of a hook about a guest; the word that vzdump has for it, where it has one.
    pub hook_mode: &'static str,
    /// Whether the next run does by itself what this one left undone after its commit, so that this is a
    /// warning and no failure.
    pub retried: bool,
    /// What must be there.
    pub needs: &'static [Need],
    /// When a person is asked first.
    pub confirmation: Confirmation,
}

/// The row of an operation that only a person starts, on a repository that is named by `--path`. Rows
/// say in what they differ from it.
const BY_HAND: OperationRow = OperationRow {
    name: "",
    job: None,
    writes: None,
    reads: Some("path"),
    follows_guests: false,
    hook_mode: "",
    retried: false,
    needs: &[Need::Repository],
    confirmation: Confirmation::Never,
};

/// The row of an operation that works on snapshots of guests through PVE.
const THROUGH_PVE: OperationRow = OperationRow { reads: None, needs: &[Need::Api], ..BY_HAND };

const HOME_AND_REPOSITORY: &[Need] = &[Need::HomeFiles, Need::Repository];

impl OperationKind {
    /// All operations, those of jobs first, in the order in which lists show them.
    pub const ALL: [Self; 15] = [
        Self::Backup,
        Self::Prune,
        Self::Verify,
        Self::Copy,
        Self::SnapshotCreate,
        Self::SnapshotPrune,
        Self::SnapshotRollback,
        Self::Restore,
        Self::Assemble,
        Self::Repair,
        Self::Delete,
        Self::Protect,
        Self::Unprotect,
        Self::Reset,
        Self::Adopt,
    ];

    /// The table. A new operation is a new arm here, and nothing else anywhere compares its name.
    pub const fn row(self) -> OperationRow {
        match self {
            Self::Backup => OperationRow {
                name: "backup",
                job: Some("backup"),
                writes: Some("path"),
                reads: None,
                follows_guests: true,
                hook_mode: "snapshot",
                retried: true,
                needs: HOME_AND_REPOSITORY,
                ..BY_HAND
            },
            Self::Prune => {
                OperationRow { job: Some("prune"), retried: true, ..called(BY_HAND, "prune") }
            }
            // With --source it needs the files of the cluster, too.
            Self::Verify => {
                OperationRow { job: Some("verify"), retried: true, ..called(BY_HAND, "verify") }
            }
            Self::Copy => OperationRow {
                job: Some("copy"),
                writes: Some("to"),
                reads: Some("from"),
                retried: true,
                ..called(BY_HAND, "copy")
            },
            Self::SnapshotCreate => OperationRow {
                job: Some("snapshot"),
                retried: true,
                ..called(THROUGH_PVE, "snapshot create")
            },
            Self::SnapshotPrune => OperationRow {
                job: Some("snapshot-prune"),
                retried: true,
                confirmation: Confirmation::NothingKept,
                ..called(THROUGH_PVE, "snapshot prune")
            },
            Self::SnapshotRollback => OperationRow {
                confirmation: Confirmation::Always,
                ..called(THROUGH_PVE, "snapshot rollback")
            },
            Self::Restore => OperationRow {
                needs: HOME_AND_REPOSITORY,
                confirmation: Confirmation::Chosen,
                ..called(BY_HAND, "restore")
            },
            Self::Assemble => called(BY_HAND, "assemble"),
            Self::Repair => OperationRow { retried: true, ..called(BY_HAND, "repair") },
            Self::Delete => {
                OperationRow { confirmation: Confirmation::Always, ..called(BY_HAND, "delete") }
            }
            Self::Protect => called(BY_HAND, "protect"),
            Self::Unprotect => called(BY_HAND, "unprotect"),
            // A repository only says which snapshots are still needed.
            Self::Reset => OperationRow {
                retried: true,
                needs: &[Need::HomeFiles],
                confirmation: Confirmation::Always,
                ..called(BY_HAND, "reset")
            },
            Self::Adopt => OperationRow {
                writes: Some("path"),
                reads: None,
                retried: true,
                needs: HOME_AND_REPOSITORY,
                ..called(BY_HAND, "adopt")
            },
        }
    }

    /// Its name; see [`OperationRow::name`].
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The operation of this name; none where no operation of this version has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The operation of a job whose section in `jobs.cfg` is of this kind.
    pub fn of_job(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.row().job == Some(kind))
    }

    /// Whether something must be there for it.
    pub fn needs(self, need: Need) -> bool {
        self.row().needs.contains(&need)
    }

    /// Whether it is about snapshots of guests through PVE, which move no bytes and have no volumes.
    pub fn is_of_guest_snapshots(self) -> bool {
        matches!(self, Self::SnapshotCreate | Self::SnapshotPrune | Self::SnapshotRollback)
    }
}

/// A row under a name, by which hooks call it, too.
const fn called(row: OperationRow, name: &'static str) -> OperationRow {
    OperationRow { name, hook_mode: name, ..row }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_is_found_by_its_name_and_by_the_kind_of_its_jobs() {
        let names: BTreeSet<&str> = OperationKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), OperationKind::ALL.len());
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::named(kind.name()), Some(kind));
            if let Some(job) = kind.row().job {
                assert_eq!(OperationKind::of_job(job), Some(kind));
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_no_operation_and_what_needs_a_person_is_none_of_a_job() {
        for name in ["mirror", "sync", "report", "snapshot", "snapshot-prune", "list", ""] {
            assert_eq!(OperationKind::named(name), None, "{name}");
        }
        for name in ["mirror", "sync", "report", "restore", "snapshot create", ""] {
            assert_eq!(OperationKind::of_job(name), None, "{name}");
        }
    }

    #[test]
    fn a_job_needs_no_yes() {
        for kind in OperationKind::ALL.into_iter().filter(|kind| kind.row().job.is_some()) {
            assert_ne!(kind.row().confirmation, Confirmation::Always, "{kind}");
        }
    }
}
