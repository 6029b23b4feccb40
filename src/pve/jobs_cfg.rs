//! `jobs.cfg`: our jobs in PVE's section format, a section `OPERATION: NAME` for each. Pure: text
//! in, jobs out, and back. The text's other lines stay as they are when one job changes.

use super::section_config::{Section, SectionConfig};
use crate::job::{Job, JobName, Schedule};
use crate::model::Invalid;
use crate::schema::{self, JobOptions, Options, SchemaError};
use crate::secret::is_in_url;

/// The jobs of a file, and what in it is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobsCfg {
    /// The jobs, in the order of the file.
    pub jobs: Vec<Job>,
    /// Sections that are no job: their id and the reason.
    pub damaged: Vec<(String, String)>,
}

/// Why a job cannot stand in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobsCfgError {
    /// A value would be another one when it is read again.
    #[error(
        "--{key} {value:?} cannot stand in jobs.cfg: no empty value, no line break, no blank at either end"
    )]
    Value {
        /// The option.
        key: String,
        /// Its value.
        value: String,
    },
    /// A secret that everybody who reads the cluster's configuration would see.
    #[error("--{0} is a secret, which jobs.cfg must not hold: give file:PATH or env:NAME")]
    Secret(String),
    /// An address with credentials in it.
    #[error(
        "--{0} has a user, password or token in it, which jobs.cfg must not hold: give it by --influxtoken file:PATH"
    )]
    SecretInUrl(String),
}

#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Schedule(Invalid),
    #[error(transparent)]
    Name(Invalid),
    #[error("{source}")]
    Secret { key: String, source: JobsCfgError },
}

impl Unfit {
    /// The option that is at fault.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Schema(error) => error.key(),
            Self::Schedule(_) => Some("schedule"),
            Self::Name(_) => None,
            Self::Secret { key, .. } => Some(key),
        }
    }
}

impl JobsCfg {
    /// Reads a file. A section that is no job harms no other.
    pub fn parse(text: &str) -> Self {
        let config = SectionConfig::parse(text);
        let mut cfg = Self::default();
        for (place, section) in config.sections().iter().enumerate() {
            // Where an id stands twice, the last one counts, as in PVE's own files.
            if config.sections()[place + 1..].iter().any(|later| later.id == section.id) {
                continue;
            }
            match job(section) {
                Ok(job) => cfg.jobs.push(job),
                Err(error) => {
                    let line = config.line(place, error.key());
                    cfg.damaged.push((section.id.clone(), format!("line {line}: {error}")));
                }
            }
        }
        cfg
    }

    /// A job by its name.
    pub fn job(&self, name: &JobName) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == *name)
    }

    /// Every name that is in use, also of sections that cannot be read.
    pub fn names(&self) -> Vec<JobName> {
        let damaged = self.damaged.iter().filter_map(|(id, _)| id.parse().ok());
        self.jobs.iter().map(|job| job.name.clone()).chain(damaged).collect()
    }
}

fn job(section: &Section) -> Result<Job, Unfit> {
    let (own, options): (JobOptions, Options) = schema::read(&section.options)?;
    let schedule: Schedule = own.schedule.parse().map_err(Unfit::Schedule)?;
    // Whatever is read is shown, and stands in a comment of the cron file, which everybody reads.
    for (key, value) in options.iter().filter(|(_, value)| !value.is_empty()) {
        no_secret(key, value).map_err(|source| Unfit::Secret { key: key.clone(), source })?;
    }
    Ok(Job {
        name: section.id.parse().map_err(Unfit::Name)?,
        operation: section.kind.clone(),
        schedule,
        node: own.node,
        enabled: own.enabled,
        runner: own.runner,
        comment: own.comment,
        options,
    })
}

/// The line of a job's option, or of its header, counted from 1.
pub fn line_of(text: &str, name: &JobName, key: Option<&str>) -> usize {
    let config = SectionConfig::parse(text);
    let place = config.sections().iter().rposition(|section| section.id == name.as_str());
    place.map_or(0, |place| config.line(place, key))
}

