//! `ottla dump-log` and `ottla verify` over any bytes. First byte: which file is made of the rest, and the options; verify sees it as a
//! part of a log directory, beside a copy under another suffix.
#![no_main]

mod memory;

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ottla::env::{Env, ManualClock, OpenMode};
use ottla::tools::dump_log::{DumpLogOptions, dump_log};
use ottla::tools::verify::{VerifyOptions, verify};

const SUFFIXES: [&str; 8] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000007.snapshot",
    "00000000000000000007-0000000001.checkpoint",
    "leader-epoch-checkpoint",
    "partition.metadata",
];
const ROOT_FILES: [&str; 4] =
    ["meta.properties", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint", ".kafka_cleanshutdown"];

fuzz_target!(|data: &[u8]| {
    let [choice, split, bytes @ ..] = data else { return };
    let env = Env::simulated(ManualClock::new(1_000_000), 7);
    let logs = ["/data/t-0", "/data/__cluster_metadata-0"];
    let write = |path: &str, bytes: &[u8]| {
        let file = env.disk.open(Path::new(path), OpenMode::Truncate).expect("opens");
        file.write_all_at(bytes, 0).expect("writes");
    };
    let (first, second) = bytes.split_at(usize::from(*split).min(bytes.len()));
    for log in logs {
        env.disk.create_dir_all(Path::new(log)).expect("a directory");
        write(&format!("{log}/{}", SUFFIXES[usize::from(*choice & 7)]), second);
        write(&format!("{log}/{}", SUFFIXES[usize::from(*choice >> 3 & 7)]), first);
    }
    write(&format!("/data/{}", ROOT_FILES[usize::from(*choice >> 6)]), first);
    let options = VerifyOptions { directories: vec!["/data".into()] };
    let _ = verify(&env, &options, &mut Vec::new());
    for mode in 0..4 {
        let options = DumpLogOptions {
            files: SUFFIXES[..6].iter().map(|name| Path::new(logs[0]).join(name)).collect(),
            print_data_log: mode == 0,
            offsets_decoder: mode == 1,
            transaction_log_decoder: mode == 2,
            cluster_metadata_decoder: mode == 3,
            max_message_size: 5 << 20,
            max_bytes: i32::MAX,
            ..DumpLogOptions::default()
        };
        for file in options.files.clone() {
            let options = DumpLogOptions { files: vec![file], ..options.clone() };
            let _ = dump_log(&*env.disk, &options, &mut Vec::new(), &mut Vec::new());
        }
    }
});
