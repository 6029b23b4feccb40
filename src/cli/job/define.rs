//! What is typed after `job create` and `job set`, made into a job: the options of the operation
//! are those of its own command, read by the same parser. Changes nothing.

use super::super::error::CliError;
use super::super::{Cli, Command, backup, options, output, prune, reference, snapshot};
use crate::job::{Job, JobName, Runner, Schedule, command_of};
use crate::model::OperationKind;
use crate::node::timers;
use crate::schema::{self, JobOptions, SchemaError, properties};
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Parser as _,
};
use serde_json::Value;

/// Options that mean nothing where no person is.
const SENSELESS: [(&str, &str); 4] = [
    ("dry-run", "a job with --dry-run would save nothing"),
    ("otp", "a one-time password serves once: a job needs an API token"),
    ("compat", "--compat is about exit codes, which nobody sees of a job"),
    ("job-name", "a job has its own name, and tells it by itself"),
];

/// Options of eve4pve-barc that are always so here: a job need not say them each time.
const NEEDLESS: [&str; 5] = ["qemu-freeze", "cksum", "ckmethod", "unprotect-snap", "yes"];

/// What a job has beside the options of its operation.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Job")]
pub struct JobArgs {
    /// The job's name [default: made of operation and label].
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What the job does: backup, prune, verify, copy, snapshot (create and --keep), snapshot-prune
    /// [default: backup].
    // A test compares it with the table of operations.
    #[arg(long, value_name = "COMMAND")]
    pub operation: Option<String>,
    /// hourly, daily, weekly, monthly, or five fields of cron, as '30 2 * * mon-fri', in local time
    /// [default: by the label].
    #[arg(long, value_name = "SCHEDULE")]
    pub schedule: Option<String>,
    /// The one node that runs the job. Without it every node backs up the guests that it has; jobs of
    /// other operations run on the node where they are made.
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// A line for people.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Run by a hardened systemd timer instead of cron: weekly `verify` and daily `prune`.
    #[arg(long)]
    pub systemd: bool,
    /// Do not run it yet.
    #[arg(long)]
    pub disabled: bool,
    /// Options to take away again, comma-separated, as --delete keep,node.
    #[arg(long, value_name = "OPTION,..", value_delimiter = ',')]
    pub delete: Vec<String>,
}

/// What was typed.
pub struct Defined {
    /// What concerns the job itself.
    pub job: JobArgs,
    /// The operation, and its options by their long names.
    pub operation: String,
    /// See `operation`.
    pub options: Vec<(String, String)>,
}

impl Defined {
    /// Whether nothing was typed but a name.
    pub fn is_empty(&self) -> bool {
        let job = &self.job;
        let words = [&job.schedule, &job.node, &job.comment];
        let nothing = words.iter().all(|word| word.is_none()) && job.delete.is_empty();
        nothing && !job.systemd && !job.disabled && self.options.is_empty()
    }
}

/// Whether all that an operation needs must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole job.
    Whole,
    /// Changes to one.
    Changes,
}

/// The operation that is named among words whose grammar is not known yet.
pub fn operation_in(words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix("--operation=") {
            return Some(value.to_owned());
        }
        if word == "--operation" {
            return words.next().cloned();
        }
    }
    None
}

/// Reads the words after `job create` or `job set`.
///
/// # Errors
/// They make no sense; the help that was asked for is one of clap's errors, too.
pub fn defined(words: &[String], operation: &str, form: Form) -> Result<Defined, CliError> {
    let own = operation_command(operation)?;
    let mut command = command(operation, form)?;
    if form == Form::Changes {
        command = command.mut_args(|arg| arg.required(false));
    }
    let name = command.get_name().to_owned();
    let matches = command.try_get_matches_from(std::iter::once(&name).chain(words))?;
    let job = JobArgs::from_arg_matches(&matches)?;
    let options = options(&own, &matches)?;
    Ok(Defined { job, operation: operation.to_owned(), options })
}

/// The command that reads the words: the options of a job, and those of its operation.
///
/// # Errors
/// There is no such operation.
pub fn command(operation: &str, form: Form) -> Result<clap::Command, CliError> {
    let (name, about) = match form {
        Form::Whole => {
            ("pve-ferry job create", "Make a job: the options of its operation, and when it runs")
        }
        Form::Changes => {
            ("pve-ferry job set", "Change a job: what is given replaces what was there")
        }
    };
    let own = operation_command(operation)?;
    Ok(JobArgs::augment_args(own)
        .name(name)
        .bin_name(name)
        .about(about)
        .long_about(about)
        .after_help(EXAMPLES)
        .override_usage(format!("{name} [NAME] [OPTIONS]")))
}

