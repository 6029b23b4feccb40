//! Who is to be told: what stands in `notify.cfg` and what the command line adds. Sends nothing.
//!
//! `notify.cfg` has PVE's section format. What is wrong in it becomes a problem that is said
//! everywhere else; it stops no backup. What is wrong on the command line is refused.

use crate::notify::mail::{Protection, Smtp, Target as Mail, Way, mailbox};
use crate::notify::{Sink, influx, prometheus, pve, syslog};
use crate::pve::section_config::{Section, SectionConfig};
use crate::schema::notify_cfg::{
    InfluxOptions, MailOptions, PrometheusOptions, PveOptions, SmtpMode, SmtpOptions,
    SyslogOptions, kinds,
};
use crate::schema::{self, JsonSchema};
use crate::secret::{Secret, SecretError, SecretSource, is_in_url};
use serde::de::DeserializeOwned;

pub use crate::schema::notify_cfg::When;

/// What the command line wants, beside or instead of `notify.cfg`.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Addresses instead of those of `notify.cfg`.
    pub mail: Vec<String>,
    /// When, for all mail.
    pub mail_when: Option<When>,
    /// The system's log, too.
    pub syslog: bool,
    /// A database instead of those of `notify.cfg`.
    pub influx: Option<InfluxWish>,
    /// Whether TLS certificates of databases are checked.
    pub ignore_certificates: bool,
}

/// A database as it is asked for.
#[derive(Debug, Clone)]
pub struct InfluxWish {
    /// Its address.
    pub url: String,
    /// The organisation; 2.x only.
    pub organisation: Option<String>,
    /// Bucket or database.
    pub bucket: String,
    /// Where its token stands.
    pub token: Option<SecretSource>,
}

/// Who is told, and when.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The sinks in the order in which they are told.
    pub sinks: Vec<(Sink, When)>,
    /// What is wrong with `notify.cfg`.
    pub problems: Vec<String>,
    /// What works and could be safer, for who is there to read it.
    pub cautions: Vec<String>,
    /// Every secret that was read, so that it is taken out of every text.
    pub secrets: Vec<Secret>,
    /// Variables of the environment that hold secrets.
    pub secret_variables: Vec<String>,
}

/// A section and the line of its header.
type Header<'a> = (&'a Section, usize);

