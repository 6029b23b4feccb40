//! Who is to be told: what stands in `notify.cfg` and what the command line adds. Sends nothing.
//!
//! `notify.cfg` has PVE's section format. What is wrong in it becomes a problem that is said
//! everywhere else; it stops no backup. What is wrong on the command line is refused.

use crate::notify::mail::{Protection, Smtp, Target as Mail, Way};
use crate::notify::{Sink, influx, prometheus, pve, syslog};
use crate::pve::section_config::{Section, SectionConfig};
use crate::secret::{Secret, SecretError, SecretSource};
use std::str::FromStr;

/// Whose runs one wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// Those in which something was not done.
    Failure,
    /// Those that ended otherwise than the one before.
    Change,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "failure" => Ok(Self::Failure),
            "change" => Ok(Self::Change),
            _ => Err(format!("{text:?} is none of always, failure, change")),
        }
    }
}

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
    /// Every secret that was read, so that it is taken out of every text.
    pub secrets: Vec<Secret>,
    /// Variables of the environment that hold secrets.
    pub secret_variables: Vec<String>,
}

/// The keys that a section of each kind may have.
const KEYS: [(&str, &[&str]); 6] = [
    ("smtp", &["host", "port", "mode", "username", "password", "from", "ca-file", "comment"]),
    ("mail", &["to", "when", "from", "comment"]),
    ("pve", &["when", "comment"]),
    ("syslog", &["when", "comment"]),
    ("influx", &["url", "org", "bucket", "token", "verify-certificate", "comment"]),
    ("prometheus", &["directory", "comment"]),
];

impl Settings {
    /// Joins the file (when there is one) and the wishes. `host` is this machine's name, for the
    /// sender's address.
    ///
    /// # Errors
    /// A secret that the command line names cannot be read.
    pub fn new(file: Option<&str>, wishes: &Wishes, host: &str) -> Result<Self, SecretError> {
        let mut settings = Self::default();
        let config = SectionConfig::parse(file.unwrap_or_default());
        let mut sections: Vec<&Section> = config.sections().iter().collect();
        sections.retain(|section| settings.knows(section));
        let of =
            |kind: &str| sections.iter().copied().filter(|s| s.kind == kind).collect::<Vec<_>>();
        settings.logs(&of("syslog"), wishes);
        settings.prometheus(&of("prometheus"));
        settings.influx(&of("influx"), wishes)?;
        settings.mail((&of("smtp"), &of("mail")), wishes, host);
        for section in of("pve") {
            let when = settings.when(section);
            settings.sinks.push((Sink::Pve(pve::Target), when));
        }
        Ok(settings)
    }

    fn knows(&mut self, section: &Section) -> bool {
        let Some((_, keys)) = KEYS.iter().find(|(kind, _)| *kind == section.kind) else {
            let known: Vec<&str> = KEYS.iter().map(|(kind, _)| *kind).collect();
            self.problem(section, &format!("is of no kind that is known ({})", known.join(", ")));
            return false;
        };
        for (key, _) in section.options.iter().filter(|(key, _)| !keys.contains(&key.as_str())) {
            self.problem(section, &format!("has the unknown option {key:?}, which is ignored"));
        }
        true
    }

    fn problem(&mut self, section: &Section, what: &str) {
        self.problems.push(format!("notify.cfg: {}: {} {what}", section.kind, section.id));
    }

    fn when(&mut self, section: &Section) -> When {
        match section.get("when").map(str::parse) {
            None => When::Always,
            Some(Ok(when)) => when,
            Some(Err(wrong)) => {
                self.problem(
                    section,
                    &format!("has a wrong option `when`: {wrong}; taken as always"),
                );
                When::Always
            }
        }
    }

    /// A secret of the file; one that cannot be read is a problem.
    fn secret(&mut self, section: &Section, key: &str) -> Result<Option<Secret>, ()> {
        let Some(text) = section.get(key) else { return Ok(None) };
        let read = text.parse::<SecretSource>().and_then(|source| self.read(&source));
        read.map(Some).map_err(|error| {
            let error = anyhow::Error::from(error);
            self.problem(section, &format!("is not used, its {key}: {error:#}"));
        })
    }

    fn read(&mut self, source: &SecretSource) -> Result<Secret, SecretError> {
        let secret = source.read()?;
        self.secrets.push(secret.clone());
        self.secret_variables.extend(source.variable().map(str::to_owned));
        Ok(secret)
    }

    fn logs(&mut self, sections: &[&Section], wishes: &Wishes) {
        let log = || Sink::Syslog(syslog::Target::default());
        match sections.first() {
            Some(section) => {
                let when = if wishes.syslog { When::Always } else { self.when(section) };
                self.sinks.push((log(), when));
            }
            None if wishes.syslog => self.sinks.push((log(), When::Always)),
            None => {}
        }
    }

    fn prometheus(&mut self, sections: &[&Section]) {
        for section in sections {
            match section.get("directory") {
                Some(directory) => {
                    let target = prometheus::Target { directory: directory.into() };
                    self.sinks.push((Sink::Prometheus(target), When::Always));
                }
                None => self.problem(section, "is not used: it has no directory"),
            }
        }
    }

