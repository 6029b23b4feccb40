//! The guard of a freeze: a process of its own on the guest's node that thaws at the deadline,
//! whatever becomes of the run. It is armed before the freeze and disarmed after the thaw.

use crate::pve::control::GuestControl;
use crate::transport::{Command, Host, TransportError};
use std::time::Duration;

/// A guard that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// A transient systemd timer (systemd-run(1)).
    Timer {
        /// The unit's name without suffix.
        unit: String,
    },
    /// A session of its own, where no systemd runs.
    Session {
        /// Its leader's pid, which is its process group, too.
        pid: u32,
    },
}

/// Thaws: an agent that refuses lets `qm` end with 0 all the same (PVE's QMPClient.pm), so only a
/// printed number counts, and what fails is tried again for a minute.
const THAW: &str = "for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
    case \"$(\"$@\")\" in [0-9]*) exit 0 ;; esac; sleep 3; done; exit 1";

/// Prints its pid, lets go of our pipes, sleeps, then thaws. It stands alone in its session, so
/// that a kill of the run's process group does not reach it.
const SESSION: &str = "echo $$; exec </dev/null >/dev/null 2>&1; sleep \"$1\"; script=$2; \
    shift 2; exec sh -c \"$script\" pve-ferry-guard \"$@\"";

const SHORT: Duration = Duration::from_secs(15);

/// Arms a guard on the guest's node that thaws after `seconds`.
///
/// # Errors
/// The node cannot be reached or starts no guard; then the guest must not be frozen.
pub async fn arm(control: &GuestControl, seconds: u32, token: &str) -> Result<Guard, ArmError> {
    if has_systemd(&control.host).await? {
        arm_timer(control, seconds, token).await
    } else {
        arm_session(control, seconds).await
    }
}

async fn arm_timer(
    control: &GuestControl,
    seconds: u32,
    token: &str,
) -> Result<Guard, ArmError> {
    let vmid = control.vmid;
    let unit = format!("pve-ferry-thaw-{vmid}-{token}");
    let options = [
        "--quiet".to_owned(),
        "--collect".to_owned(),
        format!("--unit={unit}"),
        format!("--on-active={seconds}s"),
        "--timer-property=AccuracySec=100ms".to_owned(),
        format!("--description=Thaws guest {vmid} if pve-ferry does not"),
        "--".to_owned(),
    ];
    let command = Command::writes("systemd-run")
        .args(options)
        .args(["sh", "-c", THAW, "pve-ferry-guard"])
        .args(thaw(control));
    control.host.run(&command.deadline(SHORT)).await?;
    Ok(Guard::Timer { unit })
}

async fn arm_session(control: &GuestControl, seconds: u32) -> Result<Guard, ArmError> {
    let command = Command::writes("setsid")
        .args(["--fork", "sh", "-c", SESSION, "pve-ferry-guard"])
        .args([seconds.to_string(), THAW.to_owned()])
        .args(thaw(control));
    let output = control.host.run(&command.deadline(SHORT)).await?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.parse().map(|pid| Guard::Session { pid }).map_err(|_| ArmError::NoPid(text))
}

fn thaw(control: &GuestControl) -> Vec<String> {
    control.thaw_command().argv().into_iter().map(str::to_owned).collect()
}

/// Ends a guard that has not fired.
///
/// # Errors
/// The guard could not be ended, or was not there any more: then it may have fired.
pub async fn disarm(host: &Host, guard: &Guard) -> Result<(), TransportError> {
    let command = match guard {
        Guard::Timer { unit } => {
            Command::writes("systemctl").args(["stop".to_owned(), format!("{unit}.timer")])
        }
        Guard::Session { pid } => Command::writes("kill").args(["--".to_owned(), format!("-{pid}")]),
    };
    host.run(&command.deadline(SHORT)).await.map(|_| ())
}

/// Whether systemd runs the node: the test of sd_booted(3).
async fn has_systemd(host: &Host) -> Result<bool, TransportError> {
    let command = Command::reads("test").args(["-d", "/run/systemd/system"]).deadline(SHORT);
    match host.run(&command).await {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(1) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why no guard waits.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// A command failed.
    #[error("could not arm the guard that thaws the guest")]
    Transport(#[from] TransportError),
    /// The guard did not say who it is.
    #[error("the guard that thaws the guest said {0:?} instead of its pid")]
    NoPid(String),
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timer { unit } => write!(f, "systemd timer {unit}"),
            Self::Session { pid } => write!(f, "process {pid}"),
        }
    }
}
