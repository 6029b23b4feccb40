//! Metrics for InfluxDB, 1.x and 2.x, in its line protocol: the measurements that crossover wrote,
//! valid in every case. Rendered purely, then one POST.

use super::NotifyError;
use super::facts::{Occasion, Verdict};
use crate::report::{GuestOutcome, GuestStatus, Report, VolumeOutcome};
use crate::secret::Secret;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A database.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its address, as `https://influx.example:8086`; crossover's form with `/api` is taken, too.
    pub url: String,
    /// The organisation of a 2.x server; none: the 1.x interface is used.
    pub organisation: Option<String>,
    /// The bucket; the database of a 1.x server.
    pub bucket: String,
    /// A token; `USER:PASSWORD` for a 1.x server.
    pub token: Option<Secret>,
    /// Whether the server's certificate is checked.
    pub certificates: Certificates,
}

/// Whether certificates are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// Against the system's authorities.
    Checked,
    /// Not at all.
    Ignored,
}

impl Target {
    /// Where it is, without anything secret: scheme, host and port.
    pub fn server(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}")
    }

    /// Whether its token can be read on the network between here and there.
    pub fn shows_its_token(&self) -> bool {
        let server = self.server();
        let host = server.strip_prefix("http://").unwrap_or_default();
        let is_here = ["localhost", "127.", "[::1]"].iter().any(|here| host.starts_with(here));
        self.token.is_some() && !server.starts_with("https://") && !is_here
    }

    /// The address that lines are posted to.
    pub fn endpoint(&self) -> String {
        let base = self.url.trim_end_matches('/');
        let base = base.strip_suffix("/api").unwrap_or(base);
        let bucket = percent(&self.bucket);
        match &self.organisation {
            Some(organisation) => {
                let organisation = percent(organisation);
                format!("{base}/api/v2/write?org={organisation}&bucket={bucket}&precision=s")
            }
            None => format!("{base}/write?db={bucket}&precision=s"),
        }
    }

    /// Posts the lines.
    ///
    /// # Errors
    /// The server is not reached, or does not take them: then its answer is in the error.
    pub fn tell(&self, lines: &str) -> Result<(), NotifyError> {
        let failed = |why: String| NotifyError::Http { server: self.server(), why };
        let agent = self.agent();
        let mut request = agent.post(self.endpoint()).content_type("text/plain; charset=utf-8");
        if let Some(authorization) = self.authorization() {
            request = request.header("Authorization", authorization.reveal());
        }
        let mut answer = request.send(lines).map_err(|error| failed(error.to_string()))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let text = answer.body_mut().with_config().limit(2000).read_to_string().unwrap_or_default();
        Err(failed(format!("it answered {}: {}", answer.status(), text.trim())))
    }

    fn agent(&self) -> ureq::Agent {
        let tls = TlsConfig::builder()
            .root_certs(authorities())
            .disable_verification(self.certificates == Certificates::Ignored);
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            // A token must not follow to wherever a server points.
            .max_redirects(0)
            .tls_config(tls.build());
        config.build().new_agent()
    }

    fn authorization(&self) -> Option<Secret> {
        let token = self.token.as_ref()?;
        Some(Secret::new(match self.organisation {
            Some(_) => format!("Token {}", token.reveal()),
            None => format!("Basic {}", base64(token.reveal().as_bytes())),
        }))
    }
}

/// The authorities that this system trusts.
fn authorities() -> RootCerts {
    let loaded = rustls_native_certs::load_native_certs();
    let certificates: Vec<_> =
        loaded.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect();
    RootCerts::new_with_certs(&certificates)
}

/// The report in line protocol: a line per volume, and one for the run.
pub fn lines(occasion: &Occasion, report: &Report) -> String {
    let time = report.finished.unix();
    let job = occasion.job.clone().unwrap_or_else(|| occasion.title(report));
    let mut lines = String::new();
    for guest in &report.guests {
        for volume in &guest.volumes {
            let point = volume_point((occasion, &job), guest, volume);
            lines.extend(point.line(time));
        }
    }
    lines.extend(job_point(&job, report).line(time));
    lines
}

/// One line while it is made.
struct Point {
    measurement: &'static str,
    tags: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, String)>,
}

impl Point {
    /// The line; none without fields, which would be none that a server takes. A tag without a
    /// value is left out for the same reason.
    fn line(&self, time: i64) -> Option<String> {
        let tags: String = self
            .tags
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!(",{key}={}", escaped(value)))
            .collect();
        let fields: Vec<String> =
            self.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let measurement = self.measurement;
        (!fields.is_empty()).then(|| format!("{measurement}{tags} {} {time}\n", fields.join(",")))
    }
}

