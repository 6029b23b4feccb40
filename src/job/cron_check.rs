//! Whether a node's cron file is what it should be, and in words what is different. Not for making
//! it right: that is `job render`'s, which every file of ours has run every five minutes.
//!
//! Debian's cron passes a whole file over for one line that it does not understand (a user that does
//! not exist is enough), for a last line without its end, and where others than root may write. Its
//! own PATH is /usr/bin:/bin. Seen with cron 3.0pl1-162.

use super::JobName;
use super::cover::Severity;
use super::crontab::{self, CronLine, is_edited};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// A node's cron file, and what it should be.
#[derive(Debug, Clone, Copy)]
pub struct CronFacts<'a> {
    /// Where it is.
    pub path: &'a str,
    /// Its text; none when it is not there.
    pub found: Option<&'a str>,
    /// Why cron passes it over for what it is and not for what stands in it.
    pub refused: Option<&'a str>,
    /// What [`crontab::rendered`] makes of jobs.cfg now.
    pub wanted: &'a str,
    /// Seconds since jobs.cfg was changed; none when that is not known.
    pub changed_ago: Option<i64>,
}

/// What is the matter with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CronState {
    /// It is not there.
    Missing,
    /// It is there, and cron passes it over.
    Refused,
    /// It cannot be read.
    Unreadable,
    /// Somebody edited it by hand.
    Edited,
    /// It is older than jobs.cfg, for longer than the next look takes.
    Outdated,
    /// It is older than jobs.cfg, which was changed just now: the next look renders it.
    Due,
}

/// How the file differs from what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronDifference {
    /// Where it is.
    pub path: String,
    /// What is the matter.
    pub state: CronState,
    /// What is different, a sentence each. Nothing of a foreign line is repeated, as it may hold a
    /// secret.
    pub differences: Vec<String>,
    /// The jobs of this node that do not run at all.
    pub not_run: Vec<JobName>,
}

/// Two looks at jobs.cfg: clocks of nodes differ, and a look may come late.
const GRACE: i64 = 10 * 60;

/// Compares the file with what it should be; none when it is that.
pub fn compare(facts: &CronFacts<'_>) -> Option<CronDifference> {
    let wanted = Content::of(facts.wanted);
    let made = |state, differences, not_run| {
        Some(CronDifference { path: facts.path.to_owned(), state, differences, not_run })
    };
    let Some(text) = facts.found else {
        return made(CronState::Missing, vec![], wanted.jobs());
    };
    if let Some(reason) = facts.refused {
        return made(CronState::Refused, vec![reason.to_owned()], wanted.jobs());
    }
    if text == facts.wanted {
        return None;
    }
    let (differences, not_run) = differences(&Content::of(text), &wanted);
    let is_new = facts.changed_ago.is_some_and(|seconds| seconds.abs() < GRACE);
    let state = match (is_edited(text), is_new) {
        (true, _) => CronState::Edited,
        (false, false) => CronState::Outdated,
        (false, true) => return made(CronState::Due, differences, vec![]),
    };
    made(state, differences, not_run)
}

impl CronDifference {
    /// A file that is there and cannot be read.
    pub fn unreadable(path: String, why: String) -> Self {
        let (state, differences) = (CronState::Unreadable, vec![why]);
        Self { path, state, differences, not_run: vec![] }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self.state {
            CronState::Due => Severity::Ok,
            CronState::Unreadable => Severity::Unknown,
            _ if self.not_run.is_empty() => Severity::Warning,
            _ => Severity::Critical,
        }
    }

    /// What is the matter, in one sentence.
    pub fn headline(&self) -> String {
        let path = &self.path;
        match self.state {
            CronState::Missing => {
                format!("{path} is not there: cron runs no job on this node and looks for none")
            }
            CronState::Refused => format!("cron passes {path} over: no job runs on this node"),
            CronState::Unreadable => format!("{path} cannot be read"),
            CronState::Edited => format!("{path} was edited by hand"),
            CronState::Outdated => {
                format!("{path} is older than jobs.cfg: cron has not rendered it (does cron run?)")
            }
            CronState::Due => {
                format!("{path} is older than jobs.cfg: this node looks every 5 minutes")
            }
        }
    }

