//! The options of retention, made into rules. Judges nothing.

use super::error::CliError;
use crate::clock::{local_zone, zone};
use crate::retention::{Calendar, Rules, Span};
use clap::Args;

/// Where the help text files these options. Said for each of them: `next_help_heading` would go on to
/// whatever the command declares after them.
const HEADING: &str = "Retention";

/// Which points stay; the rules combine, and a point stays when any of them keeps it.
#[derive(Debug, Args)]
pub struct RetentionOptions {
    /// Keep one base and the N newest points after it.
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub keep: Option<u32>,
    /// Fold older increments into their base once they exceed this share of it: 25% or 0.25.
    #[arg(long, value_name = "SHARE", help_heading = HEADING)]
    fold: Option<String>,
    /// Keep so many points, or those of so many hours, days, weeks or months before the newest complete one.
    #[arg(long, value_name = "N|Nh|Nd|Nw|Nm", help_heading = HEADING)]
    retain: Option<String>,
    /// As in PVE: keep-last=3,keep-hourly=24,keep-daily=7,keep-weekly=4,keep-monthly=6,keep-yearly=2.
    #[arg(long, value_name = "RULES", help_heading = HEADING)]
    prune_backups: Option<String>,
    /// Keep each point that is at most so much older than the newest complete one: 36h, 14d, 4w, 6m.
    #[arg(long, value_name = "Nh|Nd|Nw|Nm", help_heading = HEADING)]
    keep_within: Option<String>,
    /// The time zone whose hours, days, weeks, months and years --prune-backups counts, as Europe/Berlin
    /// [default: that of this machine].
    #[arg(long, value_name = "ZONE", help_heading = HEADING)]
    timezone: Option<String>,
}

impl RetentionOptions {
    /// The rules; none when no option is given.
    ///
    /// # Errors
    /// A value has another form, would keep nothing, or this machine does not know the time zone.
    pub fn rules(&self) -> Result<Rules, CliError> {
        if self.keep == Some(0) {
            return Err(CliError::usage("--keep 0 makes no sense: at least one increment stays"));
        }
        let mut rules = Rules { keep: self.keep, calendar: self.calendar()?, ..Rules::default() };
        rules.fold = self.fold.as_deref().map(str::parse).transpose()?;
        rules.retain = self.retain.as_deref().map(str::parse).transpose()?;
        rules.within = self.keep_within.as_deref().map(Span::age).transpose()?;
        for (option, span) in [("--retain", rules.retain), ("--keep-within", rules.within)] {
            if let Some(zero) = span.filter(|span| span.is_zero()) {
                let text = format!("{option} {zero} would keep nothing: give at least 1");
                return Err(CliError::usage(text));
            }
        }
        if let Some(text) = &self.prune_backups {
            rules.add_prune_backups(text)?;
        }
        if rules.fold.is_some() && rules.is_empty() {
            return Err(CliError::usage("--fold keeps and removes nothing by itself: add --keep"));
        }
        Ok(rules)
    }

    fn calendar(&self) -> Result<Calendar, CliError> {
        let Some(name) = &self.timezone else { return Ok(Calendar::of(local_zone())) };
        let unknown = || {
            CliError::usage(format!(
                "--timezone {name}: this machine knows no such time zone; names are as Europe/Berlin or UTC (package tzdata)"
            ))
        };
        zone(name).map(Calendar::of).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::CommandFactory as _;

    /// Options under a heading, by the command.
    fn under_heading(command: &clap::Command, heading: &str, found: &mut Vec<String>) {
        let own = command.get_arguments().filter(|arg| arg.get_help_heading() == Some(heading));
        found.extend(
            own.filter_map(|arg| Some(format!("{} --{}", command.get_name(), arg.get_long()?))),
        );
        command.get_subcommands().for_each(|sub| under_heading(sub, heading, found));
    }

    #[test]
    fn help_files_under_retention_what_is_about_retention_and_nothing_else() {
        let mut found = Vec::new();
        under_heading(&Cli::command(), HEADING, &mut found);
        let own = RetentionOptions::augment_args(clap::Command::new(""));
        let own: Vec<String> =
            own.get_arguments().map(|arg| format!("--{}", arg.get_long().unwrap())).collect();
        let strangers = found.iter().filter(|line| !own.iter().any(|own| line.ends_with(own)));
        assert_eq!(strangers.collect::<Vec<_>>(), [""; 0]);
        assert_eq!(found.iter().filter(|line| line.starts_with("backup ")).count(), own.len());
    }
}
