//! A guest's configuration file, line by line and lossless. Not a validator: lines that we do not
//! understand are kept as they are, and PVE judges them.
//!
//! Grammar from PVE's `QemuServer::parse_vm_config` and `LXC::Config::parse_pct_config`: the main
//! section comes first; a header begins another one (pending changes, special sections, snapshots),
//! and we read those no further than to leave them alone. In a machine's file every line of the form
//! `[...]` is a header, and PVE passes over what is behind one that it does not know; in a container's
//! file only those that it knows are, and the lines behind another one belong to the section before.
//! Where a key stands twice, PVE takes the last one.

use super::property_string::{PropertyString, truth};
use crate::model::bytes_of;
use std::fmt;

/// The text of `<vmid>.conf`; printing it gives back what was parsed, and [`bytes_of`] of that every
/// byte of the file, where the text was read by [`text_of`](crate::model::text_of).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestConfig {
    /// Each line with its line end.
    lines: Vec<String>,
}

impl GuestConfig {
    /// Reads a configuration. Every text is one, though PVE may refuse it.
    pub fn parse(text: &str) -> Self {
        Self { lines: text.split_inclusive('\n').map(str::to_owned).collect() }
    }

    /// The value of a key of the main section: the guest as it is now.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// All keys and values of the main section in the order of the file, duplicates included.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.main_lines().iter().filter_map(|line| entry(line))
    }

    /// Sets a key of the main section in its place, or behind the section's last key.
    pub fn set(&mut self, key: &str, value: &str) {
        if self.get(key) == Some(value) {
            return;
        }
        let names_key = |line: &String| entry(line).is_some_and(|(name, _)| name == key);
        match self.main_lines().iter().rposition(names_key) {
            Some(at) => self.lines[at] = format!("{key}: {value}{}", line_end(&self.lines[at])),
            None => self.append(key, value),
        }
    }

    /// Removes a key from the main section, all its duplicates too.
    pub fn remove(&mut self, key: &str) {
        self.edit_main(|line| match entry(line) {
            Some((name, _)) if name == key => Edit::Remove,
            _ => Edit::Keep,
        });
    }

    /// The guest's name: `name` of a virtual machine, `hostname` of a container.
    pub fn name(&self) -> Option<&str> {
        self.get("name").or_else(|| self.get("hostname"))
    }

    /// The operation that PVE has locked the guest for (`backup`, `migrate`, ...), if any.
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// The guest's tags, as they are written. PVE separates them by `;`, `,` or blanks.
    pub fn tags(&self) -> Vec<&str> {
        split_list(self.get("tags").unwrap_or_default()).collect()
    }

    /// Whether the guest is a template, which never runs.
    pub fn is_template(&self) -> bool {
        self.get("template").and_then(truth).unwrap_or(false)
    }

    /// Whether PVE talks to a guest agent: `agent: 1`, `agent: enabled=1,...`.
    pub fn agent_enabled(&self) -> bool {
        let Some(agent) = self.get("agent").map(PropertyString::parse) else {
            return false;
        };
        agent.flag("enabled").or_else(|| agent.bare().and_then(truth)).unwrap_or(false)
    }

    /// Whether the guest's file systems may be frozen: there is an agent and nobody switched
    /// freezing off. The option has three spellings in PVE's `Agent.pm`.
    pub fn freeze_enabled(&self) -> bool {
        let agent = PropertyString::parse(self.get("agent").unwrap_or_default());
        let spellings = ["freeze-fs", "freeze-fs-on-backup", "guest-fsfreeze"];
        let switched_off = spellings.iter().any(|key| agent.flag(key) == Some(false));
        self.agent_enabled() && !switched_off
    }

    /// The machine's UUID, which it keeps for its whole life.
    pub fn smbios_uuid(&self) -> Option<String> {
        let smbios = PropertyString::parse(self.get("smbios1")?);
        smbios.get("uuid").map(str::to_owned)
    }

    /// The id that tells a guest's system that it was copied or set back; `0` switches it off.
    pub fn vmgenid(&self) -> Option<&str> {
        self.get("vmgenid")
    }

    /// The BLAKE3 digest of the file's bytes in hexadecimal digits.
    pub fn digest(&self) -> String {
        blake3::hash(&bytes_of(&self.to_string())).to_hex().to_string()
    }

    /// Changes the main section line by line.
    pub(crate) fn edit_main(&mut self, mut edit: impl FnMut(&str) -> Edit) {
        let rest = self.lines.split_off(self.main_length());
        let main = std::mem::take(&mut self.lines);
        for line in main {
            match edit(&line) {
                Edit::Keep => self.lines.push(line),
                Edit::Remove => {}
                Edit::Replace(text) => self.lines.push(format!("{text}{}", line_end(&line))),
            }
        }
        self.lines.extend(rest);
    }

    /// Leaves nothing but the main section, without the blank lines that set it off.
    pub(crate) fn drop_other_sections(&mut self) {
        self.lines.truncate(self.main_length());
        while self.lines.last().is_some_and(|line| trimmed(line).is_empty()) {
            self.lines.pop();
        }
    }

    fn main_lines(&self) -> &[String] {
        &self.lines[..self.main_length()]
    }

    fn main_length(&self) -> usize {
        let length = |is_header: fn(&str) -> bool| {
            self.lines.iter().position(|line| is_header(line)).unwrap_or(self.lines.len())
        };
        let of_container = length(is_container_header);
        // A root volume is what every container has and no machine.
        let has_root = |line: &String| entry(line).is_some_and(|(key, _)| key == "rootfs");
        match self.lines[..of_container].iter().any(has_root) {
            true => of_container,
            false => length(|line| header(line).is_some()),
        }
    }

    fn append(&mut self, key: &str, value: &str) {
        let last = self.main_lines().iter().rposition(|line| !trimmed(line).is_empty());
        let at = last.map_or(0, |last| last + 1);
        let is_dos = self.lines.first().is_some_and(|line| line.ends_with("\r\n"));
        let end = if is_dos { "\r\n" } else { "\n" };
        if let Some(last) = last.filter(|last| line_end(&self.lines[*last]).is_empty()) {
            self.lines[last].push_str(end);
        }
        self.lines.insert(at, format!("{key}: {value}{end}"));
    }
}

