//! A guard of a freeze as its program is (`src/execute/guard.sh`, which `tests/cli` runs), on the clock
//! of the test and with the commands of a test's nodes.

use super::node::{CommandFault, Node, Reply};
use pve_ferry::transport::Partner;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

struct Guard {
    node: Arc<Node>,
    name: String,
    /// The node that it works on.
    place: String,
    vmid: u32,
    seconds: u64,
    partner: Partner,
}

/// Starts a guard, with what goes wrong with its start.
pub fn start(node: &Arc<Node>, place: &str, argv: &[&str], partner: Partner, starts: bool) {
    let at = argv.iter().position(|word| *word == "pve-ferry-guard").expect("a guard is started");
    let [mode, vmid, seconds, there, ..] = argv[at + 1..] else { panic!("{argv:?}") };
    assert_eq!(there, place, "a guard is told where it is");
    let unit = argv.iter().find_map(|word| word.strip_prefix("--unit="));
    let name = unit.map_or_else(|| format!("process of {vmid}"), str::to_owned);
    let shown = [argv[0], "...", "guard", mode, vmid];
    let fault = node.begin(&shown);
    let guard = Guard {
        node: node.clone(),
        name,
        place: place.to_owned(),
        vmid: vmid.parse().unwrap(),
        seconds: seconds.parse().unwrap(),
        partner,
    };
    let freezes = mode == "freeze";
    match fault {
        None if starts => drop(tokio::spawn(guard.work(freezes))),
        None | Some(CommandFault::Fails | CommandFault::Lost) => {}
        Some(CommandFault::Hangs | CommandFault::Late) => drop(tokio::spawn(guard.hang())),
        Some(CommandFault::Odd) => drop(tokio::spawn(async move { guard.say("odd").await })),
    }
}

impl Guard {
    async fn hang(mut self) {
        while self.partner.hears.recv().await.is_some() {}
    }

    async fn say(&self, line: &str) {
        // Whoever listened may be gone.
        let _ = self.partner.says.send(line.to_owned()).await;
    }

    async fn work(mut self, freezes: bool) {
        let mut waited = 0;
        while !self.node.guard_begins(&self.name, &self.place, self.vmid) {
            if waited == 40 {
                return self.say("busy").await;
            }
            sleep(Duration::from_secs(1)).await;
            waited += 1;
        }
        self.say("ready").await;
        let why = match freezes {
            true => self.freeze().await,
            false => self.grace().await,
        };
        if let Some(why) = why {
            self.thaw(why).await;
        }
        self.node.guard_ends(&self.name, &self.place);
    }

    /// Why it thaws; none when it has not frozen.
    async fn freeze(&mut self) -> Option<&'static str> {
        if self.partner.hears.recv().await.as_deref() != Some("freeze") {
            return None;
        }
        let takes = self.node.get(self.vmid).freeze_takes;
        if takes > 0 {
            self.node.set(self.vmid, |guest| guest.is_busy = true);
            sleep(Duration::from_secs(takes)).await;
            self.node.set(self.vmid, |guest| guest.is_busy = false);
        }
        match self.ask("fsfreeze-freeze", 3600).await {
            Ok(count) if is_count(&count) => {
                self.say(&format!("frozen {count}")).await;
                let limit = Duration::from_secs(self.seconds);
                Some(match timeout(limit, self.partner.hears.recv()).await {
                    Ok(Some(_)) => "asked",
                    Ok(None) => "alone",
                    Err(_) => "late",
                })
            }
            Ok(text) | Err(text) => {
                self.say(&format!("not frozen {text}")).await;
                Some("other")
            }
        }
    }

    async fn grace(&self) -> Option<&'static str> {
        for _ in 0..self.seconds {
            if self.ask("fsfreeze-status", 30).await.as_deref() != Ok("frozen") {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        Some("other")
    }

    async fn thaw(&self, why: &str) {
        let (mut answered, mut pause) = (false, 1);
        while !self.node.is_killed(&self.name) {
            match self.ask("fsfreeze-thaw", 200).await {
                Ok(count) if is_count(&count) => {
                    if !answered {
                        self.say(&format!("thaw {count} {why}")).await;
                    }
                    answered = true;
                }
                Ok(text) | Err(text) => self.say(&format!("no thaw {text}")).await,
            }
            let status = self.ask("fsfreeze-status", 30).await;
            if status.as_deref() == Ok("thawed") {
                return self.say("thawed").await;
            }
            if status.as_deref() != Ok("frozen") && !self.node.get(self.vmid).running {
                return self.say("stopped").await;
            }
            sleep(Duration::from_secs(pause)).await;
            pause = (pause * 2).min(32);
        }
    }

    /// Asks the agent where the guest is by now.
    async fn ask(&self, word: &str, limit: u64) -> Result<String, String> {
        let vmid = self.vmid.to_string();
        let now = self.node.get(self.vmid).place.filter(|place| *place != "nowhere");
        let place = now.unwrap_or(&self.place);
        match self.node.answer(place, &["qm", "guest", "cmd", &vmid, word]) {
            Reply::Prints(text) => Ok(text.trim().to_owned()),
            Reply::Fails(_, text) => Err(text.trim().to_owned()),
            Reply::Hangs => {
                sleep(Duration::from_secs(limit)).await;
                Err("got timeout".to_owned())
            }
        }
    }
}

fn is_count(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}
