//! Names of the snapshots that we make on volumes. Whole names only: a part of a name proves nothing.

use super::{ChainId, Invalid, Label, Moment, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// `ferry.<chain>.<label>.<stamp>`. The dot cannot stand in a PVE snapshot name (PVE's
/// `pve-configid` format), so ours is never taken for one of PVE's, nor the other way round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The chain whose runs may delete it.
    pub chain: ChainId,
    /// The label of the run that made it.
    pub label: Label,
    /// When the run that made it began.
    pub moment: Moment,
}

impl SnapshotName {
    /// Reads a whole name; anything else, however similar, is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

const FORM: &str = "a snapshot of ours (ferry.<chain>.<label>.<YYYYMMDDTHHMMSSZ>)";

impl FromStr for SnapshotName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts: Vec<&str> = text.split('.').collect();
        let ["ferry", chain, label, stamp] = parts[..] else {
            return Err(Invalid::new(text, FORM));
        };
        let invalid = |_| Invalid::new(text, FORM);
        Ok(Self {
            chain: chain.parse().map_err(invalid)?,
            label: label.parse().map_err(invalid)?,
            moment: Moment::from_stamp(stamp).map_err(invalid)?,
        })
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("ferry.{}.{}.{}", self.chain, self.label, self.moment.stamp()))
    }
}

serde_as_text!(SnapshotName, FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let text = "ferry.1a2b3c4d.daily.20260101T000000Z";
        let name: SnapshotName = text.parse().unwrap();
        assert_eq!((name.chain, name.label.as_str()), (ChainId(0x1a2b_3c4d), "daily"));
        assert_eq!(name.to_string(), text);
    }

    #[test]
    fn similar_names_are_not_ours() {
        for text in [
            "before-daily-update",
            "autodaily20260101000000",
            "barcdaily20260101000000",
            "ferry.1a2b3c4d.daily",
            "ferry.1a2b3c4d.daily.20260101T000000Z.x",
            "xferry.1a2b3c4d.daily.20260101T000000Z",
            "ferry.1a2b3c4d.daily.20260101T000000Zx",
            "ferry.1a2b3c4.daily.20260101T000000Z",
        ] {
            assert_eq!(SnapshotName::parse(text), None, "{text}");
        }
    }
}
