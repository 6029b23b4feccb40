//! What is done with a guest's configuration.

use crate::model::{GuestKind, VmId};
use crate::plan::rule::{Broken, Rule};
use crate::plan::tally::{Seen, Tally};

/// What is done with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigAction {
    /// Gives the cluster an id, unless another run has by then.
    CreateClusterId {
        /// The random bytes that it is made of.
        random: [u8; 16],
    },
    /// Saves configuration and firewall as they are before the snapshots.
    Save {
        /// Digest of the configuration that the survey saw.
        digest: String,
    },
    /// Reads the configuration again and fails when it changed since the survey.
    Check {
        /// Digest of the configuration that the survey saw.
        digest: String,
    },
    /// Writes a guest's configuration and firewall, in place of what reserves its vmid.
    Write {
        /// The guest that is made.
        vmid: VmId,
        /// Virtual machine or container.
        kind: GuestKind,
        /// The node that gets it.
        node: String,
        /// Digest of the configuration that is replaced, as the survey saw it; none where none is.
        expected: Option<String>,
        /// The configuration.
        text: String,
        /// What it changes in the one that is replaced, or else in the one that was saved, line by line.
        changes: Vec<String>,
    },
}

impl ConfigAction {
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::CreateClusterId { .. } => ("create cluster id", String::new()),
            Self::Save { digest } => ("save config", format!("digest {digest}")),
            Self::Check { digest } => ("check config", format!("digest {digest}")),
            Self::Write { vmid, kind, node, expected, .. } => {
                let what = if expected.is_some() { ", replacing the present one" } else { "" };
                ("write config", format!("{kind} {vmid} on {node}{what}"))
            }
        }
    }

    /// What it changes, for who looks at the plan.
    pub(super) fn details(&self) -> &[String] {
        match self {
            Self::Write { changes, .. } => changes,
            _ => &[],
        }
    }

    pub(super) fn destroys(&self) -> bool {
        matches!(self, Self::Write { expected: Some(_), .. })
    }

    pub(super) fn count(&self, tally: &mut Tally<'_>) {
        match self {
            Self::Check { .. } => tally.configs_checked += 1,
            Self::Write { .. } => tally.configs_written += 1,
            Self::CreateClusterId { .. } | Self::Save { .. } => {}
        }
    }

    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        if let Self::Write { vmid, .. } = self {
            broken.ensure(seen.before.reserved.contains(vmid), Rule::VmidIsReserved);
        }
    }
}
