//! Reading and writing options of a section by their schema. Which file they stand in, and in which
//! line, is the caller's to know.

use super::{Kind, Property, of_read, properties};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Keys and values of a section, as they stand in the file.
pub type Options = Vec<(String, String)>;

/// An option that does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Nobody knows it.
    #[error("option {key} is unknown; known are {}", known.join(", "))]
    Unknown {
        /// The option.
        key: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It stands twice.
    #[error("option {0} stands twice")]
    Twice(String),
    /// It is not there.
    #[error("option {0} is missing")]
    Missing(String),
    /// It is of another kind.
    #[error("option {key} is {value:?}, and must be {expected}")]
    Kind {
        /// The option.
        key: String,
        /// What it says.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// A flag has a value.
    #[error("option {0} is a flag and stands without a value")]
    Flag(String),
    /// It stands without a value and needs one.
    #[error("option {key} has no value, and must be {expected}")]
    Empty {
        /// The option.
        key: String,
        /// What it may be.
        expected: String,
    },
    /// A secret in clear, which is not repeated.
    #[error("option {0} is a secret, which must not stand here: give file:PATH or env:NAME")]
    Secret(String),
    /// Anything else.
    #[error("{0}")]
    Unfit(String),
}

impl SchemaError {
    /// The option that is at fault, where it is one that stands there.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unknown { key, .. } | Self::Kind { key, .. } | Self::Empty { key, .. } => {
                Some(key)
            }
            Self::Twice(key) | Self::Flag(key) | Self::Secret(key) => Some(key),
            Self::Missing(_) | Self::Unfit(_) => None,
        }
    }
}

/// Reads the options that a schema knows, and hands back the others in their order.
///
/// # Errors
/// One of them does not fit.
pub fn read<T: DeserializeOwned + JsonSchema>(
    options: &Options,
) -> Result<(T, Options), SchemaError> {
    let schema = properties(&of_read::<T>());
    let (mut known, mut others) = (Map::new(), Vec::new());
    for (key, value) in options {
        let Some(property) = schema.iter().find(|property| property.name == *key) else {
            others.push((key.clone(), value.clone()));
            continue;
        };
        if known.insert(key.clone(), typed(value, property)?).is_some() {
            return Err(SchemaError::Twice(key.clone()));
        }
    }
    Ok((whole(&schema, known)?, others))
}

/// What was read of a section that somebody wrote by hand, and that is better used than refused.
pub struct Forgiving<T> {
    /// The options; an error when they make no sense without what is wrong.
    pub value: Result<T, SchemaError>,
    /// What is wrong and was passed over: unknown options, the second of two, and a value that does
    /// not fit where there is a default.
    pub ignored: Vec<SchemaError>,
}

/// Reads all options of a section and goes on where that is safe.
pub fn forgiving<T: DeserializeOwned + JsonSchema>(options: &Options) -> Forgiving<T> {
    let schema = properties(&of_read::<T>());
    let (mut known, mut ignored) = (Map::new(), Vec::new());
    for (key, value) in options {
        let Some(property) = schema.iter().find(|property| property.name == *key) else {
            ignored.push(unknown(key, &schema));
            continue;
        };
        if known.contains_key(key) {
            ignored.push(SchemaError::Twice(key.clone()));
            continue;
        }
        match typed(value, property) {
            Ok(value) => drop(known.insert(key.clone(), value)),
            Err(error) if property.default.is_some() => ignored.push(error),
            Err(error) => return Forgiving { value: Err(error), ignored },
        }
    }
    Forgiving { value: whole(&schema, known), ignored }
}

/// Whether options fit their schema: all are known, of their kind, and what must be there is.
///
/// # Errors
/// One does not.
pub fn check(options: &Options, schema: &[Property]) -> Result<(), SchemaError> {
    for (place, (key, value)) in options.iter().enumerate() {
        let property = schema.iter().find(|property| property.name == *key);
        let property = property.ok_or_else(|| unknown(key, schema))?;
        typed(value, property)?;
        let may_repeat = matches!(property.kind, Kind::Texts(_));
        if !may_repeat && options[..place].iter().any(|(other, _)| other == key) {
            return Err(SchemaError::Twice(key.clone()));
        }
    }
    missing(schema, |key| options.iter().any(|(own, _)| own == key))
}

fn unknown(key: &str, schema: &[Property]) -> SchemaError {
    let known = schema.iter().filter(|property| !property.hidden);
    SchemaError::Unknown {
        key: key.to_owned(),
        known: known.map(|property| property.name.clone()).collect(),
    }
}

fn missing(schema: &[Property], has: impl Fn(&str) -> bool) -> Result<(), SchemaError> {
    match schema.iter().find(|property| property.required && !has(&property.name)) {
        Some(property) => Err(SchemaError::Missing(property.name.clone())),
        None => Ok(()),
    }
}

fn whole<T: DeserializeOwned>(
    schema: &[Property],
    known: Map<String, Value>,
) -> Result<T, SchemaError> {
    missing(schema, |key| known.contains_key(key))?;
    let value = serde_json::from_value(Value::Object(known));
    value.map_err(|error| SchemaError::Unfit(error.to_string()))
}

