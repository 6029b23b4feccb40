//! Random numbers of the operating system, for ids. Not for secrets: we make none.

/// Random bytes from the kernel.
///
/// # Errors
/// The kernel gives none, which happens only in broken sandboxes.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A random number, as for a chain's id.
///
/// # Errors
/// As [`random_bytes`].
pub fn random_u32() -> std::io::Result<u32> {
    random_bytes().map(u32::from_le_bytes)
}

/// A random number, as for the id of a restore point or of an image.
///
/// # Errors
/// As [`random_bytes`].
pub fn random_u64() -> std::io::Result<u64> {
    random_bytes().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_from_call_to_call() {
        let numbers: std::collections::HashSet<u64> =
            (0..64).map(|_| random_u64().unwrap()).collect();
        assert_eq!(numbers.len(), 64);
        assert_ne!(random_bytes::<16>().unwrap(), [0; 16]);
        assert!((0..8).map(|_| random_u32().unwrap()).any(|n| n != 0));
    }
}
