//! The one schema of what users and other programs read and write: files with options, and JSON
//! documents. Validation and the printed references come from it. It reads no file.
//!
//! serde and schemars stand here in the place of proxmox-schema, which no registry that a build can
//! reach offers: whoever has it replaces this directory. Types elsewhere only derive
//! `schemars::JsonSchema` beside serde's traits, so that schema and truth cannot differ; what is made
//! of that stands here. The options of a job's operation are those of the command line (clap); a
//! schema of the same form is made of them in `cli::reference`, where all formats are listed.

mod fields;
mod jobs_cfg;
pub mod notify_cfg;
mod options;
mod property;

pub use fields::{Field, Form, fields, forms};
pub use jobs_cfg::JobOptions;
pub use options::{Forgiving, Options, SchemaError, check, forgiving, read, written};
pub use property::{Kind, Property, properties};

pub use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The schema of a file as its reader takes it.
pub fn of_read<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .into()
}

/// The schema of a document as it is written.
pub fn of_written<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .into()
}

/// The schema of a sealed document: the last field is a digest of the text before it.
pub fn of_sealed<T: JsonSchema>() -> Value {
    let mut schema = of_sealed_by_now::<T>();
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("seal".into());
    }
    schema
}

/// The schema of a document that early versions wrote without a seal.
pub fn of_sealed_by_now<T: JsonSchema>() -> Value {
    let mut schema = of_written::<T>();
    let seal = json!({
        "type": "string",
        "description": "blake3: and the BLAKE3 digest of the text before the comma in front of this field. It guards against accidents, not against people.",
    });
    schema["properties"]["seal"] = seal;
    schema
}

/// What a schema says that it is for, in one line.
pub fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// The names of the options that a schema knows.
pub fn keys<T: JsonSchema>() -> Vec<String> {
    properties(&of_read::<T>()).into_iter().map(|property| property.name).collect()
}

/// What a schema refers to, without the null of an absent option.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return resolved(root, &root["$defs"][name]);
    }
    let is_null = |schema: &&Value| schema["type"] == "null";
    let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    match choices.iter().filter(|choice| !is_null(choice)).collect::<Vec<_>>()[..] {
        [one] => resolved(root, one),
        _ => schema,
    }
}

/// The type without the null that an absent option has.
fn type_of(schema: &Value) -> &str {
    let types = schema["type"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = types.iter().filter_map(Value::as_str).find(|word| *word != "null");
    first.or_else(|| schema["type"].as_str()).unwrap_or_default()
}

/// The words that a value may be, each with its meaning; none where it is not one of some words.
fn words(schema: &Value) -> Vec<(String, String)> {
    let texts = schema["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
    let plain = texts.iter().filter_map(Value::as_str).map(|word| (word.to_owned(), String::new()));
    let choices = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = choices
        .iter()
        .filter_map(|choice| Some((choice["const"].as_str()?.to_owned(), about(choice))));
    let alone = schema["const"].as_str().map(|word| (word.to_owned(), String::new()));
    plain.chain(told).chain(alone).collect()
}
