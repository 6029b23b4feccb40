//! The systemd timers of jobs: which are enabled on this node, and the commands that change that.
//! The units themselves are shipped as templates in `systemd/`.

use crate::job::{Job, JobName, Runner};
use crate::model::OperationKind;
use crate::transport::Command;
use std::path::Path;

/// The operations that have a unit template, with the schedule of its timer.
const TEMPLATES: [(OperationKind, &str); 2] =
    [(OperationKind::Verify, "weekly"), (OperationKind::Prune, "daily")];

/// Where systemd notes the timers that are enabled (systemd.unit(5)).
pub const WANTS: &str = "timers.target.wants";

/// The schedule that a timer of an operation has; none where there is no template.
pub fn schedule_of(operation: Option<OperationKind>) -> Option<&'static str> {
    TEMPLATES.iter().find(|(kind, _)| Some(*kind) == operation).map(|(_, schedule)| *schedule)
}

/// The timer of a job. The units use `%i`, the instance as it is written, so that nothing is
/// escaped in a name.
pub fn unit(operation: &str, job: &JobName) -> String {
    format!("pve-ferry-{operation}@{job}.timer")
}

/// The timers of ours that are enabled on this node, by the directory of systemd's units.
pub fn enabled(units: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(units.join(WANTS)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_ours = |name: &String| {
        name.ends_with(".timer")
            && TEMPLATES
                .iter()
                .any(|(operation, _)| name.starts_with(&format!("pve-ferry-{operation}@")))
    };
    let mut names: Vec<String> = names.filter(is_ours).collect();
    names.sort();
    names
}

/// A change of what is switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The command that makes it.
    pub command: Command,
    /// A command for afterwards, whose failure is none: it forgets that the last run failed. A unit
    /// that did not fail need not be loaded, and then systemctl ends with 1.
    pub forget: Option<Command>,
}

/// The changes that make the enabled timers those of this node's jobs. What is switched off is no
/// failure any more, which would stay in `systemctl --failed` for ever.
pub fn changes(enabled: &[String], jobs: &[Job], node: &str) -> Vec<Change> {
    let ours = |job: &&Job| {
        job.enabled && job.runner == Runner::Systemd && job.node.as_deref() == Some(node)
    };
    let wanted: Vec<String> =
        jobs.iter().filter(ours).map(|job| unit(&job.operation, &job.name)).collect();
    let command = |verb: &str, unit: &String| {
        Command::writes("systemctl").args([verb, "--now", "--quiet", unit.as_str()])
    };
    let off = enabled.iter().filter(|unit| !wanted.contains(unit));
    let off = off.map(|unit| Change { command: command("disable", unit), forget: reset(unit) });
    let on = wanted.iter().filter(|unit| !enabled.contains(unit));
    let on = on.map(|unit| Change { command: command("enable", unit), forget: None });
    off.chain(on).collect()
}

/// Makes the service of a timer, which is what fails, forget that it did.
fn reset(timer: &str) -> Option<Command> {
    let name = timer.strip_suffix(".timer")?;
    Some(Command::writes("systemctl").args(["reset-failed", &format!("{name}.service")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, operation: &str, enabled: bool) -> Job {
        Job {
            name: name.parse().unwrap(),
            operation: operation.into(),
            schedule: "weekly".parse().unwrap(),
            node: Some("pve1".into()),
            enabled,
            runner: Runner::Systemd,
            comment: None,
            options: vec![],
        }
    }

    #[test]
    fn timers_follow_the_jobs_of_the_node() {
        let jobs =
            [job("check-all", "verify", true), job("b", "prune", true), job("c", "prune", false)];
        let enabled = ["pve-ferry-prune@b.timer".to_owned(), "pve-ferry-prune@c.timer".to_owned()];
        let shown = |node: &str| {
            let changes = changes(&enabled, &jobs, node).into_iter();
            let commands = changes.flat_map(|c| std::iter::once(c.command).chain(c.forget));
            commands.map(|c| c.argv().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(
            shown("pve1"),
            [
                "systemctl disable --now --quiet pve-ferry-prune@c.timer",
                "systemctl reset-failed pve-ferry-prune@c.service",
                "systemctl enable --now --quiet pve-ferry-verify@check-all.timer",
            ]
        );
        assert_eq!(shown("pve2").len(), 4, "what was bound here and is no more is switched off");
    }

    #[test]
    fn every_template_is_shipped_and_runs_its_job() {
        for (operation, _) in TEMPLATES {
            let unit = |kind: &str| {
                let root = env!("CARGO_MANIFEST_DIR");
                std::fs::read_to_string(format!("{root}/systemd/pve-ferry-{operation}@.{kind}"))
                    .unwrap()
            };
            let start = "\nExecStart=/usr/sbin/pve-ferry job run %i --scheduled\n";
            assert!(unit("service").contains(start));
            assert!(
                !unit("service").contains("\nProtectProc"),
                "locks of live runs would look dead"
            );
            assert!(unit("timer").contains("\nOnCalendar="));
        }
    }

    #[test]
    fn only_timers_of_ours_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(super::enabled(dir.path()).is_empty());
        std::fs::create_dir(dir.path().join(WANTS)).unwrap();
        for name in ["pve-ferry-verify@a.timer", "apt-daily.timer", "pve-ferry-other@a.timer"] {
            std::fs::write(dir.path().join(WANTS).join(name), "").unwrap();
        }
        assert_eq!(super::enabled(dir.path()), ["pve-ferry-verify@a.timer"]);
    }
}
