//! The harness of two clusters and the connection between them: it goes wrong exactly where it is told to,
//! and a stream that it broke never counts.

use crate::common::{End, Link, LinkFault, Sites, Way, block_on};
use pve_ferry::model::SnapshotIdentity;
use pve_ferry::storage::StorageError;
use std::io::{ErrorKind, Read, Write};
use std::thread;

fn say(end: &mut End, message: &str) -> std::io::Result<()> {
    end.write_all(message.as_bytes())?;
    end.flush()
}

/// All that arrives, and how it ended.
fn hear(end: &mut End) -> (String, Option<ErrorKind>) {
    let mut heard = Vec::new();
    let end = end.read_to_end(&mut heard).err().map(|error| error.kind());
    (String::from_utf8(heard).unwrap(), end)
}

#[test]
fn what_one_end_sends_arrives_at_the_other_and_then_the_end() {
    let (link, mut near, mut far) = Link::with(&[]);
    say(&mut near, "one ").unwrap();
    near.write_all(b"two").unwrap();
    say(&mut far, "answer").unwrap();
    drop(near);
    assert_eq!(hear(&mut far), ("one two".to_owned(), None));
    assert_eq!((link.sent(Way::There), link.sent(Way::Back)), (7, 6));
    let refused = far.write_all(b"nobody hears").unwrap_err().kind();
    assert_eq!(refused, ErrorKind::BrokenPipe);
}

#[test]
fn a_link_is_cut_after_exactly_that_many_bytes_and_in_both_directions() {
    let text = ["alpha", "beta", "gamma"];
    for at in 0..=text.concat().len() {
        let (_, mut near, mut far) = Link::with(&[(Way::There, LinkFault::CutAfter(at))]);
        let sent = text.iter().take_while(|word| say(&mut near, word).is_ok()).count();
        let whole: usize = text[..sent].iter().map(|word| word.len()).sum();
        assert!(whole >= at, "{at}: nothing fails before the cut");
        let heard = (text.concat()[..at].to_owned(), Some(ErrorKind::ConnectionReset));
        assert_eq!(hear(&mut far), heard, "cut after {at}");
        assert_eq!(hear(&mut near).1, Some(ErrorKind::ConnectionReset), "cut after {at}");
        assert!(say(&mut far, "answer").is_err() && say(&mut near, "more").is_err());
    }
}