    /// What to do.
    pub fn advice(&self) -> Option<&'static str> {
        match self.state {
            CronState::Unreadable | CronState::Due => None,
            CronState::Missing | CronState::Refused | CronState::Outdated => {
                Some("`pve-ferry job render` makes it right")
            }
            CronState::Edited => Some(
                "`pve-ferry job render` makes it right and keeps the edited text beside it; `pve-ferry job set` changes jobs",
            ),
        }
    }
}

impl fmt::Display for CronDifference {
    /// All of it in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.differences.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.headline(), self.differences.join("; "))?;
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// What in a cron file means something.
struct Content<'a> {
    /// Its lines with a schedule, also those that are commented out.
    lines: Vec<CronLine>,
    /// The names and values of its variables, with their lines.
    variables: Vec<(usize, &'a str, &'a str)>,
    /// Lines that run something at times that our schedules cannot say.
    foreign: Vec<usize>,
    /// Lines that are nothing that cron knows.
    strange: Vec<usize>,
    /// Whether its last line has its end.
    is_ended: bool,
}

/// Words of cron that no job has as a schedule.
const OTHER_TIMES: [&str; 3] = ["@reboot", "@yearly", "@annually"];

impl<'a> Content<'a> {
    fn of(text: &'a str) -> Self {
        let mut lines = crontab::lines(text);
        lines.retain(|line| !line.enabled || has_user_and_command(&line.rest));
        let is_ended = text.is_empty() || text.ends_with('\n');
        let (variables, foreign, strange) = (vec![], vec![], vec![]);
        let mut content = Self { lines, variables, foreign, strange, is_ended };
        for (index, line) in text.lines().enumerate() {
            content.add(index + 1, line.trim());
        }
        content
    }

    /// Adds a line that has no schedule of ours.
    fn add(&mut self, number: usize, line: &'a str) {
        let is_comment = line.is_empty() || line.starts_with('#');
        if is_comment || self.lines.iter().any(|known| known.number == number) {
            return;
        }
        if let Some((name, value)) = variable(line) {
            self.variables.push((number, name, value));
        } else if OTHER_TIMES.iter().any(|word| line.starts_with(word)) {
            self.foreign.push(number);
        } else {
            self.strange.push(number);
        }
    }

    fn active(&self) -> impl Iterator<Item = &CronLine> {
        self.lines.iter().filter(|line| line.enabled)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.variables.iter().rfind(|(_, known, _)| *known == name).map(|(_, _, value)| *value)
    }

    /// The jobs that it runs, in its order.
    fn jobs(&self) -> Vec<JobName> {
        self.active().filter_map(|line| job_of(line)?.parse().ok()).collect()
    }
}

/// Whether behind a schedule stands what cron wants there. Which users there are is not known here,
/// but that ours is forgotten is.
fn has_user_and_command(rest: &str) -> bool {
    let mut words = rest.split_whitespace();
    let is_user = |word: &str| !word.ends_with("pve-ferry");
    words.next().is_some_and(is_user) && words.next().is_some()
}

/// A line of the form `NAME=value` (crontab(5)).
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some((name, value))
}

/// The word of `pve-ferry job` that a line runs as root, and the one after it.
fn command_of(line: &CronLine) -> Option<(&str, Option<&str>)> {
    let words: Vec<&str> = line.rest.split_whitespace().collect();
    if words.first() != Some(&"root") {
        return None;
    }
    let is_ours = |pair: &[&str]| pair[0].ends_with("pve-ferry") && pair[1] == "job";
    let at = words.windows(2).position(is_ours)?;
    Some((words.get(at + 2)?, words.get(at + 3).copied()))
}

fn job_of(line: &CronLine) -> Option<&str> {
    command_of(line).and_then(|(word, name)| name.filter(|_| word == "run"))
}

/// What a line of ours is for: a job, or looking whether jobs.cfg has changed.
fn purpose(line: &CronLine) -> Option<String> {
    match command_of(line)? {
        ("run", Some(name)) => Some(format!("job {name}")),
        ("render", _) => Some("`job render`".to_owned()),
        _ => None,
    }
}

fn is_same(one: &CronLine, other: &CronLine) -> bool {
    let words = |line: &CronLine| line.rest.split_whitespace().eq(other.rest.split_whitespace());
    one.schedule.fields() == other.schedule.fields() && words(one)
}

