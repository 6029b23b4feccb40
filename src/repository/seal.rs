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
    let text = format!("{body}{BEFORE}{seal}{AFTER}");
    // Who reads it would refuse it.
    few_enough(&text).map_err(serde::ser::Error::custom)?;
    Ok(text)
}

/// The most values of a document. A manifest with an image for each volume that PVE allows has a
/// third of it; in memory each takes many times the two bytes that it may have in a file.
const VALUES_LIMIT: usize = 1 << 15;

/// Reads a document, sealed or not, which takes no more memory than one of ours might.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    few_enough(text)?;
    serde_json::from_str(text).map_err(|error| format!("it is not whole JSON: {error}"))
}

fn few_enough(text: &str) -> Result<(), String> {
    match count_values(text) {
        ..=VALUES_LIMIT => Ok(()),
        _ => Err(format!("it holds more than {VALUES_LIMIT} values, as no file of its kind")),
    }
}

/// How many values a text may have as JSON, at most: each but the first of a list or an object
/// stands behind a comma, and the first behind a bracket.
fn count_values(text: &str) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// Reads a sealed object and takes the seal out of it; the error says what is wrong.
#[cfg(test)]
pub(crate) fn open(bytes: &[u8]) -> Result<Value, String> {
    check(bytes, value(bytes)?)
}

/// Takes the seal out of a document that was read; the error says what is wrong.
pub(crate) fn check(bytes: &[u8], mut value: Value) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let object = value.as_object_mut().ok_or("it is not a JSON object")?;
    object.shift_remove(FIELD).ok_or("it has no seal")?;
    let (body, rest) = text.rsplit_once(BEFORE).ok_or("it has no seal at its end")?;
    let expected = format!("{}{AFTER}", blake3::hash(body.as_bytes()));
    if rest != expected {
        return Err("its seal does not fit its text: it was damaged or edited".to_owned());
    }
    Ok(value)
}

/// Reads a sealed object, and also an object that an older version wrote, which sealed nothing: one whose last
/// field is no seal, nor what a flipped bit makes of the name of one.
pub(crate) fn open_or_old(bytes: &[u8]) -> Result<Value, String> {
    let value = value(bytes)?;
    let looks_sealed = |(name, value): (&String, &Value)| {
        name == FIELD || value.as_str().is_some_and(|text| text.starts_with("blake3:"))
    };
    let is_old = |value: &Value| {
        value.as_object().is_some_and(|object| !object.iter().next_back().is_some_and(looks_sealed))
    };
    if is_old(&value) { Ok(value) } else { check(bytes, value) }
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
    fn a_document_of_countless_values_is_refused_before_it_takes_memory() {
        for text in ["[0,", "{\"a\":[", "[[],", "[\"\\\"\","] {
            assert!(value(text.repeat(VALUES_LIMIT).as_bytes()).unwrap_err().contains("values"));
        }
        // Commas in a text are no values.
        let text = json!({ "notes": ",[{\\\"".repeat(VALUES_LIMIT) });
        assert_eq!(value(text.to_string().as_bytes()).unwrap(), text);
        let list = json!(vec![0; VALUES_LIMIT - 1]);
        assert_eq!(value(list.to_string().as_bytes()).unwrap(), list);
    }

    #[test]
    fn what_would_not_be_read_again_for_its_values_is_not_written() {
        let list = |count| json!({ "list": vec![0; count] });
        // The object, its list and the seal are values, too.
        let most = list(VALUES_LIMIT - 3);
        assert_eq!(open(close(&most).unwrap().as_bytes()), Ok(most));
        let error = close(&list(VALUES_LIMIT - 2)).unwrap_err();
        assert!(error.to_string().contains("more than 32768 values"), "{error}");
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
