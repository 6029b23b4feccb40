//! The text of a plan: what the dry run prints and the golden tests compare. Not for machines.

use super::{Action, Item, Plan, Scope, Step};
use crate::model::{Bytes, GuestSnapshot, Moment, counted};
use std::fmt;

/// The column in which the objects of the steps stand.
const OBJECT_COLUMN: usize = 24;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = &self.guest;
        let space = if guest.name.is_empty() { "" } else { " " };
        writeln!(f, "guest {}{space}{} on {}", guest.vmid, guest.name, guest.node)?;
        for item in &self.items {
            match item {
                Item::Step(step) => write_step(f, 2, step)?,
                Item::Scope(scope, steps) => {
                    write_line(f, 2, &scope.to_string(), "")?;
                    steps.iter().try_for_each(|step| write_step(f, 4, step))?;
                }
            }
        }
        for skipped in &self.skipped {
            write_line(f, 2, &columns(2, "skipped", &skipped.disk), &skipped.reason)?;
        }
        for kept in &self.kept {
            write_line(f, 2, &columns(2, "keep", &kept.point), &kept.because)?;
        }
        let not_whole = |text: &String| write_line(f, 2, &columns(2, "NOT WHOLE", text), "");
        self.not_whole.iter().try_for_each(not_whole)?;
        self.warnings.iter().try_for_each(|text| write_line(f, 2, &columns(2, "warning", text), ""))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { seconds, answer } => {
                let usual = *answer == super::FREEZE_TIMEOUT;
                let answer = format!(", if the agent answers within {answer} s");
                let answer = if usual { String::new() } else { answer };
                f.write_str(&columns(2, "frozen", &format!("at most {seconds} s{answer}")))
            }
        }
    }
}

/// The step without its reason, as errors and logs name it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, object) = words(&self.action);
        if object.is_empty() {
            return f.write_str(verb);
        }
        write!(f, "{verb} {}", object.replace("  ", " "))
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, indent: usize, step: &Step) -> fmt::Result {
    let (verb, object) = words(&step.action);
    write_line(f, indent, &columns(indent, verb, &object), &step.because)
}

fn write_line(f: &mut fmt::Formatter<'_>, indent: usize, text: &str, because: &str) -> fmt::Result {
    let reason = if because.is_empty() { String::new() } else { format!("  because {because}") };
    writeln!(f, "{:indent$}{}{reason}", "", text.trim_end())
}

fn columns(indent: usize, verb: &str, object: &str) -> String {
    format!("{verb:<width$}{object}", width = OBJECT_COLUMN - indent)
}

fn words(action: &Action) -> (&'static str, String) {
    match action {
        Action::ThawGuest { after: 0 } => ("thaw guest", String::new()),
        Action::ThawGuest { after } => {
            ("thaw guest", format!("after {after} s, if it is not by then"))
        }
        Action::SweepDebris { directory } => ("sweep debris", directory.clone()),
        Action::SweepLeftovers { points } => {
            ("sweep leftovers", format!("in {}", points.join(", ")))
        }
        Action::Mend(mend) => mend.words(),
        Action::BeginRestorePoint { label, moment } => {
            ("begin restore point", format!("{label} {moment}"))
        }
        Action::SaveConfig { digest } => ("save config", format!("digest {digest}")),
        Action::CheckConfig { digest } => ("check config", format!("digest {digest}")),
        Action::CreateSnapshot { volume, snapshot, .. } => {
            ("create snapshot", format!("{volume}@{snapshot}"))
        }
        Action::HoldSnapshot { volume, snapshot } => {
            ("hold snapshot", format!("{volume}@{snapshot}"))
        }
        Action::ReleaseSnapshot { volume, snapshot } => {
            ("release snapshot", format!("{volume}@{}", snapshot.name))
        }
        Action::DeleteSnapshot { volume, snapshot } => {
            ("delete snapshot", format!("{volume}@{}", snapshot.name))
        }
        Action::ResetChain { chain } => ("reset chain", chain.to_string()),
        Action::SaveVolume { volume, since: None, .. } => ("transfer", format!("{volume}  base")),
        Action::SaveVolume { volume, since: Some(base), .. } => {
            ("transfer", format!("{volume}  increment  since {}", short_name(&base.snapshot.name)))
        }
        Action::AdoptVolume { volume, snapshot, from, .. } => {
            ("adopt", format!("{volume}@{}  base  from {from}", snapshot.name))
        }
        Action::CommitRestorePoint => ("commit restore point", String::new()),
        Action::AuditVolume { volume, share, .. } => ("audit", format!("{volume}  {share}")),
        Action::HidePoint(point) => ("hide", format!("{} {}", point.label, point.moment)),
        Action::MergeImages { into, from } => {
            let (count, into) = (from.len(), format!("{} {}", into.label, into.moment));
            ("merge", format!("{} into {into}", counted(count, "older point")))
        }
        Action::DeleteRestorePoint(point) => {
            ("remove", format!("{} {}", point.label, point.moment))
        }
        Action::CopyMarks(point) => ("copy marks", format!("{} {}", point.label, point.moment)),
        Action::CopyPoint(point) => {
            ("copy", format!("{} {}  {}", point.label, point.moment, Bytes(point.bytes)))
        }
        Action::VerifyCopy(point) => {
            ("verify in target", format!("{} {}", point.label, point.moment))
        }
        Action::HandOverChain { label } => ("hand over chain", label.to_string()),
        Action::RemoveMoved(point) => {
            ("remove from source", format!("{} {}", point.label, point.moment))
        }
        Action::DeleteVolume { volume, .. } => ("delete volume", volume.to_string()),
        Action::CreateVolume { disk, volume, shape } => {
            ("create volume", format!("{volume}  for {disk}, {}", Bytes(shape.size)))
        }
        Action::RestoreVolume { disk, volume } => ("transfer", format!("{disk}  to {volume}")),
        Action::ReleaseGuest { vmid } => ("release vmid", vmid.to_string()),
        Action::ReserveGuest { vmid, node } => ("reserve vmid", format!("{vmid} on {node}")),
        Action::WriteConfig { vmid, kind, node, replaces } => {
            let what = if replaces.is_some() { ", replacing the present one" } else { "" };
            ("write config", format!("{kind} {vmid} on {node}{what}"))
        }
        Action::RescanVolumes { vmid } => ("rescan volumes", format!("of {vmid}")),
        Action::CreateGuestSnapshot { name, with_memory } => {
            ("snapshot guest", format!("{name}{}", if *with_memory { "  with memory" } else { "" }))
        }
        Action::DeleteGuestSnapshot(snapshot) => ("remove snapshot", taken(snapshot)),
        Action::RollbackGuest(snapshot) => ("roll back guest", format!("to {}", taken(snapshot))),
        Action::StartGuest { vmid } => ("start guest", vmid.to_string()),
    }
}

fn taken(snapshot: &GuestSnapshot) -> String {
    format!("{}  of {}", snapshot.name, Moment::from_unix(snapshot.taken))
}

/// The stamp of a snapshot of ours; another name in full.
fn short_name(name: &str) -> String {
    crate::model::SnapshotName::parse(name).map_or_else(|| name.to_owned(), |n| n.moment.stamp())
}