/// What is different, and the jobs that do not run at all.
fn differences(found: &Content<'_>, wanted: &Content<'_>) -> (Vec<String>, Vec<JobName>) {
    let mut said = passed_over(found, wanted);
    let mut not_run = if said.is_empty() { vec![] } else { wanted.jobs() };
    let mut harmless = Vec::new();
    for line in wanted.active().filter(|line| !found.active().any(|one| is_same(one, line))) {
        let (what, runs) = changed(line, found);
        let Some(Ok(name)) = job_of(line).filter(|_| !runs).map(str::parse) else {
            harmless.push(what);
            continue;
        };
        // The worst comes first: monitoring systems show the beginning.
        said.push(what);
        if !not_run.contains(&name) {
            not_run.push(name);
        }
    }
    said.extend(harmless);
    said.extend(foreign(found, wanted));
    if said.is_empty() {
        said.push("only comments and blanks differ".to_owned());
    }
    (said, not_run)
}

/// Why cron runs nothing at all of a file.
fn passed_over(found: &Content<'_>, wanted: &Content<'_>) -> Vec<String> {
    let mut said = Vec::new();
    if !found.is_ended {
        said.push("its last line has no end, for which cron passes the whole file over".to_owned());
    }
    said.extend(found.strange.iter().map(|number| {
        format!("line {number} is none that cron knows: it may pass the whole file over for that")
    }));
    if found.value("PATH").is_none() && wanted.value("PATH").is_some() {
        said.push("it sets no PATH, without which cron does not find pve-ferry".to_owned());
    }
    said
}

/// What became of a line of ours, and whether it still runs.
fn changed(line: &CronLine, found: &Content<'_>) -> (String, bool) {
    let what = purpose(line).unwrap_or_default();
    let same_purpose = |one: &&CronLine| purpose(one) == purpose(line);
    let (own, now) = (line.schedule.fields(), found.lines.iter().filter(same_purpose));
    let now: Vec<&CronLine> = now.collect();
    let consequence = match job_of(line) {
        Some(_) => "it does not run",
        None => "this file does not follow jobs.cfg",
    };
    match now.iter().find(|one| one.enabled) {
        Some(one) if one.schedule.fields() == own => {
            (format!("{what}: line {} has another command", one.number), true)
        }
        Some(one) => {
            let fields = one.schedule.fields();
            (format!("{what}: line {} has `{fields}`, not `{own}`", one.number), true)
        }
        None if now.is_empty() => (format!("{what} has no line: {consequence}"), false),
        None => (format!("{what}: line {} is commented out: {consequence}", now[0].number), false),
    }
}