impl fmt::Display for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(line))
    }
}

/// What becomes of one line.
pub(crate) enum Edit {
    /// It stays, every byte of it.
    Keep,
    /// It goes.
    Remove,
    /// This text, which has no line end, takes its place.
    Replace(String),
}

/// The key and the value of a line, as PVE's pattern `^([a-z][a-z_\-]*\d*):\s*(.+?)\s*$` sees them.
pub(crate) fn entry(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once(':')?;
    let word = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let letters_fit = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'));
    let value = trimmed(rest);
    (letters_fit && !value.is_empty()).then_some((key, value))
}

/// The parts of one of PVE's lists, which are separated by commas, semicolons or blanks.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| matches!(c, ',' | ';') || is_blank(c)).filter(|part| !part.is_empty())
}

/// Perl's `\s` for bytes: what PVE trims from lines.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

pub(crate) fn trimmed(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// The name in a line that begins another section.
pub(crate) fn header(line: &str) -> Option<&str> {
    let line = line.trim_end_matches(is_blank);
    let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))?;
    (!name.contains(']')).then_some(name)
}

/// Whether a line begins another section of a container's file: `[pve:pending]`, or the name of a
/// snapshot, `^\[[a-z][a-z0-9_\-]+\]\s*$` without regard to case.
fn is_container_header(line: &str) -> bool {
    let names_section =
        |name: &str| name.eq_ignore_ascii_case("pve:pending") || is_snapshot_name(name);
    header(line).is_some_and(names_section)
}

/// PVE's pattern for the headers of snapshots, which `[PENDING]` fits, too.
pub(crate) fn is_snapshot_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(fits)
}

