//! What only one driver has. Not part of the contract.

use crate::site::{DATA_POOL, POOL, Site};
use crate::stream::{Stream, noise};
use pve_ferry::model::VolumeShape;
use pve_ferry::storage::memory::{Fault, Operation};
use pve_ferry::storage::{Memory, Rbd, RbdConfig, Storage};
use pve_ferry::transport::Host;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rbd_serves_namespaces_and_data_pools() {
    let Some(conf) = crate::lab_cluster("namespaces and data pools") else { return };
    let site = Site::rbd(conf.clone(), "namespaces").await;
    let namespace = format!("ns{}", std::process::id());
    site.rbd_run(&["namespace", "create", "--namespace", &namespace]).await;
    let data_pool = Some(DATA_POOL.to_owned());
    let config = RbdConfig { namespace: namespace.clone(), data_pool, ..Site::config(&conf) };
    let inner = Storage::Rbd(Rbd::new(config, Host::local()));
    let shape = VolumeShape { size: 1 << 20, ..VolumeShape::default() };
    let made = inner.create_volume("vm-1-disk-0", &shape).await.unwrap();
    assert_eq!(made.shape.data_pool.as_deref(), Some(DATA_POOL));
    assert!(made.identity.to_string().contains(&format!("{POOL}/{namespace}")));
    inner.create_snapshot("vm-1-disk-0", "s").await.unwrap();
    let facts = inner.volume("vm-1-disk-0").await.unwrap().unwrap();
    let own = facts.snapshots[0].identity.clone();
    let mut export = inner.export(&facts, &own, None).await.unwrap();
    let read = move || std::io::copy(&mut export.reader, &mut std::io::sink()).unwrap();
    assert_eq!(tokio::task::spawn_blocking(read).await.unwrap(), 12 + 6 + 9 + 1);
    export.exit.wait().await.unwrap();
    assert!(!site.storage.volumes().await.unwrap().contains(&"vm-1-disk-0".to_owned()));
    inner.delete_snapshot("vm-1-disk-0", &own).await.unwrap();
    inner.delete_volume("vm-1-disk-0", &facts.identity).await.unwrap();
    site.rbd_run(&["namespace", "rm", "--namespace", &namespace]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_pool_is_not_a_missing_volume() {
    let Some(conf) = crate::lab_cluster("a missing pool") else { return };
    let config = RbdConfig { pool: "no-such-pool".to_owned(), ..Site::config(&conf) };
    let storage = Storage::Rbd(Rbd::new(config, Host::local()));
    let error = storage.volume("vm-1-disk-0").await.unwrap_err();
    assert!(!error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn memory_fails_and_hangs_and_tears_as_told() {
    let memory = Memory::new("memory");
    let storage = Storage::Memory(memory.clone());
    memory.add_volume("v", 1 << 20).unwrap();
    memory.write("v", 4096, &noise(10_000, 1)).unwrap();
    memory.inject(Operation::CreateSnapshot, 2, Fault::Before);
    memory.inject(Operation::CreateSnapshot, 3, Fault::After);
    storage.create_snapshot("v", "s1").await.unwrap();
    assert!(storage.create_snapshot("v", "s2").await.is_err());
    assert!(storage.create_snapshot("v", "s3").await.is_err());
    let facts = storage.volume("v").await.unwrap().unwrap();
    let names: Vec<&str> = facts.snapshots.iter().map(|s| s.identity.name.as_str()).collect();
    assert_eq!(names, ["s1", "s3"]);
    memory.inject(Operation::Export, 1, Fault::Cut(100));
    memory.inject(Operation::Export, 2, Fault::SilentCut(100));
    let own = &facts.snapshots[0].identity;
    for silent in [false, true] {
        let mut export = storage.export(&facts, own, None).await.unwrap();
        let count = std::io::copy(&mut export.reader, &mut std::io::sink()).unwrap();
        assert_eq!((count, export.exit.wait().await.is_ok()), (100, silent));
    }
    memory.inject(Operation::Rollback, 1, Fault::Hang);
    let wait = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(wait, storage.rollback("v", own)).await.is_err());
    let calls = memory.calls();
    assert_eq!(calls[..2], ["create-snapshot memory:v@s1", "create-snapshot memory:v@s2"]);
    assert_eq!(calls.last().unwrap(), "rollback memory:v@s1");
}

#[tokio::test]
async fn a_memory_import_that_fails_at_its_end_has_applied_everything() {
    let memory = Memory::new("memory");
    let storage = Storage::Memory(memory.clone());
    memory.add_volume("v", 1 << 20).unwrap();
    memory.inject(Operation::Import, 1, Fault::After);
    let identity = storage.volume("v").await.unwrap().unwrap().identity;
    let mut import = storage.import("v", &identity).await.unwrap();
    let stream = Stream::new(1 << 20).write(0, b"data").end();
    std::io::Write::write_all(&mut import.writer, &stream).unwrap();
    drop(import.writer);
    assert!(import.exit.wait().await.is_err());
    assert_eq!(memory.read("v").unwrap()[..4], *b"data");
}