/// The same command as a man page shows it: with the options of `backup`, and where those of the
/// other operations stand.
///
/// # Errors
/// There is no such operation, which does not happen.
pub fn page(form: Form) -> Result<clap::Command, CliError> {
    let backup = OperationKind::Backup.name();
    let command = command(backup, form)?;
    let name = command.get_name().to_owned();
    let others: Vec<&str> = operations().into_iter().filter(|name| *name != backup).collect();
    let pages = others.iter().map(|name| format!("pve-ferry-{}(8)", command_of(name).join("-")));
    let pages = pages.collect::<Vec<_>>().join(", ");
    let with = match form {
        Form::Whole => format!("--operation {}", others.join("|")),
        Form::Changes => "a job of another operation".to_owned(),
    };
    let after = format!(
        "These are the options of backup, pve-ferry-backup(8). With {with}, those of that command stand in their place: {pages}.\n\n{EXAMPLES}"
    );
    Ok(command.display_name(name.replace(' ', "-")).after_help(after))
}

const EXAMPLES: &str = "\
Examples:
  pve-ferry job create --vmid all,-105 --label daily --path /mnt/backup --keep 7
  pve-ferry job create nightly --vmid @tag-prod --label nightly --path /mnt/backup --schedule '30 2 * * *'
  pve-ferry job create --operation verify --path /mnt/backup --mark --schedule weekly --systemd
  pve-ferry job create --operation snapshot --vmid all --label hourly --keep 24
  pve-ferry job set nightly --schedule '0 3 * * *' --delete keep";

/// The command of an operation, if a job may have it.
pub fn operation_command(operation: &str) -> Result<clap::Command, CliError> {
    let command = OperationKind::of_job(operation).and_then(command_named);
    command.ok_or_else(|| {
        let there = operations().join(", ");
        CliError::usage(format!("{operation:?} is no operation of a job: {there}"))
    })
}

/// The command of an operation with all its options, also those that may stand before its last
/// word. The options of the program itself are none of a job.
fn command_named(operation: OperationKind) -> Option<clap::Command> {
    let mut command = Cli::command();
    let mut inherited: Vec<clap::Arg> = Vec::new();
    for (depth, word) in operation.name().split(' ').enumerate() {
        if depth > 0 {
            inherited.extend(command.get_arguments().filter(|arg| arg.is_global_set()).cloned());
        }
        command = command.find_subcommand(word)?.clone();
    }
    Some(command.args(inherited))
}

/// The options that were typed, by their long names and in the order of the help.
fn options(
    command: &clap::Command,
    matches: &ArgMatches,
) -> Result<Vec<(String, String)>, CliError> {
    let mut options = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let Some(long) = arg.get_long() else {
            return Err(CliError::usage(format!("{id} is no option: it cannot stand in a job")));
        };
        match (long, arg.get_action()) {
            (long, _) if let_alone(long).is_some() => {
                return Err(CliError::usage(let_alone(long).unwrap_or_default()));
            }
            (long, _) if NEEDLESS.contains(&long) => {
                output::notice(&format!("--{long}: always so, left out of the job"));
            }
            (_, ArgAction::SetTrue) => options.push((long.to_owned(), String::new())),
            _ => options.extend(values(matches, id).map(|value| (long.to_owned(), value))),
        }
    }
    Ok(options)
}

/// Why an option is none of a job, if it is none.
fn let_alone(long: &str) -> Option<&'static str> {
    SENSELESS.iter().find(|(name, _)| *name == long).map(|(_, why)| *why)
}

/// The values of an option, one for each time it was given.
fn values(matches: &ArgMatches, id: &str) -> impl Iterator<Item = String> {
    let each = matches.get_raw_occurrences(id).into_iter().flatten();
    each.map(|values| {
        values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
    })
    .collect::<Vec<_>>()
    .into_iter()
}

