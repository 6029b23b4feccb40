//! Jobs of older tools: lines of their crontabs as jobs of ours. Reads no file and writes none;
//! whether we have the operation at all is the caller's to know.
//!
//! eve4pve-barc's own parser lost every option behind `--compressthreads`, which its `create`
//! always wrote: here all of the line counts.

use super::Schedule;
use super::around_line::{self, Form};
use super::autosnap;
use super::crontab::{self, CronLine};
use super::tools::{TOOLS, Tool};
use super::words::{split, words_of_file};
use crate::model::{Label, OperationKind};

/// What a line of a crontab became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The line's number in its file.
    pub number: usize,
    /// The program that it runs, by its name.
    pub tool: &'static str,
    /// The job, or why it can be none.
    pub job: Result<Proposal, String>,
}

/// A job as an older tool's line describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Our command for it.
    pub operation: &'static str,
    /// When it runs.
    pub schedule: Schedule,
    /// False when the line was commented out.
    pub enabled: bool,
    /// Our options, without secrets.
    pub options: Vec<(String, String)>,
    /// Options whose value must not stand in jobs.cfg, with that value.
    pub secrets: Vec<(String, String)>,
    /// What is different here, for the user to know.
    pub notes: Vec<String>,
}

/// Reads a file that a line names by its whole path; the error says why it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The lines of a crontab that name one of the older tools, whether or not they can become jobs.
pub fn found(text: &str, form: Form, read: ReadFile<'_>) -> Vec<Found> {
    let lines = crontab::lines(text);
    let with_file = |one: &CronLine| {
        let mailto = around_line::mailto(text, one.number);
        let found = line(one, form, read)?;
        Some(found.noting(mailto))
    };
    let mut found: Vec<Found> = lines.iter().filter_map(with_file).collect();
    for (index, text) in text.lines().enumerate() {
        if !lines.iter().any(|line| line.number == index + 1) {
            found.extend(without_schedule(index + 1, text));
        }
    }
    found.sort_by_key(|found| found.number);
    found
}

impl Found {
    /// The same with who was mailed until now.
    fn noting(mut self, mailto: Option<String>) -> Self {
        if let Ok(job) = &mut self.job {
            let mailto = mailto.filter(|_| !job.options.iter().any(|(key, _)| key == "mail"));
            job.notes.extend(around_line::Around { mailto, ..Default::default() }.notes());
        }
        self
    }
}

/// A line that runs one of the tools at times that we do not understand, as `@reboot`.
fn without_schedule(number: usize, line: &str) -> Option<Found> {
    let first = line.split_whitespace().next()?;
    if first.starts_with('#') || first.contains('=') {
        return None;
    }
    let tool = TOOLS.iter().flat_map(|tool| tool.names).find(|name| line.contains(**name))?;
    Some(Found {
        number,
        tool,
        job: Err("when it runs cannot be said in our schedules".to_owned()),
    })
}

fn line(line: &CronLine, form: Form, read: ReadFile<'_>) -> Option<Found> {
    let (tool, name) = TOOLS.iter().find_map(|tool| {
        let name = tool.names.iter().find(|name| line.rest.contains(**name))?;
        Some((tool, *name))
    })?;
    let job = job_of(line, tool, (form, read));
    Some(Found {
        number: line.number,
        tool: name,
        job: job.map_err(|why| why.replace("NAME", name)),
    })
}

fn job_of(
    line: &CronLine,
    tool: &Tool,
    (form, read): (Form, ReadFile<'_>),
) -> Result<Proposal, String> {
    let split = split(&line.rest).map_err(|error| error.to_string())?;
    let mut commands = split.commands;
    let user = around_line::user(form, &mut commands);
    let (place, at) = program(tool, &commands).ok_or(HIDDEN)?;
    let (before, words) = (&commands[place][..at], commands[place][at + 1..].to_vec());
    if let Some(why) = around_line::refusal(before) {
        return Err(why);
    }
    let around = Around { read, directory: directory(&commands[..place]) };
    let words = around.expanded(tool, words)?;
    let mut proposal = around.completed(tool, proposal(tool, line, &words)?)?;
    proposal.notes.extend(others(&commands, place));
    let outputs = &split.redirections;
    let left_out = around_line::Around { user, before, outputs, mailto: None };
    proposal.notes.extend(left_out.notes());
    Ok(proposal)
}

/// The tool is named and nothing in the line starts it.
const HIDDEN: &str = "it names NAME inside of another command or program, which is not looked into: \
                      `pve-ferry job create` makes a job by hand";

/// Which of a line's commands starts the tool, and with which of its words.
fn program(tool: &Tool, commands: &[Vec<String>]) -> Option<(usize, usize)> {
    commands.iter().enumerate().find_map(|(place, command)| {
        let at = command.iter().position(|word| tool.is_program(word))?;
        // `cd /opt/crossover` names the program's directory.
        (at + 1 < command.len()).then_some((place, at))
    })
}

/// What a line means depends on the files that it names and on where it stands.
struct Around<'a> {
    read: ReadFile<'a>,
    /// The directory that the line goes to before.
    directory: Option<String>,
}

