//! The one schema of our own configuration files: what options they have, of which type, and what
//! they mean. Validation and the printed reference come from it. It reads no file.
//!
//! serde and schemars stand here in the place of proxmox-schema, which no registry that a build
//! can reach offers: whoever has it replaces this file. The options of a job's operation are those
//! of the command line and have their schema there (clap), so that they cannot differ.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// What a job in `jobs.cfg` has beside the options of its operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOptions {
    /// When the job runs, in the node's local time: hourly, daily, weekly, monthly, or the five
    /// fields of cron.
    pub schedule: String,
    /// The one node that runs the job. Without it every node runs it for the guests that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether the job runs; yes unless it says 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Who starts its runs: cron unless it says systemd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerWord>,
    /// A line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Who starts the runs of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunnerWord {
    /// A line in `/etc/cron.d/pve-ferry`.
    Cron,
    /// A systemd timer.
    Systemd,
}

/// Options of a section that do not fit their schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// An option stands twice.
    #[error("option {0} stands twice")]
    Twice(String),
    /// A yes or no that is neither.
    #[error("option {key} is {value:?}, and must be 1 or 0")]
    Flag {
        /// The option.
        key: String,
        /// What it says.
        value: String,
    },
    /// Anything else: missing, of another type, not one of the words.
    #[error("{0}")]
    Unfit(String),
}

/// Keys and values of a section, as they stand in the file.
pub type Options = Vec<(String, String)>;

/// Reads the options that a schema knows, and hands back the others in their order.
///
/// # Errors
/// One of them does not fit.
pub fn read<T: DeserializeOwned + JsonSchema>(
    options: &Options,
) -> Result<(T, Options), SchemaError> {
    let schema = properties::<T>();
    let (mut known, mut others) = (Map::new(), Vec::new());
    for (key, value) in options {
        let Some(property) = schema.get(key) else {
            others.push((key.clone(), value.clone()));
            continue;
        };
        if known.insert(key.clone(), typed(key, value, property)?).is_some() {
            return Err(SchemaError::Twice(key.clone()));
        }
    }
    let value = serde_json::from_value(Value::Object(known));
    Ok((value.map_err(|error| SchemaError::Unfit(error.to_string()))?, others))
}

/// The options as they stand in a file.
pub fn written<T: Serialize>(value: &T) -> Options {
    let Ok(Value::Object(map)) = serde_json::to_value(value) else { return Vec::new() };
    let text = |value: Value| match value {
        Value::Bool(flag) => u8::from(flag).to_string(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    map.into_iter().map(|(key, value)| (key, text(value))).collect()
}

/// The names of the options that a schema knows.
pub fn keys<T: JsonSchema>() -> Vec<String> {
    properties::<T>().keys().cloned().collect()
}

/// The options as a table of a reference in Markdown.
pub fn reference<T: JsonSchema>() -> String {
    let mut text = String::from("| option | type | meaning |\n|---|---|---|\n");
    for (key, property) in properties::<T>() {
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{key}` | {} | {meaning} |", type_word(&property));
    }
    text
}

fn properties<T: JsonSchema>() -> Map<String, Value> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

/// The type without the null that an absent option has.
fn type_of(property: &Value) -> &str {
    let types = property["type"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = types.iter().filter_map(Value::as_str).find(|word| *word != "null");
    first.or_else(|| property["type"].as_str()).unwrap_or("word")
}

fn type_word(property: &Value) -> &str {
    match type_of(property) {
        "boolean" => "1 or 0",
        "string" => "text",
        other => other,
    }
}

fn typed(key: &str, value: &str, property: &Value) -> Result<Value, SchemaError> {
    if type_of(property) != "boolean" {
        return Ok(Value::String(value.to_owned()));
    }
    match value {
        "1" | "" => Ok(Value::Bool(true)),
        "0" => Ok(Value::Bool(false)),
        other => Err(SchemaError::Flag { key: key.to_owned(), value: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn known_options_are_typed_and_the_others_come_back() {
        let given = options(&[
            ("vmid", "all"),
            ("schedule", "daily"),
            ("enabled", "0"),
            ("runner", "systemd"),
            ("path", "/b"),
        ]);
        let (job, others): (JobOptions, _) = read(&given).unwrap();
        assert_eq!(others, options(&[("vmid", "all"), ("path", "/b")]));
        assert_eq!((job.enabled, job.runner), (Some(false), Some(RunnerWord::Systemd)));
        let written = written(&job);
        assert_eq!(
            written,
            options(&[("schedule", "daily"), ("enabled", "0"), ("runner", "systemd")])
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error =
            |pairs: &[(&str, &str)]| read::<JobOptions>(&options(pairs)).unwrap_err().to_string();
        assert!(error(&[("schedule", "daily"), ("enabled", "yes")]).contains("1 or 0"));
        assert!(error(&[]).contains("schedule"));
        assert!(error(&[("schedule", "daily"), ("runner", "at")]).contains("at"));
        assert!(error(&[("schedule", "a"), ("schedule", "b")]).contains("twice"));
    }

    #[test]
    fn the_reference_is_the_one_in_docs() {
        let head = "# jobs.cfg\n\nIn PVE's section format below `/etc/pve/pve-ferry/` (`/etc/pve-ferry/` on a machine \
                    that is no PVE node): `OPERATION: NAME`, then a line for each option. Beside the options of the \
                    operation, which are those of its command line (`pve-ferry help backup`), a job has:\n\n";
        let example = "\nAn example:\n\n    backup: nightly\n        schedule 30 2 * * mon-fri\n        \
                       vmid all,-105\n        label daily\n        path /mnt/my backup\n        keep 7\n\n\
                       An empty line ends a section. A flag stands without a value. No quotes: the rest of the \
                       line is the value. No secrets: options that take one take `file:PATH`.\n";
        let text = format!("{head}{}{example}", reference::<JobOptions>());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/jobs.cfg.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "UPDATE=1 rewrites it");
    }
}
