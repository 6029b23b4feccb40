//! Bytes as text that loses none of them. Not for showing: [`shown`] is.
//!
//! PVE reads and writes its configuration files as bytes, and one byte that is no UTF-8 (an umlaut in
//! an old comment) does not trouble it. Our parsers work on text, so a file becomes a text from which
//! its exact bytes come back: what is UTF-8 stays as it is, any other byte becomes a character of its
//! own out of the end of the last private area, which PVE's files do not use. Such a character that
//! does stand in a file is taken apart into its bytes as well, so that both ways are exact.

/// The character of byte 0 would be this; only bytes from 0x80 on need one.
const FIRST: u32 = 0x10_FF00;

/// The text of these bytes.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match byte_of(character) {
                None => text.push(character),
                Some(_) => {
                    let mut buffer = [0; 4];
                    let own = character.encode_utf8(&mut buffer).bytes();
                    text.extend(own.filter_map(character_of));
                }
            }
        }
        text.extend(chunk.invalid().iter().copied().filter_map(character_of));
    }
    text
}

/// The bytes that [`text_of`] made this text of; of any other text its UTF-8.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// The text as people are shown it: what was no UTF-8 is the sign for that.
pub fn shown(text: &str) -> String {
    let sign = |character| match byte_of(character) {
        Some(_) => char::REPLACEMENT_CHARACTER,
        None => character,
    };
    text.chars().map(sign).collect()
}

fn character_of(byte: u8) -> Option<char> {
    char::from_u32(FIRST + u32::from(byte))
}

fn byte_of(character: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(character).checked_sub(FIRST)?).ok()?;
    (byte >= 0x80).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_byte_that_is_no_utf8_is_kept_and_shown_as_such() {
        let latin = b"#caf\xe9 und \xc3\xa4\nname: web\n";
        let text = text_of(latin);
        assert_eq!(bytes_of(&text), latin);
        assert_eq!(shown(&text), "#caf\u{fffd} und ä\nname: web\n");
        assert_eq!(text_of("käse: 1\n".as_bytes()), "käse: 1\n");
    }

    proptest! {
        #[test]
        fn every_file_comes_back_byte_by_byte(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            private in proptest::collection::vec(0x10_FE00_u32..=0x10_FFFF, 0..5),
        ) {
            bytes.extend(private.into_iter().filter_map(char::from_u32).collect::<String>().bytes());
            prop_assert_eq!(bytes_of(&text_of(&bytes)), bytes);
        }
    }
}