impl Around<'_> {
    /// The words with those of files in the place of their names.
    fn expanded(&self, tool: &Tool, words: Vec<String>) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        // Files may name files; a file that names itself must not be read for ever.
        self.expand_into(&mut all, words, if tool.files { 8 } else { 0 })?;
        Ok(all)
    }

    fn expand_into(
        &self,
        all: &mut Vec<String>,
        words: Vec<String>,
        depth: usize,
    ) -> Result<(), String> {
        for word in words {
            let is_value = all.last().is_some_and(|last| last == "--vmid");
            match word.strip_prefix('@').filter(|_| depth > 0 && !is_value) {
                Some(file) => {
                    let path = autosnap::absolute(file, self.directory.as_deref())?;
                    let text = (self.read)(&path)?;
                    let words = words_of_file(&text);
                    let words = words.ok_or_else(|| format!("a quote in {path} is not closed"))?;
                    self.expand_into(all, words, depth - 1)?;
                }
                None => all.push(word),
            }
        }
        Ok(())
    }

    /// What only shows when all of a line is known.
    fn completed(&self, tool: &Tool, proposal: Proposal) -> Result<Proposal, String> {
        match tool.files {
            true => autosnap::completed(proposal, self.directory.as_deref()),
            false => autosnap::with_whole_paths(proposal, self.directory.as_deref()),
        }
    }
}

/// Where the commands before the program go to.
fn directory(before: &[Vec<String>]) -> Option<String> {
    before.iter().rev().find_map(|command| {
        let at = command.iter().position(|word| word == "cd")?;
        command.get(at + 1).filter(|path| path.starts_with('/')).cloned()
    })
}

/// The other programs of a line, which no job of ours runs. Only their names: their words may hold
/// secrets.
fn others(commands: &[Vec<String>], own: usize) -> Option<String> {
    let is_cd = |command: &[String]| command.iter().any(|word| word == "cd");
    let name = |command: &Vec<String>| command.first().cloned().unwrap_or_default();
    let others: Vec<String> = commands
        .iter()
        .enumerate()
        .filter(|(place, command)| *place != own && !is_cd(command))
        .map(|(_, command)| name(command))
        .collect();
    let all = others.join(", ");
    (!others.is_empty()).then(|| format!("the line runs more, which is left out: {all}"))
}

fn proposal(tool: &Tool, line: &CronLine, words: &[String]) -> Result<Proposal, String> {
    let Read { options, mut plain } = read(tool, words)?;
    plain.retain(|word| !word.is_empty());
    let command = plain.first().map_or("", String::as_str);
    let known = tool.commands.iter().find(|(name, _)| *name == command);
    let Some((_, operation)) = known else {
        return Err(format!("its command {command:?} is no job here"));
    };
    if let Some(word) = plain.get(1).filter(|_| tool.files) {
        return Err(format!("its word {word:?} is not known"));
    }
    if options.iter().any(|(key, _)| *key == "dry-run") {
        return Err("it is a dry run, which saves nothing".to_owned());
    }
    let kind = OperationKind::of_job(operation);
    let mut proposal = Proposal {
        operation,
        schedule: line.schedule.clone(),
        enabled: line.enabled,
        options: Vec::new(),
        secrets: Vec::new(),
        notes: Vec::new(),
    };
    for (key, value) in options {
        match tool.secrets.contains(&key) {
            // Some tools know references to files, which are no secret themselves.
            true if !value.starts_with("file:") => proposal.secrets.push((key.to_owned(), value)),
            _ if kind == Some(OperationKind::Backup) => barc_option(&mut proposal, key, value)?,
            _ if tool.files => autosnap::option(&mut proposal, key, value)?,
            _ => proposal.options.push((key.to_owned(), value)),
        }
    }
    Ok(proposal)
}