/// Makes a new job of what was typed, under a name that is free.
///
/// # Errors
/// It makes no sense.
pub fn new_job(defined: Defined, taken: &[JobName], this_node: &str) -> Result<Job, CliError> {
    let Defined { job: args, operation, options } = defined;
    if !args.delete.is_empty() {
        return Err(CliError::usage("--delete belongs to `job set`"));
    }
    let value = |key: &str| options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    // A name is made of the label: what is wrong with that must not be said of a name nobody gave.
    value("label").map(options::label).transpose()?;
    let name = match &args.name {
        Some(name) => name.parse()?,
        None => crate::job::free_name(&operation, value("label"), taken)?,
    };
    let kind = OperationKind::of_job(&operation);
    let schedule = match (&args.schedule, value("label"), timers::schedule_of(kind)) {
        (Some(schedule), ..) => schedule.parse()?,
        (None, _, Some(usual)) => Schedule::of_label(usual),
        (None, Some(label), None) => Schedule::of_label(label),
        (None, None, None) => return Err(CliError::usage("give a --schedule")),
    };
    let runner = if args.systemd { Runner::Systemd } else { Runner::Cron };
    let follows_guests = kind.is_some_and(|kind| kind.row().follows_guests);
    let bound = args.node.or_else(|| (!follows_guests).then(|| this_node.to_owned()));
    let enabled = !args.disabled;
    let job = Job {
        name,
        operation,
        schedule,
        node: bound,
        enabled,
        runner,
        comment: args.comment,
        options,
    };
    check(&job)?;
    Ok(job)
}

/// A job with changes applied.
///
/// # Errors
/// What comes out makes no sense.
pub fn changed_job(job: &Job, changes: Defined) -> Result<Job, CliError> {
    let Defined { job: args, options, .. } = changes;
    let mut job = job.clone();
    for key in &args.delete {
        remove(&mut job, key)?;
    }
    for (key, _) in &options {
        job.options.retain(|(old, _)| old != key);
    }
    job.options.extend(options);
    order(&mut job)?;
    if let Some(schedule) = &args.schedule {
        job.schedule = schedule.parse()?;
    }
    if args.systemd {
        job.runner = Runner::Systemd;
    }
    if args.disabled {
        job.enabled = false;
    }
    job.node = args.node.or(job.node);
    job.comment = args.comment.or(job.comment);
    check(&job)?;
    Ok(job)
}

fn remove(job: &mut Job, key: &str) -> Result<(), CliError> {
    match key.trim().trim_start_matches("--") {
        "node" if !job.kind().is_some_and(|kind| kind.row().follows_guests) => {
            return Err(CliError::usage("only backups run on every node: give another --node"));
        }
        "node" => job.node = None,
        "comment" => job.comment = None,
        "systemd" => job.runner = Runner::Cron,
        "disabled" => job.enabled = true,
        key if job.option(key).is_some() => job.options.retain(|(old, _)| old != key),
        key => return Err(CliError::usage(format!("job {} has no option {key}", job.name))),
    }
    Ok(())
}

/// Puts the options into the order of the help, as a new job has them.
///
/// # Errors
/// The operation is none of a job.
pub fn order(job: &mut Job) -> Result<(), CliError> {
    let command = operation_command(&job.operation)?;
    let longs: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let place = |key: &str| longs.iter().position(|long| *long == key);
    job.options.sort_by_key(|(key, _)| place(key));
    Ok(())
}

/// The operations that a job may have, by the kind of its section in `jobs.cfg`.
pub fn operations() -> Vec<&'static str> {
    OperationKind::ALL.into_iter().filter_map(|kind| kind.row().job).collect()
}

/// The schema of a section of `jobs.cfg` with this operation.
pub fn section_schema(operation: &str) -> Value {
    let without = SENSELESS.map(|(long, _)| long);
    match operation_command(operation) {
        Ok(command) => reference::section(&command, &without),
        Err(_) => Value::Null,
    }
}

/// Whether the options of a job are those of its operation, each once and of its kind.
///
/// # Errors
/// They are not.
pub fn fits(job: &Job) -> Result<(), SchemaError> {
    let own = schema::keys::<JobOptions>();
    let mut options = properties(&section_schema(&job.operation));
    options.retain(|option| !own.contains(&option.name));
    schema::check(&job.options, &options)
}

/// Whether a job can run: its words are read as those of its command would be.
///
/// # Errors
/// It cannot.
pub fn check(job: &Job) -> Result<(), CliError> {
    command_line(job, Vec::new()).map(drop)
}

