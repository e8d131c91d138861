//! The small `key=value` and `key: value` files: `meta.properties` (`MetaProperties`), `partition.metadata`
//! (`PartitionMetadataFile`) and `.kafka_cleanshutdown` (`CleanShutdownFileHandler`).

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::{StorageError, StorageResult};
use crate::env::Disk;

/// The longest of these files that is read.
pub(super) const MAX_PROPERTY_FILE_BYTES: usize = 64 << 10;
pub(super) const META_PROPERTIES: &str = "meta.properties";
pub(super) const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// Kafka's text form of an id: URL-safe base64 of its 16 bytes, without padding.
pub fn encode_uuid(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// Reads Kafka's text form of an id.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    Uuid::from_slice(&bytes).ok()
}

/// The content of `meta.properties`, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker's number.
    pub node_id: i32,
    /// This log directory's id.
    pub directory_id: Option<Uuid>,
}

/// Starts the last line of a `meta.properties` that Ottla wrote: a comment to Java's properties, with the CRC-32C of all before it.
const SEAL: &str = "#crc32c=";

fn seal_of(text: &str) -> String {
    format!("{SEAL}{:08x}\n", crc32c::crc32c(text.as_bytes()))
}

impl MetaProperties {
    /// Reads the file of a log directory; `None` when there is none.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(disk: &dyn Disk, directory: &Path) -> StorageResult<Option<Self>> {
        let path = directory.join(META_PROPERTIES);
        match disk.read(&path, MAX_PROPERTY_FILE_BYTES) {
            Ok(bytes) => Self::parse(directory, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("cannot read", &path, &error)),
        }
    }

    /// Writes the file of a log directory, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        disk.write_atomically(&directory.join(META_PROPERTIES), self.encode().as_bytes())
    }

    pub(super) fn encode(&self) -> String {
        let mut text = format!("version=1\ncluster.id={}\nnode.id={}\n", self.cluster_id, self.node_id);
        if let Some(id) = self.directory_id {
            text.push_str(&format!("directory.id={}\n", encode_uuid(id)));
        }
        let seal = seal_of(&text);
        text.push_str(&seal);
        text
    }

    pub(super) fn parse(directory: &Path, bytes: &[u8]) -> StorageResult<Self> {
        let foreign = |message: String| StorageError::ForeignDirectory { directory: directory.to_owned(), message };
        let text = std::str::from_utf8(bytes).map_err(|_| foreign("meta.properties is not text".to_owned()))?;
        if let Some(at) = text.find(SEAL).filter(|at| text[*at..] != seal_of(&text[..*at])) {
            let reason = format!("meta.properties does not fit its checksum, behind byte {at}: the file is damaged");
            return Err(foreign(reason));
        }
        let value = |key: &str| {
            let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
            lines.find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().replace("\\=", "=").replace("\\:", ":"))
            })
        };
        match value("version").as_deref() {
            Some("1") => {}
            Some(version) => {
                return Err(foreign(format!(
                    "meta.properties has version {version}; only version 1 (Apache Kafka in KRaft mode) can be read"
                )));
            }
            None => return Err(foreign("meta.properties names no version".to_owned())),
        }
        let cluster_id =
            value("cluster.id").ok_or_else(|| foreign("meta.properties names no cluster.id".to_owned()))?;
        let node_id = value("node.id")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| foreign("meta.properties names no valid node.id".to_owned()))?;
        let directory_id = match value("directory.id") {
            None => None,
            Some(text) => Some(
                parse_uuid(&text)
                    .ok_or_else(|| foreign(format!("meta.properties has an invalid directory.id: {text}")))?,
            ),
        };
        Ok(Self { cluster_id, node_id, directory_id })
    }
}

/// Writes the content of `partition.metadata`.
pub(super) fn encode_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {}", encode_uuid(topic_id))
}

/// Reads the topic id in `partition.metadata`.
pub(super) fn parse_partition_metadata(bytes: &[u8]) -> Option<Uuid> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()?.strip_prefix("version:")?.trim() != "0" {
        return None;
    }
    parse_uuid(lines.next()?.strip_prefix("topic_id:")?.trim()).filter(|id| !id.is_nil())
}

/// Writes the content of the marker of a clean shutdown.
pub(super) fn encode_clean_shutdown(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in the marker of a clean shutdown; -1 if the marker holds none, as those of old versions.
pub(super) fn parse_clean_shutdown(bytes: &[u8]) -> i64 {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|value| value.get("brokerEpoch")?.as_i64())
        .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_properties_round_trip() {
        let properties = MetaProperties {
            cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
            node_id: 3,
            directory_id: Some(Uuid::from_u128(77)),
        };
        let parsed = MetaProperties::parse(Path::new("/d"), properties.encode().as_bytes()).unwrap();
        assert_eq!(parsed, properties);
    }

    #[test]
    fn meta_properties_of_kafka_are_read_and_others_refused() {
        let text = "#\n#Sat Nov 21 10:00:00 UTC 2026\ncluster.id=abc\ndirectory.id=AAAAAAAAAAAAAAAAAAAATQ\nnode.id=1\nversion=1\n";
        let parsed = MetaProperties::parse(Path::new("/d"), text.as_bytes()).unwrap();
        assert_eq!((parsed.node_id, parsed.directory_id), (1, Some(Uuid::from_u128(77))));
        for text in ["", "version=0\nbroker.id=1\n", "version=1\nnode.id=1\n", "version=1\ncluster.id=a\nnode.id=x\n"] {
            let error = MetaProperties::parse(Path::new("/d"), text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("meta.properties"), "{error}");
        }
    }

    #[test]
    fn partition_metadata_round_trips() {
        let id = Uuid::from_u128(0x1234_5678_9abc_def0);
        assert_eq!(parse_partition_metadata(encode_partition_metadata(id).as_bytes()), Some(id));
        assert_eq!(parse_partition_metadata(b""), None);
        assert_eq!(parse_partition_metadata(b"version: 1\ntopic_id: x"), None);
    }

    #[test]
    fn the_clean_marker_holds_the_broker_epoch() {
        assert_eq!(encode_clean_shutdown(5), r#"{"version":0,"brokerEpoch":5}"#);
        assert_eq!(parse_clean_shutdown(br#"{"version":0,"brokerEpoch":5}"#), 5);
        assert_eq!(parse_clean_shutdown(b""), -1);
    }
}
