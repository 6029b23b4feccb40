//! What the words of a line of cv4pve-autosnap mean here. Not how they are read: that is `import`.
//!
//! What would be another job without saying so is refused; what is different and harmless is noted.

use super::import::Proposal;
use crate::model::{Label, TimestampFormat};

/// The file that a line names, with its whole path.
///
/// # Errors
/// It is named without its directory, which only the shell of that line knows.
pub fn absolute(path: &str, directory: Option<&str>) -> Result<String, String> {
    match (path.starts_with('/'), directory) {
        (true, _) => Ok(path.to_owned()),
        (false, Some(directory)) => Ok(format!("{}/{path}", directory.trim_end_matches('/'))),
        (false, None) => Err(format!("its file {path:?} is named without its directory")),
    }
}

/// The shell of a line knew its directory; a job of ours starts in another one.
///
/// # Errors
/// A path has no directory.
pub fn with_whole_paths(
    mut proposal: Proposal,
    directory: Option<&str>,
) -> Result<Proposal, String> {
    for (key, value) in &mut proposal.options {
        if key == "path" || key == "script" {
            *value = absolute(value, directory)?;
        }
    }
    Ok(proposal)
}

/// Takes one option over.
///
/// # Errors
/// It has no counterpart.
pub fn option(proposal: &mut Proposal, key: &str, value: String) -> Result<(), String> {
    let notes = &mut proposal.notes;
    let (key, value) = match key {
        "debug" => {
            notes.push("--debug is left out: `job run NAME --debug` by hand says all".to_owned());
            return Ok(());
        }
        "host" => (key, hosts(&value, notes)),
        "label" => (key, label(value)?),
        "timestamp-format" if value.trim().is_empty() => return Ok(()),
        "timestamp-format" => (key, format(value)?),
        "timeout" => match timeout(&value, notes) {
            Some(seconds) => (key, seconds),
            None => return Ok(()),
        },
        "max-perc-storage" => {
            notes.push(format!(
                "--max-perc-storage {value} counts here: cv4pve-autosnap 2 compared it wrongly, and no storage was ever too full"
            ));
            (key, value)
        }
        "vmid" => {
            notes.extend(one_sided(&value));
            (key, value)
        }
        "script-hook" => ("script", value),
        other => (other, value),
    };
    proposal.options.push((key.to_owned(), value));
    Ok(())
}

/// Completes a job when all of its words are known.
///
/// # Errors
/// It would not have run, or it would be another job here.
pub fn completed(mut proposal: Proposal, directory: Option<&str>) -> Result<Proposal, String> {
    let has = |proposal: &Proposal, key: &str| proposal.options.iter().any(|(k, _)| k == key);
    for key in ["vmid", "label", "keep"] {
        if !has(&proposal, key) {
            return Err(format!("it has no --{key}, so it cannot have run"));
        }
    }
    login(&mut proposal)?;
    for (key, value) in &mut proposal.options {
        if let Some(path) = value.strip_prefix("file:").filter(|_| key == "password") {
            *value = format!("file:{}", absolute(path, directory)?);
        } else if key == "script" {
            *value = absolute(value, directory)?;
        }
    }
    let is_verified = has(&proposal, "validate-certificate");
    proposal.options.retain(|(key, _)| key != "validate-certificate");
    if has(&proposal, "host") && !is_verified {
        proposal.options.push(("no-verify-ssl".to_owned(), String::new()));
        proposal.notes.push(
            "without --validate-certificate nobody was verified, and so it stays (--no-verify-ssl): whoever sits between can read the credentials; `job set NAME --delete no-verify-ssl`, with --fingerprint or --ca-file where needed, is better".to_owned(),
        );
    }
    Ok(proposal)
}

/// A token wins over a password, which is then not needed. Without a host only the predecessor
/// works, which runs on a node.
fn login(proposal: &mut Proposal) -> Result<(), String> {
    let is_given = |key: &str| {
        let mut all = proposal.options.iter().chain(&proposal.secrets);
        all.any(|(known, _)| known == key)
    };
    let (host, token) = (is_given("host"), is_given("api-token"));
    let login = token || is_given("username") && is_given("password");
    if host != login {
        let missing = if host { "api-token" } else { "host" };
        return Err(format!("it has no --{missing}, so it cannot have run"));
    }
    let is_needless = |key: &str| token && (key == "username" || key == "password");
    let count = proposal.options.len() + proposal.secrets.len();
    proposal.options.retain(|(key, _)| !is_needless(key));
    proposal.secrets.retain(|(key, _)| !is_needless(key));
    if proposal.options.len() + proposal.secrets.len() < count {
        proposal.notes.push("the token wins: --username and --password are left out".to_owned());
    }
    Ok(())
}

