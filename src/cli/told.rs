//! The options of being told, the same in every command that works on guests, and the end of such
//! a command: the result is printed, then everybody is told. Nothing about it changes the result.

mod log;
mod of_job;
mod of_jobs_cfg;
mod slip;

pub use log::log;
pub use of_job::{BrokenJob, of_job};
pub use of_jobs_cfg::{of_jobs_cfg, of_jobs_cfg_again};
pub use slip::unwatched;

use super::end::{CommandEnd, CommandError, CommandResult, Notified};
use super::error::CliError;
use super::hooks::HookOptions;
use super::{blocking, context, output, signals, who};
use crate::cancel::Cancel;
use crate::clock::{Clock, host_name};
use crate::hooks::{Hooks, JobFacts};
use crate::model::Moment;
use crate::notify::{Occasion, Sink};
use crate::progress::Progress;
use crate::report::{GuestOutcome, Report};
use crate::repository::{Disk, Repository};
use crate::run::Performed;
use crate::secret::SecretSource;
use crate::told::{self, InfluxWish, Settings, When, Wishes};
use std::path::Path;
use std::sync::Arc;

/// Who is told of the run, besides whom `notify.cfg` names.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Being told (defaults and SMTP: notify.cfg)")]
pub struct ToldOptions {
    #[command(flatten)]
    listeners: Listeners,
    /// Do not check the certificate of InfluxDB.
    #[arg(long, requires = "influxurl")]
    no_verify_ssl: bool,
}

/// The same without the word about certificates, for commands whose own word about them holds for
/// everything that they reach.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Being told (defaults and SMTP: notify.cfg)")]
pub struct Listeners {
    /// Mail the report to these addresses; a name alone is somebody on this machine.
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = mail)]
    mail: Vec<String>,
    /// Mail always, only when something was not done, or only when a run ends otherwise than the
    /// one before [default: always].
    #[arg(long, value_name = "always|failure|change")]
    mail_when: Option<When>,
    /// Write the report to the system's log, as `pve-ferry`.
    #[arg(long)]
    syslog: bool,
    /// Write metrics to InfluxDB at this address.
    #[arg(long, value_name = "URL", requires = "influxbucket")]
    influxurl: Option<String>,
    /// Its organisation; without one the interface of InfluxDB 1.x is used.
    #[arg(long, value_name = "ORG", requires = "influxurl")]
    influxorg: Option<String>,
    /// Its bucket; the database of InfluxDB 1.x.
    #[arg(long, value_name = "BUCKET", requires = "influxurl")]
    influxbucket: Option<String>,
    /// Where its token stands (USER:PASSWORD for InfluxDB 1.x).
    #[arg(long, value_name = "file:PATH|env:NAME|-", requires = "influxurl", value_parser = source)]
    influxtoken: Option<SecretSource>,
    /// The job that this run belongs to, for subjects, metrics and hooks.
    #[arg(long, value_name = "NAME", hide = true)]
    job_name: Option<String>,
}

/// Whether certificates of those who are told are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// They are.
    Checked,
    /// They are not, as the user wants it.
    Ignored,
}

impl From<bool> for Certificates {
    /// From the flag that switches the check off.
    fn from(ignored: bool) -> Self {
        if ignored { Self::Ignored } else { Self::Checked }
    }
}

/// clap repeats a refused value in its error, so a secret in clear must not be refused by it: it
/// becomes the empty source, which [`Listeners::teller`] refuses in words of its own.
fn source(text: &str) -> Result<SecretSource, std::convert::Infallible> {
    Ok(text.parse().unwrap_or_else(|_| SecretSource::Variable(String::new())))
}

/// What could never be delivered is refused now, and not found out when a backup has failed.
fn mail(text: &str) -> Result<String, String> {
    match told::addresses(text).iter().find(|one| !told::is_address(one)) {
        Some(wrong) => Err(format!("{wrong:?} is no address")),
        None => Ok(text.to_owned()),
    }
}

/// Who does it: that decides what of it is told without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Jobs do it time and again.
    Run,
    /// A person does it once: it stands in the system's log with that person, if this machine has a log,
    /// and no metrics are written unless the command line asks for them, as an alert on the age of a
    /// series that never goes on would never end.
    Act,
}

/// What a run is about, as far as being told goes.
pub struct Subject<'a> {
    /// The command.
    pub operation: &'static str,
    /// Its label, where it has one.
    pub label: Option<&'a str>,
    /// Its repository, where it is known.
    pub repository: Option<&'a Path>,
    /// Whether it changes nothing and is of no interest to anyone else.
    pub dry_run: bool,
}

/// Tells everybody at the end of one run.
pub struct Teller {
    settings: Settings,
    operation: &'static str,
    occasion: Occasion,
    started: Moment,
}

