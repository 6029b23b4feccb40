//! Whether a value fits a JSON schema, as far as our own schemas go: a keyword that it does not know
//! is an error, so that nothing passes unseen. Not a validator for foreign schemas.
//!
//! It is stricter than such validators, which is why it stands here: a schema allows fields of later
//! versions, and what is printed now must not have a field that its schema does not name.

use serde_json::Value;
use std::collections::BTreeSet;

type Names = BTreeSet<String>;

/// Whether a document fits, with no field that its schema does not name.
pub fn check(schema: &Value, document: &Value) -> Result<(), String> {
    whole(schema, schema, document, "document")
}

/// The same for a value within it.
fn whole(root: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let named = fits(root, schema, value, place)?;
    let fields = value.as_object().into_iter().flatten().map(|(name, _)| name);
    let unnamed: Vec<&String> = fields.filter(|name| !named.contains(*name)).collect();
    if unnamed.is_empty() {
        Ok(())
    } else {
        Err(format!("{place}: {unnamed:?} stand in no schema"))
    }
}

/// Whether it fits so far; the fields that were named come back.
fn fits(root: &Value, schema: &Value, value: &Value, place: &str) -> Result<Names, String> {
    let mut named = Names::new();
    for (keyword, rule) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "deprecated" | "format"
            | "x-form" | "x-secret" => {}
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                let target = &root["$defs"][name];
                assert!(target.is_object(), "{name} stands nowhere");
                named.extend(fits(root, target, value, place)?);
            }
            "type" => has_type(rule, value, place)?,
            "const" if rule != value => return Err(format!("{place}: {value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return Err(format!("{place}: {value} is none of {rule}"));
            }
            "const" | "enum" => {}
            "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                return Err(format!("{place}: {value} is below {rule}"));
            }
            "maximum" if value.as_f64() > rule.as_f64() && value.is_number() => {
                return Err(format!("{place}: {value} is above {rule}"));
            }
            "minimum" | "maximum" => {}
            "anyOf" | "oneOf" => {
                named.extend(one_of(root, (keyword, rule), value, place)?);
            }
            "required" | "properties" | "additionalProperties" => {
                named.extend(object(root, (keyword, rule), (schema, value), place)?);
            }
            "items" | "prefixItems" | "minItems" | "maxItems" => {
                list(root, (keyword, rule), (schema, value), place)?;
            }
            other => panic!("{place}: the checker does not know the keyword {other}"),
        }
    }
    Ok(named)
}

fn has_type(rule: &Value, value: &Value, place: &str) -> Result<(), String> {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: no type {other}"),
    };
    let fits = match rule {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        name => is(name.as_str().unwrap()),
    };
    if fits { Ok(()) } else { Err(format!("{place}: {value} is no {rule}")) }
}

fn one_of(
    root: &Value,
    (keyword, rule): (&str, &Value),
    value: &Value,
    place: &str,
) -> Result<Names, String> {
    let choices = rule.as_array().unwrap().iter();
    let tried: Vec<Result<Names, String>> =
        choices.map(|choice| fits(root, choice, value, place)).collect();
    let fitting: Vec<&Names> = tried.iter().filter_map(|result| result.as_ref().ok()).collect();
    match (keyword, &fitting[..]) {
        (_, []) => Err(format!("{place}: none of the forms fits: {tried:?}")),
        ("oneOf", [_, _, ..]) => Err(format!("{place}: several forms fit")),
        (_, [first, ..]) => Ok((*first).clone()),
    }
}

fn object(
    root: &Value,
    (keyword, rule): (&str, &Value),
    (schema, value): (&Value, &Value),
    place: &str,
) -> Result<Names, String> {
    let mut named = Names::new();
    let Some(fields) = value.as_object() else { return Ok(named) };
    match keyword {
        "required" => {
            let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            if let Some(missing) = names.into_iter().find(|name| !fields.contains_key(*name)) {
                return Err(format!("{place}: {missing} is missing"));
            }
        }
        "properties" => {
            for (name, rule) in rule.as_object().unwrap() {
                if let Some(field) = fields.get(name) {
                    whole(root, rule, field, &format!("{place}.{name}"))?;
                    named.insert(name.clone());
                }
            }
        }
        // A map: its keys are data. Beside named fields it only allows those of later versions.
        _ if schema["properties"].is_object() => {}
        _ => {
            for (name, field) in fields {
                if rule.is_object() {
                    whole(root, rule, field, &format!("{place}.{name}"))?;
                }
                named.insert(name.clone());
            }
        }
    }
    Ok(named)
}

fn list(
    root: &Value,
    (keyword, rule): (&str, &Value),
    (schema, value): (&Value, &Value),
    place: &str,
) -> Result<(), String> {
    let Some(entries) = value.as_array() else { return Ok(()) };
    let count = u64::try_from(entries.len()).unwrap();
    match keyword {
        "minItems" if count < rule.as_u64().unwrap() => Err(format!("{place}: too short")),
        "maxItems" if count > rule.as_u64().unwrap() => Err(format!("{place}: too long")),
        "prefixItems" => {
            let mut rules = rule.as_array().unwrap().iter().zip(entries).enumerate();
            rules.try_for_each(|(n, (rule, entry))| {
                whole(root, rule, entry, &format!("{place}[{n}]"))
            })
        }
        "items" if rule.is_object() => {
            let from = schema["prefixItems"].as_array().map_or(0, Vec::len);
            let mut entries = entries.iter().enumerate().skip(from);
            entries.try_for_each(|(n, entry)| whole(root, rule, entry, &format!("{place}[{n}]")))
        }
        _ => Ok(()),
    }
}