/// A port that is no number was port 8006 there.
fn hosts(value: &str, notes: &mut Vec<String>) -> String {
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    let host = |item: &str| match item.split_once(':') {
        Some((host, port)) if port.parse::<u16>().is_err() => {
            notes.push(format!("--host {item}: the port is no number, so it is 8006 as before"));
            host.to_owned()
        }
        _ => item.to_owned(),
    };
    items.map(host).collect::<Vec<_>>().join(",")
}

/// The label is part of the names of the snapshots that are there: written otherwise, none of them
/// would be counted or removed any more.
fn label(value: String) -> Result<String, String> {
    match value.parse::<Label>() {
        Ok(_) => Ok(value),
        Err(_) => Err(format!(
            "its label {value:?} cannot be one of ours (a lower-case letter, then up to 23 lower-case letters, digits, - or _), and under another one the snapshots that are there would stay for ever: make the job with `job create --operation snapshot` under a new label, and remove those of the old one yourself"
        )),
    }
}

fn format(value: String) -> Result<String, String> {
    match value.parse::<TimestampFormat>() {
        Ok(_) => Ok(value),
        Err(error) => Err(format!("its snapshots would not be known by their names: {error}")),
    }
}

/// Zero meant not to wait, so that no run ever ended well; ours waits a day at most.
fn timeout(value: &str, notes: &mut Vec<String>) -> Option<String> {
    match value.parse::<u64>() {
        Ok(0) => {
            notes.push("--timeout 0 is left out: a task is waited for up to 600 s".to_owned());
            None
        }
        Ok(seconds) if seconds > 86_400 => {
            notes.push(format!("--timeout {seconds} is 86400, a day: that is the most"));
            Some("86400".to_owned())
        }
        // What is no number is refused with the other words of the command.
        _ => Some(value.to_owned()),
    }
}