impl ToldOptions {
    /// See [`Listeners::teller`].
    ///
    /// # Errors
    /// A secret in clear, or one that cannot be read.
    pub fn teller(&self, subject: &Subject) -> Result<Teller, CliError> {
        self.listeners.teller(subject, self.no_verify_ssl.into())
    }
}

impl Listeners {
    /// Reads `notify.cfg` and every secret now, so that what is wrong on the command line is
    /// refused before anything was changed.
    ///
    /// # Errors
    /// A secret in clear, or one that cannot be read.
    pub fn teller(
        &self,
        subject: &Subject,
        certificates: Certificates,
    ) -> Result<Teller, CliError> {
        let (text, unread) = match context::our_files().read("notify.cfg") {
            Ok(text) => (text, None),
            Err(error) => (String::new(), Some(anyhow::Error::from(error))),
        };
        let settings = Settings::new(Some(&text), &self.wishes(certificates)?, &host_name());
        let mut settings =
            settings.map_err(|e| CliError::usage(format!("{:#}", anyhow::Error::from(e))))?;
        // Who would have been told is not known then, which must be said and stops no backup.
        let unread = unread.map(|error| format!("nobody named in notify.cfg is told: {error:#}"));
        settings.problems.extend(unread);
        let occasion = Occasion {
            host: host_name(),
            job: self.job_name.clone(),
            label: subject.label.map(str::to_owned),
            repository: subject.repository.map(|path| path.display().to_string()),
            ..Occasion::default()
        };
        let settings = if subject.dry_run { Settings::default() } else { settings };
        let (operation, started) = (subject.operation, Clock::System.now());
        Ok(Teller { settings, operation, occasion, started })
    }

    fn wishes(&self, certificates: Certificates) -> Result<Wishes, CliError> {
        if self.influxtoken == Some(SecretSource::Variable(String::new())) {
            let error = crate::secret::SecretError::InClear;
            return Err(CliError::usage(format!("--influxtoken: {error}")));
        }
        // Those that are typed are refused before; this one stands in an @FILE or a job.
        if self.influxurl.as_deref().is_some_and(crate::secret::is_in_url) {
            return Err(super::connection::secret_in_url());
        }
        let influx = self.influxurl.as_ref().zip(self.influxbucket.as_ref());
        Ok(Wishes {
            mail: self.mail.iter().flat_map(|text| told::addresses(text)).collect(),
            mail_when: self.mail_when,
            syslog: self.syslog,
            influx: influx.map(|(url, bucket)| InfluxWish {
                url: url.clone(),
                organisation: self.influxorg.clone(),
                bucket: bucket.clone(),
                token: self.influxtoken.clone(),
            }),
            ignore_certificates: certificates == Certificates::Ignored,
        })
    }
}

impl Teller {
    /// The job that this run belongs to.
    pub fn job(&self) -> Option<&str> {
        self.occasion.job.as_deref()
    }

    /// The variables that hold secrets of those who are told, which no hook inherits.
    pub fn secret_variables(&self) -> &[String] {
        &self.settings.secret_variables
    }

    /// The hooks of the run, which are told what it is about and inherit no secret.
    ///
    /// # Errors
    /// The script cannot be started.
    pub fn hooks(
        &self,
        options: &HookOptions,
        keep: Option<u32>,
        log: Arc<dyn Progress>,
    ) -> Result<Arc<Hooks>, CliError> {
        let job = JobFacts {
            operation: self.operation.to_owned(),
            job: self.occasion.job.clone(),
            label: self.occasion.label.clone(),
            // Hooks run in another directory than the user.
            path: self.occasion.repository.as_ref().map(|path| {
                let absolute = std::path::absolute(path);
                absolute.map_or_else(|_| path.clone(), |path| path.display().to_string())
            }),
            keep: keep.map(|keep| keep.to_string()),
            memory: false,
        };
        options.hooks(job, &self.settings.secret_variables, log)
    }

    /// Prints the result, tells everybody, and gives the exit code of the result. A dry run tells
    /// nobody; a run that ended before any guest had its turn is told of, too, unless it is between the
    /// program and who typed it.
    ///
    /// # Errors
    /// The result's own.
    pub fn conclude(self, result: Result<Performed, CliError>, as_json: bool) -> CommandResult {
        self.conclude_with(result, |performed| output::performed(performed, as_json))
    }

    /// The same for a result that is printed in a way of its own.
    ///
    /// # Errors
    /// The result's own.
    pub fn conclude_with(
        self,
        result: Result<Performed, CliError>,
        print: impl FnOnce(&Performed),
    ) -> CommandResult {
        let started = self.started;
        let report = result.map(|performed| {
            print(&performed);
            performed.report
        });
        self.told(|| (started, Clock::System.now()), report)
    }

