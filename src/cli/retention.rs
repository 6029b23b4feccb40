//! The options of retention, made into rules. Judges nothing.

use super::error::CliError;
use crate::retention::{Rules, Span};
use clap::Args;

/// Which points stay; the rules combine, and a point stays when any of them keeps it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionOptions {
    /// Keep one base and the N newest points after it.
    #[arg(long, value_name = "N")]
    pub keep: Option<u32>,
    /// Keep so many points, or those of so many days, weeks or months.
    #[arg(long, value_name = "N|Nd|Nw|Nm")]
    retain: Option<String>,
    /// As in PVE: keep-last=3,keep-hourly=24,keep-daily=7,keep-weekly=4,keep-monthly=6,keep-yearly=2.
    #[arg(long, value_name = "RULES")]
    prune_backups: Option<String>,
    /// Keep everything that is not older: 14d, 4w, 6m.
    #[arg(long, value_name = "Nd|Nw|Nm")]
    keep_within: Option<String>,
}

impl RetentionOptions {
    /// The rules; none when no option is given.
    ///
    /// # Errors
    /// A value has another form.
    pub fn rules(&self) -> Result<Rules, CliError> {
        if self.keep == Some(0) {
            return Err(CliError::usage("--keep 0 makes no sense: at least one increment stays"));
        }
        let mut rules = Rules { keep: self.keep, ..Rules::default() };
        rules.retain = self.retain.as_deref().map(str::parse).transpose()?;
        rules.within = self.keep_within.as_deref().map(Span::age).transpose()?;
        if let Some(text) = &self.prune_backups {
            rules.add_prune_backups(text)?;
        }
        Ok(rules)
    }
}