fn one_sided(selection: &str) -> Vec<String> {
    let items = selection.split(',').map(|item| item.trim().trim_start_matches('-'));
    let is_one_sided = |item: &&str| item.starts_with('%') != item.ends_with('%');
    let note = |item: &str| {
        let what = if item.ends_with('%') { "begin" } else { "end" };
        let other = if item.ends_with('%') { "ended" } else { "began" };
        format!(
            "{item} means names that {what} so; in cv4pve-autosnap 2.0 it meant those that {other} so"
        )
    };
    items.filter(is_one_sided).map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::super::import::{Found, found};
    use super::*;
    use crate::job::around_line::Form;

    /// A line of a crontab; the files that it names are `/conn` and `/loop`.
    fn one(line: &str) -> Result<Proposal, String> {
        let read = |path: &str| match path {
            "/conn" => {
                Ok("# who\n--host:pve1,\n\"--api-token\" root@pam!a=uuid\n@/more".to_owned())
            }
            "/more" | "/opt/x/more" => Ok("--validate-certificate --vmid=@pool-x,-100".to_owned()),
            "/loop" => Ok("@/loop".to_owned()),
            "/open" => Ok("--vmid \"all".to_owned()),
            _ => Err(format!("cannot read {path}")),
        };
        let mut all: Vec<Found> = found(&format!("0 0 * * * root {line}\n"), Form::System, &read);
        assert_eq!(all.len(), 1, "{line}");
        all.remove(0).job
    }

    fn options(proposal: &Proposal) -> String {
        let text = |(key, value): &(String, String)| format!("{key}={value}");
        proposal.options.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_option_has_its_place() {
        let line = "/opt/cv4pve-autosnap --host=pve1,pve2:8007 --api-token='root@pam!a=uuid' \
            --validate-certificate --vmid='@all,-105' --timeout 90 --timestamp-format=yyyyMMddHHmmss \
            --max-perc-storage 90 snap --label=daily --keep=7 --state --only-running --script /h.sh";
        let job = one(line).unwrap();
        assert_eq!(job.operation, "snapshot");
        assert_eq!(
            options(&job),
            "host=pve1,pve2:8007 vmid=@all,-105 timeout=90 timestamp-format=yyyyMMddHHmmss \
             max-perc-storage=90 label=daily keep=7 state= only-running= script=/h.sh"
        );
        assert_eq!(job.secrets, [("api-token".to_owned(), "root@pam!a=uuid".to_owned())]);
        assert!(job.notes.len() == 1 && job.notes[0].contains("counts here"), "{:?}", job.notes);
        let clean = "cv4pve-autosnap --host=a --username=u@pve --password:s3cret --vmid=web\\% clean \
                     --label:x --keep 0 --script-hook=/h >/dev/null 2>&1";
        let job = one(clean).unwrap();
        assert_eq!(job.operation, "snapshot-prune");
        assert_eq!(
            options(&job),
            "host=a username=u@pve vmid=web% label=x keep=0 script=/h no-verify-ssl="
        );
        assert_eq!(job.secrets, [("password".to_owned(), "s3cret".to_owned())]);
        let notes = job.notes.join("\n");
        assert!(notes.contains("begin so") && notes.contains("--no-verify-ssl"), "{notes}");
    }

    #[test]
    fn files_are_read_also_those_beside_the_program() {
        let job = one("cv4pve-autosnap @/conn snap --label=daily --keep=7").unwrap();
        assert_eq!(options(&job), "host=pve1 vmid=@pool-x,-100 label=daily keep=7");
        assert_eq!(job.secrets[0].1, "root@pam!a=uuid");
        let login = "--host=a --username u --password=file:pw";
        let job = one(&format!(
            "cd /opt/x/ && ./cv4pve-autosnap {login} @more snap --label=d --keep=1 --script hook.sh"
        ));
        let expected = "host=a username=u password=file:/opt/x/pw vmid=@pool-x,-100 label=d keep=1 \
                        script=/opt/x/hook.sh";
        assert_eq!(options(&job.unwrap()), expected);
    }

    #[test]
    fn what_would_be_another_job_is_refused_with_its_reason() {
        let login = "--host=a --api-token=u@pve!t=x";
        for (words, why) in [
            ("LOGIN --vmid=all snap --label=Daily --keep=1", "stay for ever"),
            ("LOGIN --vmid=all snap --label=2h --keep=1", "stay for ever"),
            ("LOGIN --vmid=all snap --label=d", "no --keep"),
            ("LOGIN snap --label=d --keep=1", "no --vmid"),
            ("LOGIN --vmid=all snap --keep=1", "no --label"),
            ("--vmid=all --api-token=u@pve!t=x snap --label=d --keep=1", "no --host"),
            ("--vmid=all --host=a snap --label=d --keep=1", "no --api-token"),
            ("--vmid=all --host=a --username=u snap --label=d --keep=1", "no --api-token"),
            ("LOGIN --vmid=all --timestamp-format ddMMyy snap --label=d --keep=1", "ddMMyy"),
            ("LOGIN --vmid=all snap --label=d --keep=1 --script h.sh", "without its directory"),
            ("LOGIN --vmid=all snap clean --label=d --keep=1", "\"clean\" is not known"),
            ("LOGIN --vmid=all snap --label=d --keep=1 --what", "--what is not known"),
            ("LOGIN --vmid=all status", "status"),
            ("LOGIN --vmid=all snap --label=d --keep=1 --dry-run", "dry run"),
            ("@/none snap --label=d --keep=1", "cannot read /none"),
            ("@none snap --label=d --keep=1", "without its directory"),
            ("@/open snap --label=d --keep=1", "quote"),
            ("@/loop snap --label=d --keep=1", "\"@/loop\" is no job"),
            ("LOGIN --vmid=$IDS snap --label=d --keep=1", "variable"),
        ] {
            let error = one(&format!("cv4pve-autosnap {}", words.replace("LOGIN", login)));
            let error = error.expect_err(words);
            assert!(error.contains(why), "{words}: {error}");
            assert!(!error.contains("t=x"), "{error}");
        }
    }

    #[test]
    fn what_is_different_is_noted() {
        let line = "cv4pve-autosnap --host=a:x --api-token=u@pve!t=x --username=u --password=pw --debug \
                    --vmid=\\%db --timeout=0 snap --label=d --keep=1 | mail -s snap ops@a.example";
        let job = one(line).unwrap();
        let notes = job.notes.join("\n");
        for part in ["8006", "--debug", "end so", "--timeout 0", "token wins", "left out: mail"] {
            assert!(notes.contains(part), "{part} in {notes}");
        }
        assert_eq!(options(&job), "host=a vmid=%db label=d keep=1 no-verify-ssl=");
        assert_eq!(job.secrets.len(), 1);
        // The predecessor ran on the node itself.
        let job = one("eve4pve-autosnap snap --vmid=100 --label=daily --keep=2").unwrap();
        assert!(options(&job) == "vmid=100 label=daily keep=2" && job.notes.is_empty());
    }
}
