//! Jobs: an operation with its options, when it runs and on which node. Values and decisions only:
//! files are read and written elsewhere, and nothing runs here.

pub mod around_line;
mod autosnap;
pub mod cover;
pub mod cron_check;
pub mod crontab;
pub mod import;
pub mod schedule;
mod tools;
pub mod words;

pub use schedule::Schedule;

use crate::model::{Invalid, OperationKind, serde_as_text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a job: `[a-z][a-z0-9_-]{0,39}`, so that it needs no quoting in a cron file, in a
/// path or in the name of a systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

impl JobName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const NAME: &str =
    "a job's name (a lower-case letter, then up to 39 lower-case letters, digits, - or _)";

impl FromStr for JobName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = text.bytes();
        let first_fits = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest_fits =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if first_fits && rest_fits && text.len() <= 40 {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(text, NAME))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(JobName, NAME);

/// Who starts the runs of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// A line in `/etc/cron.d/pve-ferry`.
    #[default]
    Cron,
    /// A hardened systemd timer.
    Systemd,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What it is called in the whole cluster.
    pub name: JobName,
    /// The kind of its section in `jobs.cfg`, also one that this version does not know; see [`Job::kind`].
    pub operation: String,
    /// When.
    pub schedule: Schedule,
    /// The one node that runs it; none: every node runs it for the guests that it has.
    pub node: Option<String>,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Who starts its runs.
    pub runner: Runner,
    /// What people wrote about it.
    pub comment: Option<String>,
    /// The options of the operation by their long names, in the order of the command's help; a
    /// flag has an empty value.
    pub options: Vec<(String, String)>,
}

impl Job {
    /// The operation that it runs; none where this version knows none of that name.
    pub fn kind(&self) -> Option<OperationKind> {
        OperationKind::of_job(&self.operation)
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The words of the command line that the job stands for, without the program.
    pub fn words(&self) -> Vec<String> {
        let word = |(key, value): &(String, String)| match value.is_empty() {
            true => format!("--{key}"),
            // With the sign in between a value may begin with a dash.
            false => format!("--{key}={value}"),
        };
        let command = command_of(&self.operation).into_iter().map(str::to_owned);
        command.chain(self.options.iter().map(word)).collect()
    }

    /// Whether a node runs it.
    pub fn runs_on(&self, node: &str) -> bool {
        self.node.as_deref().is_none_or(|bound| bound == node)
    }

    /// Whether it runs on every node for the guests that are there now.
    pub fn follows_guests(&self) -> bool {
        self.node.is_none() && self.kind().is_some_and(|kind| kind.row().follows_guests)
    }

    /// Whether its backups are meant by an option of a selection and a label, as users of
    /// eve4pve-barc name their jobs; without a path any path fits.
    pub fn is_called(&self, vmid: &str, label: &str, path: Option<&str>) -> bool {
        let same = |name: &str, wanted: &str| self.option(name) == Some(wanted);
        same("vmid", vmid)
            && same("label", label)
            && path
                .is_none_or(|path| self.option("path").is_some_and(|own| bare(own) == bare(path)))
    }
}

/// The command that the operation of a job stands for, as its reports call it. Those of snapshots have
/// two words; one that is not known stands for itself.
pub fn command_name(operation: &str) -> &str {
    OperationKind::of_job(operation).map_or(operation, |kind| kind.name())
}

/// Its words.
pub fn command_of(operation: &str) -> Vec<&str> {
    command_name(operation).split(' ').collect()
}

/// A path without the slashes at its end.
fn bare(path: &str) -> &str {
    let bare = path.trim_end_matches('/');
    if bare.is_empty() { path } else { bare }
}

/// A name that no other job bears: the operation and its label, with a number where needed.
pub fn free_name(
    operation: &str,
    label: Option<&str>,
    taken: &[JobName],
) -> Result<JobName, Invalid> {
    let begin: String = match label {
        Some(label) => format!("{operation}-{label}"),
        None => operation.to_owned(),
    };
    let begin: String = begin.chars().take(34).collect();
    let numbered = (2..=taken.len() + 2).map(|n| format!("{begin}-{n}"));
    for text in std::iter::once(begin.clone()).chain(numbered) {
        let name: JobName = text.parse()?;
        if !taken.contains(&name) {
            return Ok(name);
        }
    }
    // There are more candidates than names that are taken, so one of them was free.
    Err(Invalid::new(&begin, NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> JobName {
        text.parse().unwrap()
    }

    #[test]
    fn names_need_no_quotes_anywhere() {
        for text in ["nightly", "a", "backup-daily_2"] {
            assert_eq!(name(text).to_string(), text);
        }
        for text in ["", "2a", "-a", "A", "a b", "a.b", "ä", "a%b", &"a".repeat(41)] {
            assert!(text.parse::<JobName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_free_name_is_made_of_operation_and_label() {
        let taken = [name("backup-daily"), name("backup-daily-2"), name("prune")];
        assert_eq!(free_name("backup", Some("daily"), &taken), Ok(name("backup-daily-3")));
        assert_eq!(free_name("backup", Some("hourly"), &taken), Ok(name("backup-hourly")));
        assert_eq!(free_name("prune", None, &taken), Ok(name("prune-2")));
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        let job = Job {
            name: name("a"),
            operation: "backup".into(),
            schedule: "daily".parse().unwrap(),
            node: None,
            enabled: true,
            runner: Runner::Cron,
            comment: None,
            options: vec![
                ("vmid".into(), "-100,all".into()),
                ("label".into(), "daily".into()),
                ("path".into(), "/mnt/a b/".into()),
                ("protect-snap".into(), String::new()),
            ],
        };
        let words =
            ["backup", "--vmid=-100,all", "--label=daily", "--path=/mnt/a b/", "--protect-snap"];
        assert_eq!(job.words(), words);
        assert!(job.is_called("-100,all", "daily", Some("/mnt/a b")));
        assert!(job.is_called("-100,all", "daily", None));
        assert!(!job.is_called("-100,all", "daily", Some("/mnt/a")));
        assert!(!job.is_called("all", "daily", None));
        let of = |operation: &str| Job { operation: operation.into(), ..job.clone() }.words();
        assert_eq!(of("snapshot")[..3], ["snapshot", "create", "--vmid=-100,all"]);
        assert_eq!(of("snapshot-prune")[..2], ["snapshot", "prune"]);
    }
}
