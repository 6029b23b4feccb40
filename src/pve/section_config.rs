//! PVE's section files: `storage.cfg`, `jobs.cfg` and their like. Not for guest configurations,
//! whose grammar is another one.
//!
//! Source: `PVE::SectionConfig::parse_config`. A header `type: id` begins a section, indented lines
//! are its options, and only an empty line ends it; a header that follows without an empty line is
//! ignored by PVE, and so it is here.

use std::fmt;

/// A section file; printing it gives back every byte that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionConfig {
    text: String,
    sections: Vec<Section>,
    /// For each section the lines of its header and of its options, counted from 1.
    lines: Vec<Vec<usize>>,
}

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The type in front of the colon, in lower case: `rbd`.
    pub kind: String,
    /// The id behind it.
    pub id: String,
    /// Keys and values in the order of the file; a key without a value has an empty one.
    pub options: Vec<(String, String)>,
}

impl SectionConfig {
    /// Reads a file. Lines that PVE would ignore with a warning are ignored without one.
    pub fn parse(text: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        let mut lines: Vec<Vec<usize>> = Vec::new();
        let mut inside = false;
        let numbered = text.split('\n').enumerate().filter(|(_, line)| !is_comment(line));
        for (before, line) in numbered {
            match (inside, line) {
                (_, "" | "0") => inside = false,
                (true, _) => {
                    if let (Some(section), Some(option)) = (sections.last_mut(), option(line)) {
                        section.options.push(option);
                        lines.last_mut().into_iter().for_each(|lines| lines.push(before + 1));
                    }
                }
                (false, _) => {
                    inside = header(line).is_some();
                    sections.extend(header(line));
                    lines.extend(inside.then(|| vec![before + 1]));
                }
            }
        }
        Self { text: text.to_owned(), sections, lines }
    }

    /// All sections in the order of the file.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The line, counted from 1, of an option in the section at a place, or of its header. Of an
    /// option that stands there twice it is the last one: the first is the one that counts.
    pub fn line(&self, place: usize, key: Option<&str>) -> usize {
        let lines = self.lines.get(place).map(Vec::as_slice).unwrap_or_default();
        let options = self.sections.get(place).map(|s| s.options.as_slice()).unwrap_or_default();
        let option = key.and_then(|key| options.iter().rposition(|(own, _)| own == key));
        lines.get(option.map_or(0, |option| option + 1)).copied().unwrap_or(0)
    }

    /// The section with an id; where an id stands twice, PVE takes the last one.
    pub fn section(&self, id: &str) -> Option<&Section> {
        self.sections.iter().rev().find(|section| section.id == id)
    }
}

impl Section {
    /// The value of an option; where a key stands twice, PVE takes the first one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for SectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// PVE's pattern `^(\S+):\s*(\S+)\s*$`.
fn header(line: &str) -> Option<Section> {
    let line = line.trim_end();
    let (kind, id) = line.rsplit_once(char::is_whitespace).unwrap_or(("", line));
    let (kind, id) = match kind.trim_end().strip_suffix(':') {
        Some(kind) => (kind, id),
        // Without a blank the last colon is the one that the greedy pattern finds.
        None if kind.is_empty() => id.rsplit_once(':')?,
        None => return None,
    };
    let fits = !kind.is_empty() && !id.is_empty() && !kind.contains(char::is_whitespace);
    let kind = kind.to_ascii_lowercase();
    fits.then(|| Section { kind, id: id.to_owned(), options: Vec::new() })
}

/// PVE's pattern `^\s+(\S+)(\s+(.*\S))?\s*$`.
fn option(line: &str) -> Option<(String, String)> {
    let content = line.trim();
    if !line.starts_with(char::is_whitespace) || content.is_empty() {
        return None;
    }
    let (key, value) = content.split_once(char::is_whitespace).unwrap_or((content, ""));
    Some((key.to_owned(), value.trim_start().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_their_options_are_found() {
        let text = "# ours\n\nDir: local\n\tpath /var/lib/vz\n#\tcontent iso\n\tcontent backup,iso\n\
                    \tdisable\n\nrbd:ceph\n        pool  data pool \n\n\nrbd: later\r\n\tpool x\r\n";
        let config = SectionConfig::parse(text);
        assert_eq!(config.to_string(), text);
        let ids: Vec<_> =
            config.sections().iter().map(|s| (s.kind.as_str(), s.id.as_str())).collect();
        assert_eq!(ids, [("dir", "local"), ("rbd", "ceph"), ("rbd", "later")]);
        let local = config.section("local").unwrap();
        assert_eq!(local.get("content"), Some("backup,iso"));
        assert_eq!(local.get("disable"), Some(""));
        assert_eq!(local.get("nodes"), None);
        assert_eq!(config.section("ceph").unwrap().get("pool"), Some("data pool"));
        assert_eq!(config.section("later").unwrap().get("pool"), Some("x"));
    }

    #[test]
    fn a_header_without_an_empty_line_before_it_is_no_header() {
        let config = SectionConfig::parse("rbd: a\n\tpool x\nrbd: b\n\tpool y\n");
        assert_eq!(config.sections().len(), 1);
        assert_eq!(config.section("a").unwrap().get("pool"), Some("x"));
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let text = "# ours\n\ndir: a\n\tpath /x\n#\tpath /y\n\tpath /z\n  \n\n\nrbd: b\n\tpool x\n";
        let config = SectionConfig::parse(text);
        let line = |place, key| config.line(place, key);
        assert_eq!((line(0, None), line(0, Some("path")), line(0, Some("pool"))), (3, 6, 3));
        assert_eq!((line(1, None), line(1, Some("pool")), line(2, None)), (10, 11, 0));
    }

    #[test]
    fn odd_lines_make_no_section() {
        for text in ["", "rbd:\n", ": a\n", "rbd a\n", "rbd: a b\n", "\tpool x\n", "a b: c\n"] {
            assert!(SectionConfig::parse(text).sections().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn the_last_of_two_sections_with_one_id_counts() {
        let config = SectionConfig::parse("dir: a\n\tpath /1\n\nrbd: a\n\tpool x\n\tpool y\n");
        assert_eq!(config.section("a").unwrap().get("pool"), Some("x"));
    }
}
