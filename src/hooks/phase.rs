//! The phases in which hooks are called, and their names. Calls nothing.

use std::fmt;

/// What a phase is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The whole run.
    Job,
    /// One guest's turn in it.
    Guest,
    /// The snapshot of one volume; never while the guest is frozen.
    SnapCreate,
    /// The removal of a snapshot of ours that is no longer needed.
    SnapRemove,
    /// One volume's way into the repository.
    Export,
    /// The removal of a restore point.
    Prune,
    /// The merging of hidden points.
    Merge,
    /// The check of a guest's points.
    Verify,
    /// One volume's way back.
    Restore,
}

/// Where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before it; a hook can still stop it.
    Before,
    /// After it was done.
    After,
    /// After it was not done.
    Abort,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// What it is about.
    pub about: About,
    /// Where in it.
    pub at: At,
}

impl Phase {
    /// A phase.
    pub fn new(about: About, at: At) -> Self {
        Self { about, at }
    }

    /// Whether a hook that fails stops what it was called before.
    pub fn can_veto(self) -> bool {
        self.at == At::Before
    }
}

/// As the hook gets it: `job-start`, `snap-create-pre`.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match self.about {
            About::Job => "job",
            About::Guest => "guest",
            About::SnapCreate => "snap-create",
            About::SnapRemove => "snap-remove",
            About::Export => "export",
            About::Prune => "prune",
            About::Merge => "merge",
            About::Verify => "verify",
            About::Restore => "restore",
        };
        let at = match (self.about, self.at) {
            (_, At::Abort) => "abort",
            (About::Job | About::Guest, At::Before) => "start",
            (About::Job | About::Guest, At::After) => "end",
            (_, At::Before) => "pre",
            (_, At::After) => "post",
        };
        write!(f, "{about}-{at}")
    }
}
