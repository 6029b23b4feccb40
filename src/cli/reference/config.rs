//! The pages and schemas of the files that a person writes: `jobs.cfg` and `notify.cfg`. Not for
//! reading them.

use super::super::job::{about, operations, section_schema};
use super::Format;
use super::page::{Block, Page, Row};
use crate::job::command_of;
use crate::schema::notify_cfg::kinds;
use crate::schema::{self, JobOptions, Property, properties};
use serde_json::{Map, Value, json};

const PLACE: &str = "It stands below `/etc/pve/pve-ferry/`, for the whole cluster, and below \
                     `/etc/pve-ferry/` on a machine that is no PVE node. The format is that of PVE's own section \
                     files: a line `KIND: NAME` begins a section, a line for each option follows, indented, and an \
                     empty line ends it. Lines that begin with # are comments. No quotes: the rest of the line is \
                     the value.";

const SECRETS: &str = "No secret stands in it: options that take one take the place where it stands, \
                       `file:PATH` (its first line; `/etc/pve/priv/pve-ferry/` is read by root alone) or `env:NAME`.";

const JOBS_EXAMPLE: &str = "backup: nightly
        schedule 30 2 * * mon-fri
        vmid all,-105
        label daily
        path /mnt/my backup
        keep 7

prune: tidy
        schedule daily
        node pve1
        path /mnt/my backup
        retain 14d";

const NOTIFY_EXAMPLE: &str = "smtp: relay
        host mail.example.com
        username pve
        password file:/etc/pve/priv/pve-ferry/smtp

mail: admins
        to ops@example.com, boss@example.com
        when failure

syslog: default";

/// The page of `jobs.cfg`.
pub fn jobs_cfg() -> Page {
    let mut blocks = vec![
        Block::Text("The jobs of pve-ferry. `pve-ferry job create` and its like write it, and it may be edited: \
                     nodes notice within 5 minutes.".to_owned()),
        Block::Text(PLACE.to_owned()),
        Block::Text("The kind of a section is the command that the job runs, its name that of the job. A flag \
                     stands without a value. An option that is unknown, stands twice or has a value that does not fit \
                     makes its job unfit to run, which `pve-ferry job list` and `pve-ferry status` say with the line; it harms no other job."
            .to_owned()),
        Block::Text(SECRETS.to_owned()),
        Block::Heading("Example".to_owned()),
        Block::Lines(JOBS_EXAMPLE.to_owned()),
        Block::Heading("Options of every job".to_owned()),
        Block::Rows(rows(&properties(&schema::of_read::<JobOptions>()))),
    ];
    let own = schema::keys::<JobOptions>();
    for operation in operations() {
        let mut options = properties(&section_schema(operation));
        options.retain(|option| !option.hidden && !own.contains(&option.name));
        blocks.push(Block::Heading(format!("Options of {operation}")));
        let command = command_of(operation).join(" ");
        blocks.push(Block::Text(format!("As of the command: `pve-ferry help {command}`.")));
        blocks.push(Block::Rows(rows(&options)));
    }
    Page { name: "jobs.cfg", summary: "the jobs of pve-ferry", blocks }
}

/// The page of `notify.cfg`.
pub fn notify_cfg() -> Page {
    let mut blocks = vec![
        Block::Text("Who is told of the runs of pve-ferry, and how. Every section is one way; there may be \
                     several of a kind, but only the first `smtp` and the first `syslog` count. Options of the command \
                     line (`--mail`, `--syslog`, `--influxurl`) add to it or take the place of its addresses."
            .to_owned()),
        Block::Text(PLACE.to_owned()),
        Block::Text("What is wrong in it stops no backup. It is told on stderr, so that cron mails it, and to \
                     everybody else, with the line: an unknown option is passed over; where a value does not fit, the default \
                     counts; without a default the section is not used, and without a server that can be used no mail is sent."
            .to_owned()),
        Block::Text(SECRETS.to_owned()),
        Block::Heading("Example".to_owned()),
        Block::Lines(NOTIFY_EXAMPLE.to_owned()),
    ];
    for kind in kinds() {
        blocks.push(Block::Heading(format!("Sections of {}", kind.kind)));
        blocks.push(Block::Text(kind.about));
        blocks.push(Block::Rows(rows(&kind.options)));
    }
    Page { name: "notify.cfg", summary: "who is told of the runs of pve-ferry", blocks }
}

fn rows(properties: &[Property]) -> Vec<Row> {
    let row = |property: &Property| Row {
        name: property.name.clone(),
        kind: property.in_words(),
        meaning: property.meaning_in_words(),
    };
    properties.iter().map(row).collect()
}

/// The schema of `jobs.cfg`: of a section of each kind.
pub fn jobs_schema() -> Format {
    let section = |name: &str| {
        let mut schema = section_schema(name);
        schema["description"] = about(name).into();
        (name.to_owned(), schema)
    };
    let sections = operations().into_iter().map(section);
    let schema = sections_schema("A section of jobs.cfg, by its kind.", sections);
    Format { name: "jobs.cfg", place: "jobs.cfg", schema }
}

/// The schema of `notify.cfg`: of a section of each kind.
pub fn notify_schema() -> Format {
    let sections = kinds().into_iter().map(|kind| (kind.kind.to_owned(), kind.schema));
    let schema = sections_schema("A section of notify.cfg, by its kind.", sections);
    Format { name: "notify.cfg", place: "notify.cfg", schema }
}

/// Sections by their kind; what they refer to moves up to where references point.
fn sections_schema(about: &str, sections: impl Iterator<Item = (String, Value)>) -> Value {
    let (mut kinds, mut named, mut dialect) = (Map::new(), Map::new(), Value::Null);
    for (kind, mut schema) in sections {
        let Some(object) = schema.as_object_mut() else { continue };
        dialect = object.shift_remove("$schema").unwrap_or_default();
        if let Some(Value::Object(own)) = object.shift_remove("$defs") {
            named.extend(own);
        }
        object.insert("additionalProperties".to_owned(), false.into());
        kinds.insert(kind, schema);
    }
    json!({
        "$schema": dialect,
        "description": about,
        "type": "object",
        "properties": kinds,
        "additionalProperties": false,
        "$defs": named,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::JobsCfg;
    use crate::pve::section_config::SectionConfig;

    fn fits_notify(text: &str) -> usize {
        let config = SectionConfig::parse(text);
        for section in config.sections() {
            let kind = kinds().into_iter().find(|kind| kind.kind == section.kind).unwrap();
            assert_eq!(schema::check(&section.options, &kind.options), Ok(()), "{}", section.kind);
        }
        config.sections().len()
    }

    #[test]
    fn the_examples_are_files_that_are_accepted() {
        let cfg = JobsCfg::parse(JOBS_EXAMPLE);
        assert_eq!((cfg.damaged, cfg.jobs.len()), (vec![], 2));
        for job in cfg.jobs {
            let mut options = properties(&section_schema(&job.operation));
            options.retain(|option| option.name != "schedule");
            assert_eq!(schema::check(&job.options, &options), Ok(()), "{}", job.name);
        }
        assert_eq!(fits_notify(NOTIFY_EXAMPLE), 3);
    }

    #[test]
    fn so_is_that_of_the_readme() {
        let readme = include_str!("../../../README.md");
        let begin = readme.find("    smtp: relay").unwrap();
        let lines = readme[begin..].lines().take_while(|l| l.is_empty() || l.starts_with("    "));
        let text: Vec<&str> = lines.map(|line| line.get(4..).unwrap_or_default()).collect();
        assert_eq!(fits_notify(&text.join("\n")), 6);
    }
}
