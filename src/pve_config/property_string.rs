//! Property strings: `ceph:vm-100-disk-0,discard=on,size=32G`. Not a validator: PVE's schemas
//! change with every release, and what we do not know we keep.

use std::fmt;
use std::str::FromStr;

/// A comma-separated list of `key=value` parts, of which one may stand without its key.
///
/// Parts keep their order, their spelling and even their emptiness, so that printing gives back
/// the text that was parsed. Source: PVE's `JSONSchema::parse_property_string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyString {
    parts: Vec<String>,
}

/// The keys under which drives and mount points name their volume when they write the key out.
const VOLUME_KEYS: [&str; 2] = ["file", "volume"];

impl PropertyString {
    /// Reads a value; every text is a property string, however odd.
    pub fn parse(text: &str) -> Self {
        Self { parts: text.split(',').map(str::to_owned).collect() }
    }

    /// The part that stands without a key: the volume of a drive, the model of a network card.
    pub fn bare(&self) -> Option<&str> {
        self.parts.iter().map(String::as_str).find(|part| is_bare(part))
    }

    /// The value of an option.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.options().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All options that have a key, in order.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().filter_map(|part| part.split_once('='))
    }

    /// Whether an option is set to one of PVE's words for true (`1`, `on`, `yes`, `true`); `None`
    /// when it is absent or neither true nor false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(truth)
    }

    /// Sets an option in its place, or appends it.
    pub fn set(&mut self, key: &str, value: &str) {
        let part = format!("{key}={value}");
        match self.parts.iter_mut().find(|part| has_key(part, key)) {
            Some(place) => *place = part,
            None => self.parts.push(part),
        }
    }

    /// Sets the part without a key in its place, or puts it in front.
    pub fn set_bare(&mut self, value: &str) {
        match self.parts.iter_mut().find(|part| is_bare(part)) {
            Some(place) => value.clone_into(place),
            None => self.parts.insert(0, value.to_owned()),
        }
    }

    /// Removes an option wherever it stands.
    pub fn remove(&mut self, key: &str) {
        self.parts.retain(|part| !has_key(part, key));
    }

    /// What a drive or mount point holds: the bare part, or `file=` or `volume=`.
    pub fn volume(&self) -> Option<&str> {
        self.bare().or_else(|| VOLUME_KEYS.iter().find_map(|key| self.get(key)))
    }

    /// Replaces what a drive or mount point holds, in the spelling that it has.
    pub fn set_volume(&mut self, volume: &str) {
        let spelled_out = VOLUME_KEYS.into_iter().find(|key| self.get(key).is_some());
        match (self.bare(), spelled_out) {
            (None, Some(key)) => self.set(key, volume),
            _ => self.set_bare(volume),
        }
    }
}

/// PVE's words for true and false, in any case (`JSONSchema::parse_boolean`).
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn is_bare(part: &str) -> bool {
    !part.contains('=') && !part.trim().is_empty()
}

fn has_key(part: &str, key: &str) -> bool {
    part.split_once('=').is_some_and(|(name, _)| name == key)
}

impl FromStr for PropertyString {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

impl fmt::Display for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_printed_as_it_was_parsed() {
        for text in ["", ",", "a", "a,,b=", "=x", "a=b=c,d", " none , media=cdrom", "ü,ß=1"] {
            assert_eq!(PropertyString::parse(text).to_string(), text);
        }
    }

    #[test]
    fn the_volume_may_have_its_key_or_not() {
        for (text, changed) in [
            ("ceph:vm-1,size=1G", "new:v,size=1G"),
            ("size=1G,ceph:vm-1", "size=1G,new:v"),
            ("file=ceph:vm-1,size=1G", "file=new:v,size=1G"),
            ("mp=/x,volume=ceph:vm-1", "mp=/x,volume=new:v"),
        ] {
            let mut value = PropertyString::parse(text);
            assert_eq!(value.volume(), Some("ceph:vm-1"), "{text}");
            value.set_volume("new:v");
            assert_eq!(value.to_string(), changed);
        }
    }

    #[test]
    fn options_change_in_their_place() {
        let mut value = PropertyString::parse("ceph:v,discard=on,size=1G");
        value.set("discard", "ignore");
        value.set("ssd", "1");
        value.remove("size");
        assert_eq!(value.to_string(), "ceph:v,discard=ignore,ssd=1");
    }

    #[test]
    fn flags_know_all_of_pves_words() {
        let value = PropertyString::parse("a=1,b=ON,c=no,d=0,e=maybe");
        let flags = ["a", "b", "c", "d", "e", "f"].map(|key| value.flag(key));
        assert_eq!(flags, [Some(true), Some(true), Some(false), Some(false), None, None]);
    }

    #[test]
    fn an_empty_bare_part_is_no_volume() {
        assert_eq!(PropertyString::parse(" ,media=cdrom").volume(), None);
    }
}