    /// The same for what is done to one guest and said in one line.
    ///
    /// # Errors
    /// The result's own, or why the guest failed.
    pub fn conclude_one(
        self,
        result: Result<Performed, CliError>,
        line: impl Fn(&GuestOutcome) -> String,
    ) -> CommandResult {
        let started = self.started;
        let report = result.map(|performed| performed.report);
        if let Ok(report) = &report {
            let warnings = report.guests.iter().flat_map(|guest| &guest.warnings);
            for warning in warnings.chain(&report.warnings) {
                output::notice(&format!("warning: {warning}"));
            }
            let done = report.guests.iter().filter(|guest| guest.failure.is_none());
            for guest in done {
                output::line(&line(guest));
                guest.not_whole.iter().for_each(|w| output::notice(&format!("NOT WHOLE: {w}")));
            }
        }
        let error =
            report.as_ref().ok().and_then(|r| r.guests.iter().find_map(|g| g.error.clone()));
        let end = self.told(|| (started, Clock::System.now()), report)?;
        let Some(error) = error else { return Ok(end) };
        let CommandEnd { code, notified, .. } = end;
        Err(CommandError { error: CliError::Coded(code, error), notified })
    }

    /// The same for a result that is printed already.
    ///
    /// # Errors
    /// The result's own.
    pub fn told(
        self,
        span: impl Fn() -> (Moment, Moment),
        result: Result<Report, CliError>,
    ) -> CommandResult {
        let notified = match &result {
            Ok(report) if slip::selects_nothing(report) => Notified::default(),
            Ok(report) => self.tell(report),
            Err(error) if slip::is_slip(error) => Notified::default(),
            Err(error) => {
                let (operation, code) = (self.operation, error.exit_code());
                self.tell(&Report::broken_off(operation, span(), error.to_string(), code))
            }
        };
        match result {
            Ok(report) => {
                Ok(CommandEnd { code: report.exit_code(), report: Some(report), notified })
            }
            Err(error) => Err(CommandError { error, notified }),
        }
    }

    /// Tells everybody of a report that is printed already. Whoever could not be told is named on stderr,
    /// also when a job ends well: a broken relay must not be found out with the first failed backup.
    fn tell(mut self, report: &Report) -> Notified {
        let mut notified = Notified { is_done: true, problems: Vec::new() };
        if self.settings.sinks.is_empty() && self.settings.problems.is_empty() {
            return notified;
        }
        self.add_points(report);
        log::find(&mut self.settings);
        self.settings.problems.iter().for_each(|problem| warn(problem));
        notified.problems.extend(self.settings.problems.iter().cloned());
        for caution in &self.settings.cautions {
            output::notice(&format!("pve-ferry: warning: {caution}"));
        }
        let cancel = Cancel::default();
        let problems = blocking(async {
            signals::listen(&cancel)?;
            let about = (&self.occasion, report);
            Ok(told::tell(&self.settings, about, &context::state_directory(), &cancel).await)
        });
        let problems = problems.unwrap_or_else(|error| vec![format!("nobody was told: {error}")]);
        problems.iter().for_each(|problem| warn(problem));
        notified.problems.extend(problems);
        notified
    }

    /// What the repository holds of the guests is read only for those who want it.
    fn add_points(&mut self, report: &Report) {
        let wanted = |(sink, _): &(Sink, When)| matches!(sink, Sink::Prometheus(_));
        if !self.settings.sinks.iter().any(wanted) {
            return;
        }
        let Some(path) = &self.occasion.repository else { return };
        if let Ok(repository) = Repository::open(Path::new(path), Disk::real()) {
            let label = self.occasion.label.as_deref().and_then(|label| label.parse().ok());
            self.occasion.points = told::newest_points(&repository, label.as_ref(), report);
        }
    }
}

/// Says that somebody could not be told. It is seen also when a job ends well.
fn warn(problem: &str) {
    output::warning(&format!("pve-ferry: warning: {problem}"));
}

impl ToldOptions {
    /// See [`Listeners::act`].
    pub fn act(&self, teller: Teller, subject: &Subject) -> Teller {
        self.listeners.act(teller, subject)
    }
}

impl Listeners {
    /// Makes what is told that of an act: see [`Nature::Act`]. A dry run is none.
    pub fn act(&self, mut teller: Teller, subject: &Subject) -> Teller {
        if subject.dry_run {
            return teller;
        }
        teller.occasion.who = Some(who::who());
        let sinks = &mut teller.settings.sinks;
        let has_log = sinks.iter().any(|(sink, _)| matches!(sink, Sink::Syslog(_)));
        sinks.retain(|(sink, _)| match sink {
            Sink::Prometheus(_) => false,
            Sink::Influx(_) => self.influxurl.is_some(),
            Sink::Syslog(_) | Sink::Mail(_) | Sink::Pve(_) => true,
        });
        for (_, when) in sinks.iter_mut().filter(|(sink, _)| matches!(sink, Sink::Syslog(_))) {
            *when = When::Always;
        }
        let log = log::sink().filter(|_| !has_log);
        sinks.splice(0..0, log.map(|log| (log, When::Always)));
        teller
    }
}