/// The options of a line, each once, and its other words.
struct Read {
    options: Vec<(&'static str, String)>,
    plain: Vec<String>,
}

/// Reads options as getopt does: `--x=v`, `--x v`, abbreviations; the last of two counts.
/// cv4pve-autosnap also takes `--x:v`, and none of its lines that work has an option twice.
fn read(tool: &Tool, words: &[String]) -> Result<Read, String> {
    let mut read = Read { options: Vec::new(), plain: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--") else {
            read.plain.push(word.clone());
            continue;
        };
        let (name, value) = match option.split_once(tool.separators) {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let key = key(tool, name)?;
        let value = match (tool.with_value.contains(&key), value) {
            (false, _) => String::new(),
            (true, Some(value)) => value,
            (true, None) => words.next().cloned().ok_or_else(|| format!("--{key} has no value"))?,
        };
        read.options.retain(|(other, _)| *other != key);
        read.options.push((key, value));
    }
    Ok(read)
}

fn key(tool: &Tool, name: &str) -> Result<&'static str, String> {
    let all = || tool.with_value.iter().chain(tool.flags).copied();
    if let Some(exact) = all().find(|key| *key == name) {
        return Ok(exact);
    }
    let fitting: Vec<&'static str> = all().filter(|key| key.starts_with(name)).collect();
    match fitting[..] {
        [one] if !name.is_empty() => Ok(one),
        _ => Err(format!("its option --{name} is not known")),
    }
}

/// An option of eve4pve-barc in our words. What is always so here is left out.
fn barc_option(proposal: &mut Proposal, key: &str, value: String) -> Result<(), String> {
    let our_key = match key {
        "qemu-freeze" | "cksum" | "ckmethod" | "unprotect-snap" | "debug" => return Ok(()),
        "compressthreads" => "threads",
        other => other,
    };
    if value.is_empty() && key != "syslog" {
        // The tool takes an empty value as none.
        return Ok(());
    }
    let value = match key {
        "label" => label(proposal, &value)?,
        "renew" | "retain" => span(proposal, key, value),
        _ => value,
    };
    proposal.options.push((our_key.to_owned(), value));
    Ok(())
}

fn label(proposal: &mut Proposal, value: &str) -> Result<String, String> {
    let lower = value.to_ascii_lowercase();
    if lower.parse::<Label>().is_err() {
        return Err(format!("its label {value:?} cannot be one of ours"));
    }
    if lower != value {
        proposal.notes.push(format!("label {value} is written {lower}"));
    }
    Ok(lower)
}