fn line_end(line: &str) -> &str {
    let text = line.strip_suffix('\n').unwrap_or(line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    &line[text.len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "#first\nname: web\nmemory: 512\nname: shop\n\n[PENDING]\nname: later\n\n\
                      [snap]\nname: before\nlock: backup\n";

    #[test]
    fn the_main_section_alone_is_read_and_the_last_duplicate_wins() {
        let config = GuestConfig::parse(VM);
        assert_eq!(config.name(), Some("shop"));
        assert_eq!(config.lock(), None);
        assert_eq!(config.entries().count(), 3);
    }

    #[test]
    fn a_key_is_set_where_pve_would_read_it() {
        let mut config = GuestConfig::parse(VM);
        config.set("name", "new");
        config.set("memory", "512");
        config.set("lock", "migrate");
        assert_eq!(
            config.to_string(),
            VM.replace("name: shop\n", "name: new\nlock: migrate\n"),
            "set must touch nothing but its own line"
        );
        config.remove("name");
        assert_eq!(config.name(), None);
        assert!(config.to_string().contains("[snap]\nname: before\n"));
    }

    #[test]
    fn line_ends_are_kept_and_a_missing_one_is_added_when_a_line_follows() {
        let mut config = GuestConfig::parse("name: a\r\nmemory: 1");
        config.set("name", "b");
        config.set("cores", "2");
        assert_eq!(config.to_string(), "name: b\r\nmemory: 1\r\ncores: 2\r\n");
        let mut empty = GuestConfig::parse("");
        empty.set("cores", "2");
        assert_eq!(empty.to_string(), "cores: 2\n");
    }

    #[test]
    fn a_key_goes_before_the_blank_lines_of_its_section() {
        let mut config = GuestConfig::parse("name: a\n\n[snap]\nname: b\n");
        config.set("lock", "backup");
        assert_eq!(config.to_string(), "name: a\nlock: backup\n\n[snap]\nname: b\n");
    }

    #[test]
    fn the_agent_is_understood_in_all_spellings() {
        for (agent, enabled, freeze) in [
            ("1", true, true),
            ("0", false, false),
            ("enabled=1,fstrim_cloned_disks=1", true, true),
            ("enabled=0", false, false),
            ("1,freeze-fs-on-backup=0", true, false),
            ("enabled=1,freeze-fs=0", true, false),
            ("on,guest-fsfreeze=no", true, false),
            ("1,freeze-fs-on-backup=1", true, true),
            ("0,freeze-fs-on-backup=1", false, false),
            ("type=virtio", false, false),
        ] {
            let config = GuestConfig::parse(&format!("agent: {agent}\n"));
            assert_eq!(
                (config.agent_enabled(), config.freeze_enabled()),
                (enabled, freeze),
                "{agent}"
            );
        }
        let without = GuestConfig::parse("name: a\n");
        assert!(!without.agent_enabled() && !without.freeze_enabled());
    }

    #[test]
    fn facts_about_a_guest_are_found() {
        let config = GuestConfig::parse(
            "tags: prod;web, db\ntemplate: 1\nvmgenid: 0\n\
             smbios1: uuid=21a7e7bc-3cd2-4232-a009-a41f4ee992ae,base64=1\nhostname: ct\n",
        );
        assert_eq!(config.tags(), ["prod", "web", "db"]);
        assert!(config.is_template());
        assert_eq!(config.vmgenid(), Some("0"));
        assert_eq!(config.smbios_uuid().as_deref(), Some("21a7e7bc-3cd2-4232-a009-a41f4ee992ae"));
        assert_eq!(config.name(), Some("ct"));
        assert_eq!(config.digest().len(), 64);
        assert_ne!(config.digest(), GuestConfig::parse("").digest());
    }

    /// As the sections of PVE 9.1's own parsers are.
    #[test]
    fn behind_an_odd_header_a_machine_has_no_lines_and_a_container_goes_on() {
        for header in ["[weird section]", "[a]", "[]", "[special:x]", "[9to5]"] {
            let behind = format!("{header}\nmemory: 512\n[snap]\nmemory: 1024\n");
            let machine = GuestConfig::parse(&format!("name: web\n{behind}"));
            assert_eq!(machine.get("memory"), None, "{header}");
            let container = GuestConfig::parse(&format!("rootfs: ceph:v\n{behind}"));
            assert_eq!(container.get("memory"), Some("512"), "{header}");
        }
        for header in ["[pve:pending]", "[PVE:Pending]", "[snap]", "[Snap-1_a]\r", "[a2] "] {
            for first in ["name: web", "rootfs: ceph:v"] {
                let text = format!("{first}\n{header}\nmemory: 512\n");
                assert_eq!(GuestConfig::parse(&text).get("memory"), None, "{text}");
            }
        }
    }

    #[test]
    fn lines_are_read_as_pves_pattern_reads_them() {
        assert_eq!(entry("scsi0:ceph:v,size=1G \r\n"), Some(("scsi0", "ceph:v,size=1G")));
        assert_eq!(entry("name:\t web server"), Some(("name", "web server")));
        for line in
            ["#a: b", " name: a", "Name: a", "lxc.cap: x", "a1b: c", "name:", "name: ", "0: a"]
        {
            assert_eq!(entry(line), None, "{line:?}");
        }
        let is_header = |line| header(line).is_some();
        assert!(is_header("[PENDING] \r\n") && is_header("[]") && is_header("[special:x]"));
        assert!(!is_header("[a]b") && !is_header(" [a]") && !is_header("[a]]"));
    }
}
