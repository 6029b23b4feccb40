//! `pve-ferry snapshot list`: which snapshots there are. Not how they look: that is
//! `snapshot_table`.

use super::error::CliError;
use super::snapshot::{Args, local};
use super::snapshot_table::{Form, Row, render};
use super::{blocking, options, output};
use crate::model::guest_snapshot::label_in;
use crate::model::{GuestSnapshot, Label, Moment, TimestampFormat};
use crate::operation::list_snapshots;
use crate::pve::api::ApiGuest;

/// Which snapshots are listed, and how.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only automatic snapshots of this label.
    #[arg(long, value_name = "LABEL", conflicts_with = "all")]
    label: Option<String>,
    /// Also snapshots that a person or another program made.
    #[arg(long)]
    all: bool,
    /// How it is printed.
    #[arg(long, short = 'o', value_name = "FORM", ignore_case = true, default_value = "text")]
    output: Form,
    /// The same as -o jsonpretty.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl ListArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The cluster cannot be reached or the words make no sense.
    pub fn run(&self, args: &Args) -> Result<u8, CliError> {
        let (selection, format) = (args.selection()?, args.format()?);
        let label = self.label.as_deref().map(options::label).transpose()?;
        let api = args.api()?;
        let (listed, not_found) = blocking(list_snapshots(&api.client, &selection))?;
        let mut rows = Vec::new();
        let mut code = if not_found.is_empty() { 0 } else { 3 };
        for (guest, found) in &listed {
            match found {
                Ok(snapshots) => {
                    rows.extend(self.rows(guest, snapshots, (label.as_ref(), &format)))
                }
                Err(why) => {
                    output::notice(&format!("guest {}: {why}", guest.candidate.guest.vmid));
                    code = 3;
                }
            }
        }
        not_found.iter().for_each(|item| output::notice(&format!("nothing selected by {item}")));
        let form = if self.json { Form::Jsonpretty } else { self.output };
        let is_document = matches!(form, Form::Json | Form::Jsonpretty);
        if !listed.is_empty() || is_document {
            output::text(&render(form, &rows));
        }
        Ok(if listed.is_empty() { 4 } else { code })
    }

    /// The rows of one guest, oldest first.
    fn rows(
        &self,
        guest: &ApiGuest,
        snapshots: &[GuestSnapshot],
        (label, format): (Option<&Label>, &TimestampFormat),
    ) -> Vec<Row> {
        let is_shown = |s: &&GuestSnapshot| match label {
            Some(label) => crate::plan::snapshot::is_own(s, label, format),
            None if self.all => true,
            None => s.is_described_as_automatic() && label_in(&s.name, format).is_some(),
        };
        let mut shown: Vec<&GuestSnapshot> = snapshots.iter().filter(is_shown).collect();
        shown.sort_by_key(|snapshot| snapshot.taken);
        shown.into_iter().map(|snapshot| row(guest, snapshot)).collect()
    }
}

/// PVE lists a snapshot that it never finished, or not yet, like any other.
fn described(snapshot: &GuestSnapshot) -> String {
    let text = snapshot.description.trim_end();
    match &snapshot.unfinished {
        Some(state) => format!("(not finished: {state}) {text}").trim_end().to_owned(),
        None => text.to_owned(),
    }
}

fn row(guest: &ApiGuest, snapshot: &GuestSnapshot) -> Row {
    let guest = &guest.candidate.guest;
    [
        guest.node.clone(),
        guest.vmid.to_string(),
        local(Moment::from_unix(snapshot.taken), "%y/%m/%d %H:%M:%S"),
        snapshot.parent.clone().unwrap_or_else(|| "no-parent".to_owned()),
        snapshot.name.clone(),
        described(snapshot),
        if snapshot.has_memory { "X" } else { "" }.to_owned(),
    ]
}