    fn influx(&mut self, sections: &[&Section], wishes: &Wishes) -> Result<(), SecretError> {
        let certificates = |ignore| match ignore {
            true => influx::Certificates::Ignored,
            false => influx::Certificates::Checked,
        };
        if let Some(wish) = &wishes.influx {
            let target = influx::Target {
                url: wish.url.clone(),
                organisation: wish.organisation.clone(),
                bucket: wish.bucket.clone(),
                token: wish.token.as_ref().map(|source| self.read(source)).transpose()?,
                certificates: certificates(wishes.ignore_certificates),
            };
            self.sinks.push((Sink::Influx(target), When::Always));
            return Ok(());
        }
        for section in sections {
            let (Some(url), Some(bucket)) = (section.get("url"), section.get("bucket")) else {
                self.problem(section, "is not used: it needs url and bucket");
                continue;
            };
            let Ok(token) = self.secret(section, "token") else { continue };
            let target = influx::Target {
                url: url.to_owned(),
                organisation: section.get("org").map(str::to_owned),
                bucket: bucket.to_owned(),
                token,
                certificates: certificates(section.get("verify-certificate") == Some("0")),
            };
            self.sinks.push((Sink::Influx(target), When::Always));
        }
        Ok(())
    }

    fn mail(&mut self, (smtp, mail): (&[&Section], &[&Section]), wishes: &Wishes, host: &str) {
        if wishes.mail.is_empty() && mail.is_empty() {
            return;
        }
        // Mail that its server's section does not allow to be sent is said to be unsent, and not
        // given to somebody else.
        let way = match smtp.first() {
            None => Way::Sendmail,
            Some(section) => match self.smtp(section) {
                Some(smtp) => Way::Smtp(smtp),
                None => return,
            },
        };
        let server_from = smtp.first().and_then(|section| section.get("from"));
        let usual = format!("root@{}", if host.is_empty() { "localhost" } else { host });
        let from = server_from.unwrap_or(&usual).to_owned();
        if !wishes.mail.is_empty() {
            let target = Mail { to: wishes.mail.clone(), from, way };
            self.sinks.push((Sink::Mail(target), wishes.mail_when.unwrap_or(When::Always)));
            return;
        }
        for section in mail {
            let when = self.when(section);
            let to = addresses(section.get("to").unwrap_or_default());
            if to.is_empty() {
                self.problem(section, "is not used: it has no address in `to`");
                continue;
            }
            let from = section.get("from").map_or_else(|| from.clone(), str::to_owned);
            let target = Mail { to, from, way: way.clone() };
            self.sinks.push((Sink::Mail(target), wishes.mail_when.unwrap_or(when)));
        }
    }

    fn smtp(&mut self, section: &Section) -> Option<Smtp> {
        let refuse = |settings: &mut Self, what: String| {
            settings.problem(section, &format!("cannot be used, so no mail is sent: {what}"));
            None
        };
        let Some(host) = section.get("host") else {
            return refuse(self, "it has no host".to_owned());
        };
        let protection = match section.get("mode").unwrap_or("starttls") {
            "tls" => Protection::Tls,
            "starttls" => Protection::StartTls,
            "insecure" => Protection::None,
            other => {
                return refuse(self, format!("mode {other:?} is none of tls, starttls, insecure"));
            }
        };
        let port = match section.get("port").map(str::parse).transpose() {
            Ok(port) => port,
            Err(_) => return refuse(self, "its port is no number".to_owned()),
        };
        let password = self.secret(section, "password").ok()?;
        let user = section.get("username").map(str::to_owned);
        let login = match (user, password) {
            (Some(_), Some(_)) if protection == Protection::None => {
                return refuse(
                    self,
                    "a password is not sent without TLS (mode insecure)".to_owned(),
                );
            }
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return refuse(self, "username and password belong together".to_owned()),
        };
        let authority = match section.get("ca-file").map(std::fs::read).transpose() {
            Ok(authority) => authority,
            Err(error) => return refuse(self, format!("its ca-file: {error}")),
        };
        Some(Smtp { host: host.to_owned(), port, protection, login, authority })
    }
}

/// Addresses between commas or semicolons.
pub fn addresses(text: &str) -> Vec<String> {
    text.split([',', ';']).map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let dir = tempfile::tempdir().unwrap();
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
            ("mail: ops\n", "no address"),
            ("mail: ops\n\tto a@b.example\n\twhen never\n", "never"),
            (
                "smtp: r\n\thost m\n\tusername u\n\tpassword clear22\n\nmail: o\n\tto a@b.c\n",
                "file:PATH",
            ),
            (
                "smtp: r\n\thost m\n\tpassword file:/nonexistent/x\n\nmail: o\n\tto a@b.c\n",
                "/nonexistent/x",
            ),
            ("smtp: r\n\thost m\n\tmode plain\n\nmail: o\n\tto a@b.c\n", "plain"),
            ("influx: i\n\turl x\n", "bucket"),
            ("prometheus: p\n", "directory"),
        ] {
            let settings = settings(&format!("{file}\nsyslog: s\n"), &Wishes::default());
            let text = settings.problems.join("\n");
            assert!(text.contains(word) && text.contains("notify.cfg: "), "{file}: {text}");
            assert!(!text.contains("clear22"), "{text}");
            assert_eq!(settings.sinks[0].0.name(), "syslog", "{file}");
        }
    }

    #[test]
    fn a_password_never_goes_without_tls() {
        let dir = tempfile::tempdir().unwrap();
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
