//! The options of a command as a schema, made of clap's definitions: a job in `jobs.cfg` has them
//! under the same names. Not for the help, which clap makes itself.

use crate::schema;
use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value, json};
use std::any::TypeId;

/// The schema of a command's options, without some.
pub fn options(command: &Command, without: &[&str]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long().filter(|long| !without.contains(long)) else { continue };
        if arg.is_required_set() {
            required.push(Value::from(long));
        }
        let property = property(arg);
        for alias in arg.get_all_aliases().into_iter().flatten() {
            let mut other = property.clone();
            other["deprecated"] = true.into();
            properties.insert(alias.to_owned(), other);
        }
        properties.insert(long.to_owned(), property);
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The schema of a section of `jobs.cfg`: what every job has, and the options of its command.
pub fn section(command: &Command, without: &[&str]) -> Value {
    let mut whole = schema::of_read::<schema::JobOptions>();
    let mut own = options(command, without);
    let moved = own["properties"].as_object_mut().map(std::mem::take).unwrap_or_default();
    if let Some(properties) = whole["properties"].as_object_mut() {
        properties.extend(moved);
    }
    let needed = own["required"].as_array_mut().map(std::mem::take).unwrap_or_default();
    if let Some(required) = whole["required"].as_array_mut() {
        required.extend(needed);
    }
    whole
}

fn property(arg: &Arg) -> Value {
    let mut property = kind(arg);
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    property["description"] = help.into();
    let defaults = arg.get_default_values();
    if let ([default], false) = (defaults, property["type"] == "boolean") {
        let text = default.to_string_lossy().into_owned();
        let number = text.parse::<u64>().ok().filter(|_| property["type"] == "integer");
        property["default"] = number.map_or_else(|| text.into(), Value::from);
    }
    if form(arg).starts_with("file:PATH") {
        property["x-secret"] = true.into();
    }
    if arg.is_hide_set() {
        property["deprecated"] = true.into();
    }
    property
}

fn kind(arg: &Arg) -> Value {
    let words: Vec<String> =
        arg.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    match arg.get_action() {
        // A flag stands there or does not: no value says that it is off.
        ArgAction::SetTrue | ArgAction::Count => json!({ "type": "boolean", "const": true }),
        ArgAction::Append => {
            json!({ "type": "array", "items": { "type": "string" }, "x-form": form(arg) })
        }
        _ if !words.is_empty() => json!({ "type": "string", "enum": words }),
        _ => match greatest(arg) {
            Some(u64::MAX) => json!({ "type": "integer", "minimum": 0 }),
            Some(greatest) => json!({ "type": "integer", "minimum": 0, "maximum": greatest }),
            None => json!({ "type": "string", "x-form": form(arg) }),
        },
    }
}

/// How a value looks, as the help shows it.
fn form(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// The greatest number that an option takes, if it takes a number as it stands: one that is called
/// `1/N` becomes a number, and is none.
fn greatest(arg: &Arg) -> Option<u64> {
    let is_plain = form(arg).chars().all(char::is_alphabetic);
    let parser = arg.get_value_parser().type_id();
    let known = [
        (TypeId::of::<u16>(), u64::from(u16::MAX)),
        (TypeId::of::<u32>(), u64::from(u32::MAX)),
        (TypeId::of::<u64>(), u64::MAX),
    ];
    known.into_iter().find(|(kind, _)| is_plain && parser == *kind).map(|(_, greatest)| greatest)
}