/// crossover's `crossover_xmit`. Its `basets` is not known here; a run that froze nothing has no
/// `freezerc`, where crossover wrote a line that no server took.
fn volume_point(
    (occasion, job): (&Occasion, &str),
    guest: &GuestOutcome,
    volume: &VolumeOutcome,
) -> Point {
    let kind = match volume.kind.as_str() {
        "increment" => "incremental",
        _ => "full",
    };
    let file = occasion.repository.clone().unwrap_or_default();
    let tags = vec![
        ("vmname", name_or_number(guest)),
        ("vmid", guest.vmid.to_string()),
        ("node", guest.node.clone()),
        ("jobname", job.to_owned()),
        ("destination", file),
        ("srcimage", volume.volume.clone()),
        ("disk", volume.disk.clone()),
        ("xmittype", kind.to_owned()),
    ];
    let failed = i32::from(guest.status == GuestStatus::Failed);
    let mut fields = vec![
        ("bytescalculated", integer(volume.stream_bytes)),
        ("bytesonwire", integer(volume.stored_bytes)),
        ("xmitrc", format!("{failed}i")),
        ("seconds", format!("{:.3}", finite(volume.seconds))),
    ];
    if guest.frozen_seconds.is_some() {
        let held = guest.consistency.as_deref() == Some("frozen");
        let code = format!("{}i", i32::from(!held));
        fields.push(("freezerc", code.clone()));
        fields.push(("unfreezerc", code));
    }
    Point { measurement: "crossover_xmit", tags, fields }
}

/// crossover's `crossover_jobs`, with our own counts behind its fields.
fn job_point(job: &str, report: &Report) -> Point {
    let volumes = || report.guests.iter().flat_map(|guest| &guest.volumes);
    let stream = |kind: &str| volumes().filter(|v| v.kind == kind).map(|v| v.stream_bytes).sum();
    let many = |kind: &str| volumes().filter(|volume| volume.kind == kind).count();
    let worth = |worth: &[&str]| {
        let fits = |g: &&GuestOutcome| g.consistency.as_deref().is_some_and(|w| worth.contains(&w));
        report.guests.iter().filter(fits).count()
    };
    let frozen = report.guests.iter().filter(|guest| guest.frozen_seconds.is_some());
    let frozen_well = frozen.clone().filter(|g| g.consistency.as_deref() == Some("frozen")).count();
    let of = |status| report.guests.iter().filter(|guest| guest.status == status).count();
    let failed = of(GuestStatus::Failed);
    let count = |count: usize| integer(u64::try_from(count).unwrap_or(u64::MAX));
    let fields = vec![
        ("perf_bytes_diff", integer(stream("increment"))),
        ("perf_bytes_full", integer(stream("base"))),
        ("perf_bytes_total", integer(report.totals.stream_bytes)),
        ("perf_diff_failed", "0i".to_owned()),
        ("perf_diff_ok", count(many("increment"))),
        ("perf_freeze_failed", count(frozen.count() - frozen_well)),
        ("perf_freeze_ok", count(frozen_well)),
        ("perf_full_failed", "0i".to_owned()),
        ("perf_full_ok", count(many("base"))),
        ("perf_ss_failed", count(failed)),
        ("perf_ss_ok", count(report.totals.volumes)),
        ("perf_vm_running", count(worth(&["frozen", "crash"]))),
        ("perf_vm_stopped", count(worth(&["stopped"]))),
        ("guests", count(report.totals.guests)),
        ("guests_ok", count(report.totals.guests_ok)),
        ("guests_partial", count(of(GuestStatus::Partial))),
        ("guests_failed", count(failed)),
        ("guests_skipped", count(of(GuestStatus::Skipped))),
        ("bytes_stored", integer(report.totals.stored_bytes)),
        ("seconds", integer(u64::try_from(super::facts::seconds(report)).unwrap_or(0))),
        ("exitcode", format!("{}i", report.exit_code())),
        ("ok", Verdict::of(report).is_good().to_string()),
    ];
    let tags = vec![("jobname", job.to_owned()), ("operation", report.operation.to_owned())];
    Point { measurement: "crossover_jobs", tags, fields }
}

fn name_or_number(guest: &GuestOutcome) -> String {
    if guest.name.is_empty() { guest.vmid.to_string() } else { guest.name.clone() }
}

/// The protocol's integers are signed.
fn integer(number: u64) -> String {
    format!("{}i", i64::try_from(number).unwrap_or(i64::MAX))
}

fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

/// A tag's value. A line end has no escape, and a backslash at the end would escape what follows.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            ' ' | ',' | '=' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push('_'),
            c => escaped.push(c),
        }
    }
    let end = escaped.trim_end_matches('\\').len();
    escaped[..end].to_owned() + &"/".repeat(escaped.len() - end)
}

fn percent(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}
