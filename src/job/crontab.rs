//! Cron files: ours, rendered whole, and lines of others', read. No file is touched here.
//!
//! Debian's cron (crontab(5), cron(8)): five fields or an `@word`, in `/etc/cron.d` a user, then
//! the rest of the line for the shell. An unescaped `%` ends the command, `\%` is a `%`; a line
//! without its newline at the end is ignored.

use super::words::joined;
use super::{Job, Runner, Schedule};

/// The file's name below `/etc/cron.d`: cron ignores names with a dot in them.
pub const FILE: &str = "pve-ferry";

/// The first words of the line that tells whether somebody edited the file.
const DIGEST: &str = "# digest ";

const HEAD: &str = "\
# Made by pve-ferry from jobs.cfg of the cluster. Do not edit: `pve-ferry job set` changes a job, and
# this file is replaced when jobs.cfg changes.
";

const ENVIRONMENT: &str = "
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The cluster file system tells nobody that jobs.cfg changed on another node.
";

/// How often a node looks whether jobs.cfg has changed.
const LOOK: &str = "*/5 * * * *";

/// The whole cron file of a node: a line for each enabled job that runs there, and a comment for
/// each section of jobs.cfg that is none, given with its reason.
pub fn rendered(jobs: &[Job], damaged: &[(String, String)], node: &str) -> String {
    let mut body = String::from(ENVIRONMENT);
    body.push_str(&line(LOOK, "pve-ferry job render --quiet"));
    let ours = |job: &&Job| job.enabled && job.runner == Runner::Cron && job.runs_on(node);
    for job in jobs.iter().filter(ours) {
        body.push_str(&entry(job));
    }
    for (id, why) in damaged {
        body.push_str(&format!("\n# {}: cannot run: {}\n", one_line(id), one_line(why)));
    }
    format!("{HEAD}{DIGEST}{}\n{body}", digest(&body))
}

/// A job's comment and its line. The line holds the name alone, so that a changed job needs no new
/// file and a destroyed one does no harm.
fn entry(job: &Job) -> String {
    let what = one_line(&joined(&job.words()));
    let command = format!("pve-ferry job run {} --scheduled", job.name);
    format!("\n# {}: {what}\n{}", job.name, line(job.schedule.fields(), &command))
}

/// A text that cannot end its comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// One line of `/etc/cron.d`, for root.
pub fn line(fields: &str, command: &str) -> String {
    format!("{fields} root {}\n", command.replace('%', "\\%"))
}

fn digest(body: &str) -> String {
    let hex = blake3::hash(body.as_bytes()).to_hex();
    hex.chars().take(16).collect()
}

/// Whether a file that we rendered was edited by hand since.
pub fn is_edited(text: &str) -> bool {
    let body = text.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix(DIGEST));
    body.and_then(|rest| rest.split_once('\n')).is_none_or(|(noted, body)| noted != digest(body))
}

/// A line of a crontab that runs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronLine {
    /// Its number in the file, from 1.
    pub number: usize,
    /// When.
    pub schedule: Schedule,
    /// False when the line is commented out.
    pub enabled: bool,
    /// What stands behind the schedule: in `/etc/cron.d` the user, and what the shell gets.
    pub rest: String,
}

/// The lines of a crontab that have a schedule, also those that are commented out, as
/// eve4pve-barc does to disable one.
pub fn lines(text: &str) -> Vec<CronLine> {
    text.lines().enumerate().filter_map(|(index, line)| cron_line(index + 1, line)).collect()
}

fn cron_line(number: usize, line: &str) -> Option<CronLine> {
    let bare = line.trim_start_matches(|c: char| c == '#' || c.is_whitespace());
    let enabled = !line.trim_start().starts_with('#');
    let count = if bare.starts_with('@') { 1 } else { 5 };
    let (schedule, rest) = cut(bare, count)?;
    let schedule = schedule.parse().ok()?;
    Some(CronLine { number, schedule, enabled, rest: command(rest) })
}

/// The first words of a line and what follows them.
fn cut(line: &str, words: usize) -> Option<(&str, &str)> {
    let mut rest = line;
    for _ in 0..words {
        let end = rest.find([' ', '\t'])?;
        rest = rest[end..].trim_start_matches([' ', '\t']);
    }
    Some((line[..line.len() - rest.len()].trim_end(), rest))
}

/// What the shell gets of the rest of a line.
fn command(rest: &str) -> String {
    let mut text = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'%') => text.extend(chars.next()),
            '%' => break,
            c => text.push(c),
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, enabled: bool, node: Option<&str>) -> Job {
        Job {
            name: name.parse().unwrap(),
            operation: "backup".into(),
            schedule: "30 2 * * *".parse().unwrap(),
            node: node.map(str::to_owned),
            enabled,
            runner: Runner::Cron,
            comment: None,
            options: vec![("vmid".into(), "all".into()), ("path".into(), "/mnt/a 50%".into())],
        }
    }

    #[test]
    fn a_file_holds_the_enabled_jobs_of_its_node() {
        let timed = Job { runner: Runner::Systemd, ..job("timed", true, None) };
        let jobs =
            [job("a", true, None), job("b", false, None), job("c", true, Some("pve2")), timed];
        let text = rendered(&jobs, &[], "pve1");
        let expected = "
# a: backup --vmid=all '--path=/mnt/a 50%'
30 2 * * * root pve-ferry job run a --scheduled
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("\nPATH=/usr/local/sbin:"), "{text}");
        assert!(text.contains("\n*/5 * * * * root pve-ferry job render --quiet\n"), "{text}");
        assert!(
            rendered(&jobs, &[("bad".into(), "a\nb".into())], "pve2")
                .contains("# bad: cannot run: a?b\n")
        );
        for absent in ["job run b", "job run c", "job run timed"] {
            assert!(!text.contains(absent), "{text}");
        }
    }

    #[test]
    fn edits_by_hand_are_noticed() {
        let text = rendered(&[job("a", true, None)], &[], "pve1");
        assert!(!is_edited(&text));
        assert!(is_edited(&text.replace("30 2", "30 3")));
        assert!(is_edited(&format!("{text}* * * * * root echo\n")));
        assert!(is_edited(&format!("# mine\n{text}")));
        assert!(is_edited(""));
    }

    #[test]
    fn lines_of_others_are_read_with_their_escapes() {
        let text = "SHELL=/bin/sh\n# a comment of some more words than five\n\
                    5 4 * * *\troot  date +\\%F % input\n#0 0 * * * root x\n@daily root y\n* * * *\n";
        let found = lines(text);
        let found: Vec<_> = found
            .iter()
            .map(|l| (l.number, l.schedule.fields(), l.enabled, l.rest.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (3, "5 4 * * *", true, "root  date +%F"),
                (4, "0 0 * * *", false, "root x"),
                (5, "0 0 * * *", true, "root y"),
            ]
        );
    }
}