fn span(proposal: &mut Proposal, key: &str, value: String) -> String {
    if value.ends_with('w') {
        proposal
            .notes
            .push(format!("--{key} {value} means weeks here; eve4pve-barc took them as days"));
    }
    if key == "retain" && value.bytes().all(|b| b.is_ascii_digit()) {
        proposal.notes.push(format!(
            "--retain {value} counts restore points here; eve4pve-barc counted files of all disks"
        ));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Found> {
        found(text, Form::System, &|path| Err(format!("cannot read {path}")))
    }

    fn one(text: &str) -> Found {
        let mut all = all(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn options(proposal: &Proposal) -> Vec<String> {
        proposal
            .options
            .iter()
            .map(|(key, value)| format!("{key} {value}").trim_end().to_owned())
            .collect()
    }

    #[test]
    fn barcs_own_lines_keep_the_options_that_its_parser_lost() {
        let text = "#Cron file for eve4pve-barc\nSHELL=/bin/sh\n\n\
            0 0 * * * root eve4pve-barc backup --vmid=100,101 --label='daily' --path='/mnt/bck 1' \
            --keep=5 --compress=pigz --compressthreads=2 --iothreads=10 --script='/root/h.sh' \
            --unprotect-snap --syslog --mail='a@b.c'\n";
        let found = one(text);
        assert_eq!((found.number, found.tool), (4, "eve4pve-barc"));
        let job = found.job.unwrap();
        assert_eq!(
            (job.operation, job.schedule.fields(), job.enabled),
            ("backup", "0 0 * * *", true)
        );
        assert_eq!(
            options(&job),
            [
                "vmid 100,101",
                "label daily",
                "path /mnt/bck 1",
                "keep 5",
                "compress pigz",
                "threads 2",
                "iothreads 10",
                "script /root/h.sh",
                "syslog",
                "mail a@b.c",
            ]
        );
        assert!(job.notes.is_empty());
    }

    #[test]
    fn differences_of_meaning_are_said() {
        let job = one(
            "##0 * * * * root /usr/sbin/eve4pve-barc backup --vmid all --label Hourly --path /b \
             --ren 4w --retain 10 --mail ''\n",
        );
        let job = job.job.unwrap();
        assert!(!job.enabled);
        assert_eq!(options(&job), ["vmid all", "label hourly", "path /b", "renew 4w", "retain 10"]);
        assert_eq!(job.notes.len(), 3, "{:?}", job.notes);
    }

    #[test]
    fn paths_of_a_line_are_those_of_its_directory() {
        let line = "0 0 * * * root cd /mnt/x/ && ./eve4pve-barc backup --vmid=1 --label=a --path=rep \
                    --script=h.sh\n";
        let job = one(line).job.unwrap();
        let expected = ["vmid 1", "label a", "path /mnt/x/rep", "script /mnt/x/h.sh"];
        assert_eq!(options(&job), expected);
    }

    #[test]
    fn what_can_be_no_job_is_told_with_its_reason() {
        let reason = |rest: &str| one(&format!("0 0 * * * root {rest}\n")).job.unwrap_err();
        assert!(reason("eve4pve-barc backup --vmid=$IDS").contains("variable"));
        assert!(reason("eve4pve-barc backup --label 'a").contains("quote"));
        assert!(reason("eve4pve-barc status --path /b").contains("status"));
        assert!(reason("eve4pve-barc backup --dry-run").contains("dry run"));
        assert!(reason("eve4pve-barc backup --label='my label'").contains("label"));
        let relative = "eve4pve-barc backup --vmid=1 --label=a --path=";
        assert!(reason(&format!("{relative}rep")).contains("\"rep\" is named without"));
        assert!(reason(&format!("{relative}/b --script h.sh")).contains("\"h.sh\" is named"));
        assert!(reason("eve4pve-barc backup --nonsense").contains("nonsense"));
        let found = |text: &str| all(text);
        assert!(found("0 0 * * * root vzdump 100\n").is_empty());
        assert!(found("# eve4pve-barc\nPATH=/opt/crossover\n").is_empty());
        let odd = found("@reboot root eve4pve-barc backup\n5-1 * * * * root eve4pve-barc backup\n");
        assert!(odd.len() == 2 && odd.iter().all(|found| found.job.is_err()), "{odd:?}");
    }

    #[test]
    fn a_line_that_runs_the_tool_in_a_way_that_is_not_understood_is_named() {
        for line in [
            "bash -c \"eve4pve-barc backup --vmid=100 --label=nested --path=/mnt/b --keep=2\"",
            "/usr/local/bin/eve4pve-barc-wrapper.sh",
            "cd /opt/eve4pve-barc && ./run",
        ] {
            let why = one(&format!("15 4 * * * root {line}\n")).job.unwrap_err();
            assert!(why.contains("names eve4pve-barc inside of"), "{why}");
        }
        let why = one("15 4 * * * root ssh pve2 eve4pve-barc backup --vmid=1 --path=/b\n").job;
        assert!(why.unwrap_err().contains("another machine, over ssh"));
    }

    #[test]
    fn what_surrounds_the_program_and_is_left_out_is_said() {
        let barc = "eve4pve-barc backup --vmid=1 --label=a --path=/b";
        let notes = |text: &str| one(text).job.unwrap().notes.join("; ");
        let line = format!(
            "PATH=/bin\nMAILTO=\"ops@b.example\"\n\
             0 0 * * * bob nice -n 10 ionice -c3 flock -n /run/x {barc} >> /var/log/b.log 2>&1\n"
        );
        let said = notes(&line);
        for part in [
            "as the user bob; here it runs as root",
            "before the program is left out: nice, ionice, flock",
            "not written to /var/log/b.log",
            "MAILTO=ops@b.example does not hold",
        ] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
        assert!(notes(&format!("0 0 * * * root TOKEN=s3cret {barc}\n")).contains("out: TOKEN="));
        assert!(notes(&format!("0 0 * * * root /opt/run {barc}\n")).contains("left out: run"));
        assert_eq!(notes(&format!("MAILTO=root\n0 0 * * * root bash {barc}\n")), "");
        assert_eq!(notes(&format!("MAILTO=a@b.c\n0 0 * * * root {barc} --mail=a@b.c\n")), "");
        // Root's own crontab has no user in its lines.
        let own = format!("0 0 * * * mountpoint /b && {barc}\n");
        let own = found(&own, Form::Personal, &|_| Err(String::new())).remove(0).job.unwrap();
        assert_eq!(own.notes, ["the line runs more, which is left out: mountpoint"]);
        assert_eq!(notes(&format!("0 0 * * * {barc}\n")), "");
    }

    #[test]
    fn crossovers_token_is_kept_apart() {
        let job =
            one("0 4 * * * root cd /opt/crossover && ./crossover mirror --jobname=x --vmid=100 \
             --destination=pve9 --influxtoken=s3cret --online >/dev/null 2>&1\n");
        let job = job.job.unwrap();
        assert_eq!((job.operation, &job.secrets[0].1[..]), ("mirror", "s3cret"));
        assert_eq!(options(&job), ["jobname x", "vmid 100", "destination pve9", "online"]);
    }
}
