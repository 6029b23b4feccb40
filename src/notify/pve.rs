//! PVE's own notification system: targets and matchers are the administrator's, in PVE's GUI. The
//! report goes to it through a few lines of Perl, as there is no other door. Nothing is rendered
//! here: that do the templates (perl/README says which versions of PVE they were compared with).

use super::NotifyError;
use super::facts::{Occasion, Verdict};
use super::text::{HEADINGS, about, columns, rows, sections};
use crate::clock::first_label;
use crate::report::Report;
use crate::transport::{Command, Host, TransportError};
use serde_json::{Value, json};
use std::time::Duration;

/// How long PVE may take. It tells its targets one after another and waits for each that is down:
/// 5 s for every step of SMTP, 10 s for Gotify and webhooks, longer where a name does not resolve.
/// Given up early, the targets after those would hear of nothing.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// PVE's notification system on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target;

/// The Perl that calls PVE (see the file).
const HELPER: &str = include_str!("../../perl/notify.pl");

impl Target {
    /// Hands the report over.
    ///
    /// # Errors
    /// This machine has no such system, it refuses the report, or it did not reach one of the
    /// targets that its matchers chose. That no matcher chose any is none: the administrator's will.
    pub async fn tell(self, occasion: &Occasion, report: &Report) -> Result<(), NotifyError> {
        // The program and its input come through one pipe, so that nothing stands in argv.
        let input = format!("{HELPER}\n__END__\n{}\n", message(occasion, report));
        let command = Command::writes("perl").arg("-").input(input).deadline(DEADLINE);
        let done = Host::local().run(&command).await.map_err(failure)?;
        untold(&done.stderr).map_or(Ok(()), Err)
    }
}

fn failure(source: TransportError) -> NotifyError {
    match source {
        TransportError::Deadline { .. } => NotifyError::Unfinished { source },
        source => NotifyError::Command { what: "PVE's notification system", source },
    }
}

/// The targets that PVE did not reach. It never returns such an error: it prints it among other
/// lines (proxmox-notify, `Bus::send`). A template of the administrator's that does not render is
/// one of those, too, and costs nobody the notification.
fn untold(stderr: &str) -> Option<NotifyError> {
    let lines = stderr.lines().filter(|line| line.contains("could not notify via target"));
    let lines: Vec<&str> = lines.map(|l| l.strip_prefix("ERROR: ").unwrap_or(l)).collect();
    (!lines.is_empty()).then(|| NotifyError::Targets(lines.join("; ")))
}

/// What the helper reads: severity, fields for matchers, data for the templates.
pub fn message(occasion: &Occasion, report: &Report) -> Value {
    let severity = match Verdict::of(report) {
        Verdict::Ok => "info",
        Verdict::Warning => "warning",
        Verdict::Partial | Verdict::Failed => "error",
    };
    // Matchers compare it with the node's name as PVE's own notifications have it.
    let mut fields = json!({ "type": "pve-ferry", "hostname": first_label(&occasion.host) });
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
    // As in mails, further lines of an entry stand below it and not below the heading.
    let entry =
        |(who, what): (String, String)| json!({ "who": who, "what": what.replace('\n', "\n    ") });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_pve_did_not_reach_is_a_failure_and_nothing_else_on_stderr_is() {
        let fine = "INFO: notified via target `a`\nINFO: skipping disabled target 'b'\n\
                    ERROR: failed to render override template 'pve-ferry-body.txt.hbs': x\n";
        assert!(untold("").is_none());
        assert!(untold(fine).is_none());
        let bad = "ERROR: could not notify via target `c`: refused\nINFO: notified via target `a`\n\
                   ERROR: could not notify via target 'gone', it does not exist\n";
        let error = untold(&format!("{fine}{bad}")).unwrap().to_string();
        assert_eq!(
            error,
            "PVE did not tell all of its targets: could not notify via target `c`: refused; could \
             not notify via target 'gone', it does not exist; each can be tested under Datacenter, \
             Notifications"
        );
    }

    #[test]
    fn what_did_not_end_may_have_told_some_and_says_whom() {
        let source = TransportError::Deadline {
            command: "perl -".into(),
            after: DEADLINE,
            stderr: "INFO: notified via target `a`".into(),
        };
        let text = format!("{:#}", anyhow::Error::from(failure(source)));
        assert!(text.contains("longer than 120 s; some targets may have been told"), "{text}");
        assert!(text.contains("notified via target `a`"), "{text}");
        assert!(crate::notify::Sink::Pve(Target).deadline() > DEADLINE);
    }

    #[test]
    fn the_host_is_named_as_pve_names_a_node() {
        let span = (crate::model::Moment::from_unix(0), crate::model::Moment::from_unix(0));
        let report = Report::new("verify", span, vec![], vec![]);
        for host in ["pve1", "pve1.example.com"] {
            let occasion = Occasion { host: host.into(), ..Occasion::default() };
            assert_eq!(message(&occasion, &report)["fields"]["hostname"], "pve1");
        }
    }
}