/// The sections of servers and of those who get mail.
type MailSections<'a> = (&'a [Read<'a, SmtpOptions>], &'a [Read<'a, MailOptions>]);

/// A section as its schema reads it.
struct Read<'a, T> {
    header: Header<'a>,
    /// None when the section is of no use, which is a problem already.
    options: Option<T>,
}

impl Settings {
    /// Joins the file (when there is one) and the wishes. `host` is this machine's name, for the
    /// sender's address.
    ///
    /// # Errors
    /// A secret that the command line names cannot be read.
    pub fn new(file: Option<&str>, wishes: &Wishes, host: &str) -> Result<Self, SecretError> {
        let mut settings = Self::default();
        let config = SectionConfig::parse(file.unwrap_or_default());
        settings.refuse_unknown(&config);
        let logs = settings.sections(&config, "syslog");
        settings.logs(&logs, wishes);
        let files = settings.sections(&config, "prometheus");
        settings.prometheus(&files);
        let databases = settings.sections(&config, "influx");
        settings.influx(&databases, wishes)?;
        let servers = settings.sections(&config, "smtp");
        let mail = settings.sections(&config, "mail");
        settings.mail((&servers, &mail), wishes, host);
        for Read { options, .. } in settings.sections::<PveOptions>(&config, "pve") {
            let when = options.map(|options| options.when).unwrap_or_default();
            settings.sinks.push((Sink::Pve(pve::Target), when));
        }
        Ok(settings)
    }

    /// The metrics files for Prometheus that `notify.cfg` names, and nothing else of it: no secret is
    /// read.
    pub fn metrics_files(file: &str) -> Vec<prometheus::Target> {
        let mut settings = Self::default();
        let config = SectionConfig::parse(file);
        let sections = settings.sections(&config, "prometheus");
        settings.prometheus(&sections);
        let targets = settings.sinks.into_iter().filter_map(|(sink, _)| match sink {
            Sink::Prometheus(target) => Some(target),
            _ => None,
        });
        targets.collect()
    }

    fn refuse_unknown(&mut self, config: &SectionConfig) {
        let known: Vec<&str> = kinds().iter().map(|kind| kind.kind).collect();
        for (place, section) in config.sections().iter().enumerate() {
            if !known.contains(&section.kind.as_str()) {
                let what = format!("is of no kind that is known ({})", known.join(", "));
                self.problem((section, config.line(place, None)), &what);
            }
        }
    }

    /// Reads all sections of a kind by their schema; what is wrong in them is a problem.
    fn sections<'a, T>(&mut self, config: &'a SectionConfig, kind: &str) -> Vec<Read<'a, T>>
    where
        T: DeserializeOwned + JsonSchema,
    {
        let mut sections = Vec::new();
        for (place, section) in config.sections().iter().enumerate() {
            if section.kind != kind {
                continue;
            }
            let read = schema::forgiving::<T>(&section.options);
            for error in &read.ignored {
                let at = (section, config.line(place, error.key()));
                self.problem(at, &format!("{error}; it is passed over"));
            }
            let header = (section, config.line(place, None));
            let options = match read.value {
                Ok(options) => Some(options),
                Err(error) => {
                    let at = (section, config.line(place, error.key()));
                    self.problem(at, &format!("is not used: {error}"));
                    None
                }
            };
            sections.push(Read { header, options });
        }
        sections
    }

    fn problem(&mut self, (section, line): Header<'_>, what: &str) {
        let about = format!("notify.cfg line {line}: {}: {}", section.kind, section.id);
        self.problems.push(format!("{about} {what}"));
    }

    /// A secret of the file; one that cannot be read is a problem.
    fn secret(
        &mut self,
        header: Header<'_>,
        (key, text): (&str, Option<&str>),
    ) -> Result<Option<Secret>, ()> {
        let Some(text) = text else { return Ok(None) };
        let read = text.parse::<SecretSource>().and_then(|source| self.read(&source));
        read.map(Some).map_err(|error| {
            let error = anyhow::Error::from(error);
            self.problem(header, &format!("is not used, its {key}: {error:#}"));
        })
    }

    fn read(&mut self, source: &SecretSource) -> Result<Secret, SecretError> {
        let secret = source.read()?;
        self.problems.extend(source.exposure());
        self.secrets.push(secret.clone());
        self.secret_variables.extend(source.variable().map(str::to_owned));
        Ok(secret)
    }

    fn logs(&mut self, sections: &[Read<'_, SyslogOptions>], wishes: &Wishes) {
        let log = || Sink::Syslog(syslog::Target::default());
        if wishes.syslog {
            self.sinks.push((log(), When::Always));
        } else if let Some(section) = sections.first() {
            let when = section.options.as_ref().map(|options| options.when);
            self.sinks.push((log(), when.unwrap_or_default()));
        }
    }

    fn prometheus(&mut self, sections: &[Read<'_, PrometheusOptions>]) {
        for options in sections.iter().filter_map(|section| section.options.as_ref()) {
            let target = prometheus::Target { directory: options.directory.clone().into() };
            self.sinks.push((Sink::Prometheus(target), When::Always));
        }
    }

    fn influx(
        &mut self,
        sections: &[Read<'_, InfluxOptions>],
        wishes: &Wishes,
    ) -> Result<(), SecretError> {
        let certificates = |checked| match checked {
            false => influx::Certificates::Ignored,
            true => influx::Certificates::Checked,
        };
        if let Some(wish) = &wishes.influx {
            let target = influx::Target {
                url: wish.url.clone(),
                organisation: wish.organisation.clone(),
                bucket: wish.bucket.clone(),
                token: wish.token.as_ref().map(|source| self.read(source)).transpose()?,
                certificates: certificates(!wishes.ignore_certificates),
            };
            self.push_influx(target);
            return Ok(());
        }
        for Read { header, options } in sections {
            let Some(options) = options else { continue };
            if is_in_url(&options.url) {
                self.problem(*header, "is not used: its url has a user, password or token in it, which stands in `token` as file:PATH (USER:PASSWORD for InfluxDB 1.x)");
                continue;
            }
            let token = self.secret(*header, ("token", options.token.as_deref()));
            let Ok(token) = token else { continue };
            let target = influx::Target {
                url: options.url.clone(),
                organisation: options.org.clone(),
                bucket: options.bucket.clone(),
                token,
                certificates: certificates(options.verify_certificate),
            };
            self.push_influx(target);
        }
        Ok(())
    }

    /// A database without TLS is used all the same, as in a network of one's own.
    fn push_influx(&mut self, target: influx::Target) {
        if target.shows_its_token() {
            let server = target.server();
            self.cautions.push(format!("the token of InfluxDB at {server} goes over the network in clear, and whoever listens can use it: https:// hides it"));
        }
        self.sinks.push((Sink::Influx(target), When::Always));
    }

    fn mail(&mut self, (servers, mail): MailSections<'_>, wishes: &Wishes, host: &str) {
        if wishes.mail.is_empty() && mail.is_empty() {
            return;
        }
        // Mail that its server's section does not allow to be sent is said to be unsent, and not
        // given to somebody else.
        let way = match servers.first() {
            None => Way::Sendmail,
            Some(section) => match self.smtp(section) {
                Some(smtp) => Way::Smtp(smtp),
                None => return,
            },
        };
        let server = servers.first().and_then(|section| section.options.as_ref());
        let usual = format!("root@{}", if host.is_empty() { "localhost" } else { host });
        let from = server.and_then(|options| options.from.clone()).unwrap_or(usual);
        if !wishes.mail.is_empty() {
            let target = Mail { to: wishes.mail.clone(), from, way };
            self.sinks.push((Sink::Mail(target), wishes.mail_when.unwrap_or_default()));
            return;
        }
        for Read { header, options } in mail {
            let Some(options) = options else { continue };
            let (to, wrong): (Vec<_>, Vec<_>) =
                addresses(&options.to).into_iter().partition(|one| is_address(one));
            for one in wrong {
                self.problem(*header, &format!("tells nobody at {one:?}, which is no address"));
            }
            if to.is_empty() {
                self.problem(*header, "is not used: it has no address in `to`");
                continue;
            }
            let from = options.from.clone().unwrap_or_else(|| from.clone());
            let target = Mail { to, from, way: way.clone() };
            self.sinks.push((Sink::Mail(target), wishes.mail_when.unwrap_or(options.when)));
        }
    }

    fn smtp(&mut self, section: &Read<'_, SmtpOptions>) -> Option<Smtp> {
        let refuse = |settings: &mut Self, what: &str| {
            let text = format!("cannot be used, so no mail is sent: {what}");
            settings.problem(section.header, &text);
            None
        };
        let Some(options) = &section.options else {
            return refuse(self, "see the line before");
        };
        let protection = match options.mode {
            SmtpMode::Tls => Protection::Tls,
            SmtpMode::Starttls => Protection::StartTls,
            SmtpMode::Insecure => Protection::None,
        };
        let given = ("password", options.password.as_deref());
        let password = self.secret(section.header, given).ok()?;
        let login = match (options.username.clone(), password) {
            (Some(_), Some(_)) if protection == Protection::None => {
                return refuse(self, "a password is not sent without TLS (mode insecure)");
            }
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return refuse(self, "username and password belong together"),
        };
        let authority = match options.ca_file.as_ref().map(std::fs::read).transpose() {
            Ok(authority) => authority,
            Err(error) => return refuse(self, &format!("its ca-file: {error}")),
        };
        Some(Smtp { host: options.host.clone(), port: options.port, protection, login, authority })
    }
}

/// Addresses between commas or semicolons.
pub fn addresses(text: &str) -> Vec<String> {
    text.split([',', ';']).map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect()
}

/// Whether mail can be sent there; a name alone is somebody on this machine.
pub fn is_address(text: &str) -> bool {
    mailbox(text, "localhost").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A directory for secrets, which nobody else enters.
    fn private() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn settings(file: &str, wishes: &Wishes) -> Settings {
        Settings::new(Some(file), wishes, "pve1.example").unwrap()
    }

    fn mail(settings: &Settings) -> Vec<(&Mail, When)> {
        let mut found = Vec::new();
        for (sink, when) in &settings.sinks {
            if let Sink::Mail(mail) = sink {
                found.push((mail, *when));
            }
        }
        found
    }

    #[test]
    fn a_whole_file_is_understood() {
        let dir = private();
        let password = dir.path().join("smtp");
        std::fs::write(&password, "hunter22\n").unwrap();
        let file = format!(
            "smtp: relay\n\thost mail.example\n\tport 2525\n\tusername u\n\tpassword file:{}\n\n\
             mail: ops\n\tto a@b.example, c@d.example\n\twhen failure\n\n\
             pve: default\n\nsyslog: default\n\n\
             influx: main\n\turl http://i:8086\n\tbucket pve\n\n\
             prometheus: node\n\tdirectory /var/lib/prometheus/node-exporter\n",
            password.display()
        );
        let settings = settings(&file, &Wishes::default());
        assert_eq!(settings.problems, Vec::<String>::new());
        let names: Vec<String> = settings.sinks.iter().map(|(sink, _)| sink.name()).collect();
        assert_eq!(
            names,
            [
                "syslog",
                "metrics file in /var/lib/prometheus/node-exporter",
                "InfluxDB at http://i:8086",
                "mail to a@b.example, c@d.example",
                "PVE notification"
            ]
        );
        let (target, when) = mail(&settings)[0];
        assert_eq!((target.from.as_str(), when), ("root@pve1.example", When::Failure));
        let Way::Smtp(smtp) = &target.way else { panic!("{target:?}") };
        assert_eq!((smtp.port, smtp.protection), (Some(2525), Protection::StartTls));
        assert_eq!(settings.secrets, [Secret::new("hunter22")]);
        assert!(!format!("{settings:?}").contains("hunter22"));
    }

    #[test]
    fn the_command_line_replaces_addresses_and_keeps_the_server() {
        let file = "smtp: relay\n\thost m\n\nmail: ops\n\tto a@b.example\n";
        let wishes = Wishes {
            mail: vec!["x@y.example".into()],
            mail_when: Some(When::Change),
            syslog: true,
            ..Wishes::default()
        };
        let settings = settings(file, &wishes);
        let (target, when) = mail(&settings)[0];
        assert_eq!((target.to.as_slice(), when), (&["x@y.example".to_owned()][..], When::Change));
        assert!(matches!(target.way, Way::Smtp(_)) && settings.sinks.len() == 2);
        let without = Settings::new(None, &wishes, "").unwrap();
        assert_eq!(mail(&without)[0].0.way, Way::Sendmail);
        assert_eq!(mail(&without)[0].0.from, "root@localhost");
    }

    #[test]
    fn what_is_wrong_is_named_and_stops_nothing_else() {
        for (file, word) in [
            ("gotify: x\n\turl y\n", "no kind that is known"),
            ("mail: ops\n\tto a@b.example\n\tcolour red\n", "colour"),
            ("mail: ops\n", "line 1: mail: ops is not used: option to is missing"),
            ("mail: ops\n\tto ,\n", "no address"),
            ("mail: ops\n\tto root, to me, a@\n", "tells nobody at \"to me\", which is no address"),
            (
                "# ours\nmail: ops\n\tcolour red\n\tto a@b.example\n",
                "line 3: mail: ops option colour is unknown; known are to, when, from, comment",
            ),
            (
                "mail: ops\n\tto a@b.example\n\tto c@d.example\n",
                "line 3: mail: ops option to stands twice",
            ),
            ("mail: ops\n\tto a@b.example\n\twhen never\n", "never"),
            (
                "smtp: r\n\thost m\n\tusername u\n\tpassword clear22\n\nmail: o\n\tto a@b.c\n",
                "file:PATH",
            ),
            (
                "smtp: r\n\thost m\n\tpassword file:/nonexistent/x\n\nmail: o\n\tto a@b.c\n",
                "/nonexistent/x",
            ),
            (
                "smtp: r\n\thost m\n\tmode plain\n\nmail: o\n\tto a@b.c\n",
                "line 3: smtp: r option mode is \"plain\", and must be tls, starttls or insecure",
            ),
            ("smtp: r\n\thost m\n\tport 70000\n\nmail: o\n\tto a@b.c\n", "no mail is sent"),
            ("influx: i\n\turl x\n\tbucket b\n\tverify-certificate no\n", "must be 1 or 0"),
            ("influx: i\n\turl x\n", "bucket"),
            ("influx: i\n\turl http://u:clear22@i\n\tbucket b\n", "has a user, password or token"),
            ("prometheus: p\n", "directory"),
        ] {
            let settings = settings(&format!("{file}\nsyslog: s\n"), &Wishes::default());
            let text = settings.problems.join("\n");
            assert!(text.contains(word) && text.contains("notify.cfg line "), "{file}: {text}");
            assert!(!text.contains("clear22"), "{text}");
            assert_eq!(settings.sinks[0].0.name(), "syslog", "{file}");
        }
    }

    #[test]
    fn a_token_that_goes_over_the_network_in_clear_is_warned_of() {
        let dir = private();
        let token = dir.path().join("token");
        std::fs::write(&token, "hunter22\n").unwrap();
        let cautions = |url: &str| {
            let token = format!("token file:{}", token.display());
            let file = format!("influx: i\n\turl {url}\n\tbucket b\n\t{token}\n");
            let settings = settings(&file, &Wishes::default());
            assert_eq!((settings.sinks.len(), settings.problems.len()), (1, 0), "{settings:?}");
            settings.cautions.join("\n")
        };
        assert!(
            cautions("http://influx:8086").contains("InfluxDB at http://influx:8086 goes over")
        );
        assert!(cautions("influx:8086").contains("https:// hides it"));
        for url in
            ["https://influx:8086", "http://127.0.0.1:8086", "http://localhost", "http://[::1]:1"]
        {
            assert_eq!(cautions(url), "", "{url}");
        }
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_used_and_warned_of() {
        let dir = private();
        let token = dir.path().join("token");
        std::fs::write(&token, "hunter22\n").unwrap();
        for (path, mode) in [(dir.path(), 0o755), (&*token, 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let token = token.display();
        let file = format!("influx: i\n\turl https://i\n\tbucket b\n\ttoken file:{token}\n");
        let settings = settings(&file, &Wishes::default());
        assert!(settings.problems[0].contains("can be read by everybody"), "{settings:?}");
        assert_eq!(settings.sinks.len(), 1);
    }

    #[test]
    fn a_password_never_goes_without_tls() {
        let dir = private();
        let password = dir.path().join("p");
        std::fs::write(&password, "hunter22\n").unwrap();
        let file = format!(
            "smtp: r\n\thost m\n\tmode insecure\n\tusername u\n\tpassword file:{}\n\nmail: o\n\tto a@b.c\n",
            password.display()
        );
        let settings = settings(&file, &Wishes::default());
        assert!(settings.problems[0].contains("without TLS") && settings.sinks.is_empty());
    }
}