/// The section of a job as it stands in the file.
///
/// # Errors
/// A value cannot stand there.
pub fn section(job: &Job) -> Result<String, JobsCfgError> {
    let own = JobOptions {
        schedule: job.schedule.to_string(),
        node: job.node.clone(),
        enabled: job.enabled,
        runner: job.runner,
        comment: job.comment.clone(),
    };
    let mut text = format!("{}: {}\n", job.operation, job.name);
    for (key, value) in schema::written(&own) {
        fits(&key, &value)?;
        text.push_str(&format!("\t{key} {value}\n"));
    }
    for (key, value) in &job.options {
        if value.is_empty() {
            text.push_str(&format!("\t{key}\n"));
            continue;
        }
        fits(key, value)?;
        text.push_str(&format!("\t{key} {value}\n"));
    }
    Ok(text)
}

/// Whether a value is the same when it is read again, and no secret.
fn fits(key: &str, value: &str) -> Result<(), JobsCfgError> {
    let is_same = !value.is_empty() && value.trim() == value && !value.contains(['\n', '\r']);
    if !is_same {
        return Err(JobsCfgError::Value { key: key.to_owned(), value: value.to_owned() });
    }
    no_secret(key, value)
}

/// Whether a value is no secret in clear.
fn no_secret(key: &str, value: &str) -> Result<(), JobsCfgError> {
    let names_one = ["token", "password", "secret"].iter().any(|word| key.ends_with(word));
    if names_one && !value.starts_with("file:") && !value.starts_with("env:") {
        return Err(JobsCfgError::Secret(key.to_owned()));
    }
    if key.ends_with("url") && is_in_url(value) {
        return Err(JobsCfgError::SecretInUrl(key.to_owned()));
    }
    Ok(())
}

/// The text with a job's section put in, replaced, or, without one, taken out. All other lines stay.
///
/// # Errors
/// A value cannot stand there.
pub fn with_job(text: &str, name: &JobName, job: Option<&Job>) -> Result<String, JobsCfgError> {
    let section = job.map(section).transpose()?.unwrap_or_default();
    let mut kept = String::new();
    let mut place = None;
    for block in blocks(text) {
        let is_it = SectionConfig::parse(block).sections().iter().any(|s| s.id == name.as_str());
        if is_it {
            // Comments in front of the header belong to the job, too.
            place = Some(kept.len());
        } else {
            kept.push_str(block);
        }
    }
    let place = place.unwrap_or(kept.len());
    let (before, after) = kept.split_at(place);
    Ok(match section.is_empty() {
        true => format!("{before}{after}"),
        false => format!("{}{section}{}", ended(before), begun(after)),
    })
}

/// A text to which a section may be added: an empty line ends what is there.
fn ended(text: &str) -> String {
    match text {
        "" => String::new(),
        _ if text.ends_with("\n\n") => text.to_owned(),
        _ if text.ends_with('\n') => format!("{text}\n"),
        _ => format!("{text}\n\n"),
    }
}

fn begun(text: &str) -> String {
    if text.is_empty() || text.starts_with('\n') { text.to_owned() } else { format!("\n{text}") }
}

