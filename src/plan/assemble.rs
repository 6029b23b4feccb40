//! Writing one disk of a restore point into a file: whether it is read although damage is known, and the
//! plan. Pure.

use super::damage::{DamageFacts, IsDamaged, judge};
use super::{Action, Item, Plan, TransferAction};
use crate::model::{DiskKey, Guest, Moment};

/// What is to be written, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembleFacts {
    /// The guest as the point names it.
    pub guest: Guest,
    /// The point's moment.
    pub moment: Moment,
    /// The disk as a person names it: its key, or how the old tool's files are named.
    pub disk: String,
    /// The file, as the user typed it.
    pub file: String,
    /// What is known to be damaged.
    pub damage: DamageFacts,
}

/// Plans it. What the old tool wrote bears no marks, so that nothing is known of its damage.
///
/// # Errors
/// The disk is known to be damaged, and the user may not know that this point is the one that is meant.
pub fn plan(facts: &AssembleFacts) -> Result<Plan, IsDamaged> {
    let AssembleFacts { guest, moment, disk, file, damage } = facts.clone();
    let not_whole = match disk.parse::<DiskKey>() {
        Ok(disk) => judge(&damage, &[disk])?,
        Err(_) => Vec::new(),
    };
    let action: Action = TransferAction::Assemble { disk, moment, file }.into();
    Ok(Plan { not_whole, ..Plan::new(guest, vec![Item::Step(action.step())]) })
}
