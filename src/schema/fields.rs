//! The fields of a JSON document with all that is below them, for a reference. Validates nothing.

use super::{about, resolved, type_of, words};
use serde_json::Value;

/// One field of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where it stands, as `guests[].volumes[].disk`.
    pub path: String,
    /// What it is, in words.
    pub kind: String,
    /// What it means, in one line.
    pub meaning: String,
}

/// The form of a kind of text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// How fields call it.
    pub name: String,
    /// What it looks like.
    pub meaning: String,
}

/// All fields of a document, each after the one that it stands in.
pub fn fields(root: &Value) -> Vec<Field> {
    below(root, root, "")
}

/// The kinds of text in a document.
pub fn forms(root: &Value) -> Vec<Form> {
    let Some(named) = root["$defs"].as_object() else { return Vec::new() };
    let texts = named.iter().filter(|(_, schema)| is_form(schema));
    texts.map(|(name, schema)| Form { name: spaced(name), meaning: about(schema) }).collect()
}

fn is_form(schema: &Value) -> bool {
    type_of(schema) == "string" && words(schema).is_empty()
}

/// `VolumeId` as `volume id`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn below(root: &Value, schema: &Value, path: &str) -> Vec<Field> {
    let schema = resolved(root, schema);
    let mut found = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push(described(root, (schema, name), field, path.clone()));
        found.extend(below(root, field, &path));
    }
    let choices = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let choices: Vec<Vec<Field>> = choices.map(|choice| below(root, choice, path)).collect();
    found.extend(merged(choices));
    if schema["items"].is_object() {
        found.extend(below(root, &schema["items"], &format!("{path}[]")));
    }
    if schema["additionalProperties"].is_object() {
        found.extend(below(root, &schema["additionalProperties"], &format!("{path}.*")));
    }
    found
}

const ABSENT: &str = ", may be absent";

/// The fields of an object that has one of several forms: what only some of those have in which it
/// could stand may be absent.
fn merged(choices: Vec<Vec<Field>>) -> Vec<Field> {
    let choices: Vec<Vec<Field>> = choices.into_iter().filter(|c| !c.is_empty()).collect();
    let has = |path: &str, choice: &Vec<Field>| choice.iter().any(|field| field.path == path);
    let forms_with = |path: &str| choices.iter().filter(|choice| has(path, choice)).count();
    let mut found: Vec<Field> = Vec::new();
    for field in choices.iter().flatten() {
        if let Some(known) = found.iter_mut().find(|known| known.path == field.path) {
            widen(known, field);
            continue;
        }
        let mut field = field.clone();
        let possible = match forms_with(above(&field.path)) {
            // What it stands in is the object itself, which all forms are of.
            0 => choices.len(),
            count => count,
        };
        if forms_with(&field.path) < possible && !field.kind.ends_with(ABSENT) {
            field.kind.push_str(ABSENT);
        }
        found.push(field);
    }
    found
}

/// The field that a field stands in.
fn above(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(above, _)| above.trim_end_matches("[]"))
}

/// A field that two forms of one object have is what either says.
fn widen(field: &mut Field, other: &Field) {
    let bare = |kind: &str| kind.trim_end_matches(ABSENT).to_owned();
    let absent = field.kind.ends_with(ABSENT) || other.kind.ends_with(ABSENT);
    let (mine, theirs) = (bare(&field.kind), bare(&other.kind));
    let mut all: Vec<&str> = mine.split(" | ").collect();
    let new: Vec<&str> = theirs.split(" | ").filter(|word| !all.contains(word)).collect();
    all.extend(new);
    field.kind = all.join(" | ");
    if absent {
        field.kind.push_str(ABSENT);
    }
}

fn described(root: &Value, (parent, name): (&Value, &str), field: &Value, path: String) -> Field {
    let required = parent["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut kind = kind(root, field);
    if !required.iter().any(|key| key == name) {
        kind.push_str(ABSENT);
    }
    let meaning = about(field);
    let meaning = match meaning.is_empty() {
        true if field["const"].is_string() => {
            "Says which of these forms the object has.".to_owned()
        }
        true => about(resolved(root, field)),
        false => meaning,
    };
    Field { path, kind, meaning }
}

fn kind(root: &Value, field: &Value) -> String {
    let null = [&field["type"], &field["anyOf"]].into_iter().filter_map(Value::as_array).flatten();
    let may_be_null = null.into_iter().any(|choice| choice == "null" || choice["type"] == "null");
    let target = resolved(root, field);
    let mut kind = match (words(target), type_of(target)) {
        (words, _) if !words.is_empty() => {
            words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" | ")
        }
        (_, "string") => named(root, field).unwrap_or_else(|| "text".to_owned()),
        (_, "integer" | "number") => "number".to_owned(),
        (_, "boolean") => "true | false".to_owned(),
        (_, "array") => match target["items"].is_object() {
            true => format!("list of {}", kind(root, &target["items"])),
            // A pair or the like, whose parts the text explains.
            false => "list".to_owned(),
        },
        _ => "object".to_owned(),
    };
    if may_be_null {
        kind.push_str(" | null");
    }
    kind
}

/// The name of a kind of text.
fn named(root: &Value, field: &Value) -> Option<String> {
    let choices = field["anyOf"].as_array().into_iter().flatten();
    let name = std::iter::once(field).chain(choices).find_map(|choice| choice["$ref"].as_str())?;
    let name = name.rsplit('/').next()?;
    is_form(&root["$defs"][name]).then(|| spaced(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(root: &Value) -> Vec<String> {
        fields(root).into_iter().map(|field| format!("{}: {}", field.path, field.kind)).collect()
    }

    #[test]
    fn every_field_stands_below_the_one_that_it_is_in() {
        let root = json!({
            "properties": {
                "guests": {"type": "array", "items": {"$ref": "#/$defs/Guest"}},
                "chains": {"type": "object", "additionalProperties": {"$ref": "#/$defs/ChainId"}},
                "at": {"anyOf": [{"$ref": "#/$defs/Moment"}, {"type": "null"}]},
            },
            "required": ["guests"],
            "$defs": {
                "Guest": {"properties": {"vmid": {"type": "integer"}}, "required": ["vmid"]},
                "ChainId": {"type": "string", "description": "a chain id"},
                "Moment": {"type": "string", "description": "a moment"},
            },
        });
        let expected = [
            "guests: list of object",
            "guests[].vmid: number",
            "chains: object, may be absent",
            "at: moment | null, may be absent",
        ];
        assert_eq!(paths(&root), expected);
        let names: Vec<String> = forms(&root).into_iter().map(|form| form.name).collect();
        assert_eq!(names, ["chain id", "moment"]);
    }

    #[test]
    fn forms_of_one_object_are_told_together() {
        let root = json!({
            "anyOf": [
                {
                    "properties": {
                        "kind": {"const": "a", "type": "string"},
                        "list": {"type": "array", "items": {"properties": {"n": {"type": "number"}}, "required": ["n"]}},
                    },
                    "required": ["kind", "list"],
                },
                {
                    "properties": {"kind": {"const": "b", "type": "string"}, "why": {"type": "string"}},
                    "required": ["kind", "why"],
                },
            ],
        });
        let expected = [
            "kind: a | b",
            "list: list of object, may be absent",
            "list[].n: number",
            "why: text, may be absent",
        ];
        assert_eq!(paths(&root), expected);
    }
}
