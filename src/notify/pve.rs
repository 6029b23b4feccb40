//! PVE's own notification system: targets and matchers are the administrator's, in PVE's GUI. The
//! report goes to it through a few lines of Perl, as there is no other door.

use super::facts::{Occasion, Verdict};
use super::text::{HEADINGS, about, columns, rows, sections};
use super::{DEADLINE, NotifyError};
use crate::report::Report;
use crate::transport::{Command, Host, TransportError};
use serde_json::{Value, json};

/// PVE's notification system on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target;

/// The Perl that calls PVE (see the file).
const HELPER: &str = include_str!("../../perl/notify.pl");

impl Target {
    /// Hands the report over.
    ///
    /// # Errors
    /// This machine has no such system, or its Perl fails. A target that PVE does not reach is
    /// only in PVE's log.
    pub async fn tell(self, occasion: &Occasion, report: &Report) -> Result<(), NotifyError> {
        // The program and its input come through one pipe, so that nothing stands in argv.
        let input = format!("{HELPER}\n__END__\n{}\n", message(occasion, report));
        let command = Command::writes("perl").arg("-").input(input).deadline(DEADLINE);
        let done = Host::local().run(&command).await;
        done.map(drop).map_err(|source: TransportError| NotifyError::Command {
            what: "PVE's notification system",
            source,
        })
    }
}

/// What the helper reads: severity, fields for matchers, data for the templates.
pub fn message(occasion: &Occasion, report: &Report) -> Value {
    let severity = match Verdict::of(report) {
        Verdict::Ok => "info",
        Verdict::Warning => "warning",
        Verdict::Partial | Verdict::Failed => "error",
    };
    let mut fields = json!({ "type": "pve-ferry", "hostname": occasion.host });
    if let Some(job) = &occasion.job {
        fields["job-id"] = json!(job);
    }
    json!({
        "severity": severity,
        "template": "pve-ferry",
        "fields": fields,
        "data": {
            "subject": occasion.subject(report),
            "about": about(occasion, report),
            "sections": sections(report).into_iter().map(section).collect::<Vec<_>>(),
            "guests": table(report),
        },
    })
}

fn section((heading, entries): super::text::Section) -> Value {
    let entry = |(who, what)| json!({ "who": who, "what": what });
    json!({ "heading": heading, "entries": entries.into_iter().map(entry).collect::<Vec<_>>() })
}

/// A table as PVE's template helper `table` draws it.
fn table(report: &Report) -> Value {
    let id = |heading: &str| heading.to_lowercase();
    let headings = &HEADINGS[columns(report)];
    let schema: Vec<Value> =
        headings.iter().map(|heading| json!({ "label": heading, "id": id(heading) })).collect();
    let row = |row: [String; 9]| -> Value {
        headings.iter().map(|heading| id(heading)).zip(row.map(Value::from)).collect()
    };
    json!({
        "schema": { "columns": schema },
        "data": rows(report).into_iter().map(row).collect::<Vec<_>>(),
    })
}