/// The command line that a job stands for, with the words that its run adds to its own.
///
/// # Errors
/// The job cannot run.
pub fn command_line(job: &Job, added: Vec<String>) -> Result<Cli, CliError> {
    operation_command(&job.operation)?;
    fits(job).map_err(|error| CliError::usage(error.to_string()))?;
    job.option("label").map(options::label).transpose()?;
    let words = job.words().into_iter().chain(added);
    let cli = Cli::try_parse_from(std::iter::once("pve-ferry".to_owned()).chain(words))?;
    match &cli.command {
        Command::Backup(args) => backup::check(args)?,
        Command::Prune(args) => prune::check(args)?,
        Command::Snapshot(args) => snapshot::check(args)?,
        _ => {}
    }
    if job.runner == Runner::Systemd {
        let usual = timers::schedule_of(job.kind());
        if usual != Some(&job.schedule.to_string()) {
            return Err(CliError::usage(
                "--systemd has timers for a weekly verify and a daily prune only; other schedules run by cron",
            ));
        }
    }
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn made(text: &str) -> Result<Job, CliError> {
        let words = words(text);
        let operation = operation_in(&words).unwrap_or_else(|| "backup".into());
        new_job(defined(&words, &operation, Form::Whole)?, &[], "pve1")
    }

    #[test]
    fn no_option_of_an_operation_is_called_like_one_of_a_job() {
        let own = JobArgs::augment_args(clap::Command::new("job"));
        for operation in operations() {
            let command = operation_command(operation).unwrap();
            for arg in own.get_arguments() {
                let same = command.get_arguments().any(|a| a.get_id() == arg.get_id());
                assert!(!same, "{operation} {}", arg.get_id());
            }
            for key in crate::schema::keys::<crate::schema::JobOptions>() {
                let same = command.get_arguments().any(|a| a.get_long() == Some(&key));
                assert!(!same, "{operation} --{key} would be an option of the job");
            }
        }
    }

    #[test]
    fn the_table_of_operations_says_what_their_commands_take() {
        use crate::model::Confirmation;
        for kind in OperationKind::ALL {
            let command = command_named(kind).unwrap_or_else(|| panic!("no command {kind}"));
            let has = |long: &str| command.get_arguments().any(|arg| arg.get_long() == Some(long));
            let row = kind.row();
            row.writes
                .iter()
                .chain(&row.reads)
                .for_each(|long| assert!(has(long), "{kind} {long}"));
            assert_eq!(row.follows_guests, has("this-node"), "{kind}");
            assert!(row.confirmation == Confirmation::Never || has("yes"), "{kind}");
            assert_eq!(kind.is_of_guest_snapshots(), has("api-token"), "{kind}");
            assert!(row.job.is_none() || has("job-name"), "{kind}");
        }
    }

    /// Who is told of a command's runs is told under a name that the table has.
    #[test]
    fn every_command_that_is_told_of_is_an_operation() {
        fn walk(command: &clap::Command, words: &str) {
            if command.get_arguments().any(|arg| arg.get_long() == Some("mail")) {
                assert!(OperationKind::named(words).is_some(), "{words} stands in no row");
            }
            for sub in command.get_subcommands() {
                walk(sub, format!("{words} {}", sub.get_name()).trim_start());
            }
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn the_help_names_the_operations_that_there_are_and_no_others() {
        let command = command(OperationKind::Backup.name(), Form::Whole).unwrap();
        let option = command.get_arguments().find(|arg| arg.get_long() == Some("operation"));
        let help = option.unwrap().get_help().unwrap().to_string();
        let list = help.split_once(": ").unwrap().1.split_once(" [").unwrap().0;
        let named: Vec<&str> =
            list.split(", ").map(|word| word.split(' ').next().unwrap()).collect();
        assert_eq!(named, operations());
    }

    /// A new option must not keep what only holds in the shell where a job was made.
    #[test]
    fn options_with_paths_and_secrets_are_known_as_such() {
        use super::super::secrets::{KEYS, PATHS};
        for operation in operations() {
            let command = operation_command(operation).unwrap();
            for arg in command.get_arguments() {
                let takes_value = arg.get_action().takes_values();
                let Some(long) = arg.get_long().filter(|_| takes_value) else { continue };
                let form =
                    arg.get_value_names().and_then(|names| names.first()).map(|n| n.as_str());
                let is_path = matches!(form, Some("DIR" | "FILE"));
                assert_eq!(is_path, PATHS.contains(&long), "{operation} --{long} {form:?}");
                let is_secret = matches!(form, Some("SOURCE" | "file:PATH|env:NAME|-"));
                let is_known =
                    KEYS.contains(&long) || SENSELESS.iter().any(|(key, _)| *key == long);
                assert!(!is_secret || is_known, "{operation} --{long} {form:?}");
            }
        }
    }

    /// A value that a kind of option takes, by what its form is called.
    fn sample(property: &schema::Property) -> String {
        use crate::schema::Kind;
        let form = match &property.kind {
            Kind::Flag => return String::new(),
            Kind::Switch => return "1".into(),
            Kind::Number(least, _) => return least.max(&1).to_string(),
            Kind::Words(words) => return words[0].0.clone(),
            Kind::Text(form) | Kind::Texts(form) => form.clone().unwrap_or_default(),
        };
        let known = match form.as_str() {
            "SEL" | "N,.." => "100",
            "LABEL" => "daily",
            "RATE" => "50MiB/s",
            "SHARE" => "25%",
            "RULES" => "keep-last=3",
            "1/N" => "1/50",
            "N/M" => "1/2",
            "H[:P],.." => "pve1,pve2:8006",
            "SOURCE" => "env:TOKEN",
            "USER@REALM" => "snap@pve",
            "SHA256" => return ["ab"; 32].join(":"),
            "FORMAT" => "yyMMddHHmmss",
            "PERCENT" => "95",
            "N|Nh|Nd|Nw|Nm" | "Nh|Nd|Nw|Nm" => "14d",
            "METHOD" => "zstd:3",
            "AGE" => "26h",
            "always|failure|change" => "failure",
            "barc|autosnap" => "barc",
            "file:PATH|env:NAME|-" => "env:TOKEN",
            // Texts that nothing is demanded of.
            "ZONE" => "Europe/Vienna",
            "DIR" | "FILE" | "URL" | "ORG" | "BUCKET" | "A,B" | "BOOL" | "NODE" | "TEXT" => "/x",
            _ => panic!("{} is of a form that this test does not know: {form:?}", property.name),
        };
        known.to_owned()
    }

    /// What must stand beside an option for clap.
    fn beside(operation: &str, key: &str) -> &'static [&'static str] {
        match (operation, key) {
            ("snapshot" | "snapshot-prune", "host") => &["api-token"],
            ("snapshot" | "snapshot-prune", "api-token") => &["host"],
            ("snapshot" | "snapshot-prune", "username") => &["host", "password"],
            ("snapshot" | "snapshot-prune", "password") => &["host", "username"],
            ("snapshot" | "snapshot-prune", "no-verify-ssl" | "fingerprint" | "ca-file") => {
                &["host", "api-token"]
            }
            (_, "influxorg" | "influxtoken" | "no-verify-ssl") => &["influxurl", "influxbucket"],
            (_, "influxurl") => &["influxbucket"],
            (_, "influxbucket") => &["influxurl"],
            (_, "hook-compat") => &["script"],
            (_, "fold") => &["keep"],
            ("verify", "audit" | "stall-timeout") => &["source"],
            _ => &[],
        }
    }

    fn written(operation: &str, options: &[(String, String)]) -> Result<(), String> {
        let mut text = format!("{operation}: a\n\tschedule daily\n");
        options.iter().for_each(|(key, value)| text.push_str(&format!("\t{key} {value}\n")));
        let cfg = crate::pve::JobsCfg::parse(&text);
        let job = cfg.jobs.first().ok_or_else(|| format!("{:?}", cfg.damaged))?;
        check(job).map_err(|error| error.to_string())
    }

    /// Every option of a command that a job can run is one of its section in jobs.cfg, of the same
    /// kind, and no other is. The exceptions, with their reasons, are `SENSELESS`.
    #[test]
    fn options_of_a_command_and_of_its_jobs_are_the_same() {
        for operation in operations() {
            let command = operation_command(operation).unwrap();
            let schema = properties(&section_schema(operation));
            let find = |key: &str| schema.iter().find(|property| property.name == key).unwrap();
            let pair = |key: &str| (key.to_owned(), sample(find(key)));
            let needed = schema.iter().filter(|property| property.required);
            let mut needed: Vec<&str> = needed.map(|property| property.name.as_str()).collect();
            needed.retain(|key| *key != "schedule");
            // What a command demands in words of its own.
            match operation {
                "prune" => needed.push("retain"),
                "snapshot" => needed.push("vmid"),
                "snapshot-prune" => needed.extend(["vmid", "keep"]),
                _ => {}
            }
            needed.sort_unstable();
            needed.dedup();
            let with = |keys: &[&str]| {
                let mut all: Vec<&str> = keys.to_vec();
                all.extend(needed.iter().filter(|key| !keys.contains(key)));
                written(operation, &all.iter().map(|key| pair(key)).collect::<Vec<_>>())
            };
            assert_eq!(with(&[]), Ok(()), "{operation}");
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { panic!("{operation} {}", arg.get_id()) };
                if SENSELESS.iter().any(|(key, why)| *key == long && !why.is_empty()) {
                    let other: Vec<(String, String)> = vec![(long.to_owned(), "x".to_owned())];
                    assert!(written(operation, &other).is_err(), "{operation} {long}");
                    continue;
                }
                let mut keys = vec![long];
                keys.extend(beside(operation, long));
                assert_eq!(with(&keys), Ok(()), "{operation} {long}");
                let takes_none = !arg.get_action().takes_values();
                let is_flag = find(long).kind == schema::Kind::Flag;
                assert_eq!(takes_none, is_flag, "{operation} {long}");
                let mut wrong: Vec<(String, String)> = needed.iter().map(|key| pair(key)).collect();
                wrong.retain(|(key, _)| key != long);
                wrong.push((long.to_owned(), if is_flag { "x".into() } else { String::new() }));
                assert!(written(operation, &wrong).is_err(), "{operation} {long}");
            }
            let args: Vec<_> = command.get_arguments().collect();
            let own = schema::keys::<JobOptions>();
            for property in schema.iter().filter(|property| !own.contains(&property.name)) {
                let is_arg = args.iter().any(|arg| {
                    let aliases = arg.get_all_aliases().unwrap_or_default();
                    arg.get_long() == Some(&property.name)
                        || aliases.contains(&property.name.as_str())
                });
                assert!(is_arg, "{operation} has no --{}", property.name);
            }
            let mut more: Vec<(String, String)> = needed.iter().map(|key| pair(key)).collect();
            more.push(("colour".into(), "red".into()));
            let error = written(operation, &more).unwrap_err();
            assert!(error.contains("option colour is unknown; known are "), "{error}");
        }
    }

    #[test]
    fn barcs_words_make_a_job() {
        let job =
            made("--vmid=100,-101 --label=hourly --path /b --compressthreads 2 --keep 3").unwrap();
        assert_eq!(job.name.as_str(), "backup-hourly");
        assert_eq!((job.schedule.fields(), job.node.as_deref()), ("0 * * * *", None));
        let words = "backup --vmid=100,-101 --label=hourly --path=/b --keep=3 --threads=2";
        assert_eq!(job.words().join(" "), words);
    }

    #[test]
    fn other_operations_are_bound_to_a_node() {
        let job = made("--operation prune --path /b --retain 14d tidy").unwrap();
        assert_eq!((job.name.as_str(), job.node.as_deref()), ("tidy", Some("pve1")));
        assert_eq!(job.schedule.to_string(), "daily");
        let job = made("--operation=verify --path /b --vmid 100,101 --systemd").unwrap();
        assert_eq!(job.runner, Runner::Systemd);
        assert_eq!(job.words().join(" "), "verify --path=/b --vmid=100,101");
    }

    #[test]
    fn what_would_not_run_is_not_defined() {
        for text in [
            "--vmid 100 --label daily",
            "--vmid 100 --label Daily --path /b",
            "--vmid 9:1 --label daily --path /b",
            "--vmid 100 --label daily --path /b --dry-run",
            "--vmid 100 --label daily --path /b --keep 1 --renew 3",
            "--vmid 100 --label daily --path /b --schedule never",
            "--vmid 100 --label daily --path /b --systemd",
            "--vmid 100 --label daily --path /b --delete keep",
            "--vmid 100 --label daily --path /b --retain 3x",
            "--operation prune --path /b",
            "--operation restore --path /b",
            "--operation verify --path /b --systemd --schedule daily",
            "Name --vmid 100 --label daily --path /b",
        ] {
            let error = made(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(error.exit_code(), 2, "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_label_is_said_of_the_label_also_where_it_would_name_the_job() {
        let of_snapshots = "--operation snapshot --vmid all";
        for (operation, name) in [
            ("--vmid 100 --path /b", ""),
            ("--vmid 100 --path /b", "x"),
            ("--operation verify --path /b", "x"),
            ("--operation prune --path /b --retain 3", ""),
            ("--operation copy --from /a --to /b", ""),
            (of_snapshots, ""),
        ] {
            let said = |label: &str| {
                let text = format!("{name} {operation} --label {label} --schedule daily");
                let error = made(text.trim()).err().unwrap_or_else(|| panic!("{text}"));
                assert_eq!(error.exit_code(), 2, "{text}: {error}");
                error.to_string()
            };
            let case = said("Weekly");
            assert!(case.contains("label in lower case"), "{case}");
            assert!(case.ends_with("write --label weekly"), "{case}");
            let other = said("2nd.try");
            assert!(other.starts_with("--label: \"2nd.try\" is not a label (a lower"), "{other}");
            assert!(other.ends_with("hourly, daily, weekly, monthly"), "{other}");
            assert!(!format!("{case}{other}").contains("a job's name"), "{case} {other}");
        }
        let job = made("x --operation verify --path /b --schedule daily").unwrap();
        let changes = defined(&words("x --label Weekly"), "verify", Form::Changes).unwrap();
        assert!(changed_job(&job, changes).unwrap_err().to_string().contains("--label weekly"));
    }

    #[test]
    fn jobs_of_snapshots_have_the_options_of_both_words() {
        let job = made(
            "--operation snapshot --vmid all,-105 --label hourly --keep 24 --state --jobs 4 \
             --host pve1,pve2 --api-token file:/t --mail a@b.example",
        );
        let job = job.unwrap();
        assert_eq!((job.name.as_str(), job.node.as_deref()), ("snapshot-hourly", Some("pve1")));
        assert_eq!(job.schedule.fields(), "0 * * * *");
        let words = "snapshot create --label=hourly --keep=24 --state --jobs=4 --mail=a@b.example \
                     --host=pve1,pve2 --api-token=file:/t --vmid=all,-105";
        assert_eq!(job.words().join(" "), words);
        let job = made("--operation snapshot-prune --vmid all --label daily --keep 0").unwrap();
        assert_eq!(job.words().join(" "), "snapshot prune --label=daily --keep=0 --vmid=all");
        for text in [
            "--label daily",
            "--vmid all",
            "--vmid all --label Daily",
            "--vmid 9:1 --label daily",
            "--vmid all --label daily --keep 0",
            "--vmid all --label daily --dry-run",
            "--vmid all --label daily --compat autosnap",
            "--vmid all --label daily --timestamp-format ddMMyy",
            "--vmid all --label daily --host pve1",
            "--vmid all --label daily --host pve1:x --api-token file:/t",
            "--vmid all --label daily --host pve1 --username a",
            "--vmid all --label daily --api-token file:/t",
            "--vmid all --label daily --host p --api-token file:/t --otp file:/o",
            "--vmid all --label daily --host p --api-token file:/t --fingerprint 00",
            "--vmid all --label daily --systemd",
            "--vmid all --label abcdefghijklmnopqrstuvwx --timestamp-format yyyy-MM-dd_HH-mm-ss",
        ] {
            let error = made(&format!("--operation snapshot {text}"));
            let error = error.err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(error.exit_code(), 2, "{text}: {error}");
        }
    }

    #[test]
    fn changes_replace_and_delete() {
        let job = made("--vmid 100 --label daily --path /b --keep 3 --jobs 4 --node pve2").unwrap();
        let change =
            |text: &str| changed_job(&job, defined(&words(text), "backup", Form::Changes).unwrap());
        let changed =
            change("x --renew 7 --delete keep,node --schedule weekly --vmid all").unwrap();
        let expected = "backup --vmid=all --label=daily --path=/b --renew=7 --jobs=4";
        assert_eq!(changed.words().join(" "), expected);
        assert_eq!((changed.node, changed.schedule.to_string()), (None, "weekly".to_owned()));
        assert!(change("x --delete path").is_err());
        assert!(change("x --delete renew").is_err());
        assert!(change("x --renew 7").is_err(), "with --keep it makes no sense");
    }
}
