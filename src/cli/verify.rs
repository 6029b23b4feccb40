//! `pve-ferry verify`: reads what is stored and says what is damaged, and what that costs.

use super::error::CliError;
use crate::model::VmId;

/// Vmids as they are typed.
///
/// # Errors
/// One of them is none.
pub fn vmids(words: &[String]) -> Result<Vec<VmId>, CliError> {
    Ok(words.iter().map(|word| word.trim().parse()).collect::<Result<_, _>>()?)
}