/// What stands there that is not ours, or not as it was.
fn foreign(found: &Content<'_>, wanted: &Content<'_>) -> Vec<String> {
    let known: Vec<_> = wanted.active().filter_map(purpose).collect();
    let mut said: Vec<(usize, String)> = Vec::new();
    let mut met: Vec<String> = Vec::new();
    for line in found.active() {
        match purpose(line) {
            Some(what) if met.contains(&what) => {
                said.push((line.number, format!("line {} is a second one of {what}", line.number)));
            }
            Some(what) if known.contains(&what) => met.push(what),
            Some(what) => {
                said.push((
                    line.number,
                    format!(
                        "line {} runs {what}, which jobs.cfg does not have cron run here",
                        line.number
                    ),
                ));
            }
            None => said.push((line.number, format!("line {} is none of ours", line.number))),
        }
    }
    said.extend(found.foreign.iter().map(|n| (*n, format!("line {n} is none of ours"))));
    for (number, name, value) in &found.variables {
        if wanted.value(name) != Some(value) {
            said.push((*number, format!("line {number} sets {name}")));
        }
    }
    said.sort();
    let lost = wanted.variables.iter().filter(|(_, name, _)| found.value(name).is_none());
    // That of PATH is said already.
    let lost = lost.filter(|(_, name, _)| *name != "PATH");
    let lost = lost.map(|(_, name, _)| format!("it does not set {name}"));
    said.into_iter().map(|(_, text)| text).chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, Runner};

    fn job(name: &str) -> Job {
        Job {
            name: name.parse().unwrap(),
            operation: "backup".into(),
            schedule: "30 2 * * *".parse().unwrap(),
            node: None,
            enabled: true,
            runner: Runner::Cron,
            comment: None,
            options: vec![("vmid".into(), "all".into()), ("path".into(), "/mnt/a 50%".into())],
        }
    }

    fn wanted() -> String {
        crontab::rendered(&[job("a"), job("b")], &[("bad".into(), "why".into())], "pve1")
    }

    fn facts<'a>(found: Option<&'a str>, wanted: &'a str) -> CronFacts<'a> {
        CronFacts { path: "/c", found, refused: None, wanted, changed_ago: None }
    }

    fn names(difference: &CronDifference) -> Vec<&str> {
        difference.not_run.iter().map(JobName::as_str).collect()
    }

    /// What becomes of an edit: how bad it is, what is said, and who does not run.
    fn edited(edit: impl Fn(&str) -> String) -> (Severity, String, Vec<String>) {
        let wanted = wanted();
        let text = edit(&wanted);
        assert_ne!(text, wanted, "the edit changes nothing");
        let difference = compare(&facts(Some(&text), &wanted)).unwrap();
        assert_eq!(difference.state, CronState::Edited, "{difference}");
        let not_run = names(&difference).into_iter().map(str::to_owned).collect();
        (difference.severity(), difference.differences.join("; "), not_run)
    }

    use Severity::{Critical, Ok, Unknown, Warning};

    #[test]
    fn a_file_as_it_was_rendered_is_right() {
        let wanted = wanted();
        assert_eq!(compare(&facts(Some(&wanted), &wanted)), None);
        let none = crontab::rendered(&[], &[], "pve1");
        assert_eq!(compare(&facts(Some(&none), &none)), None);
    }

    #[test]
    fn a_file_that_is_gone_or_passed_over_runs_nothing() {
        let wanted = wanted();
        let gone = compare(&facts(None, &wanted)).unwrap();
        assert_eq!((gone.state, gone.severity()), (CronState::Missing, Critical));
        assert_eq!(names(&gone), ["a", "b"]);
        assert_eq!(
            gone.to_string(),
            "/c is not there: cron runs no job on this node and looks for none; `pve-ferry job render` makes it right"
        );
        // Jobs of other nodes only: nothing is left undone, and nobody would notice the next one.
        let none = crontab::rendered(&[], &[], "pve1");
        assert_eq!(compare(&facts(None, &none)).unwrap().severity(), Warning);
        let refused =
            CronFacts { refused: Some("others may write"), ..facts(Some(&wanted), &wanted) };
        let refused = compare(&refused).unwrap();
        assert_eq!((refused.state, refused.severity()), (CronState::Refused, Critical));
        assert!(refused.to_string().contains("no job runs on this node: others may write; "));
    }

    #[test]
    fn an_edit_is_said_in_words_and_is_critical_when_a_job_does_not_run() {
        let a = "30 2 * * * root pve-ferry job run a --scheduled\n";
        let render = "*/5 * * * * root pve-ferry job render --quiet\n";
        let both = || vec!["a".to_owned(), "b".to_owned()];
        let only_a = || vec!["a".to_owned()];
        type Edit<'a> = Box<dyn Fn(&str) -> String + 'a>;
        let with = |from: &'static str, to: &'static str| -> Edit<'_> {
            Box::new(move |text: &str| text.replacen(from, to, 1))
        };
        let more =
            |line: &'static str| -> Edit<'_> { Box::new(move |text| format!("{text}{line}")) };
        let cases: Vec<(Edit<'_>, Severity, &str, Vec<String>)> = vec![
            (with(a, ""), Critical, "job a has no line: it does not run", only_a()),
            (
                with("30 2", "0 5"),
                Warning,
                "job a: line 12 has `0 5 * * *`, not `30 2 * * *`",
                vec![],
            ),
            (
                with("30 2", "#30 2"),
                Critical,
                "job a: line 12 is commented out: it does not run",
                only_a(),
            ),
            (with("a --scheduled", "a"), Warning, "job a: line 12 has another command", vec![]),
            (
                with("root pve-ferry job run a", "nobody pve-ferry job run a"),
                Critical,
                "job a has no line: it does not run; line 12 is none of ours",
                only_a(),
            ),
            (
                with("root pve-ferry job run a", "root echo job run a"),
                Critical,
                "job a has no line: it does not run; line 12 is none of ours",
                only_a(),
            ),
            (
                with(render, ""),
                Warning,
                "`job render` has no line: this file does not follow jobs.cfg",
                vec![],
            ),
            (with("*/5 * * * *", "@reboot"), Warning, "`job render` has no line", vec![]),
            (with("30 2 * * *", "30 2 * *"), Critical, "line 12 is none that cron knows", both()),
            (
                with("root pve-ferry job run a", "pve-ferry job run a"),
                Critical,
                "line 12 is none that cron knows",
                both(),
            ),
            (with("30 2 * * *", "99 2 * * *"), Critical, "line 12 is none that cron knows", both()),
            (with("PATH=/usr/local/sbin:", "PATH="), Warning, "line 6 sets PATH", vec![]),
            (with("PATH=", "#PATH="), Critical, "it sets no PATH", both()),
            (with("SHELL=/bin/sh\n", ""), Warning, "it does not set SHELL", vec![]),
            (more("0 1 * * * root true 's3cret'\n"), Warning, "line 18 is none of ours", vec![]),
            (more("@reboot root true\n"), Warning, "line 18 is none of ours", vec![]),
            (more("MAILTO=s3cret\n"), Warning, "line 18 sets MAILTO", vec![]),
            (
                more("0 9 * * * root pve-ferry job run a\n"),
                Warning,
                "line 18 is a second one of job a",
                vec![],
            ),
            (
                more("0 9 * * * root pve-ferry job run c\n"),
                Warning,
                "line 18 runs job c, which jobs.cfg does not",
                vec![],
            ),
            (more("0 1 * * * root true"), Critical, "its last line has no end", both()),
            (more("s3cret\n"), Critical, "line 18 is none that cron knows", both()),
            (more("# mine\n"), Warning, "only comments and blanks differ", vec![]),
            (
                with("root pve-ferry job", "root \t pve-ferry  job"),
                Warning,
                "only comments and blanks",
                vec![],
            ),
        ];
        for (number, (edit, severity, words, not_run)) in cases.into_iter().enumerate() {
            let found = edited(edit);
            assert_eq!((found.0, &found.2), (severity, &not_run), "{number}: {found:?}");
            assert!(found.1.contains(words), "{number}: {words:?} in {found:?}");
            assert!(!found.1.contains("s3cret"), "{found:?}");
        }
    }

    #[test]
    fn an_emptied_file_runs_nothing_and_says_each_job_once() {
        let wanted = wanted();
        let empty = compare(&facts(Some(""), &wanted)).unwrap();
        assert_eq!((empty.state, empty.severity()), (CronState::Edited, Critical));
        assert_eq!(names(&empty), ["a", "b"]);
        let text = empty.to_string();
        for words in
            ["job a has no line", "job b has no line", "`job render` has no line", "no PATH"]
        {
            assert_eq!(text.matches(words).count(), 1, "{words} in {text}");
        }
    }

    #[test]
    fn a_file_older_than_jobs_cfg_is_no_alarm_until_the_next_looks_are_over() {
        let old = crontab::rendered(&[job("a")], &[], "pve1");
        let wanted = wanted();
        let at = |changed_ago| {
            compare(&CronFacts { changed_ago, ..facts(Some(&old), &wanted) }).unwrap()
        };
        for seconds in [0, 400, -30] {
            let due = at(Some(seconds));
            assert_eq!((due.state, due.severity()), (CronState::Due, Ok), "{seconds}");
        }
        for seconds in [None, Some(601), Some(-86_400)] {
            let late = at(seconds);
            assert_eq!(
                (late.state, late.severity()),
                (CronState::Outdated, Critical),
                "{seconds:?}"
            );
            assert_eq!(names(&late), ["b"]);
            assert!(late.to_string().contains("does cron run?"), "{late}");
        }
        // An edit is one also just after jobs.cfg changed.
        let edited = format!("{old}# mine\n");
        let facts = CronFacts { changed_ago: Some(0), ..facts(Some(&edited), &wanted) };
        assert_eq!(compare(&facts).unwrap().state, CronState::Edited);
        let unreadable = CronDifference::unreadable("/c".into(), "denied".into());
        assert_eq!(
            (unreadable.severity(), unreadable.to_string().as_str()),
            (Unknown, "/c cannot be read: denied")
        );
    }
}
