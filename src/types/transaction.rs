//! Words of transactions that the log, the coordinators and the request path share.

use std::num::NonZeroU64;

/// How a transaction ends (`TransactionResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionResult {
    /// Its records are left out by read_committed readers.
    Abort,
    /// Its records are visible.
    Commit,
}

impl TransactionResult {
    /// From the flag in EndTxn and WriteTxnMarkers.
    pub fn from_committed(committed: bool) -> Self {
        if committed { Self::Commit } else { Self::Abort }
    }

    /// Whether it is a commit.
    pub fn is_commit(self) -> bool {
        self == Self::Commit
    }
}

/// A generation of the transaction protocol: a level of the feature `transaction.version` (`TransactionVersion`, KIP-890).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionVersion {
    /// The protocol of KIP-98; records of the coordinator in their first schema.
    #[default]
    Tv0,
    /// The same protocol; records of the coordinator in their flexible schema.
    Tv1,
    /// Every transaction ends with a higher producer epoch, and partitions are added by what is written to them.
    Tv2,
}

impl TransactionVersion {
    /// The highest level.
    pub const LATEST: Self = Self::Tv2;

    /// From a level of the feature; `None` for one that does not exist.
    pub fn from_level(level: i16) -> Option<Self> {
        [Self::Tv0, Self::Tv1, Self::Tv2].into_iter().find(|version| version.level() == level)
    }

    /// The feature's level.
    pub fn level(self) -> i16 {
        match self {
            Self::Tv0 => 0,
            Self::Tv1 => 1,
            Self::Tv2 => 2,
        }
    }

    /// Whether every end of a transaction raises the producer's epoch (`supportsEpochBump`).
    pub fn supports_epoch_bump(self) -> bool {
        self >= Self::Tv2
    }

    /// Whether the coordinator's records have tagged fields (`transactionLogValueVersion`).
    pub fn uses_flexible_records(self) -> bool {
        self >= Self::Tv1
    }
}

/// The end of a producer's transaction, as it is written to each of its partitions (`WriteTxnMarkersRequest.TxnMarkerEntry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Whose transaction.
    pub producer_id: i64,
    /// The producer's epoch; with [`TransactionVersion::Tv2`] one higher than that of the transaction's records.
    pub producer_epoch: i16,
    /// The leader epoch of the coordinator's partition of `__transaction_state`: an older one is a zombie's.
    pub coordinator_epoch: i32,
    /// Commit or abort.
    pub result: TransactionResult,
    /// The protocol of the transaction, which decides what epochs are accepted.
    pub transaction_version: TransactionVersion,
}

/// What the log hands out when the first write of a transaction has to be verified with the coordinator, and wants back with
/// that write: an answer to an earlier question cannot admit a later transaction (`VerificationGuard`, KIP-890).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerificationGuard(Option<NonZeroU64>);

impl VerificationGuard {
    /// Nothing had to be verified (`VerificationGuard.SENTINEL`).
    pub const NONE: Self = Self(None);

    /// The guard with this number.
    pub fn new(number: NonZeroU64) -> Self {
        Self(Some(number))
    }

    /// Whether it stands for no verification.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// Whether a write that brings `self` was verified for what `expected` was handed out for (`VerificationGuard.verify`).
    pub fn verifies(self, expected: Self) -> bool {
        !self.is_none() && self == expected
    }
}