#[test]
fn a_link_that_hangs_lets_writers_go_on_and_readers_wait_until_it_is_cut() {
    let (link, mut near, mut far) = Link::with(&[(Way::There, LinkFault::HangAfter(3))]);
    let reader = thread::spawn(move || hear(&mut far));
    say(&mut near, "alpha").unwrap();
    say(&mut near, "beta").unwrap();
    link.until_it_hangs(Way::There);
    assert!(!reader.is_finished());
    drop(near);
    link.until_it_hangs(Way::There);
    link.cut();
    let heard = reader.join().unwrap();
    assert_eq!(heard, ("alp".to_owned(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn messages_change_places_and_get_lost_where_they_are_told_to() {
    let heard = |faults: &[LinkFault]| {
        let faults: Vec<_> = faults.iter().map(|fault| (Way::There, *fault)).collect();
        let (_, mut near, mut far) = Link::with(&faults);
        ["a", "b", "c"].iter().for_each(|word| say(&mut near, word).unwrap());
        drop(near);
        hear(&mut far)
    };
    assert_eq!(heard(&[LinkFault::Swap(0)]), ("bac".to_owned(), None));
    assert_eq!(heard(&[LinkFault::Swap(2)]), ("abc".to_owned(), None), "none follows the last one");
    assert_eq!(heard(&[LinkFault::Lose(1)]), ("ac".to_owned(), None));
    assert_eq!(heard(&[LinkFault::Swap(0), LinkFault::Lose(1)]), ("ac".to_owned(), None));
}

#[test]
fn after_a_lost_answer_the_far_side_has_done_it_and_the_near_one_knows_nothing() {
    let sites = Sites::new();
    let (_, mut near, mut far) = Link::with(&[(Way::Back, LinkFault::Lose(0))]);
    let storage = sites.far.storage.clone();
    let serving = thread::spawn(move || {
        let mut wanted = [0; 13];
        far.read_exact(&mut wanted).unwrap();
        storage.add_volume(std::str::from_utf8(&wanted).unwrap(), 4096).unwrap();
        say(&mut far, "done").unwrap();
    });
    say(&mut near, "vm-100-disk-0").unwrap();
    serving.join().unwrap();
    assert_eq!(hear(&mut near), (String::new(), None));
    assert_eq!(sites.far.volumes(), ["vm-100-disk-0"]);
    assert_eq!(sites.home.volumes(), Vec::<String>::new());
}

#[test]
fn two_clusters_give_the_same_names_to_different_volumes() {
    let sites = Sites::new();
    for lab in [&sites.home, &sites.far] {
        lab.add_guest(100, &[65_536]);
        lab.add_local_guest("pve2", 101, 65_536);
    }
    let volume = "vm-100-disk-0";
    assert_ne!(sites.home.identity(volume), sites.far.identity(volume));
    assert_ne!(sites.home.local["pve2"].place(), sites.far.local["pve2"].place());
    sites.home.storage.write(volume, 0, &[7; 512]).unwrap();
    assert_eq!(sites.far.storage.read(volume).unwrap(), vec![0; 65_536]);
}

/// A volume of home and its snapshot, and an empty volume of that name on the far side.
fn with_a_volume() -> (Sites, SnapshotIdentity) {
    let sites = Sites::new();
    for lab in [&sites.home, &sites.far] {
        lab.storage.add_volume("vm-100-disk-0", 8192).unwrap();
    }
    sites.home.storage.write("vm-100-disk-0", 1000, &[5; 70]).unwrap();
    sites.home.make_snapshot("vm-100-disk-0", "s");
    let facts = block_on(sites.home.driver().volume("vm-100-disk-0")).unwrap().unwrap();
    let snapshot = facts.snapshots[0].identity.clone();
    (sites, snapshot)
}

/// Sends the snapshot over a link with these faults. What the far storage says of it, and the link.
fn send(
    sites: &Sites,
    snapshot: &SnapshotIdentity,
    faults: &[(Way, LinkFault)],
) -> (Result<(), StorageError>, Link) {
    let (link, mut near, mut far) = Link::with(faults);
    let identity = sites.far.identity("vm-100-disk-0");
    let ended = block_on(async {
        let home = sites.home.driver();
        let facts = home.volume("vm-100-disk-0").await.unwrap().unwrap();
        let mut export = home.export(&facts, snapshot, None).await.unwrap();
        let import = sites.far.driver().import("vm-100-disk-0", &identity).await.unwrap();
        let (mut writer, exit) = (import.writer, import.exit);
        // The memory link holds all that was sent: nobody has to read meanwhile.
        let sent = std::io::copy(&mut export.reader, &mut near).and_then(|_| near.flush());
        drop((sent, near));
        let received = std::io::copy(&mut far, &mut writer);
        drop((received, writer));
        exit.wait().await
    });
    (ended, link)
}

#[test]
fn a_stream_that_the_link_cuts_at_any_byte_never_counts() {
    let (sites, snapshot) = with_a_volume();
    let (ended, link) = send(&sites, &snapshot, &[]);
    ended.unwrap();
    let bytes = sites.home.storage.read("vm-100-disk-0").unwrap();
    assert!(sites.far.storage.read("vm-100-disk-0").unwrap() == bytes);
    for at in 0..link.sent(Way::There) {
        let (sites, snapshot) = with_a_volume();
        let (ended, _) = send(&sites, &snapshot, &[(Way::There, LinkFault::CutAfter(at))]);
        assert!(ended.is_err(), "cut after {at} of {} bytes", link.sent(Way::There));
    }
}
