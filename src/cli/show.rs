//! `pve-ferry show guests`: which guests a selection means, and why. Reads only; it makes no plan, so
//! that what a command will do with a guest is `--dry-run`'s to say.

use super::document::{ShownGuest, ShownGuests};
use super::error::CliError;
use super::table::{Align, render};
use super::{blocking, context, output};
use crate::model::VmId;
use crate::select::{Candidate, Selected, Selection, Verdict, select};
use crate::survey::{self, SurveyedGuests};
use crate::transport::Host;
use std::collections::{BTreeMap, BTreeSet};

/// Show what the cluster has
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Guests(GuestsArgs),
}

/// Show the guests of the cluster that a selection means
///
/// With --explain all guests of the cluster are shown, each with every item of the selection that
/// names or excludes it. An item that names no guest, and a guest on a node that is down, is told
/// on stderr and is exit code 3; 4 means that no guest is selected at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry show guests
  pve-ferry show guests --vmid @tag-prod,-105
  pve-ferry show guests --vmid all,-@pool-test --explain")]
struct GuestsArgs {
    /// Which guests: 100,101 100:120 all all-NODE @pool-X @tag-X storage-X NAME, -ITEM excludes [default: all].
    #[arg(long, value_name = "SEL")]
    vmid: Option<String>,
    /// All guests of the cluster, and why each is in or out.
    #[arg(long)]
    explain: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The selection makes no sense, or the cluster's files cannot be read.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let What::Guests(args) = &args.what;
    guests(args)
}

/// What is shown of one guest.
struct Row<'a> {
    verdict: &'a Verdict,
    candidate: Option<&'a Candidate>,
    status: Option<&'a str>,
}

fn guests(args: &GuestsArgs) -> Result<u8, CliError> {
    let selection = match args.vmid.as_deref() {
        Some(text) => Selection::parse(text).map_err(|e| CliError::usage(e.to_string()))?,
        None => Selection::all(),
    };
    let cluster = context::cluster();
    let found = blocking(async { Ok(survey::guests(&cluster, &Host::local()).await?) })?;
    let selected = select(&selection, &found.candidates);
    let rows = rows(args, &found, &selected);
    let problems = problems(&found, &selected);
    if args.json {
        output::json(&document(&rows, &problems));
    } else {
        output::text(&table(args, &rows));
        problems.lines().iter().for_each(|line| output::notice(line));
    }
    Ok(problems.exit_code(&selected))
}

fn rows<'a>(args: &GuestsArgs, found: &'a SurveyedGuests, selected: &'a Selected) -> Vec<Row<'a>> {
    let shown = selected.why.iter().filter(|verdict| args.explain || verdict.selected);
    let row = |verdict: &'a Verdict| {
        let vmid = verdict.guest.vmid;
        let candidate = found.candidates.iter().find(|c| c.guest.vmid == vmid);
        Row { verdict, candidate, status: found.states.get(&vmid).map(String::as_str) }
    };
    shown.map(row).collect()
}

/// What keeps the answer from being whole, or is likely a mistake.
struct Problems {
    not_found: Vec<String>,
    /// Selected guests by the node that is down, or is no member.
    unreachable: BTreeMap<String, Vec<VmId>>,
    /// Those of these nodes that are no members.
    removed: BTreeSet<String>,
    warnings: Vec<String>,
}

fn problems(found: &SurveyedGuests, selected: &Selected) -> Problems {
    let mut unreachable: BTreeMap<String, Vec<VmId>> = BTreeMap::new();
    let is_away = |node: &String| found.offline.contains(node) || found.removed.contains(node);
    for guest in selected.guests.iter().filter(|guest| is_away(&guest.node)) {
        unreachable.entry(guest.node.clone()).or_default().push(guest.vmid);
    }
    let idle = selected.idle_exclusions.iter();
    let mut warnings: Vec<String> = idle.map(|item| format!("{item} excludes nothing")).collect();
    warnings.extend(found.no_states.iter().map(|why| format!("states are not shown: {why}")));
    let removed = found.removed.clone();
    Problems { not_found: selected.empty_items.clone(), unreachable, removed, warnings }
}

impl Problems {
    fn lines(&self) -> Vec<String> {
        let nothing = self.not_found.iter().map(|item| format!("nothing selected by {item}"));
        let down = self.unreachable.iter().map(|(node, vmids)| {
            let vmids: Vec<String> = vmids.iter().map(ToString::to_string).collect();
            let why = match self.removed.contains(node) {
                true => "is no member of the cluster (its directory below nodes/ was left when it was removed)",
                false => "is down",
            };
            format!("node {node} {why}: no command reaches its guests {}", vmids.join(", "))
        });
        let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}"));
        nothing.chain(down).chain(warnings).collect()
    }

    fn exit_code(&self, selected: &Selected) -> u8 {
        let whole = self.not_found.is_empty() && self.unreachable.is_empty();
        match (selected.guests.is_empty(), whole) {
            (true, _) => 4,
            (false, false) => 3,
            (false, true) => 0,
        }
    }
}

fn table(args: &GuestsArgs, rows: &[Row]) -> String {
    let mut headings = vec![
        ("VMID", Align::Right),
        ("NAME", Align::Left),
        ("KIND", Align::Left),
        ("NODE", Align::Left),
        ("STATUS", Align::Left),
        ("TAGS", Align::Left),
        ("POOL", Align::Left),
    ];
    if args.explain {
        headings.extend([("SELECTED", Align::Left), ("WHY", Align::Left)]);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(args, row)).collect();
    render(&headings, &cells)
}

fn cells(args: &GuestsArgs, row: &Row) -> Vec<String> {
    let guest = &row.verdict.guest;
    let of_candidate = |list: fn(&Candidate) -> &Vec<String>| {
        row.candidate.map(|candidate| list(candidate).join(",")).unwrap_or_default()
    };
    let mut cells = vec![
        guest.vmid.to_string(),
        guest.name.clone(),
        guest.kind.to_string(),
        guest.node.clone(),
        row.status.unwrap_or("?").to_owned(),
        of_candidate(|c| &c.tags),
        of_candidate(|c| &c.pools),
    ];
    if args.explain {
        let selected = if row.verdict.selected { "yes" } else { "no" };
        cells.extend([selected.to_owned(), row.verdict.explanation()]);
    }
    cells
}

fn document(rows: &[Row], problems: &Problems) -> ShownGuests {
    ShownGuests {
        guests: rows.iter().map(guest_document).collect(),
        not_found: problems.not_found.clone(),
        unreachable: problems.unreachable.clone(),
        warnings: problems.warnings.clone(),
    }
}

fn guest_document(row: &Row) -> ShownGuest {
    let Verdict { guest, selected, named_by, excluded_by, template, .. } = row.verdict;
    ShownGuest {
        vmid: guest.vmid,
        name: guest.name.clone(),
        kind: guest.kind,
        node: guest.node.clone(),
        status: row.status.map(str::to_owned),
        template: *template,
        tags: row.candidate.map(|c| c.tags.clone()),
        pools: row.candidate.map(|c| c.pools.clone()),
        storages: row.candidate.map(|c| c.storages.clone()),
        selected: *selected,
        named_by: named_by.clone(),
        excluded_by: excluded_by.clone(),
        why: row.verdict.explanation(),
    }
}
