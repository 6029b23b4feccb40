//! Sealed JSON: an object whose last field is a digest of the text before it, so that one flipped
//! bit in a manifest is noticed. Not a signature: it protects against accidents only.

use serde::Serialize;
use serde_json::Value;

const FIELD: &str = "seal";
const BEFORE: &str = ",\n  \"seal\": \"blake3:";
const AFTER: &str = "\"\n}\n";

/// Renders `value`, which must become a JSON object with at least one field, and seals it.
pub(crate) fn close(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let pretty = serde_json::to_string_pretty(value)?;
    let body = pretty.strip_suffix("\n}").unwrap_or(&pretty);
    let seal = blake3::hash(body.as_bytes());
    Ok(format!("{body}{BEFORE}{seal}{AFTER}"))
}

/// Reads a sealed object and takes the seal out of it; the error says what is wrong.
pub(crate) fn open(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not whole JSON: {error}"))?;
    let object = value.as_object_mut().ok_or("it is not a JSON object")?;
    object.shift_remove(FIELD).ok_or("it has no seal")?;
    let (body, rest) = text.rsplit_once(BEFORE).ok_or("it has no seal at its end")?;
    let expected = format!("{}{AFTER}", blake3::hash(body.as_bytes()));
    if rest != expected {
        return Err("its seal does not fit its text: it was damaged or edited".to_owned());
    }
    Ok(value)
}

/// As [`open`], and also an object that an older version wrote, which sealed nothing: one whose last
/// field is no seal, nor what a flipped bit makes of the name of one.
pub(crate) fn open_or_old(bytes: &[u8]) -> Result<Value, String> {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    let looks_sealed = |(name, value): (&String, &Value)| {
        name == FIELD || value.as_str().is_some_and(|text| text.starts_with("blake3:"))
    };
    let is_old = |value: &Value| {
        value.as_object().is_some_and(|object| !object.iter().last().is_some_and(looks_sealed))
    };
    value.filter(is_old).map_or_else(|| open(bytes), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_sealed_opens_as_it_was() {
        let value = json!({"a": 1, "b": {"seal": "x"}});
        assert_eq!(open(close(&value).unwrap().as_bytes()), Ok(value));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let text = close(&json!({"seq": 12, "name": "web", "list": [1, 2]})).unwrap();
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[position] ^= 1 << bit;
                assert!(open(&bytes).is_err(), "bit {bit} of byte {position}");
            }
            assert!(open(&text.as_bytes()[..position]).is_err(), "{position}");
        }
    }
}