fn typed(value: &str, property: &Property) -> Result<Value, SchemaError> {
    let key = || property.name.clone();
    let wrong = || SchemaError::Kind {
        key: key(),
        value: value.to_owned(),
        expected: property.kind.expected(),
    };
    let is_flag = matches!(property.kind, Kind::Flag | Kind::Switch);
    if value.is_empty() && !is_flag {
        return Err(SchemaError::Empty { key: key(), expected: property.kind.expected() });
    }
    if property.secret && !value.starts_with("file:") && !value.starts_with("env:") {
        return Err(SchemaError::Secret(key()));
    }
    match (&property.kind, value) {
        (Kind::Flag, "") => Ok(Value::Bool(true)),
        (Kind::Flag, _) => Err(SchemaError::Flag(key())),
        (Kind::Switch, "1" | "") => Ok(Value::Bool(true)),
        (Kind::Switch, "0") => Ok(Value::Bool(false)),
        (Kind::Switch, _) => Err(wrong()),
        (Kind::Number(least, greatest), _) => {
            let number = value.parse::<u64>().ok().filter(|n| (least..=greatest).contains(&n));
            number.map(Value::from).ok_or_else(wrong)
        }
        (Kind::Words(words), _) if words.iter().all(|(word, _)| word != value) => Err(wrong()),
        (Kind::Words(_) | Kind::Text(_) | Kind::Texts(_), _) => Ok(value.into()),
    }
}

/// The options as they stand in a file. What is as it would be anyway is left out.
pub fn written<T: Serialize + JsonSchema>(value: &T) -> Options {
    let Ok(Value::Object(map)) = serde_json::to_value(value) else { return Vec::new() };
    let schema = properties(&of_read::<T>());
    let is_usual = |key: &str, value: &Value| {
        schema
            .iter()
            .any(|property| property.name == key && property.default.as_ref() == Some(value))
    };
    let text = |value: Value| match value {
        Value::Bool(flag) => u8::from(flag).to_string(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let others = map.into_iter().filter(|(key, value)| !is_usual(key, value));
    others.map(|(key, value)| (key, text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::JobOptions;
    use super::super::notify_cfg::{MailOptions, SmtpMode, SmtpOptions, When};
    use super::*;
    use crate::job::Runner;

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
        assert_eq!((job.enabled, job.runner), (false, Runner::Systemd));
        let as_text = written(&job);
        assert_eq!(
            as_text,
            options(&[("schedule", "daily"), ("enabled", "0"), ("runner", "systemd")])
        );
        let (job, _): (JobOptions, _) = read(&options(&[("schedule", "daily")])).unwrap();
        assert_eq!((job.enabled, job.runner), (true, Runner::Cron));
        assert_eq!(written(&job), options(&[("schedule", "daily")]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error =
            |pairs: &[(&str, &str)]| read::<JobOptions>(&options(pairs)).unwrap_err().to_string();
        assert_eq!(
            error(&[("schedule", "daily"), ("enabled", "yes")]),
            "option enabled is \"yes\", and must be 1 or 0"
        );
        assert_eq!(error(&[]), "option schedule is missing");
        assert_eq!(
            error(&[("schedule", "daily"), ("runner", "at")]),
            "option runner is \"at\", and must be cron or systemd"
        );
        assert!(error(&[("schedule", "a"), ("schedule", "b")]).contains("twice"));
        assert!(error(&[("schedule", "")]).contains("no value"));
    }

    #[test]
    fn what_has_a_default_is_forgiven_and_said_and_nothing_else_is() {
        let read: Forgiving<MailOptions> = forgiving(&options(&[
            ("to", "a@b.example"),
            ("when", "never"),
            ("colour", "red"),
            ("to", "c@d.example"),
        ]));
        let mail = read.value.unwrap();
        assert_eq!((mail.to.as_str(), mail.when), ("a@b.example", When::Always));
        let keys: Vec<Option<&str>> = read.ignored.iter().map(SchemaError::key).collect();
        assert_eq!(keys, [Some("when"), Some("colour"), Some("to")]);
        let read: Forgiving<SmtpOptions> = forgiving(&options(&[("host", "m"), ("port", "70000")]));
        assert_eq!(
            read.value.unwrap_err().to_string(),
            "option port is \"70000\", and must be a number from 1 to 65535"
        );
        let read: Forgiving<SmtpOptions> = forgiving(&options(&[("host", "m"), ("mode", "plain")]));
        assert_eq!(read.value.unwrap().mode, SmtpMode::Starttls);
        let read: Forgiving<SmtpOptions> =
            forgiving(&options(&[("host", "m"), ("password", "hunter22")]));
        let error = read.value.unwrap_err().to_string();
        assert!(error.contains("file:PATH") && !error.contains("hunter22"), "{error}");
        let read: Forgiving<SmtpOptions> = forgiving(&options(&[("host", "m"), ("mode", "plain")]));
        assert!(read.ignored[0].to_string().contains("tls, starttls or insecure"));
    }
}
