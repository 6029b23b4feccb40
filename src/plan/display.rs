//! The text of a plan: what the dry run prints and the golden tests compare. Not for machines.

use super::{Item, Plan, Scope, Step};
use std::fmt;

/// The column in which the objects of the steps stand.
const OBJECT_COLUMN: usize = 24;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = &self.guest;
        let space = if guest.name.is_empty() { "" } else { " " };
        writeln!(f, "guest {}{space}{} on {}", guest.vmid, guest.name, guest.node)?;
        self.items.iter().try_for_each(|item| write_item(f, 2, item))?;
        for skipped in &self.skipped {
            write_line(f, 2, &columns(2, "skipped", &skipped.disk), &skipped.reason)?;
        }
        for kept in self.kept.iter().chain(&self.stays) {
            write_line(f, 2, &columns(2, "keep", &kept.point), &kept.because)?;
        }
        let not_whole = |text: &String| write_line(f, 2, &columns(2, "NOT WHOLE", text), "");
        self.not_whole.iter().try_for_each(not_whole)?;
        let not_removed = |text: &String| write_line(f, 2, &columns(2, "NOT REMOVED", text), "");
        self.not_removed.iter().try_for_each(not_removed)?;
        self.warnings.iter().try_for_each(|text| write_line(f, 2, &columns(2, "warning", text), ""))
    }
}

impl Scope {
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Frozen { seconds, answer } => {
                let usual = *answer == super::FREEZE_TIMEOUT;
                let answer = format!(", if the agent answers within {answer} s");
                let answer = if usual { String::new() } else { answer };
                ("frozen", format!("at most {seconds} s{answer}"))
            }
        }
    }
}

/// The scope as errors and logs name it.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, object) = self.words();
        write!(f, "{verb} {object}")
    }
}

/// The step without its reason, as errors and logs name it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, object) = self.action.words();
        if object.is_empty() {
            return f.write_str(verb);
        }
        write!(f, "{verb} {}", object.replace("  ", " "))
    }
}

/// An item; what stands in a scope is indented once more.
fn write_item(f: &mut fmt::Formatter<'_>, indent: usize, item: &Item) -> fmt::Result {
    match item {
        Item::Step(step) => write_step(f, indent, step),
        Item::Scope(scope, items) => {
            let (verb, object) = scope.words();
            write_line(f, indent, &columns(indent, verb, &object), "")?;
            items.iter().try_for_each(|item| write_item(f, indent + 2, item))
        }
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, indent: usize, step: &Step) -> fmt::Result {
    let (verb, object) = step.action.words();
    write_line(f, indent, &columns(indent, verb, &object), &step.because)?;
    step.action.details().iter().try_for_each(|line| write_line(f, indent + 2, line, ""))
}

fn write_line(f: &mut fmt::Formatter<'_>, indent: usize, text: &str, because: &str) -> fmt::Result {
    let reason = if because.is_empty() { String::new() } else { format!("  because {because}") };
    writeln!(f, "{:indent$}{}{reason}", "", text.trim_end())
}

fn columns(indent: usize, verb: &str, object: &str) -> String {
    format!("{verb:<width$}{object}", width = OBJECT_COLUMN.saturating_sub(indent))
}

#[cfg(test)]
mod tests {
    use crate::model::{Guest, GuestKind};
    use crate::plan::{Action, GuestAction, Item, Plan, Scope};

    #[test]
    fn what_stands_in_a_scope_is_indented_once_more_and_its_objects_stay_in_their_column() {
        let (vmid, kind) = (100.try_into().unwrap(), GuestKind::Qemu);
        let guest = Guest { vmid, kind, name: String::new(), node: "pve1".into() };
        let start = || Item::Step(Action::Guest(GuestAction::Start { vmid }).step());
        let scope = |items| Item::Scope(Scope::Frozen { seconds: 10, answer: 60 }, items);
        let plan = Plan::new(guest, vec![scope(vec![start(), scope(vec![start()])]), start()]);
        let expected = "\
guest 100 on pve1
  frozen                at most 10 s, if the agent answers within 60 s
    start guest         100
    frozen              at most 10 s, if the agent answers within 60 s
      start guest       100
  start guest           100
";
        assert_eq!(plan.to_string(), expected);
    }
}
