//! All formats that users and other programs read or write, in one place: their schemas, and the
//! pages of the reference that are made of them. What is in a format is said where it is read or
//! written; this is not for the commands, whose pages are made of their help.

mod commands;
mod config;
mod json;
mod page;

pub use commands::section;
pub use page::Page;

use serde_json::Value;

/// A format with its schema.
pub struct Format {
    /// The schema's file, without `.json`.
    pub name: &'static str,
    /// Where it is met: a command, or a file.
    pub place: &'static str,
    /// The schema (JSON Schema, draft 2020-12).
    pub schema: Value,
}

impl Format {
    /// The schema's file.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.schema)
    }
}

/// The pages of section 5.
pub fn pages() -> Vec<Page> {
    vec![config::jobs_cfg(), config::notify_cfg(), json::printed(), json::stored()]
}

/// The schemas of everything.
pub fn schemas() -> Vec<Format> {
    let mut all = vec![config::jobs_schema(), config::notify_schema()];
    all.extend(json::documents());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    fn directory() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/debian"))
    }

    /// What is generated, by its path below `debian/`.
    fn generated() -> BTreeMap<String, String> {
        let pages = pages().into_iter().map(|page| (format!("{}.md", page.name), page.markdown()));
        let schema = |format: Format| (format!("schema/{}.json", format.name), format.text());
        pages.chain(schemas().into_iter().map(schema)).collect()
    }

    #[test]
    fn the_reference_is_the_one_that_is_shipped() {
        let generated = generated();
        if std::env::var_os("UPDATE").is_some() {
            let _ = fs::remove_dir_all(directory().join("schema"));
            fs::create_dir_all(directory().join("schema")).unwrap();
            for (name, text) in &generated {
                fs::write(directory().join(name), text).unwrap();
            }
        }
        for (name, text) in &generated {
            let there = fs::read_to_string(directory().join(name)).unwrap_or_default();
            assert!(there == *text, "debian/{name} is another one; UPDATE=1 rewrites it");
        }
        for entry in fs::read_dir(directory().join("schema")).unwrap() {
            let name = format!("schema/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(generated.contains_key(&name), "debian/{name} belongs to no format");
        }
    }

    #[test]
    fn every_field_and_option_says_what_it_means() {
        for format in schemas() {
            let mut nameless = Vec::new();
            unexplained(&format.schema, format.name, &mut nameless);
            assert!(nameless.is_empty(), "{nameless:#?}");
        }
    }

    fn unexplained(schema: &Value, path: &str, found: &mut Vec<String>) {
        let Some(object) = schema.as_object() else { return };
        for (key, value) in object {
            let below = format!("{path}/{key}");
            if key == "properties" {
                for (name, property) in value.as_object().unwrap() {
                    let said = property["description"].as_str().is_some_and(|s| !s.is_empty());
                    // A tag of an enum is explained by the enum.
                    let is_tag = property["const"].is_string();
                    if !said && !is_tag && property["deprecated"] != true {
                        found.push(format!("{below}/{name}"));
                    }
                }
            }
            match value {
                Value::Array(all) => all.iter().for_each(|one| unexplained(one, &below, found)),
                _ => unexplained(value, &below, found),
            }
        }
    }
}
