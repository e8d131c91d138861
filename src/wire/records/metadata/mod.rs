//! The records of the metadata log `__cluster_metadata` (KRaft), and how one stands in a log: frame version, type and
//! version in front of the message (`MetadataRecordSerde`, `AbstractApiMessageSerde`).

mod cluster;
mod security;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};

pub use cluster::*;
pub use security::*;

use crate::wire::WireError;
use crate::wire::message::{put_unsigned_varint, take_unsigned_varint, unsigned_varint_size};

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($key:literal $variant:ident($record:ident),)*) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $(
                #[doc = concat!("Type ", stringify!($key), ".")]
                $variant($record),
            )*
        }

        $(
            impl From<$record> for MetadataRecord {
                fn from(record: $record) -> Self {
                    Self::$variant(record)
                }
            }
        )*

        impl MetadataRecord {
            /// The number that stands for the record's type in the log (`MetadataRecordType.id`).
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$variant(_) => $key,)*
                }
            }

            /// Kafka's name of the record's type.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($record),)*
                }
            }

            /// Highest version that the record's type has in Kafka 4.3.
            pub fn highest_version(&self) -> i16 {
                match self {
                    $(Self::$variant(_) => $record::VERSIONS.max,)*
                }
            }

            /// The record in `version` as `kafka-dump-log.sh` prints it, without its type and version (`MetadataJsonConverters`).
            pub fn to_json(&self, version: i16) -> String {
                match self {
                    $(Self::$variant(record) => record.to_json(version),)*
                }
            }

            fn message_size(&self, version: i16) -> anyhow::Result<usize> {
                match self {
                    $(Self::$variant(record) => record.compute_size(version),)*
                }
            }

            fn put_message(&self, buffer: &mut BytesMut, version: i16) -> anyhow::Result<()> {
                match self {
                    $(Self::$variant(record) => record.encode(buffer, version),)*
                }
            }

            fn take_message(buffer: &mut &[u8], record_type: i16, version: i16) -> Result<Self, WireError> {
                match record_type {
                    $($key => $record::decode(buffer, version).map(Self::$variant).map_err(undecodable),)*
                    _ => Err(WireError::UnknownRecordType(record_type)),
                }
            }
        }
    };
}

metadata_records! {
    0 RegisterBroker(RegisterBrokerRecord),
    1 UnregisterBroker(UnregisterBrokerRecord),
    2 Topic(TopicRecord),
    3 Partition(PartitionRecord),
    4 Config(ConfigRecord),
    5 PartitionChange(PartitionChangeRecord),
    7 FenceBroker(FenceBrokerRecord),
    8 UnfenceBroker(UnfenceBrokerRecord),
    9 RemoveTopic(RemoveTopicRecord),
    10 DelegationToken(DelegationTokenRecord),
    11 UserScramCredential(UserScramCredentialRecord),
    12 FeatureLevel(FeatureLevelRecord),
    14 ClientQuota(ClientQuotaRecord),
    15 ProducerIds(ProducerIdsRecord),
    17 BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    18 AccessControlEntry(AccessControlEntryRecord),
    19 RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    20 NoOp(NoOpRecord),
    21 ZkMigrationState(ZkMigrationStateRecord),
    22 RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    23 BeginTransaction(BeginTransactionRecord),
    24 EndTransaction(EndTransactionRecord),
    25 AbortTransaction(AbortTransactionRecord),
    26 RemoveDelegationToken(RemoveDelegationTokenRecord),
    27 RegisterController(RegisterControllerRecord),
    28 ClearElr(ClearElrRecord),
}

impl MetadataRecord {
    /// The record as the value of a record in the log, in `version` of its type. Which version may be written depends on
    /// the metadata version; fields that the version does not have must have their defaults.
    pub fn encode(&self, version: i16) -> Result<Bytes, WireError> {
        let unencodable = |error: anyhow::Error| WireError::Unencodable(error.to_string());
        let size = self.message_size(version).map_err(unencodable)?;
        let header = [FRAME_VERSION, self.record_type() as u32, version as u32];
        let header_size: usize = header.into_iter().map(unsigned_varint_size).sum();
        let mut buffer = BytesMut::with_capacity(header_size + size);
        header.into_iter().for_each(|number| put_unsigned_varint(&mut buffer, number));
        self.put_message(&mut buffer, version).map_err(unencodable)?;
        Ok(buffer.freeze())
    }

    /// Reads the value of a record in the log: the record and the version it was written in. Fails on types and versions
    /// that Kafka 4.3 does not have and on trailing bytes, as Kafka does.
    pub fn decode(value: &[u8]) -> Result<(Self, i16), WireError> {
        let buffer = &mut &*value;
        let frame_version = take_number(buffer, "frame version")?;
        if frame_version != FRAME_VERSION as i16 {
            return Err(WireError::Undecodable(format!("metadata record of frame version {frame_version}")));
        }
        let record_type = take_number(buffer, "type")?;
        let version = take_number(buffer, "version")?;
        let record = Self::take_message(buffer, record_type, version)?;
        match buffer.remaining() {
            0 => Ok((record, version)),
            remaining => Err(WireError::TrailingBytes(remaining)),
        }
    }
}

fn undecodable(error: anyhow::Error) -> WireError {
    WireError::Undecodable(error.to_string())
}

fn take_number(buffer: &mut &[u8], what: &str) -> Result<i16, WireError> {
    let number = take_unsigned_varint(buffer).map_err(undecodable)?;
    i16::try_from(number).map_err(|_| WireError::Undecodable(format!("{what} {number} of a metadata record")))
}
