//! Whether a file may be run as root: neither it nor any step of the way to it can be changed by
//! somebody else. The rule is that of sshd and cron for their files. Starts nothing.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// How many links the kernel follows on one way (`path_resolution(7)`).
const LINKS: usize = 40;

/// Why a file or directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not there, or cannot be looked at.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// It is a directory, a device or the like.
    #[error("it is no file")]
    NoFile,
    /// Nobody may run it.
    #[error("it is not executable (chmod +x)")]
    NotExecutable,
    /// Somebody else owns it.
    #[error("{} belongs to uid {owner}, who could put something else there that would run as root: chown it to root", path.display())]
    Owner {
        /// The step of the way that is meant.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
    },
    /// Somebody else may write it.
    #[error("{} may be written by others than its owner (mode {mode:04o}), who could put something there that would run as root: chmod go-w it", path.display())]
    Mode {
        /// The step of the way that is meant.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Looks at every directory and link on the way to a path, and at what is there.
///
/// Trusted are root and the user who runs the program (who runs nothing as somebody else). In a
/// directory with the sticky bit, as `/tmp`, others can add names, but not replace those of trusted
/// owners; so it is no gap in the way.
///
/// # Errors
/// The first step that is not there, or that somebody else could change.
pub fn only_ours_to_change(path: &Path) -> Result<Metadata, Refusal> {
    let root = PathBuf::from("/");
    let mut facts = fs::symlink_metadata(&root)?;
    guarded(&root, &facts)?;
    let (mut place, mut rest, mut links) = (root, Vec::new(), 0);
    push(&mut rest, &std::path::absolute(path)?);
    while let Some(step) = rest.pop() {
        match step {
            Step::Root => place = PathBuf::from("/"),
            Step::Up => drop(place.pop()),
            Step::Name(name) => {
                let next = place.join(name);
                facts = fs::symlink_metadata(&next)?;
                guarded(&next, &facts)?;
                if !facts.is_symlink() {
                    place = next;
                    continue;
                }
                links += 1;
                if links > LINKS {
                    return Err(io::Error::from_raw_os_error(nix::libc::ELOOP).into());
                }
                push(&mut rest, &fs::read_link(&next)?);
            }
        }
    }
    // The last step may have been `..` or the root itself.
    Ok(fs::symlink_metadata(&place)?)
}

/// One step of a way.
enum Step {
    Root,
    Up,
    Name(OsString),
}

/// Puts the steps of a path before those that are still to be made.
fn push(rest: &mut Vec<Step>, path: &Path) {
    let steps = path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    let steps: Vec<Step> = steps.collect();
    rest.extend(steps.into_iter().rev());
}

fn guarded(path: &Path, facts: &Metadata) -> Result<(), Refusal> {
    let owner = facts.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(Refusal::Owner { path: path.to_owned(), owner });
    }
    let mode = facts.mode() & 0o7777;
    let is_sticky = facts.is_dir() && mode & 0o1000 != 0;
    // The mode of a link means nothing.
    if facts.is_symlink() || is_sticky || mode & 0o022 == 0 {
        return Ok(());
    }
    Err(Refusal::Mode { path: path.to_owned(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("a/b")).unwrap();
        put(&home, "a/b/hook", 0o755);
        home
    }

    fn put(home: &tempfile::TempDir, name: &str, mode: u32) {
        fs::write(home.path().join(name), "#!/bin/sh\n").unwrap();
        mode_of(home, name, mode);
    }

    fn mode_of(home: &tempfile::TempDir, name: &str, mode: u32) {
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn look(home: &tempfile::TempDir, name: &str) -> Result<Metadata, Refusal> {
        only_ours_to_change(&home.path().join(name))
    }

    #[test]
    fn a_file_that_others_may_write_or_replace_is_refused_and_the_step_is_named() {
        let home = home();
        assert!(look(&home, "a/b/hook").unwrap().is_file());
        for (name, mode) in [("a/b/hook", 0o775), ("a/b/hook", 0o757), ("a/b", 0o777), ("a", 0o775)]
        {
            let before = fs::metadata(home.path().join(name)).unwrap().mode();
            mode_of(&home, name, mode);
            let refusal = look(&home, "a/b/hook").unwrap_err().to_string();
            let step = format!("{} may be written", home.path().join(name).display());
            assert!(refusal.starts_with(&step), "{refusal}");
            mode_of(&home, name, before & 0o7777);
        }
        // As in /tmp: others can add names, and cannot replace ours.
        mode_of(&home, "a", 0o1777);
        look(&home, "a/b/hook").unwrap();
    }

    #[test]
    fn each_link_on_the_way_is_followed_and_looked_at() {
        let home = home();
        fs::create_dir(home.path().join("open")).unwrap();
        let at = |name: &str| home.path().join(name);
        symlink("../a/./b/hook", at("open/link")).unwrap();
        symlink(at("open/link"), at("a/link")).unwrap();
        symlink("loop", at("a/loop")).unwrap();
        assert!(look(&home, "a/link").unwrap().is_file());
        // The file and the first link's directory are safe, and what the link goes through is not.
        mode_of(&home, "open", 0o777);
        let refusal = look(&home, "a/link").unwrap_err().to_string();
        assert!(refusal.contains("open may be written by others"), "{refusal}");
        assert!(matches!(look(&home, "a/loop"), Err(Refusal::Unreadable(_))));
        assert!(matches!(look(&home, "a/missing"), Err(Refusal::Unreadable(_))));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not root: nothing can be given to another user; left out");
            return;
        }
        let home = home();
        let nobody = Some(nix::unistd::Uid::from_raw(65534));
        for name in ["a/b/hook", "a"] {
            let path = home.path().join(name);
            nix::unistd::chown(&path, nobody, None).unwrap();
            let refusal = look(&home, "a/b/hook").unwrap_err();
            assert!(matches!(refusal, Refusal::Owner { owner: 65534, .. }), "{refusal}");
            nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(0)), None).unwrap();
        }
    }
}