/// The text in pieces that each end with the empty line that ends a section.
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if matches!(line.trim_end_matches('\n'), "" | "0") {
            blocks.push(&text[begin..at]);
            begin = at;
        }
    }
    blocks.push(&text[begin..]);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# our jobs\nbackup: nightly\n\tschedule 0 2 * * *\n\tvmid all,-105\n\tlabel daily\n\
                        \tpath /mnt/my backup\n\tprotect-snap\n\n\
                        # of the old man\nprune: tidy\n\tschedule daily\n\tenabled 0\n\tnode pve1\n\tpath /b\n";

    fn name(text: &str) -> JobName {
        text.parse().unwrap()
    }

    #[test]
    fn sections_are_jobs() {
        let cfg = JobsCfg::parse(TEXT);
        assert_eq!(cfg.damaged, []);
        let nightly = cfg.job(&name("nightly")).unwrap();
        assert_eq!(
            nightly.words(),
            [
                "backup",
                "--vmid=all,-105",
                "--label=daily",
                "--path=/mnt/my backup",
                "--protect-snap"
            ]
        );
        let tidy = cfg.job(&name("tidy")).unwrap();
        assert_eq!((tidy.enabled, tidy.node.as_deref()), (false, Some("pve1")));
        assert_eq!(section(nightly).unwrap(), TEXT[11..TEXT.find("\n\n").unwrap() + 1]);
    }

    #[test]
    fn one_damaged_section_harms_no_other() {
        let text = format!(
            "{TEXT}\nbackup: bad\n\tschedule whenever\n\nbackup: Worse\n\tschedule daily\n"
        );
        let cfg = JobsCfg::parse(&text);
        assert_eq!(cfg.jobs.len(), 2);
        let ids: Vec<&str> = cfg.damaged.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["bad", "Worse"]);
        assert!(cfg.damaged[0].1.starts_with("line 17: \"whenever\""), "{:?}", cfg.damaged);
        assert!(cfg.damaged[1].1.starts_with("line 19: "), "{:?}", cfg.damaged);
        assert_eq!(line_of(&text, &name("tidy"), Some("enabled")), 12);
        assert!(cfg.names().contains(&name("bad")));
    }

    #[test]
    fn a_secret_that_somebody_wrote_into_the_file_is_damage_and_is_not_repeated() {
        for key in ["api-token", "password", "influxtoken"] {
            let cfg = JobsCfg::parse(&format!("{TEXT}\t{key} root@pam!a=HUSH\n"));
            assert_eq!((cfg.jobs.len(), cfg.damaged.len()), (1, 1), "{cfg:?}");
            let (id, why) = &cfg.damaged[0];
            assert!(id == "tidy" && why.starts_with(&format!("line 15: --{key} is a")), "{why}");
            assert!(!format!("{cfg:?}").contains("HUSH"), "{cfg:?}");
            let named = JobsCfg::parse(&format!("{TEXT}\t{key} file:/t\n"));
            assert_eq!(named.damaged, []);
        }
        let url = |host: &str| JobsCfg::parse(&format!("{TEXT}\tinfluxurl http://{host}:8086\n"));
        let cfg = url("u:HUSH@influx");
        let (id, why) = &cfg.damaged[0];
        assert!(id == "tidy" && why.starts_with("line 15: --influxurl has a user"), "{why}");
        assert!(!format!("{cfg:?}").contains("HUSH"), "{cfg:?}");
        assert_eq!(url("influx").damaged, []);
    }

    #[test]
    fn a_changed_job_leaves_all_other_lines() {
        let mut job = JobsCfg::parse(TEXT).job(&name("nightly")).unwrap().clone();
        job.enabled = false;
        let text = with_job(TEXT, &job.name, Some(&job)).unwrap();
        assert!(text.contains("\tenabled 0\n\tvmid all,-105\n"), "{text}");
        assert!(text.ends_with(&TEXT[TEXT.find("\n\n").unwrap() + 2..]), "{text}");
        let without = with_job(TEXT, &name("nightly"), None).unwrap();
        assert_eq!(without, TEXT[TEXT.find("\n\n").unwrap() + 2..]);
        job.name = name("other");
        let more = with_job(TEXT, &job.name, Some(&job)).unwrap();
        assert!(more.starts_with(TEXT) && JobsCfg::parse(&more).jobs.len() == 3, "{more}");
        assert_eq!(with_job("", &job.name, Some(&job)).unwrap(), section(&job).unwrap());
    }

    #[test]
    fn a_job_that_stands_twice_is_replaced_once_and_removed_wholly() {
        let text = "backup: a\n\tschedule daily\n\nbackup: a\n\tschedule weekly\n";
        let job = JobsCfg::parse(text).job(&name("a")).unwrap().clone();
        assert_eq!(job.schedule.to_string(), "weekly");
        assert_eq!(with_job(text, &job.name, Some(&job)).unwrap().matches("backup: a").count(), 1);
        assert_eq!(with_job(text, &job.name, None).unwrap(), "");
    }

    #[test]
    fn values_that_would_be_read_as_others_and_secrets_are_refused() {
        let with = |key: &str, value: &str| {
            let mut job = JobsCfg::parse(TEXT).job(&name("nightly")).unwrap().clone();
            job.options.push((key.into(), value.into()));
            section(&job)
        };
        for value in [" a", "a ", "a\nb", "\u{a0}a", "a\r"] {
            assert!(with("notes", value).is_err(), "{value:?}");
        }
        assert!(matches!(with("influxtoken", "abc"), Err(JobsCfgError::Secret(_))));
        assert!(with("influxtoken", "file:/etc/pve/priv/x").is_ok());
        assert!(with("notes", "ä 'b' \"c\" 50% # d").is_ok());
    }
}
