//! The options of a file, as their schema describes them. Not for documents in documents: those are
//! `fields.rs`'s.

use super::{about, resolved, type_of, words};
use serde_json::Value;

/// One option.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// What it means, in one line.
    pub meaning: String,
    /// What it may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What counts where it is absent.
    pub default: Option<Value>,
    /// Whether it names the place of a secret.
    pub secret: bool,
    /// Whether it is another tool's spelling, which is accepted and not shown.
    pub hidden: bool,
}

/// What an option may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// It stands there without a value, or it does not.
    Flag,
    /// 1 or 0.
    Switch,
    /// A whole number, with its least and greatest value.
    Number(u64, u64),
    /// One of some words, each with its meaning.
    Words(Vec<(String, String)>),
    /// A text, with its form where that can be said in short.
    Text(Option<String>),
    /// The same, and it may stand there more than once.
    Texts(Option<String>),
}

impl Kind {
    /// What it must be, for an error.
    pub fn expected(&self) -> String {
        match self {
            Self::Number(least, u64::MAX) => format!("a number from {least} on"),
            Self::Number(least, greatest) => format!("a number from {least} to {greatest}"),
            Self::Text(None) => "a text".to_owned(),
            other => other.in_words(),
        }
    }

    /// What it may be, for a list of options.
    pub fn in_words(&self) -> String {
        match self {
            Self::Flag => "flag".to_owned(),
            Self::Switch => "1 or 0".to_owned(),
            // Where only the type sets a limit it is of no interest to anybody.
            Self::Number(0, _) => "number".to_owned(),
            Self::Number(least, u64::MAX) => format!("number from {least} on"),
            Self::Number(least, greatest) => format!("number from {least} to {greatest}"),
            Self::Words(words) => match words.as_slice() {
                [others @ .., (last, _)] if !others.is_empty() => {
                    let others: Vec<&str> = others.iter().map(|(word, _)| word.as_str()).collect();
                    format!("{} or {last}", others.join(", "))
                }
                _ => words.iter().map(|(word, _)| word.clone()).collect(),
            },
            Self::Text(None) => "text".to_owned(),
            Self::Text(Some(form)) | Self::Texts(Some(form)) => form.clone(),
            Self::Texts(None) => "texts".to_owned(),
        }
    }
}

impl Property {
    /// What it may be, and what it is where it is absent, in words for a person.
    pub fn in_words(&self) -> String {
        let mut text =
            if self.secret { "file:PATH or env:NAME".to_owned() } else { self.kind.in_words() };
        if self.required {
            text.push_str("; required");
        }
        match &self.default {
            Some(Value::Bool(flag)) => text.push_str(&format!("; default {}", u8::from(*flag))),
            Some(Value::String(word)) => text.push_str(&format!("; default {word}")),
            Some(other) if !other.is_null() => text.push_str(&format!("; default {other}")),
            _ => {}
        }
        text
    }
}

impl Property {
    /// What it means, and what each of its words does.
    pub fn meaning_in_words(&self) -> String {
        let Kind::Words(words) = &self.kind else { return self.meaning.clone() };
        let told = words.iter().filter(|(_, meaning)| !meaning.is_empty());
        let told: Vec<String> =
            told.map(|(word, meaning)| format!("`{word}`: {meaning}")).collect();
        if told.is_empty() {
            self.meaning.clone()
        } else {
            format!("{} {}", self.meaning, told.join(" "))
        }
    }
}

/// The options that a schema of an object knows, in its order.
pub fn properties(schema: &Value) -> Vec<Property> {
    let Some(all) = schema["properties"].as_object() else { return Vec::new() };
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let property = |(name, own): (&String, &Value)| Property {
        name: name.clone(),
        meaning: about(own),
        kind: kind(schema, own),
        required: required.iter().any(|key| key == name),
        default: own.get("default").cloned(),
        secret: own["x-secret"] == true,
        hidden: own["deprecated"] == true,
    };
    all.iter().map(property).collect()
}

fn kind(root: &Value, own: &Value) -> Kind {
    let target = resolved(root, own);
    let words = words(target);
    if !words.is_empty() {
        return Kind::Words(words);
    }
    let form = own["x-form"].as_str().map(str::to_owned);
    match type_of(target) {
        "boolean" if target["const"] == true => Kind::Flag,
        "boolean" => Kind::Switch,
        "integer" => {
            let limit = |key: &str| target[key].as_u64();
            Kind::Number(limit("minimum").unwrap_or(0), limit("maximum").unwrap_or(u64::MAX))
        }
        "array" => Kind::Texts(form),
        _ => Kind::Text(form),
    }
}
